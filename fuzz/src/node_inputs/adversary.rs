//! The frames of hostile members, who have keys and grants and sign anything.

use larder_core::delta::columnar::{self, SegmentHeader, SegmentProof};
use larder_core::delta::encoded_change::EncodedChange;
use larder_core::delta::{Delta, OpRef, Put, SignedDelta};
use larder_core::group::{ChainRange, Group, Position, Tip};
use larder_core::id::{ChainId, ChangeId, Digest, RecordId, ShardId, Sig};
use larder_core::limits;
use larder_core::record::{Frontiers, RecordBody, Revoke, RevokeTarget, Role, SignedRecord};
use larder_core::shard::chain::{self, ChainHash, EndProof, first_chain_hash, next_chain_hash};
use larder_core::shard::root::{ShardName, ShardRoot};
use larder_core::value::Value;
use larder_core::wire::member::{
    ForwardedJoin, ForwardedResponse, GroupDigest, GroupFrame, GroupSummary, MemberFrame, PushedChanges,
    RangeRequest, RangeResponse, RecordBatch, ShardPositions, SignedPresence,
};
use larder_core::wire::presence::Presence;

use super::callers::OTHER_CALLERS;
use super::guest;
use super::node_harness::NodeHarness;
use crate::decisions::Decisions;
use crate::fixture::{self, FIXTURE, secret_key};

pub(super) struct AdversaryMember {
    /// The operator's copy of the group. It is cloned when the operator writes more.
    group: Option<Group>,
    write_count: u64,
    /// The records that the second admin issued.
    issued: Vec<SignedRecord>,
}

/// A change, and the hash of its chain up to it, which the author signs.
struct ForgedChange {
    encoded: EncodedChange,
    chain_hash: ChainHash,
}

impl AdversaryMember {
    pub(super) fn new() -> Self {
        Self { group: None, write_count: 100, issued: Vec::new() }
    }

    fn group(&self) -> &Group {
        self.group.as_ref().unwrap_or(&FIXTURE.operator_copy)
    }

    /// Random positions in a shard, or random requested ranges of it.
    fn random_ranges(
        &mut self,
        decisions: &mut Decisions<'_>,
        shard_id: ShardId,
        is_position: bool,
    ) -> GroupFrame {
        let count = decisions.next_byte_or_zero() % 5;
        if is_position {
            let chains = (0..count).map(|_| self.random_position(decisions)).collect();
            return GroupFrame::ShardPositions(ShardPositions { shard_id, chains });
        }
        let ranges = (0..count).map(|_| self.random_want(decisions)).collect();
        GroupFrame::RangeRequest(RangeRequest { shard_id, ranges })
    }

    pub(super) fn random_frame(
        &mut self,
        decisions: &mut Decisions<'_>,
        host: &mut NodeHarness,
    ) -> MemberFrame {
        let shard_id = random_shard_id(decisions);
        let frame = match decisions.next_byte_or_zero() % 32 {
            0 | 1 => GroupFrame::GroupDigest(GroupDigest {
                digest: self.random_digest(decisions, host),
                omitted_shards: random_shard_ids(decisions),
            }),
            2 | 3 => GroupFrame::GroupSummary(self.random_summary(decisions)),
            4..=6 => {
                let records = self.random_records(decisions);
                GroupFrame::RecordBatch(RecordBatch { records, is_last: decisions.next_bool() })
            }
            kind @ 7..=12 => self.random_ranges(decisions, shard_id, kind < 10),
            13..=15 => {
                let columns = self.honest_batch(host);
                GroupFrame::RangeResponse(RangeResponse {
                    shard_id: FIXTURE.root.shard_id(),
                    has_more: decisions.next_bool(),
                    columns,
                })
            }
            16..=20 => {
                let columns = self.forge_batch(decisions);
                GroupFrame::RangeResponse(RangeResponse {
                    shard_id: FIXTURE.root.shard_id(),
                    has_more: decisions.next_bool(),
                    columns,
                })
            }
            21 | 22 => GroupFrame::Push(self.random_push(decisions)),
            23 | 24 => {
                let changes = self.forge_segment(decisions).2.iter().map(ForgedChange::signed).collect();
                GroupFrame::Push(PushedChanges { shard_id: FIXTURE.root.shard_id(), changes })
            }
            25 | 26 => GroupFrame::Presence(self.random_presence(decisions, host)),
            27 if decisions.next_bool() => GroupFrame::StopSync,
            27 => GroupFrame::ProveMembership,
            28 => GroupFrame::GrantPath(RecordBatch {
                records: self.random_records(decisions),
                is_last: decisions.next_bool(),
            }),
            29 => {
                let person = *decisions.choose(&OTHER_CALLERS);
                let request = guest::random_join_request(decisions, &[5; 16], person);
                GroupFrame::ForwardedJoin(ForwardedJoin { hops: decisions.next_byte_or_zero(), request })
            }
            30 => {
                let person = *decisions.choose(&OTHER_CALLERS);
                let request = guest::random_join_request(decisions, &[5; 16], person).id();
                let last = decisions.next_bool();
                GroupFrame::ForwardedResponse(ForwardedResponse {
                    join_id: request,
                    response: guest::random_join_answer(decisions, last),
                })
            }
            _ => {
                return match decisions.next_byte_or_zero() % 3 {
                    0 => MemberFrame::Ping(decisions.number()),
                    1 => MemberFrame::Pong(decisions.number()),
                    _ => MemberFrame::Unknown(17 + decisions.next_byte_or_zero() % 200),
                };
            }
        };
        frame.in_group(fixture::group())
    }

    fn random_digest(&self, decisions: &mut Decisions<'_>, host: &mut NodeHarness) -> Digest {
        match decisions.next_byte_or_zero() % 3 {
            0 => host.digest(),
            1 => self.group().digest(&[]),
            _ => Digest(decisions.repeated_byte()),
        }
    }

    fn random_summary(&self, decisions: &mut Decisions<'_>) -> GroupSummary {
        let tips = self.group().membership_records().record_tips();
        let tips = if decisions.next_bool() { GroupSummary::to_wire_tips(&tips) } else { vec![] };
        let shards = random_shard_ids(decisions)
            .into_iter()
            .map(|shard_id| (shard_id, Digest(decisions.repeated_byte())))
            .collect();
        GroupSummary { record_tips: tips, shard_digests: shards }
    }

    /// Known records, new records of the second admin, or arbitrary bytes.
    fn random_records(&mut self, decisions: &mut Decisions<'_>) -> Vec<Vec<u8>> {
        match decisions.next_byte_or_zero() % 4 {
            0 => self.group().records().iter().map(SignedRecord::encode).collect(),
            1 => vec![decisions.bytes().to_vec()],
            _ => {
                let (seq, prev) =
                    self.issued.last().map_or((1, RecordId::ZERO), |last| (last.record().seq + 1, last.id()));
                let body = match decisions.next_byte_or_zero() % 4 {
                    0 => RecordBody::Unknown { tag: 99, bytes: decisions.bytes().to_vec() },
                    1 => {
                        let what = RevokeTarget::Grant(*decisions.choose(&FIXTURE.grants));
                        RecordBody::Revoke(Revoke { target: what, frontiers: Frontiers::default() })
                    }
                    _ => {
                        let roles = [Role::Admin, Role::Operator, Role::Node, Role::Reader, Role::Other(7)];
                        fixture::grant_to(*decisions.choose(&OTHER_CALLERS), *decisions.choose(&roles))
                    }
                };
                let admin = FIXTURE.grants[1];
                self.issued.push(fixture::sign_record(
                    (admin, &secret_key(fixture::ADMIN)),
                    (seq, prev),
                    body,
                ));
                // Sometimes only the newest record is sent, which must wait for those before it.
                let skip = if decisions.one_in(3) { self.issued.len() - 1 } else { 0 };
                self.issued.iter().skip(skip).map(SignedRecord::encode).collect()
            }
        }
    }

    fn random_chain_id(&self, decisions: &mut Decisions<'_>) -> ChainId {
        let desired = self.group().desired().expect("it stands in any case");
        let chains: Vec<ChainId> = desired.graph().chains().map(|chain| chain.id).collect();
        if decisions.one_in(4) { ChainId(decisions.repeated_byte()) } else { *decisions.choose(&chains) }
    }

    fn random_position(&self, decisions: &mut Decisions<'_>) -> Position {
        let tips = (0..=decisions.next_byte_or_zero() % 2).map(|_| random_tip(decisions)).collect();
        Position { chain_id: self.random_chain_id(decisions), tips }
    }

    fn random_want(&self, decisions: &mut Decisions<'_>) -> ChainRange {
        ChainRange {
            chain_id: self.random_chain_id(decisions),
            after: decisions.number(),
            upto: random_tip(decisions),
        }
    }

    /// An honest batch of the changes that the founder lacks.
    fn honest_batch(&mut self, host: &NodeHarness) -> Vec<u8> {
        let Some(state) = host.group() else { return Vec::new() };
        let wants = fixture::missing_ranges(self.group(), &state.group);
        let group = self.group.get_or_insert_with(|| FIXTURE.operator_copy.clone());
        group.next_batch(&FIXTURE.root.shard_id(), &wants).unwrap_or_default().0
    }

    /// Pushes a new change or some known ones.
    fn random_push(&mut self, decisions: &mut Decisions<'_>) -> PushedChanges {
        if decisions.next_bool() {
            self.write_count += 1;
            let n = self.write_count;
            let group = self.group.get_or_insert_with(|| FIXTURE.operator_copy.clone());
            fixture::write_change(group, fixture::OPERATOR, "config/shared", n);
            group.flush_documents();
        }
        let (_, _, mut all) = self.operator_segment(0, usize::MAX, &mut Decisions::new(&[]));
        let newest = all.split_off(all.len().saturating_sub(1 + decisions.index(4)));
        let changes = newest.iter().map(ForgedChange::signed).collect();
        PushedChanges { shard_id: FIXTURE.root.shard_id(), changes }
    }

    fn random_presence(&self, decisions: &mut Decisions<'_>, host: &mut NodeHarness) -> SignedPresence {
        let signer = secret_key(*decisions.choose(&[
            fixture::OPERATOR,
            fixture::ADMIN,
            fixture::NODE,
            fixture::READER,
            fixture::FOUNDER,
        ]));
        let mut links: Vec<[u8; 8]> = OTHER_CALLERS
            .iter()
            .filter(|_| decisions.next_bool())
            .map(|person| secret_key(*person).node_id().fingerprint8())
            .collect();
        links.sort_unstable();
        let presence = Presence {
            group: fixture::group(),
            node: signer.node_id(),
            boot_id: decisions.number(),
            sequence: decisions.number(),
            software: "fuzz".to_owned(),
            host: String::from_utf8_lossy(decisions.bytes()).into_owned(),
            addresses: vec!["/ip4/192.0.2.1/tcp/1".to_owned()],
            linked_peers: links,
            digest: self.random_digest(decisions, host),
            change_count: decisions.number(),
        };
        let (presence, signature) = presence.sign(&signer);
        SignedPresence { presence_bytes: presence, signature }
    }

    /// A part of the operator's chain with altered or additional changes, correctly signed by the operator.
    fn forge_segment(
        &mut self,
        decisions: &mut Decisions<'_>,
    ) -> (SegmentHeader, Vec<ChangeId>, Vec<ForgedChange>) {
        let from = usize::try_from(decisions.number()).unwrap_or(usize::MAX);
        let count = usize::from(decisions.next_byte_or_zero() % 80);
        self.operator_segment(from, count, decisions)
    }

    /// The operator's changes after `from`, and the ids of those before.
    fn operator_segment(
        &self,
        from: usize,
        count: usize,
        decisions: &mut Decisions<'_>,
    ) -> (SegmentHeader, Vec<ChangeId>, Vec<ForgedChange>) {
        let shard = self.group().desired().expect("it stands in any case");
        let (graph, root) = (shard.graph(), shard.root());
        let grant = FIXTURE.grants[0];
        let chain = graph.chains().find(|chain| chain.grant == grant).expect("the operator wrote");
        let ids: Vec<ChangeId> =
            (1..=chain.len()).filter_map(|seq| Some(graph.entry_in_chain(chain, seq)?.id)).collect();
        let (before, after) = ids.split_at(from.min(ids.len()));
        let mut link = first_chain_hash(root.group(), root.shard_id(), chain.id);
        link = before.iter().fold(link, |link, id| next_chain_hash(&link, *id));
        let base = before.last().copied().unwrap_or(ChangeId::ZERO);
        let head = SegmentHeader {
            grant,
            incarnation: chain.incarnation,
            after: before.len() as u64,
            base_id: base,
        };
        let real = after.iter().filter_map(|id| shard.read_delta(id));
        let mut out: Vec<ForgedChange> = Vec::new();
        let mut real = real.take(count).peekable();
        let extra = count.saturating_sub(after.len()).min(80);
        let mut extra = if count == usize::MAX { 0 } else { extra };
        loop {
            let seq = before.len() as u64 + out.len() as u64 + 1;
            let last = out.last().map_or(base, |last| last.encoded.id());
            let delta = match real.next() {
                Some(delta) => {
                    let before = (seq as usize).checked_sub(2).and_then(|at| ids.get(at));
                    with_predecessor(delta, before.copied(), last)
                }
                None if extra > 0 => {
                    extra -= 1;
                    let max_op = out.last().map(|last| last.encoded.delta().max_op());
                    let max_op = max_op.or_else(|| graph.get(&base).map(|entry| entry.max_op));
                    extra_change(root, &head, seq, last, max_op.unwrap_or(root.max_op()))
                }
                None => break,
            };
            let delta = if decisions.one_in(8) { alter_delta(delta, decisions) } else { delta };
            let Ok(composed) = EncodedChange::new(root, delta) else { break };
            link = next_chain_hash(&link, composed.id());
            out.push(ForgedChange { encoded: composed, chain_hash: link });
        }
        (head, before.to_vec(), out)
    }

    /// Encodes such a part as a batch, with correct or incorrect proofs.
    fn forge_batch(&mut self, decisions: &mut Decisions<'_>) -> Vec<u8> {
        let (head, before, changes) = self.forge_segment(decisions);
        let end = head.after + changes.len() as u64;
        let mut checkpoint_signatures: Vec<Sig> = (head.after + 1..)
            .zip(&changes)
            .filter(|(seq, _)| seq.is_multiple_of(limits::CHECKPOINT_INTERVAL))
            .map(|(_, change)| change.signature())
            .collect();
        if decisions.one_in(4) {
            checkpoint_signatures.push(Sig([decisions.next_byte_or_zero(); 64]));
        }
        if decisions.one_in(8) {
            checkpoint_signatures.pop();
        }
        let ahead_count = usize::from(decisions.next_byte_or_zero() % 70);
        let ahead: Vec<ChangeId> = if decisions.one_in(2) {
            (0..ahead_count).map(|n| ChangeId([n as u8; 32])).collect()
        } else {
            vec![]
        };
        let link = chain_hash(&before, &changes, &ahead);
        let signature = chain::sign_chain(
            &secret_key(if decisions.one_in(8) { fixture::ADMIN } else { fixture::OPERATOR }),
            fixture::group(),
            FIXTURE.root.shard_id(),
            end + ahead.len() as u64,
            &link,
        );
        let proof = SegmentProof {
            checkpoints: checkpoint_signatures,
            end_proof: EndProof { ids_ahead: ahead, signature },
        };
        let mut chains = vec![(head.clone(), proof.clone())];
        if decisions.one_in(8) {
            chains.push((SegmentHeader { after: decisions.number(), ..head }, proof));
        }
        let chain_index = |_| 0;
        let indexed: Vec<_> = changes
            .iter()
            .map(|change| (chain_index(()), change.encoded.id(), change.encoded.delta()))
            .collect();
        columnar::encode(&FIXTURE.root, &chains, &indexed)
    }
}

impl ForgedChange {
    fn signature(&self) -> Sig {
        let (operator, seq) = (secret_key(fixture::OPERATOR), self.encoded.delta().seq);
        chain::sign_chain(&operator, fixture::group(), FIXTURE.root.shard_id(), seq, &self.chain_hash)
    }

    fn signed(&self) -> SignedDelta {
        SignedDelta { delta: self.encoded.bytes().to_vec(), signature: self.signature() }
    }
}

fn chain_hash(before: &[ChangeId], changes: &[ForgedChange], ahead: &[ChangeId]) -> ChainHash {
    let desired = FIXTURE.operator_copy.desired().expect("it stands in any case");
    let grant = FIXTURE.grants[0];
    let chain = desired.graph().chains().find(|chain| chain.grant == grant).expect("the operator wrote");
    let first = first_chain_hash(fixture::group(), FIXTURE.root.shard_id(), chain.id);
    let ids = before.iter().copied().chain(changes.iter().map(|change| change.encoded.id()));
    ids.chain(ahead.iter().copied()).fold(first, |link, id| next_chain_hash(&link, id))
}

/// The change with another predecessor in place of its own.
fn with_predecessor(mut delta: Delta, old: Option<ChangeId>, new: ChangeId) -> Delta {
    for dep in &mut delta.deps {
        if Some(*dep) == old {
            *dep = new;
        }
    }
    delta.deps.sort_unstable();
    delta.deps.dedup();
    delta
}

/// An additional change at the end of the chain.
fn extra_change(root: &ShardRoot, head: &SegmentHeader, seq: u64, last: ChangeId, max_op: u64) -> Delta {
    let put = Put { key: format!("config/more keys.k{seq}"), value: Value::from("more"), preds: vec![] };
    Delta {
        shard_id: root.shard_id(),
        grant: head.grant,
        incarnation: head.incarnation,
        seq,
        deps: vec![if seq == 1 { root.id() } else { last }],
        start_op: max_op + 1,
        time: 0,
        message: String::new(),
        puts: vec![put],
    }
}

/// Changes a part of the delta so that it may break the rules of a writer.
fn alter_delta(mut delta: Delta, decisions: &mut Decisions<'_>) -> Delta {
    match decisions.next_byte_or_zero() % 8 {
        0 => delta.start_op = decisions.number(),
        1 => delta.time = decisions.number().cast_signed(),
        2 => delta.message = String::from_utf8_lossy(decisions.bytes()).into_owned(),
        3 => delta.deps.push(ChangeId([decisions.next_byte_or_zero(); 32])),
        4 => delta.deps.push(FIXTURE.root.id()),
        5 => delta.puts.iter_mut().for_each(|put| put.preds.clear()),
        6 => {
            let pred = OpRef { counter: decisions.number(), chain_id: ChainId(decisions.repeated_byte()) };
            delta.puts.iter_mut().for_each(|put| put.preds.push(pred));
        }
        _ => delta.puts.iter_mut().for_each(|put| put.value = Value::Bytes(decisions.bytes().to_vec())),
    }
    delta.deps.sort_unstable();
    delta.deps.dedup();
    for put in &mut delta.puts {
        put.preds.sort_unstable();
    }
    delta
}

fn random_tip(decisions: &mut Decisions<'_>) -> Tip {
    Tip { seq: decisions.number(), id: ChangeId([decisions.next_byte_or_zero(); 32]) }
}

fn random_shard_id(decisions: &mut Decisions<'_>) -> ShardId {
    let observed = |grant| ShardRoot::derive(fixture::group(), ShardName::Observed(grant)).shard_id();
    match decisions.next_byte_or_zero() % 16 {
        13 => observed(fixture::genesis().id()),
        14 => observed(FIXTURE.grants[2]),
        15 => ShardId(decisions.repeated_byte()),
        _ => FIXTURE.root.shard_id(),
    }
}

fn random_shard_ids(decisions: &mut Decisions<'_>) -> Vec<ShardId> {
    (0..decisions.next_byte_or_zero() % 3).map(|_| random_shard_id(decisions)).collect()
}
