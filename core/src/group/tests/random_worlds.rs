//! Random worlds with removals, forks, copied and restored nodes: nodes that synced completely are equal,
//! whatever each knew before, and hold exactly what `compute_acceptance` returns.

use std::collections::BTreeSet;

use super::*;
use crate::acceptance::compute_acceptance;
use crate::delta::columnar::{SegmentHeader, SegmentProof};
use crate::id::{ChainId, GrantId, RecordId};
use crate::record::{Admit, Frontiers, Revoke, RevokeTarget};
use crate::shard::chain::{self, EndProof, first_chain_hash, next_chain_hash};

/// Sends records and changes of one peer to another, until that has all of them. Returns true if anything was
/// new.
pub(super) fn bring_all(from: &mut GroupPeer, to: &mut GroupPeer) -> bool {
    let records =
        from.group.membership_records().missing_records(&to.group.membership_records().record_tips());
    let mut has_learnt = apply_records(to, records);
    for shard_id in shard_ids(&from.group) {
        for position in from.group.shard_states().chain_positions(&shard_id) {
            for tip in position.tips {
                has_learnt |= fetch_branch(from, to, (shard_id, position.chain_id, tip));
            }
        }
    }
    has_learnt
}

fn apply_records(to: &mut GroupPeer, records: Vec<crate::record::SignedRecord>) -> bool {
    let before = to.group.records().len();
    let recorded = to.group.apply_records(records);
    assert_eq!(recorded.fault, None);
    to.store.write(&recorded.rows);
    to.store.write(&recorded.ingest.rows);
    to.group.records().len() != before
}

/// Requests a branch from further and further back, until the batch connects to known changes.
fn fetch_branch(
    from: &mut GroupPeer,
    to: &mut GroupPeer,
    (shard_id, chain_id, tip): (ShardId, ChainId, Tip),
) -> bool {
    let mut after = to.group.shard_states().resume_point(&shard_id, &chain_id, tip);
    let mut has_learnt = false;
    for _ in 0..100 {
        if to.group.shard_states().has_change(&shard_id, &tip.id) {
            return has_learnt;
        }
        let (batch, _) =
            from.group.next_batch(&shard_id, &[ChainRange { chain_id, after, upto: tip }]).unwrap();
        let outcome = to.group.ingest_batch(shard_id, &batch);
        assert_eq!(outcome.rejection, None);
        to.store.write(&outcome.rows);
        has_learnt = true;
        match outcome.diverged_chains.first() {
            Some((_, after_seq)) => after = after_seq.saturating_sub(3),
            // The branch builds on changes of other chains, which come later.
            None if outcome.has_gap => return has_learnt,
            None => after = to.group.shard_states().resume_point(&shard_id, &chain_id, tip),
        }
    }
    panic!("it goes on for ever");
}

/// Syncs two peers in both directions until neither has anything new. Both must then be equal.
pub(super) fn sync_both_ways(a: &mut GroupPeer, b: &mut GroupPeer) {
    for _ in 0..50 {
        let first_learnt = bring_all(a, b);
        let second_learnt = bring_all(b, a);
        if !first_learnt && !second_learnt {
            assert_eq!(a.group.digest(&[]), b.group.digest(&[]));
            return;
        }
    }
    panic!("it does not end");
}

fn assert_matches_acceptance(peer: &mut GroupPeer, context: &str) {
    check_documents(peer);
    for shard in peer.group.shards() {
        let shard_id = shard.root().shard_id();
        let mut changes = accepted_candidates(shard, peer.group.records());
        for change in peer.group.unaccepted_in(&shard_id).into_iter().flat_map(UnacceptedSet::iter) {
            changes.insert(change.id(), change.to_candidate());
        }
        let acceptance = compute_acceptance(peer.group.members(), &changes);
        for id in changes.ids() {
            assert_eq!(acceptance.is_accepted(&id), shard.graph().contains(&id), "{context}: {}", id.short());
            let is_replicated = peer
                .group
                .unaccepted_in(&shard_id)
                .and_then(|unaccepted| unaccepted.get(&id))
                .is_none_or(|change| change.is_replicated);
            assert_eq!(acceptance.is_replicated(&id), is_replicated, "{context}: {}", id.short());
        }
        assert_eq!(shard.dependency_only(), &acceptance.dependency_only, "{context}");
        let mut indexed = shard.clone();
        indexed.set_resource_index(None);
        while indexed.document().is_rebuilding() {
            indexed.flush();
        }
        indexed.build_resource_index();
        let stored_index = shard.resource_index().filter(|_| indexed.document().fault().is_none());
        assert!(
            stored_index.is_none_or(|known| indexed.resource_index() == Some(known)),
            "{context}: what touched what"
        );
    }
}

struct RandomWorld {
    rng: TestRng,
    peers: Vec<GroupPeer>,
    /// Earlier states of nodes, for restoring.
    backups: Vec<Option<GroupPeer>>,
    /// The nodes that fork and issue false records.
    hostile: BTreeSet<usize>,
    time: i64,
}

impl RandomWorld {
    fn new(seed: u64) -> Self {
        let mut rng = TestRng::from_seed(seed);
        let count = 2 + rng.below(4) as usize;
        let mut peers = new_peers(1);
        for n in 2..=count {
            let mut group = Group::new(peers[0].group.records().clone());
            group.own_tips.clear();
            peers.push(GroupPeer::new(n as u8, group));
        }
        let hostile = (1..count).filter(|_| rng.below(3) == 0).collect();
        let backups = (0..count).map(|_| None).collect();
        let mut world = Self { rng, peers, backups, hostile, time: 0 };
        for peer_index in 1..count {
            let role = if world.rng.below(2) == 0 { Role::Admin } else { Role::Operator };
            let genesis = world.peers[0].group.records().genesis();
            world.issue_record(0, genesis, grant_body(peer_index, role));
        }
        for peer_index in 1..count {
            let [first, other] = world.peers.get_disjoint_mut([0, peer_index]).unwrap();
            sync_both_ways(first, other);
        }
        world
    }

    fn issue_record(&mut self, peer_index: usize, grant: GrantId, body: RecordBody) {
        let peer = &mut self.peers[peer_index];
        let mut newest = peer.group.records().newest_in_chain((grant, Signer::Holder));
        if self.hostile.contains(&peer_index) && self.rng.below(3) == 0 {
            // The record is backdated, or forks the chain.
            newest = newest.and_then(|(_, id)| peer.group.records().get(&id)).and_then(|signed| {
                let record = signed.record();
                (record.seq > 1).then_some((record.seq - 1, record.prev))
            });
        }
        let (seq, prev) = newest.map_or((1, RecordId::ZERO), |(seq, id)| (seq + 1, id));
        let group = peer.group.id();
        let record = Record { group, grant, signer: Signer::Holder, seq, prev, body, note: None };
        let signed = record.sign(&peer.secret);
        apply_records(peer, vec![signed]);
    }

    fn step(&mut self) {
        let peer_index = self.rng.below(self.peers.len() as u64) as usize;
        self.time += 1;
        match self.rng.below(20) {
            0..=8 => self.write_random(peer_index),
            9 if self.hostile.contains(&peer_index) => self.fork_chain(peer_index),
            9 | 10 => self.back_up_or_restore(peer_index),
            11..=13 => self.issue_random_record(peer_index),
            14 => self.peers[peer_index].reload(),
            _ => {
                let other = (peer_index + 1 + self.rng.below(self.peers.len() as u64 - 1) as usize)
                    % self.peers.len();
                let [a, b] = self.peers.get_disjoint_mut([peer_index, other]).unwrap();
                sync_both_ways(a, b);
            }
        }
        assert_matches_acceptance(&mut self.peers[peer_index], "after a step");
    }

    fn write_random(&mut self, peer_index: usize) {
        let puts =
            BTreeMap::from([(format!("config/db keys.k{}", self.rng.below(4)), Value::Int(self.time))]);
        let peer = &mut self.peers[peer_index];
        let new_incarnation = peer.next_incarnation();
        let note = ChangeNote { time: self.time, ..ChangeNote::default() };
        // A member that knows of its removal writes nothing.
        if let Ok(written) = peer.group.write(&peer.secret, ShardName::Desired, puts, &note, new_incarnation)
        {
            peer.store.write(&written.ingest.rows);
        }
    }

    /// Writes two changes at one position.
    fn fork_chain(&mut self, peer_index: usize) {
        let mut copied = self.peers[peer_index].clone();
        self.write_random(peer_index);
        copied.group.flush_documents();
        std::mem::swap(&mut self.peers[peer_index], &mut copied);
        self.write_random(peer_index);
        if self.rng.below(2) == 0 {
            self.write_random(peer_index);
        }
        sync_both_ways(&mut self.peers[peer_index], &mut copied);
    }

    /// Keeps a copy of a node, or restores the copy.
    fn back_up_or_restore(&mut self, peer_index: usize) {
        match self.backups[peer_index].take() {
            Some(backup) => self.peers[peer_index] = backup,
            None => self.backups[peer_index] = Some(self.peers[peer_index].clone()),
        }
    }

    fn issue_random_record(&mut self, peer_index: usize) {
        let group = &self.peers[peer_index].group;
        let own_key = self.peers[peer_index].secret.node_id();
        let own_grants: Vec<GrantId> = match self.hostile.contains(&peer_index) {
            true => group
                .members()
                .grants()
                .filter(|grant| grant.holder == own_key && grant.role == Role::Admin)
                .map(|grant| grant.grant)
                .collect(),
            false => group
                .members()
                .oldest_grant_allowing(&own_key, |role| role == Role::Admin)
                .into_iter()
                .collect(),
        };
        let Some(grant) = own_grants.first().copied() else { return };
        let all: Vec<GrantId> = group.members().grants().map(|grant| grant.grant).collect();
        let target = all[self.rng.below(all.len() as u64) as usize];
        let is_lying = self.hostile.contains(&peer_index);
        let body = match self.rng.below(6) {
            0 | 1 => grant_body(self.rng.below(self.peers.len() as u64) as usize, Role::Admin),
            2 => grant_body(self.rng.below(self.peers.len() as u64) as usize, Role::Operator),
            3 => RecordBody::Admit(Admit { frontiers: self.frontier_at_any_change(peer_index) }),
            _ if target == grant && !is_lying => return,
            _ => RecordBody::Revoke(Revoke {
                target: RevokeTarget::Grant(target),
                frontiers: self.random_frontiers(peer_index, &target, is_lying),
            }),
        };
        self.issue_record(peer_index, grant, body);
    }

    /// The frontiers of a grant's chains, or false ones for a hostile node.
    fn random_frontiers(&mut self, peer_index: usize, target: &GrantId, is_lying: bool) -> Frontiers {
        let group = &self.peers[peer_index].group;
        let mut record = group.records().newest_in_chain((*target, Signer::Holder));
        let graph = group.desired().unwrap().graph();
        let chains = graph.chains().filter(|chain| chain.grant == *target);
        let mut changes: Vec<_> = chains
            .map(|chain| (chain.id, chain.len(), graph.entry_in_chain(chain, chain.len()).unwrap().id))
            .collect();
        if is_lying {
            changes.retain(|_| self.rng.below(4) != 0);
            for change in &mut changes {
                match self.rng.below(3) {
                    0 => *change = (change.0, change.1 + 1, ChangeId([self.rng.below(256) as u8; 32])),
                    1 if change.1 > 1 => change.1 -= 1,
                    _ => {}
                }
            }
            record = record.filter(|_| self.rng.below(3) != 0);
        }
        changes.sort_unstable();
        Frontiers { last_record: record, last_changes: changes }
    }

    /// A frontier at any known valid change.
    fn frontier_at_any_change(&mut self, peer_index: usize) -> Frontiers {
        let group = &self.peers[peer_index].group;
        let shard = group.desired().unwrap();
        let graph = shard.graph();
        let accepted = graph.iter().map(|entry| (graph.chain_of(entry).unwrap().id, entry.seq, entry.id));
        let unaccepted =
            group.unaccepted_in(&shard.root().shard_id()).into_iter().flat_map(UnacceptedSet::iter);
        let all: Vec<_> = accepted
            .chain(unaccepted.map(|change| (change.chain_id, change.delta().seq, change.id())))
            .collect();
        let picked = (!all.is_empty()).then(|| all[self.rng.below(all.len() as u64) as usize]);
        Frontiers { last_record: None, last_changes: picked.into_iter().collect() }
    }
}

fn grant_body(peer_index: usize, role: Role) -> RecordBody {
    let key = secret_key(peer_index as u8 + 1).node_id();
    RecordBody::Grant(Grant { holder: key, role, alias: String::new(), labels: vec![], invite: None })
}

fn run_world(seed: u64) -> (usize, usize, usize) {
    let mut world = RandomWorld::new(seed);
    for _ in 0..20 + world.rng.below(50) {
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
                sync_both_ways(a, b);
            }
        }
    }
    let first = world.peers[0].group.digest(&[]);
    let visible_values = |peer: &GroupPeer| -> Vec<_> {
        let state = peer.group.desired().unwrap().state();
        state.iter().map(|(key, visible)| (key.to_owned(), visible.to_vec())).collect()
    };
    let state = visible_values(&world.peers[0]);
    for peer in &mut world.peers {
        assert_eq!(peer.group.digest(&[]), first, "seed {seed}");
        assert_eq!(visible_values(peer), state, "seed {seed}");
        assert_matches_acceptance(peer, "in the end");
        peer.reload();
        assert_matches_acceptance(peer, "from its store");
    }
    let group = &world.peers[0].group;
    let unaccepted =
        group.shard_states().unaccepted_sets().map(|(_, unaccepted)| unaccepted.iter().count()).sum();
    (group.shard_states().forks().count(), group.desired().unwrap().dependency_only().len(), unaccepted)
}

#[test]
fn peers_of_random_worlds_converge_to_the_pure_acceptance() {
    let (mut forks, mut held, mut unaccepted) = (0, 0, 0);
    #[allow(clippy::disallowed_methods, reason = "how long a test runs is no input of the core")]
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first: u64 = number("LARDER_WORLDS_FIRST").unwrap_or(0);
    for seed in first..first + number("LARDER_WORLDS").unwrap_or(60) {
        let counts = std::panic::catch_unwind(|| run_world(seed)).unwrap_or_else(|_| panic!("seed {seed}"));
        forks += counts.0;
        held += counts.1;
        unaccepted += counts.2;
    }
    assert!(forks > 10 && held > 5 && unaccepted > 30, "{forks} {held} {unaccepted}");
}

/// A branch with one signature at its end arrives with its proof. The branch that others support replaces the
/// longer one.
#[test]
fn supported_branch_replaces_the_longer_one() {
    let mut peers = new_peers(3);
    let [a, b, c] = &mut peers[..] else { panic!() };
    for n in 0..70 {
        a.write(ShardName::Desired, single_put("config/db keys.a", n), 0);
    }
    let mut copied = a.clone();
    for n in 100..140 {
        a.write(ShardName::Desired, single_put("config/db keys.a", n), 0);
    }
    for n in 200..300 {
        copied.write(ShardName::Desired, single_put("config/db keys.a", n), 0);
    }
    sync_both_ways(a, b);
    sync_both_ways(&mut copied, c);
    let built = b.write(ShardName::Desired, single_put("config/db keys.b", 1), 0).unwrap();
    sync_both_ways(b, c);
    for peer in [b, c] {
        assert_matches_acceptance(peer, "after the fork");
        let shard = peer.group.desired().unwrap();
        assert_eq!(shard.graph().len(), 111, "the branch that another built on stays, though it is shorter");
        assert!(shard.graph().contains(&built));
        assert_eq!(peer.group.unaccepted_in(&shard.root().shard_id()).unwrap().replicated().len(), 100);
        peer.reload();
        assert_matches_acceptance(peer, "from its store");
    }
}

/// A long document is rebuilt in slices. A change with the position of a retracted one fits only the new
/// document, and changes that depend on it are validated before that document is complete.
#[test]
fn supported_branch_is_accepted_while_a_long_document_rebuilds() {
    let mut all = new_peers(4);
    let [a, b, c, d] = &mut all[..] else { panic!("four") };
    for n in 0..limits::REBUILD_SLICE_CHANGES as i64 + 10 {
        a.write(ShardName::Desired, single_put(&format!("config/db keys.k{}", n % 7), n), 0);
    }
    for peer in [&mut *b, &mut *c, &mut *d] {
        pull_all(a, peer);
    }
    d.write(ShardName::Desired, single_put("config/db keys.k6", -4), 0);
    pull_all(d, c);
    let mut copied = a.clone();
    a.write(ShardName::Desired, single_put("config/db keys.k0", -1), 0);
    pull_all(a, c);
    copied.write(ShardName::Desired, single_put("config/db keys.k1", -2), 0);
    pull_all(&mut copied, b);
    b.write(ShardName::Desired, single_put("config/db keys.k2", -3), 0);
    sync_both_ways(b, c);
    for peer in [b, c] {
        assert_eq!(peer.group.shard_states().forks().count(), 1);
        let kept = peer.group.desired().unwrap().state().winner("config/db keys.k2");
        assert_eq!(kept, Some(&Value::Int(-3)), "the branch on which another built");
        while peer.group.shard_states().is_rebuilding() {
            peer.group.flush_documents();
        }
        assert_matches_acceptance(peer, "after the other branch came in");
    }
}

/// A change that its author signed but that is invalid: it builds on both branches of a fork.
#[test]
fn change_on_both_branches_of_a_fork_is_rejected() {
    let mut peers = new_peers(2);
    let [a, b] = &mut peers[..] else { panic!() };
    let mut copied = a.clone();
    let one_side = a.write(ShardName::Desired, single_put("config/db keys.a", 1), 0).unwrap();
    let other = copied.write(ShardName::Desired, single_put("config/db keys.a", 2), 0).unwrap();
    sync_both_ways(a, b);
    sync_both_ways(&mut copied, b);
    let root = b.group.desired().unwrap().root().clone();
    let grant = b.group.members().live_grants_of(&b.secret.node_id()).next().unwrap().grant;
    let incarnation = Incarnation([7; 16]);
    let mut deps = vec![one_side, other];
    deps.sort_unstable();
    let delta = Delta {
        shard_id: root.shard_id(),
        grant,
        incarnation,
        seq: 1,
        deps,
        start_op: root.max_op() + 2,
        time: 0,
        message: String::new(),
        puts: vec![],
    };
    let encoded = crate::delta::encoded_change::EncodedChange::new(&root, delta).unwrap();
    let chain_id = encoded.delta().chain_id(b.group.id());
    let chain_hash =
        next_chain_hash(&first_chain_hash(b.group.id(), root.shard_id(), chain_id), encoded.id());
    let signature = chain::sign_chain(&b.secret, b.group.id(), root.shard_id(), 1, &chain_hash);
    let head = SegmentHeader { grant, incarnation, after: 0, base_id: ChangeId::ZERO };
    let proof = SegmentProof { checkpoints: vec![], end_proof: EndProof { ids_ahead: vec![], signature } };
    let batch =
        crate::delta::columnar::encode(&root, &[(head, proof)], &[(0, encoded.id(), encoded.delta())]);
    let outcome = b.group.ingest_batch(root.shard_id(), &batch);
    assert!(outcome.rejection.unwrap().to_string().contains("both branches"));
    assert_matches_acceptance(b, "after a refusal");
}
