//! One shard, as far as it proves itself: of every chain as much as its author's signatures still reach.
//!
//! ```text
//! rows found     1   2   3   .   5   6   7        4 is gone or wrong; its id still stands in its key
//! saved          1   2   3                        signed at 7: the ids 4 to 7 lead there
//! ```
//!
//! What builds on a change that is missing goes with it. A chain of this node's own needs no signature to be believed: its
//! changes name each other by hash, and the node signs them again. So a write that was on no other disk is not lost for
//! the signature alone.

use std::collections::BTreeMap;

use crate::delta::Delta;
use crate::delta::compose::Composed;
use crate::group::Group;
use crate::id::{Actor, ChangeId, GrantId, NodeId, Secret, Sig};
use crate::limits;
use crate::shard::Shard;
use crate::shard::chain::{self, Chain, Cover, Link, first_link, next_link};
use crate::shard::gate::Verdict;
use crate::shard::root::Root;
use crate::store::{Memory, OwnRow, Row, Rows, Table, key, layout, versioned};

/// What was saved of a shard.
pub(super) struct Saved {
    pub(super) rows: Vec<Row>,
    pub(super) changes: u64,
    /// False if something was there, or was proved to have been, that is not saved.
    pub(super) whole: bool,
}

/// A place in a chain.
type Place = (Actor, u64);

/// What a damaged store has of one shard.
#[derive(Default)]
struct Found {
    changes: BTreeMap<Place, Composed>,
    /// As the keys of the rows name them, whatever became of the values.
    ids: BTreeMap<Place, ChangeId>,
    marks: BTreeMap<Place, Sig>,
    covers: BTreeMap<Actor, (u64, Cover)>,
    /// How far this node remembers to have written.
    own: BTreeMap<Actor, u64>,
    /// True if a row makes no sense.
    spoiled: bool,
}

/// Saves what `found` has of the shard that `root` begins. `me` is the node whose store it was.
pub(super) fn save(found: &Memory, group: &Group, root: &Root, me: &Secret) -> Saved {
    let there = Found::read(found, root);
    if there.ids.is_empty() && there.covers.is_empty() && there.own.is_empty() {
        return Saved { rows: Vec::new(), changes: 0, whole: !there.spoiled };
    }
    let mut most: BTreeMap<Actor, u64> = BTreeMap::new();
    loop {
        let shard = there.build(root, &most);
        let proved: Vec<Proved> =
            shard.graph().chains().map(|chain| there.prove(&shard, chain, group, me)).collect();
        let cut = proved.iter().filter(|chain| chain.upto < chain.len);
        let cut: Vec<(Actor, u64)> = cut.map(|chain| (chain.actor, chain.upto)).collect();
        if cut.is_empty() {
            return there.saved(&shard, root, &proved);
        }
        // What was cut takes with it whatever was built on it, so the shard is built anew.
        most.extend(cut);
    }
}

/// How far a chain is proved, and by what.
struct Proved {
    actor: Actor,
    len: u64,
    upto: u64,
    marks: Vec<Sig>,
    cover: Option<Cover>,
}

impl Found {
    fn read(found: &Memory, root: &Root) -> Self {
        let mut there = Self::default();
        let prefix = key::epoch(root.group(), root.epoch());
        let rows = |table| found.rows(table, &prefix).unwrap_or_else(|never| match never {});
        for (row, value) in rows(Table::Changes) {
            there.read_change(root, &row, &value);
        }
        for (row, value) in rows(Table::Marks) {
            let mark = place(&row).zip(Sig::from_slice(&value));
            there.spoiled |= mark.is_none();
            there.marks.extend(mark);
        }
        for (row, value) in rows(Table::Own) {
            let grant = row.get(32..).and_then(GrantId::from_slice);
            if let Some((grant, own)) = grant.zip(versioned::<OwnRow>(Table::Own, &value).ok()) {
                there.own.insert(Actor::of(root.group(), root.epoch(), grant, own.incarnation), own.seq);
            }
        }
        for (row, value) in rows(Table::Covers) {
            let cover = actor(&row).zip(layout::<(u64, Cover)>(&value));
            there.spoiled |= cover.is_none();
            there.covers.extend(cover);
        }
        there
    }

    fn read_change(&mut self, root: &Root, row: &[u8], value: &[u8]) {
        let id = row.get(56..).and_then(ChangeId::from_slice);
        let Some((place, id)) = place(row).zip(id) else {
            self.spoiled = true;
            return;
        };
        self.ids.insert(place, id);
        let composed = Delta::decode(value).and_then(|delta| Composed::new(root, delta)).ok();
        let right = |composed: &Composed| {
            let delta = composed.delta();
            composed.id() == id && (delta.actor(root.group()), delta.seq) == place
        };
        match composed.filter(right) {
            Some(composed) => drop(self.changes.insert(place, composed)),
            None => self.spoiled = true,
        }
    }

    /// The shard that the changes make, of each chain no more than `most` says.
    fn build(&self, root: &Root, most: &BTreeMap<Actor, u64>) -> Shard {
        let allowed = |(actor, seq): &Place| most.get(actor).is_none_or(|most| seq <= most);
        let mut left: Vec<&Composed> =
            self.changes.iter().filter(|(place, _)| allowed(place)).map(|(_, change)| change).collect();
        left.sort_by_key(|change| (change.delta().start_op, change.delta().max_op()));
        let mut shard = Shard::new(root.clone());
        loop {
            let before = left.len();
            // What cannot be part of this history stays out, and so does what builds on it.
            left.retain(|change| match shard.examine((*change).clone()) {
                Verdict::Ready(checked) => {
                    shard.accept(*checked);
                    false
                }
                _ => true,
            });
            if left.len() == before {
                shard.flush();
                return shard;
            }
        }
    }

    fn prove(&self, shard: &Shard, chain: &Chain, group: &Group, me: &Secret) -> Proved {
        let author = group.records().holder(&chain.grant).map(|(key, _)| key);
        let (actor, len) = (chain.actor, chain.len());
        let nothing = Proved { actor, len, upto: 0, marks: Vec::new(), cover: None };
        let Some(author) = author else { return nothing };
        let links = self.links(shard, chain);
        if author == me.node() {
            return sign_again(shard, chain, &links, me);
        }
        let signed = self.signatures(shard, actor, &author, &links);
        let marks = |upto: u64| (1..=upto / limits::SIGNED_EVERY).map(|nth| nth * limits::SIGNED_EVERY);
        let cover = |upto: u64| {
            // Never past the next kept signature: whoever cuts the chain earlier needs all the hashes up to there.
            let (at, signature) = signed.range(upto..=upto.next_multiple_of(limits::SIGNED_EVERY)).next()?;
            let ahead = (upto + 1..=*at).filter_map(|seq| links.get(&seq)).map(|(_, id)| *id).collect();
            Some(Cover { ahead, signature: *signature })
        };
        let fits = |upto: &u64| cover(*upto).is_some() && marks(*upto).all(|mark| signed.contains_key(&mark));
        match (1..=len).rev().find(fits) {
            Some(upto) => {
                let marks = marks(upto).filter_map(|mark| signed.get(&mark).copied()).collect();
                Proved { actor, len, upto, marks, cover: cover(upto) }
            }
            None => nothing,
        }
    }

    /// The link of the chain at every place, and the change there: those that are here, and those past them whose ids
    /// are known.
    fn links(&self, shard: &Shard, chain: &Chain) -> BTreeMap<u64, (Link, ChangeId)> {
        let (root, graph) = (shard.root(), shard.graph());
        let here = (1..=chain.len()).filter_map(|seq| graph.at(chain, seq)).map(|entry| entry.id);
        let mut ids: Vec<ChangeId> = here.collect();
        while let Some(id) = self.ids.get(&(chain.actor, ids.len() as u64 + 1)) {
            ids.push(*id);
        }
        if let Some((_, cover)) = self.covers.get(&chain.actor).filter(|(seq, _)| *seq == ids.len() as u64) {
            ids.extend(&cover.ahead);
        }
        let mut link = first_link(root.group(), root.epoch(), chain.actor);
        let mut links = BTreeMap::new();
        for (seq, id) in (1..).zip(ids) {
            link = next_link(&link, id);
            links.insert(seq, (link, id));
        }
        links
    }

    /// The places of a chain at which its author's signature is here, and right.
    fn signatures(
        &self,
        shard: &Shard,
        actor: Actor,
        author: &NodeId,
        links: &BTreeMap<u64, (Link, ChangeId)>,
    ) -> BTreeMap<u64, Sig> {
        let root = shard.root();
        let marks = self.marks.range((actor, 0)..=(actor, u64::MAX)).map(|((_, seq), mark)| (*seq, *mark));
        let cover = self.covers.get(&actor);
        let cover = cover.map(|(seq, cover)| (seq.saturating_add(cover.ahead.len() as u64), cover.signature));
        let right = |(seq, signature): &(u64, Sig)| {
            links.get(seq).is_some_and(|(link, _)| {
                chain::verify(author, root.group(), root.epoch(), *seq, link, signature)
            })
        };
        marks.chain(cover).filter(right).collect()
    }

    fn saved(&self, shard: &Shard, root: &Root, proved: &[Proved]) -> Saved {
        let (group, epoch) = (root.group(), root.epoch());
        let mut rows = Vec::new();
        for entry in shard.graph().iter() {
            let Some(chain) = shard.graph().chain_of(entry) else { continue };
            let Some(change) = self.changes.get(&(chain.actor, entry.seq)) else { continue };
            let place = key::change(group, epoch, chain.actor, entry.seq, entry.id);
            rows.push(Row::put(Table::Changes, place, change.bytes().to_vec()));
        }
        for chain in proved {
            for (nth, mark) in (1..).zip(&chain.marks) {
                let place = key::seq(group, epoch, chain.actor, nth * limits::SIGNED_EVERY);
                rows.push(Row::put(Table::Marks, place, mark.0.to_vec()));
            }
            if let Some(cover) = &chain.cover {
                let place = key::chain(group, epoch, chain.actor);
                rows.push(Row::put_layout(Table::Covers, place, &(chain.upto, cover)));
            }
        }
        let reaches = |actor: &Actor| proved.iter().find(|chain| chain.actor == *actor).map_or(0, |c| c.upto);
        let told = self.covers.iter().all(|(actor, (seq, _))| *seq <= reaches(actor));
        let kept = self.ids.keys().all(|(actor, seq)| *seq <= reaches(actor));
        let written = self.own.iter().all(|(actor, seq)| *seq <= reaches(actor));
        Saved { rows, changes: shard.graph().len() as u64, whole: told && kept && written && !self.spoiled }
    }
}

/// A chain of this node's own, signed again as it was: the signature of the same link is the same.
fn sign_again(shard: &Shard, chain: &Chain, links: &BTreeMap<u64, (Link, ChangeId)>, me: &Secret) -> Proved {
    let (root, len) = (shard.root(), chain.len());
    let sign = |seq: u64| {
        let (link, _) = links.get(&seq)?;
        Some(chain::sign(me, root.group(), root.epoch(), seq, link))
    };
    let marks = (1..=len / limits::SIGNED_EVERY).filter_map(|nth| sign(nth * limits::SIGNED_EVERY));
    let cover = sign(len).map(|signature| Cover { ahead: Vec::new(), signature });
    Proved { actor: chain.actor, len, upto: len, marks: marks.collect(), cover }
}

/// The chain that a row is of.
fn actor(row: &[u8]) -> Option<Actor> {
    row.get(32..48).and_then(Actor::from_slice)
}

/// The place in a chain that a row is of.
fn place(row: &[u8]) -> Option<Place> {
    let seq = row.get(48..56)?.try_into().ok().map(u64::from_be_bytes)?;
    Some((actor(row)?, seq))
}
