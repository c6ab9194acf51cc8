//! Who is in a group changes, machines are copied and set back, and some lie: what becomes of members that are not what
//! they were.

use std::collections::BTreeMap;

use larder_core::delta::SignedDelta;
use larder_core::group::{Aside, Group, Note};
use larder_core::id::{Actor, ChangeId, GrantId, GroupId, Incarnation, NodeId, RecordId, hash16};
use larder_core::machine::{Act as Deed, Govern, Membership, Request};
use larder_core::record::{Body, Frontiers, Grant, Record, Revoke, Revoked, Role, SignedRecord, Signer};
use larder_core::shard::root::ShardName;
use larder_core::value::Value;
use larder_core::wire::link::{Bundle, Frame, Push};

use super::plan::Act;
use super::play::{Play, role};

impl Play<'_> {
    /// What changes who is in a group.
    pub(super) fn churn(&mut self, node: usize, act: &Act) {
        match act {
            Act::Expel { group, target } => {
                let target = self.key(*target);
                self.govern(node, *group, Deed::Remove { node: target, keep_through: None });
            }
            Act::Rank { group, target, part } => {
                let target = self.key(*target);
                self.govern(node, *group, Deed::Role { node: target, role: role(*part) });
            }
            Act::Depart { group } => self.govern(node, *group, Deed::Leave { force: true }),
            Act::Readmit { group, pick } => {
                if let Some(change) = self.aside(node, *group, *pick) {
                    self.govern(node, *group, Deed::Readmit { changes: vec![change] });
                }
            }
            Act::Rewrite { group, pick } => {
                if let Some(change) = self.aside(node, *group, *pick) {
                    let note = Note { user: "sim".to_owned(), ..Note::default() };
                    self.govern(node, *group, Deed::Rewrite { changes: vec![change], note });
                }
            }
            Act::Restore { noticed, pause } => self.world.set_back(node, *noticed, *pause),
            Act::Swap { pause } => self.world.swap(node, *pause),
            Act::Lie { group, pick } => self.lie(node, *group, *pick),
            Act::Disown { group } => self.disown(node, *group),
            _ => {}
        }
    }

    fn key(&self, node: usize) -> NodeId {
        self.world.nodes[node % self.plan.nodes].secret.node()
    }

    fn govern(&mut self, node: usize, group: usize, act: Deed) {
        let group = self.group(group);
        let govern = Govern { group, act, user: "sim".to_owned(), words: String::new() };
        self.world.ask(node, Request::Govern(govern));
    }

    fn membership(&self, node: usize, group: usize) -> Option<&Membership> {
        self.world.nodes[node].machine.as_ref()?.group(&self.group(group))
    }

    /// One of the changes of the desired state that a node keeps aside.
    fn aside(&self, node: usize, group: usize, pick: u64) -> Option<ChangeId> {
        let of = &self.membership(node, group)?.group;
        let epoch = of.desired()?.root().epoch();
        let all: Vec<ChangeId> =
            of.aside(&epoch).into_iter().flat_map(Aside::iter).map(|beside| beside.id()).collect();
        all.get(usize::try_from(pick % all.len().max(1) as u64).unwrap_or(0)).copied()
    }

    /// The keys of an honest node, used for what no honest node does. What it says goes to its neighbours; its own
    /// machine knows of nothing.
    fn lie(&mut self, node: usize, at: usize, pick: u64) {
        let group = self.group(at);
        let Some(of) = self.membership(node, at).map(|of| of.group.clone()) else { return };
        self.world.marks.reach("lied");
        self.world.nodes[node].liar = true;
        match pick % 4 {
            0 => self.fork(node, group, of, pick),
            1 => self.fork_and_go_on(node, at, of, pick),
            _ => {
                if let Some(record) = self.false_record(node, &of, pick / 4) {
                    let records = vec![record.encode()];
                    let frame = Frame::Records(Bundle { group, records, last: true });
                    self.world.tell_neighbours(node, &frame);
                }
            }
        }
    }

    /// Two Revokes of one grant of which each counts, and whose frontiers are one change apart.
    fn disown(&mut self, node: usize, at: usize) {
        let group = self.group(at);
        let Some(of) = self.membership(node, at).map(|of| of.group.clone()) else { return };
        let secret = self.world.nodes[node].secret.clone();
        let mut own = of.members().grants().filter(|standing| standing.key == secret.node());
        let Some(grant) = own.find(|standing| standing.role == Role::Admin).map(|standing| standing.grant)
        else {
            return;
        };
        let Some(target) = last_author(&of).filter(|target| *target != grant) else { return };
        self.world.marks.reach("lied");
        self.world.nodes[node].liar = true;
        let (mut seq, mut prev) = of.records().newest((grant, Signer::Holder)).unwrap_or((0, RecordId::ZERO));
        let known = of.frontiers(&target);
        let mut records = Vec::new();
        for frontiers in [known.clone(), earlier(&of, known)] {
            seq += 1;
            let body = Body::Revoke(Revoke { what: Revoked::Grant(target), frontiers });
            let signed =
                Record { group, grant, signer: Signer::Holder, seq, prev, body, remark: None }.sign(&secret);
            prev = signed.id();
            records.push(signed.encode());
        }
        self.world.tell_neighbours(node, &Frame::Records(Bundle { group, records, last: true }));
    }

    /// A change that the machine itself does not know of.
    fn fork(&mut self, node: usize, group: GroupId, mut of: Group, pick: u64) {
        let secret = self.world.nodes[node].secret.clone();
        let puts = BTreeMap::from([(format!("config/r{} keys.k0", pick % 3), Value::from("forked"))]);
        let fresh = Incarnation(hash16("sim lie", &[&pick.to_be_bytes(), &self.world.now.to_be_bytes()]));
        let note = Note::default();
        let Ok(written) = of.write(&secret, ShardName::Desired, puts, &note, fresh) else { return };
        for new in written.taken.new {
            let Some(signature) = new.signature else { continue };
            let changes = vec![SignedDelta { delta: new.delta, signature }];
            let frame = Frame::Push(Push { group, epoch: new.epoch, changes });
            self.world.tell_neighbours(node, &frame);
        }
    }

    /// And at the same place another one.
    fn fork_and_go_on(&mut self, node: usize, at: usize, of: Group, pick: u64) {
        let value = format!("after a fork {pick}");
        let resource = u8::try_from(pick % 3).unwrap_or(0);
        self.act(node, &Act::Set { group: at, resource, key: 1, value });
        self.fork(node, self.group(at), of, pick);
    }

    /// A record that no honest member issues: backdated, a fork of its chain, with a frontier that is a lie.
    fn false_record(&mut self, node: usize, of: &Group, pick: u64) -> Option<SignedRecord> {
        let secret = &self.world.nodes[node].secret.clone();
        let mut grants = of.members().grants().filter(|standing| standing.key == secret.node());
        let grant = grants.find(|standing| standing.role == Role::Admin)?.grant;
        // Ended ones too: a second Revoke lets less count than the first, whose frontier is evidence from then on.
        let is_grant =
            |signed: &&SignedRecord| matches!(signed.record().body, Body::Grant(_) | Body::Genesis(_));
        let all: Vec<GrantId> = of.records().iter().filter(is_grant).map(SignedRecord::id).collect();
        let target = all[usize::try_from(pick % all.len() as u64).ok()?];
        let newest = of.records().newest((grant, Signer::Holder));
        let before = newest.and_then(|(_, id)| of.records().get(&id)).map(|signed| {
            let record = signed.record();
            (record.seq - 1, record.prev)
        });
        let after = if (pick / 64).is_multiple_of(2) { newest } else { before.filter(|(seq, _)| *seq > 0) };
        let (seq, prev) = after.map_or((1, RecordId::ZERO), |(seq, id)| (seq + 1, id));
        let body = match pick / 8 % 3 {
            0 => {
                let to = usize::try_from(pick / 16 % 64).unwrap_or(0) % self.plan.nodes;
                self.world.invited.entry(of.id()).or_default().insert(to);
                let key = self.key(to);
                Body::Grant(Grant {
                    key,
                    role: Role::Admin,
                    alias: String::new(),
                    labels: vec![],
                    invite: None,
                })
            }
            1 => {
                let frontiers = earlier(of, of.frontiers(&target));
                Body::Revoke(Revoke { what: Revoked::Grant(target), frontiers })
            }
            _ => {
                let mut frontiers: Frontiers = of.frontiers(&target);
                let unknown = ChangeId(larder_core::id::hash("sim lie", &[&pick.to_be_bytes()]));
                frontiers.changes.iter_mut().for_each(|change| *change = (change.0, change.1 + 1, unknown));
                Body::Revoke(Revoke { what: Revoked::Grant(target), frontiers })
            }
        };
        let (group, signer) = (of.id(), Signer::Holder);
        Some(Record { group, grant, signer, seq, prev, body, remark: None }.sign(secret))
    }
}

/// Who wrote a change that nothing was built on.
fn last_author(of: &Group) -> Option<GrantId> {
    let graph = of.desired()?.graph();
    let head = graph.heads().into_iter().next()?;
    Some(graph.chain_of(graph.get(&head)?)?.grant)
}

/// Frontiers one change earlier than what is known: of two Revokes the lower counts, and what the higher one named is kept
/// as evidence alone.
fn earlier(of: &Group, frontiers: Frontiers) -> Frontiers {
    let before = |(actor, seq, _): (Actor, u64, ChangeId)| {
        let graph = of.desired()?.graph();
        let entry = graph.at(graph.chain(&actor)?, seq.checked_sub(1)?)?;
        Some((actor, entry.seq, entry.id))
    };
    Frontiers { record: None, changes: frontiers.changes.into_iter().filter_map(before).collect() }
}
