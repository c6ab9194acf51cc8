//! Acceptance: which valid changes the document is made of, as one pure function of records and changes.
//!
//! Whether a change is *valid* (see [`crate::shard::gate`]) follows from itself and its ancestors and never changes.
//! Whether it is *accepted* follows from the whole set of records and changes, and may change with every new record.
//! Nothing else has a say: not the order of arrival, not a clock, not what this node once showed.
//!
//! | set      | is                                                                                              |
//! |----------|-------------------------------------------------------------------------------------------------|
//! | anchors  | changes that count by themselves: today, those under a grant that counts and is live            |
//! | kept     | anchors and all their ancestors: what is stored, compared and passed on                         |
//! | accepted | what of this the document is made of: today, all of it                                          |
//!
//! An ancestor is kept whoever wrote it: an honest member built on it before it knew better, and its work must not be
//! lost. What is valid and not kept has no effect here.
//!
//! Two rules of the trust model have their place here and are not part of format version 1 as it stands:
//!
//! * *Ended grants.* Once [`Members`] acts on a Revoke, a change of the grant it ends is an anchor only at or below the
//!   frontiers of everything that ended it, or of an Admit that counts. That is one more way to be an anchor, in
//!   [`accept`]; the closure stays. A frontier's own changes are kept too, as evidence.
//! * *Forks.* Two changes in one place of one chain are both valid. Of *kept*, one branch then stays: the others and
//!   what builds on them stop being anchors, and *accepted* is the closure of the anchors that are left, taken anew for
//!   each fork in order of (epoch, actor, seq). Until then the gate refuses the second of two.
//!
//! A group does not call this on its way: it lets in what is valid, one change after another. The simulator calls it
//! after every step, and both must say the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{ChangeId, GrantId};
use crate::record::Members;
use crate::shard::Shard;

/// A valid change, as far as acceptance looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Valid {
    /// The grant it was written under.
    pub grant: GrantId,
    /// What it was built on. Those that are not among the changes are the shard's root.
    pub deps: Vec<ChangeId>,
}

/// The valid changes of one shard, with all their ancestors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(BTreeMap<ChangeId, Valid>);

impl Changes {
    /// No change at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// The changes that a shard holds.
    pub fn of(shard: &Shard) -> Self {
        let graph = shard.graph();
        let valid = graph.iter().filter_map(|entry| {
            let grant = graph.chain_of(entry)?.grant;
            Some((entry.id, Valid { grant, deps: graph.deps(entry).map(|dep| dep.id).collect() }))
        });
        Self(valid.collect())
    }

    /// Adds a change that passed the gate.
    pub fn insert(&mut self, id: ChangeId, valid: Valid) {
        self.0.insert(id, valid);
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&ChangeId, &Valid)> {
        self.0.iter()
    }

    /// The ids of all of them.
    pub fn ids(&self) -> impl Iterator<Item = ChangeId> {
        self.0.keys().copied()
    }

    /// These changes and all their ancestors.
    fn closure(&self, of: &BTreeSet<ChangeId>) -> BTreeSet<ChangeId> {
        let mut closed = BTreeSet::new();
        let mut todo: Vec<ChangeId> = of.iter().copied().collect();
        while let Some(id) = todo.pop() {
            let Some(valid) = self.0.get(&id) else { continue };
            if closed.insert(id) {
                todo.extend(&valid.deps);
            }
        }
        closed
    }
}

/// What [`accept`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acceptance {
    /// Changes that count by themselves.
    pub anchors: BTreeSet<ChangeId>,
    /// These with all their ancestors: what members compare and pass on.
    pub kept: BTreeSet<ChangeId>,
    /// What the document is made of.
    pub accepted: BTreeSet<ChangeId>,
}

/// Says which of one shard's valid changes count, given who is a member.
pub fn accept(members: &Members, changes: &Changes) -> Acceptance {
    let counts = |valid: &Valid| members.grant(&valid.grant).is_some();
    let anchors = changes.0.iter().filter(|(_, valid)| counts(valid)).map(|(id, _)| *id).collect();
    let kept = changes.closure(&anchors);
    let accepted = kept.clone();
    Acceptance { anchors, kept, accepted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{InviteId, RecordId, Secret};
    use crate::record::{Body, Grant, Record, Records, Role, Signer, found};

    /// A group of a founder and one operator: their grants, and who is a member before and after the second.
    fn members() -> ([GrantId; 2], [Members; 2]) {
        let founder = Secret::from_bytes(&[1; 32]);
        let genesis = found(&founder, "shop", [9; 16], Secret::from_bytes(&[3; 32]).node());
        let (group, first) = (genesis.founds().unwrap(), genesis.id());
        let mut records = Records::begin(genesis).unwrap();
        let before = Members::fold(&records);
        let grant = Grant {
            key: Secret::from_bytes(&[2; 32]).node(),
            role: Role::Operator,
            alias: String::new(),
            labels: vec![],
            invite: None::<InviteId>,
        };
        let (signer, prev) = (Signer::Holder, RecordId::ZERO);
        let record = Record { group, grant: first, signer, seq: 1, prev, body: Body::Grant(grant) };
        let record = record.sign(&founder);
        let second = record.id();
        records.place(record);
        ([first, second], [before, Members::fold(&records)])
    }

    fn id(n: u32) -> ChangeId {
        let mut id = ChangeId([0xcc; 32]);
        id.0[..4].copy_from_slice(&n.to_be_bytes());
        id
    }

    fn changes(of: &[(u32, GrantId, &[u32])]) -> Changes {
        let mut changes = Changes::new();
        for (n, grant, deps) in of {
            let deps = deps.iter().map(|dep| id(*dep)).collect();
            changes.insert(id(*n), Valid { grant: *grant, deps });
        }
        changes
    }

    fn ids(of: &[u32]) -> BTreeSet<ChangeId> {
        of.iter().map(|n| id(*n)).collect()
    }

    #[test]
    fn what_live_members_wrote_is_accepted() {
        let ([a, b], [_, members]) = members();
        let changes = changes(&[(1, a, &[0]), (2, b, &[1]), (3, a, &[1]), (4, b, &[2, 3])]);
        let acceptance = accept(&members, &changes);
        assert_eq!(acceptance.anchors, ids(&[1, 2, 3, 4]));
        assert_eq!(acceptance.kept, acceptance.anchors);
        assert_eq!(acceptance.accepted, acceptance.anchors);
    }

    #[test]
    fn what_a_live_member_built_on_is_kept_and_no_more() {
        let ([a, gone], [members, _]) = members();
        // 2 and 3 are by somebody who is no member; 4 is a member's work on 2; 5 and 6 lie beside and above.
        let changes = changes(&[
            (1, a, &[0]),
            (2, gone, &[1]),
            (3, gone, &[2]),
            (4, a, &[1, 2]),
            (5, gone, &[0]),
            (6, gone, &[4]),
        ]);
        let acceptance = accept(&members, &changes);
        assert_eq!(acceptance.anchors, ids(&[1, 4]));
        assert_eq!(acceptance.kept, ids(&[1, 2, 4]));
        assert_eq!(acceptance.accepted, ids(&[1, 2, 4]));
    }

    #[test]
    fn a_new_member_brings_its_changes_in() {
        let ([a, b], [before, after]) = members();
        let changes = changes(&[(1, b, &[0]), (2, a, &[0]), (3, b, &[2])]);
        assert_eq!(accept(&before, &changes).accepted, ids(&[2]));
        assert_eq!(accept(&after, &changes).accepted, ids(&[1, 2, 3]));
    }

    #[test]
    fn nothing_of_strangers_alone_is_kept() {
        let ([_, gone], [members, _]) = members();
        let changes = changes(&[(1, gone, &[0]), (2, gone, &[1])]);
        assert_eq!(accept(&members, &changes), Acceptance::default());
        assert_eq!(accept(&members, &Changes::new()), Acceptance::default());
    }

    #[test]
    fn a_long_history_is_no_deep_one() {
        let ([a, gone], [members, _]) = members();
        let mut changes = Changes::new();
        for n in 1..=50_000 {
            changes.insert(id(n), Valid { grant: gone, deps: vec![id(n - 1)] });
        }
        changes.insert(id(50_001), Valid { grant: a, deps: vec![id(50_000)] });
        let acceptance = accept(&members, &changes);
        assert_eq!((acceptance.anchors.len(), acceptance.kept.len()), (1, 50_001));
    }

    #[test]
    fn a_shard_holds_just_what_is_accepted() {
        let story = crate::vectors::scene::story();
        let changes = Changes::of(&story.shard);
        let members = Members::fold(&crate::vectors::scene::records());
        let held: BTreeSet<ChangeId> = story.shard.graph().iter().map(|entry| entry.id).collect();
        assert_eq!(held.len(), 6);
        assert_eq!(accept(&members, &changes).accepted, held);
        let grants: BTreeSet<_> = changes.0.values().map(|valid| valid.grant).collect();
        assert_eq!(grants.len(), 2, "of both members");
        assert_eq!(
            changes.closure(&BTreeSet::from([story.shard.graph().heads()[0]])),
            held,
            "one head, above all"
        );
    }
}
