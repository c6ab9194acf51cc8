//! Random worlds with removal, forks, clones and restored machines: copies that met to the end are equal, whatever each
//! had heard before, and hold just what the pure function says.

use std::collections::BTreeSet;

use super::*;
use crate::accept::{Changes, accept};
use crate::delta::columns::{Head, Proof};
use crate::id::{Actor, GrantId, RecordId};
use crate::record::{Admit, Frontiers, Revoke, Revoked};
use crate::shard::chain::{self, Cover, first_link, next_link};

/// What a peer offers of records and changes is brought to another, until that has nothing left to learn of it.
pub(super) fn meet(from: &mut Peer, to: &mut Peer) -> bool {
    let records = from.group.missing_records(&to.group.record_tips());
    let mut learnt = learn(to, records);
    for epoch in epochs(&from.group) {
        for position in from.group.positions(&epoch) {
            for tip in position.tips {
                learnt |= fetch(from, to, (epoch, position.actor, tip));
            }
        }
    }
    learnt
}

fn learn(to: &mut Peer, records: Vec<crate::record::SignedRecord>) -> bool {
    let before = to.group.records().len();
    let recorded = to.group.record(records);
    assert_eq!(recorded.fault, None);
    to.store.write(&recorded.rows);
    to.store.write(&recorded.taken.rows);
    to.group.records().len() != before
}

/// One branch, asked for from further below until it meets what is there.
fn fetch(from: &mut Peer, to: &mut Peer, (epoch, actor, tip): (EpochId, Actor, Tip)) -> bool {
    let mut after = to.group.guess(&epoch, &actor, tip);
    let mut learnt = false;
    for _ in 0..100 {
        if to.group.knows(&epoch, &tip.id) {
            return learnt;
        }
        let (window, _) = from.group.window(&epoch, &[Want { actor, after, upto: tip }]).unwrap();
        let taken = to.group.take_window(epoch, &window);
        assert_eq!(taken.refused, None);
        to.store.write(&taken.rows);
        learnt = true;
        match taken.parted.first() {
            Some((_, at)) => after = at.saturating_sub(3),
            // It builds on what comes with other chains.
            None if taken.gap => return learnt,
            None => after = to.group.guess(&epoch, &actor, tip),
        }
    }
    panic!("it goes on for ever");
}

/// Both ways until both are quiet. Then they are equal.
pub(super) fn sync(a: &mut Peer, b: &mut Peer) {
    for _ in 0..50 {
        let one = meet(a, b);
        let other = meet(b, a);
        if !one && !other {
            assert_eq!(a.group.digest(&[]), b.group.digest(&[]));
            return;
        }
    }
    panic!("it does not end");
}

fn holds(peer: &mut Peer, what: &str) {
    check(peer);
    for shard in peer.group.shards() {
        let epoch = shard.root().epoch();
        let mut changes = Changes::of(shard, peer.group.records());
        for beside in peer.group.aside(&epoch).into_iter().flat_map(Aside::iter) {
            changes.insert(beside.id(), beside.valid());
        }
        let acceptance = accept(peer.group.members(), &changes);
        for id in changes.ids() {
            assert_eq!(acceptance.is_accepted(&id), shard.graph().contains(&id), "{what}: {}", id.short());
            let kept =
                peer.group.aside(&epoch).and_then(|aside| aside.get(&id)).is_none_or(|beside| beside.kept);
            assert_eq!(acceptance.is_kept(&id), kept, "{what}: {}", id.short());
        }
        assert_eq!(shard.held(), &acceptance.held, "{what}");
        let mut indexed = shard.clone();
        indexed.set_touched(None);
        while indexed.document().is_rebuilding() {
            indexed.flush();
        }
        indexed.index();
        let known = shard.touched().filter(|_| indexed.document().isolated().is_none());
        assert!(known.is_none_or(|known| indexed.touched() == Some(known)), "{what}: what touched what");
    }
}

struct World {
    dice: Dice,
    peers: Vec<Peer>,
    /// Machines as they were once, to be put back.
    backups: Vec<Option<Peer>>,
    /// Those that fork and lie.
    hostile: BTreeSet<usize>,
    time: i64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let count = 2 + dice.roll(4) as usize;
        let mut peers = peers(1);
        for n in 2..=count {
            let mut group = Group::new(peers[0].group.records().clone());
            group.own.clear();
            peers.push(Peer {
                secret: secret(n as u8),
                group,
                store: Memory::default(),
                lives: 1000 * n as u64,
            });
        }
        let hostile = (1..count).filter(|_| dice.roll(3) == 0).collect();
        let backups = (0..count).map(|_| None).collect();
        let mut world = Self { dice, peers, backups, hostile, time: 0 };
        for at in 1..count {
            let role = if world.dice.roll(2) == 0 { Role::Admin } else { Role::Operator };
            let genesis = world.peers[0].group.records().genesis();
            world.issue(0, genesis, grant_to(at, role));
        }
        for at in 1..count {
            let [first, other] = world.peers.get_disjoint_mut([0, at]).unwrap();
            sync(first, other);
        }
        world
    }

    fn issue(&mut self, at: usize, grant: GrantId, body: Body) {
        let peer = &mut self.peers[at];
        let mut newest = peer.group.records().newest((grant, Signer::Holder));
        if self.hostile.contains(&at) && self.dice.roll(3) == 0 {
            // Backdated, or a fork of the chain.
            newest = newest.and_then(|(_, id)| peer.group.records().get(&id)).and_then(|signed| {
                let record = signed.record();
                (record.seq > 1).then_some((record.seq - 1, record.prev))
            });
        }
        let (seq, prev) = newest.map_or((1, RecordId::ZERO), |(seq, id)| (seq + 1, id));
        let group = peer.group.id();
        let record = Record { group, grant, signer: Signer::Holder, seq, prev, body, remark: None };
        let signed = record.sign(&peer.secret);
        learn(peer, vec![signed]);
    }

    fn step(&mut self) {
        let at = self.dice.roll(self.peers.len() as u64) as usize;
        self.time += 1;
        match self.dice.roll(20) {
            0..=8 => self.write(at),
            9 if self.hostile.contains(&at) => self.fork(at),
            9 | 10 => self.back(at),
            11..=13 => self.decide(at),
            14 => self.peers[at].reload(),
            _ => {
                let other =
                    (at + 1 + self.dice.roll(self.peers.len() as u64 - 1) as usize) % self.peers.len();
                let [a, b] = self.peers.get_disjoint_mut([at, other]).unwrap();
                sync(a, b);
            }
        }
        holds(&mut self.peers[at], "after a step");
    }

    fn write(&mut self, at: usize) {
        let puts =
            BTreeMap::from([(format!("config/db keys.k{}", self.dice.roll(4)), Value::Int(self.time))]);
        let peer = &mut self.peers[at];
        peer.lives += 1;
        let fresh = Incarnation(crate::id::hash16("test life", &[&peer.lives.to_be_bytes()]));
        let note = Note { time: self.time, ..Note::default() };
        // A member that knows that it was removed writes nothing.
        if let Ok(written) = peer.group.write(&peer.secret, ShardName::Desired, puts, &note, fresh) {
            peer.store.write(&written.taken.rows);
        }
    }

    /// Writes twice at one place.
    fn fork(&mut self, at: usize) {
        let mut twin = copy(&self.peers[at]);
        self.write(at);
        twin.group.flush();
        std::mem::swap(&mut self.peers[at], &mut twin);
        self.write(at);
        if self.dice.roll(2) == 0 {
            self.write(at);
        }
        sync(&mut self.peers[at], &mut twin);
    }

    /// Keeps a copy of a machine, or puts it back.
    fn back(&mut self, at: usize) {
        match self.backups[at].take() {
            Some(backup) => self.peers[at] = backup,
            None => self.backups[at] = Some(copy(&self.peers[at])),
        }
    }

    fn decide(&mut self, at: usize) {
        let group = &self.peers[at].group;
        let me = self.peers[at].secret.node();
        let mine: Vec<GrantId> = match self.hostile.contains(&at) {
            true => group
                .members()
                .grants()
                .filter(|of| of.key == me && of.role == Role::Admin)
                .map(|of| of.grant)
                .collect(),
            false => group.members().grant_for(&me, |role| role == Role::Admin).into_iter().collect(),
        };
        let Some(grant) = mine.first().copied() else { return };
        let all: Vec<GrantId> = group.members().grants().map(|of| of.grant).collect();
        let target = all[self.dice.roll(all.len() as u64) as usize];
        let lies = self.hostile.contains(&at);
        let body = match self.dice.roll(6) {
            0 | 1 => grant_to(self.dice.roll(self.peers.len() as u64) as usize, Role::Admin),
            2 => grant_to(self.dice.roll(self.peers.len() as u64) as usize, Role::Operator),
            3 => Body::Admit(Admit { frontiers: self.anything(at) }),
            _ if target == grant && !lies => return,
            _ => Body::Revoke(Revoke {
                what: Revoked::Grant(target),
                frontiers: self.frontiers(at, &target, lies),
            }),
        };
        self.issue(at, grant, body);
    }

    /// Where the chains of a grant are; or something else, of those who lie.
    fn frontiers(&mut self, at: usize, target: &GrantId, lies: bool) -> Frontiers {
        let group = &self.peers[at].group;
        let mut record = group.records().newest((*target, Signer::Holder));
        let graph = group.desired().unwrap().graph();
        let chains = graph.chains().filter(|chain| chain.grant == *target);
        let mut changes: Vec<_> = chains
            .map(|chain| (chain.actor, chain.len(), graph.at(chain, chain.len()).unwrap().id))
            .collect();
        if lies {
            changes.retain(|_| self.dice.roll(4) != 0);
            for change in &mut changes {
                match self.dice.roll(3) {
                    0 => *change = (change.0, change.1 + 1, ChangeId([self.dice.roll(256) as u8; 32])),
                    1 if change.1 > 1 => change.1 -= 1,
                    _ => {}
                }
            }
            record = record.filter(|_| self.dice.roll(3) != 0);
        }
        changes.sort_unstable();
        Frontiers { record, changes }
    }

    /// A frontier at any valid change that is here.
    fn anything(&mut self, at: usize) -> Frontiers {
        let group = &self.peers[at].group;
        let shard = group.desired().unwrap();
        let graph = shard.graph();
        let accepted = graph.iter().map(|entry| (graph.chain_of(entry).unwrap().actor, entry.seq, entry.id));
        let aside = group.aside(&shard.root().epoch()).into_iter().flat_map(Aside::iter);
        let all: Vec<_> =
            accepted.chain(aside.map(|beside| (beside.actor, beside.delta().seq, beside.id()))).collect();
        let one = (!all.is_empty()).then(|| all[self.dice.roll(all.len() as u64) as usize]);
        Frontiers { record: None, changes: one.into_iter().collect() }
    }
}

fn grant_to(at: usize, role: Role) -> Body {
    let key = secret(at as u8 + 1).node();
    Body::Grant(Grant { key, role, alias: String::new(), labels: vec![], invite: None })
}

fn play(seed: u64) -> (usize, usize, usize) {
    let mut world = World::new(seed);
    for _ in 0..20 + world.dice.roll(50) {
        world.step();
    }
    for _ in 0..30 {
        let digests: BTreeSet<Digest> = world.peers.iter().map(|peer| peer.group.digest(&[])).collect();
        if digests.len() == 1 {
            break;
        }
        for a in 0..world.peers.len() {
            for b in a + 1..world.peers.len() {
                let [a, b] = world.peers.get_disjoint_mut([a, b]).unwrap();
                sync(a, b);
            }
        }
    }
    let first = world.peers[0].group.digest(&[]);
    let shown = |peer: &Peer| -> Vec<_> {
        let state = peer.group.desired().unwrap().state();
        state.iter().map(|(key, visible)| (key.to_owned(), visible.to_vec())).collect()
    };
    let state = shown(&world.peers[0]);
    for peer in &mut world.peers {
        assert_eq!(peer.group.digest(&[]), first, "seed {seed}");
        assert_eq!(shown(peer), state, "seed {seed}");
        holds(peer, "in the end");
        peer.reload();
        holds(peer, "from its store");
    }
    let group = &world.peers[0].group;
    let aside = group.asides().map(|(_, aside)| aside.iter().count()).sum();
    (group.forks().count(), group.desired().unwrap().held().len(), aside)
}

#[test]
fn whoever_met_to_the_end_is_equal() {
    let (mut forks, mut held, mut aside) = (0, 0, 0);
    #[allow(clippy::disallowed_methods, reason = "how long a test runs is no input of the core")]
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first: u64 = number("LARDER_WORLDS_FIRST").unwrap_or(0);
    for seed in first..first + number("LARDER_WORLDS").unwrap_or(60) {
        let seen = std::panic::catch_unwind(|| play(seed)).unwrap_or_else(|_| panic!("seed {seed}"));
        forks += seen.0;
        held += seen.1;
        aside += seen.2;
    }
    assert!(forks > 10 && held > 5 && aside > 30, "{forks} {held} {aside}");
}

/// A branch that was signed in one piece comes with its proof, and the longer one takes the place of the other.
#[test]
fn the_longer_branch_takes_the_place_of_the_other() {
    let mut peers = peers(3);
    let [a, b, c] = &mut peers[..] else { panic!() };
    for n in 0..70 {
        a.write(ShardName::Desired, one("config/db keys.a", n), 0);
    }
    let mut twin = copy(a);
    for n in 100..140 {
        a.write(ShardName::Desired, one("config/db keys.a", n), 0);
    }
    for n in 200..300 {
        twin.write(ShardName::Desired, one("config/db keys.a", n), 0);
    }
    sync(a, b);
    sync(&mut twin, c);
    let built = b.write(ShardName::Desired, one("config/db keys.b", 1), 0).unwrap();
    sync(b, c);
    for peer in [b, c] {
        holds(peer, "after the fork");
        let shard = peer.group.desired().unwrap();
        assert_eq!(shard.graph().len(), 111, "the branch that another built on stays, though it is shorter");
        assert!(shard.graph().contains(&built));
        assert_eq!(peer.group.aside(&shard.root().epoch()).unwrap().kept().len(), 100);
        peer.reload();
        holds(peer, "from its store");
    }
}

/// A long document is made anew in slices. What takes the place of a change that was taken out fits the new one alone, and
/// what was built on it is judged before the new one is done.
#[test]
fn another_branch_comes_in_with_what_was_built_on_it_while_a_long_document_is_made_anew() {
    let mut all = peers(4);
    let [a, b, c, d] = &mut all[..] else { panic!("four") };
    for n in 0..limits::REBUILD_SLICE as i64 + 10 {
        a.write(ShardName::Desired, one(&format!("config/db keys.k{}", n % 7), n), 0);
    }
    for peer in [&mut *b, &mut *c, &mut *d] {
        pull(a, peer);
    }
    d.write(ShardName::Desired, one("config/db keys.k6", -4), 0);
    pull(d, c);
    let mut twin = copy(a);
    a.write(ShardName::Desired, one("config/db keys.k0", -1), 0);
    pull(a, c);
    twin.write(ShardName::Desired, one("config/db keys.k1", -2), 0);
    pull(&mut twin, b);
    b.write(ShardName::Desired, one("config/db keys.k2", -3), 0);
    sync(b, c);
    for peer in [b, c] {
        assert_eq!(peer.group.forks().count(), 1);
        let kept = peer.group.desired().unwrap().state().winner("config/db keys.k2");
        assert_eq!(kept, Some(&Value::Int(-3)), "the branch on which another built");
        while peer.group.is_rebuilding() {
            peer.group.flush();
        }
        holds(peer, "after the other branch came in");
    }
}

/// Signed by its author, and wrong: it builds on both branches of a fork.
#[test]
fn nothing_builds_on_both_branches() {
    let mut peers = peers(2);
    let [a, b] = &mut peers[..] else { panic!() };
    let mut twin = copy(a);
    let one_side = a.write(ShardName::Desired, one("config/db keys.a", 1), 0).unwrap();
    let other = twin.write(ShardName::Desired, one("config/db keys.a", 2), 0).unwrap();
    sync(a, b);
    sync(&mut twin, b);
    let root = b.group.desired().unwrap().root().clone();
    let grant = b.group.members().of(&b.secret.node()).next().unwrap().grant;
    let life = Incarnation([7; 16]);
    let mut deps = vec![one_side, other];
    deps.sort_unstable();
    let delta = Delta {
        epoch: root.epoch(),
        grant,
        incarnation: life,
        seq: 1,
        deps,
        start_op: root.max_op() + 2,
        time: 0,
        message: String::new(),
        puts: vec![],
    };
    let composed = crate::delta::compose::Composed::new(&root, delta).unwrap();
    let actor = composed.delta().actor(b.group.id());
    let link = next_link(&first_link(b.group.id(), root.epoch(), actor), composed.id());
    let signature = chain::sign(&b.secret, b.group.id(), root.epoch(), 1, &link);
    let head = Head { grant, incarnation: life, after: 0, base: ChangeId::ZERO };
    let proof = Proof { marks: vec![], cover: Cover { ahead: vec![], signature } };
    let window =
        crate::delta::columns::encode(&root, &[(head, proof)], &[(0, composed.id(), composed.delta())]);
    let taken = b.group.take_window(root.epoch(), &window);
    assert!(taken.refused.unwrap().contains("both branches"));
    holds(b, "after a refusal");
}
