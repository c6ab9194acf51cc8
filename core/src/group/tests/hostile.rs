//! Windows that no honest member sends. Whatever comes of them, the store must come up again and serve others.

use super::*;
use crate::delta::Delta;
use crate::delta::columns::{self, Head, Proof};
use crate::delta::compose::Composed;
use crate::id::{Actor, Sig};
use crate::limits;
use crate::shard::chain::{self, Cover, Link, first_link, next_link};

/// A chain as its author can say it, whether it is valid or not.
struct Forged {
    secret: Secret,
    head: Head,
    actor: Actor,
    epoch: EpochId,
    group: GroupId,
    changes: Vec<Composed>,
}

impl Forged {
    /// What `peer` wrote to the desired state.
    fn of(peer: &mut Peer) -> Self {
        peer.group.flush();
        let shard = peer.group.desired().unwrap();
        let root = shard.root().clone();
        let me = peer.group.members().of(&peer.secret.node()).next().unwrap().grant;
        let chain = shard.graph().chains().find(|chain| chain.grant == me).unwrap();
        let head =
            Head { grant: chain.grant, incarnation: chain.incarnation, after: 0, base: ChangeId::ZERO };
        let ids = (1..=chain.len()).map(|seq| shard.graph().at(chain, seq).unwrap().id);
        let changes = ids.map(|id| Composed::new(&root, shard.delta(&id).unwrap()).unwrap()).collect();
        let (actor, epoch, group) = (chain.actor, root.epoch(), peer.group.id());
        Self { secret: peer.secret.clone(), head, actor, epoch, group, changes }
    }

    /// Adds a change that replaces nothing, though it should.
    fn go_wrong(&mut self, root: &Root, key: &str) {
        let last = self.changes.last().unwrap();
        let put = crate::delta::Put { key: key.to_owned(), value: Value::Int(0), preds: vec![] };
        let delta = Delta {
            seq: last.delta().seq + 1,
            deps: vec![last.id()],
            start_op: last.delta().max_op() + 1,
            puts: vec![put],
            ..last.delta().clone()
        };
        self.changes.push(Composed::new(root, delta).unwrap());
    }

    fn link(&self, ahead: &[ChangeId]) -> Link {
        let ids = self.changes.iter().map(Composed::id).chain(ahead.iter().copied());
        ids.fold(first_link(self.group, self.epoch, self.actor), |link, id| next_link(&link, id))
    }

    /// The signature of all of it, and of more.
    fn cover(&self, ahead: Vec<ChangeId>) -> Cover {
        let seq = (self.changes.len() + ahead.len()) as u64;
        let signature = chain::sign(&self.secret, self.group, self.epoch, seq, &self.link(&ahead));
        Cover { ahead, signature }
    }

    fn window(&self, root: &Root, proof: Proof) -> Vec<u8> {
        self.windows(root, vec![(self.head.clone(), proof)], |_| 0)
    }

    fn windows(&self, root: &Root, heads: Vec<(Head, Proof)>, place: fn(usize) -> usize) -> Vec<u8> {
        let placed: Vec<_> = self
            .changes
            .iter()
            .enumerate()
            .map(|(nth, change)| (place(nth), change.id(), change.delta()))
            .collect();
        columns::encode(root, &heads, &placed)
    }
}

fn write(peer: &mut Peer, n: u64) {
    let puts = BTreeMap::from([(format!("config/db keys.k{n}"), Value::Int(n as i64))]);
    peer.write(ShardName::Desired, puts, 0);
}

fn root(peer: &Peer) -> Root {
    peer.group.desired().unwrap().root().clone()
}

/// Takes a window in, whatever it is; then everything must be as sound as before.
fn survives(peers: &mut [Peer], window: &[u8], reach: u64) {
    let (first, rest) = peers.split_first_mut().unwrap();
    let root = root(first);
    let forged = Forged::of(first);
    let [b, c] = rest else { panic!() };
    let taken = b.group.take_window(root.epoch(), window);
    b.store.write(&taken.rows);
    assert_eq!(b.group.reach(&root.epoch(), &forged.actor), reach, "{:?}", taken.refused);
    b.reload();
    check(b);
    pull(b, c);
    assert_eq!(c.group.reach(&root.epoch(), &forged.actor), reach);
    c.reload();
}

#[test]
fn a_signature_of_nothing_is_not_kept() {
    let mut peers = peers(3);
    (0..10).for_each(|n| write(&mut peers[0], n));
    let forged = Forged::of(&mut peers[0]);
    let proof = Proof { marks: vec![Sig([7; 64])], cover: forged.cover(vec![]) };
    let window = forged.window(&root(&peers[0]), proof);
    survives(&mut peers, &window, 0);
}

#[test]
fn a_cover_does_not_reach_past_the_next_kept_signature() {
    let mut peers = peers(3);
    (0..5).for_each(|n| write(&mut peers[0], n));
    let (root, mut forged) = (root(&peers[0]), Forged::of(&mut peers[0]));
    (0..5).for_each(|n| forged.go_wrong(&root, &format!("config/db keys.k{n}")));
    let ahead = |count: u8| (0..count).map(|n| ChangeId([n; 32])).collect::<Vec<_>>();
    let far = Proof { marks: vec![], cover: forged.cover(ahead(limits::COVER as u8)) };
    let window = forged.window(&root, far);
    survives(&mut peers, &window, 0);
    let near = Proof { marks: vec![], cover: forged.cover(ahead(64 - 10)) };
    let window = forged.window(&root, near);
    survives(&mut peers, &window, 5);
}

#[test]
fn a_chain_that_goes_wrong_past_a_kept_signature_is_kept_up_to_it() {
    let mut peers = peers(3);
    (0..64).for_each(|n| write(&mut peers[0], n));
    let (root, mut forged) = (root(&peers[0]), Forged::of(&mut peers[0]));
    let mark = forged.cover(vec![]).signature;
    forged.go_wrong(&root, "config/db keys.k0");
    let ahead = (0..63).map(|n| ChangeId([n; 32])).collect();
    let proof = Proof { marks: vec![mark], cover: forged.cover(ahead) };
    let window = forged.window(&root, proof);
    survives(&mut peers, &window, 64);
}

/// One chain told as two, so that the signature is over something else than what is let in.
#[test]
fn a_window_names_a_chain_once() {
    let mut peers = peers(3);
    (0..3).for_each(|n| write(&mut peers[0], n));
    let [a, b, _] = &mut peers[..] else { panic!() };
    pull(a, b);
    write(a, 3);
    let (root, mut forged) = (root(a), Forged::of(a));
    // The author signs its three changes, then its first again, then the fourth.
    let mut link = first_link(forged.group, forged.epoch, forged.actor);
    for nth in [0, 1, 2, 0, 3] {
        link = next_link(&link, forged.changes[nth].id());
    }
    let signature = chain::sign(&forged.secret, forged.group, forged.epoch, 5, &link);
    let proof = Proof { marks: vec![], cover: Cover { ahead: vec![], signature } };
    let again = Head { after: 3, base: forged.changes[2].id(), ..forged.head.clone() };
    forged.changes = vec![forged.changes[0].clone(), forged.changes[3].clone()];
    let window = forged.windows(&root, vec![(forged.head.clone(), proof.clone()), (again, proof)], |nth| nth);
    survives(&mut peers, &window, 3);
}

#[test]
fn what_is_asked_for_may_be_nonsense() {
    let mut peers = peers(1);
    (0..3).for_each(|n| write(&mut peers[0], n));
    let epoch = root(&peers[0]).epoch();
    let position = peers[0].group.positions(&epoch)[0].clone();
    let upto = Tip { seq: u64::MAX, ..position.tips[0] };
    let want = |after| Want { actor: position.actor, after, upto };
    assert_eq!(peers[0].group.window(&epoch, &[want(u64::MAX)]), None);
    let (whole, more) = peers[0].group.window(&epoch, &[want(0)]).unwrap();
    assert!(!more);
    let many = vec![want(0); limits::WANT_CHAINS];
    assert_eq!(peers[0].group.window(&epoch, &many), Some((whole, false)), "a chain is told once");
}

/// A change of one field on nothing but the beginning, as whoever holds `grant` would make it.
fn first(root: &Root, grant: GrantId) -> Delta {
    let put = crate::delta::Put { key: "config/db keys.k".to_owned(), value: Value::Int(1), preds: vec![] };
    Delta {
        epoch: root.epoch(),
        grant,
        incarnation: Incarnation([4; 16]),
        seq: 1,
        deps: vec![root.id()],
        start_op: root.max_op() + 1,
        time: 1,
        message: String::new(),
        puts: vec![put],
    }
}

/// Signed by `secret`, as is right where the root is.
fn signed(root: &Root, delta: Delta, secret: &Secret) -> SignedDelta {
    let actor = delta.actor(root.group());
    let composed = Composed::new(root, delta).unwrap();
    let link = next_link(&first_link(root.group(), root.epoch(), actor), composed.id());
    let signature = chain::sign(secret, root.group(), root.epoch(), 1, &link);
    SignedDelta { delta: composed.bytes().to_vec(), signature }
}

#[test]
fn what_is_signed_for_one_group_or_shard_counts_in_no_other() {
    let here = &mut peers(2)[0];
    let (founder, genesis) = (secret(1), here.group.records().genesis());
    let said = signed(&root(here), first(&root(here), genesis), &founder);
    let mut other =
        Group::new(Records::begin(found(&founder, "other", [8; 16], secret(200).node())).unwrap());
    let (theirs, grant) = (other.desired().unwrap().root().clone(), other.records().genesis());
    let observed = Root::derive(here.group.id(), ShardName::Observed(genesis));
    let again = |root: &Root, grant| {
        let delta = signed(root, first(root, grant), &founder).delta;
        SignedDelta { delta, signature: said.signature }
    };
    // As it is, and said anew so that all but the signature is right there.
    for change in [&said, &again(&theirs, grant)] {
        let taken = other.take_push(theirs.epoch(), change);
        assert!(taken.refused.is_some() && taken.new.is_empty(), "{taken:?}");
    }
    for change in [&said, &again(&observed, genesis)] {
        let taken = here.group.take_push(observed.epoch(), change);
        assert!(taken.refused.is_some() && taken.new.is_empty(), "{taken:?}");
    }
    let fault = other.record(here.group.records().iter().cloned()).fault;
    assert_eq!(fault, Some(crate::record::RecordFault::Foreign));
    // Signed for where it is said, all of it is taken.
    assert_eq!(here.group.take_push(root(here).epoch(), &said).new.len(), 1);
    let right = signed(&observed, first(&observed, genesis), &founder);
    assert_eq!(here.group.take_push(observed.epoch(), &right).new.len(), 1);
    let right = signed(&theirs, first(&theirs, grant), &founder);
    assert_eq!(other.take_push(theirs.epoch(), &right).new.len(), 1);
}

/// Automerge lets the greatest counter win: a counter that need not follow from anything would win for ever.
#[test]
fn a_counter_that_does_not_follow_from_what_it_builds_on_is_refused() {
    let here = &mut peers(1)[0];
    let (root, genesis) = (root(here), here.group.records().genesis());
    let right = root.max_op() + 1;
    for start_op in [0, 1, right - 1, right + 1, 1 << 31, 1 << 40, u64::MAX - 1, u64::MAX] {
        let delta = Delta { start_op, ..first(&root, genesis) };
        let said = match Composed::new(&root, delta.clone()) {
            Ok(_) => signed(&root, delta, &secret(1)),
            Err(_) => SignedDelta { delta: delta.encode(), signature: Sig([7; 64]) },
        };
        let taken = here.group.take_push(root.epoch(), &said);
        assert!(taken.refused.is_some() && taken.new.is_empty(), "{start_op}: {taken:?}");
    }
    let said = signed(&root, first(&root, genesis), &secret(1));
    assert_eq!(here.group.take_push(root.epoch(), &said).new.len(), 1);
}
