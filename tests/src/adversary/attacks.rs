//! The attacks of the adversary. Each attack is a function that sends frames to all neighbours.

use std::collections::BTreeMap;

use larder_core::delta::{Delta, OpRef, Put, SignedDelta};
use larder_core::group::{ChainRange, ChangeNote, Group, Position, Tip};
use larder_core::id::{
    ChainId, ChangeId, Digest, GrantId, GroupId, Incarnation, RecordId, SecretKey, ShardId, Sig, hash, hash16,
};
use larder_core::limits;
use larder_core::node::{LinkKind, Request, WriteRequest};
use larder_core::record::{
    Frontiers, Grant, Record, RecordBody, Revoke, RevokeTarget, Role, SignedRecord, Signer,
};
use larder_core::resource::edit::{Edit, FieldEdit};
use larder_core::resource::literal::Literal;
use larder_core::shard::root::{ShardName, ShardRoot};
use larder_core::value::Value;
use larder_core::wire::guest::{GrantPath, GuestFrame, JoinRequest, JoinTerms, MembershipProbe};
use larder_core::wire::invite_code::InviteCode;
use larder_core::wire::member::{
    ForwardedJoin, GroupDigest, GroupFrame, PushedChanges, RangeRequest, RangeResponse, RecordBatch,
    ShardPositions, SignedPresence,
};
use larder_core::wire::pairing::PairingRequest;
use larder_core::wire::presence::Presence;

use super::{Adversary, sockets};

/// The name and the function of an attack.
pub type Attack = (&'static str, fn(&mut Adversary));

/// The attacks that any host on the network can try.
pub const AS_STRANGER: &[Attack] = &[
    ("random bytes on a visit", send_random_guest_frames),
    ("probes for groups that nobody has", probe_unknown_groups),
    ("lines of grants of groups that nobody has", send_unknown_grant_paths),
    ("asking to be let in, over and over", repeat_pairing_requests),
    ("member links without being a member", Adversary::claim_membership_of_all),
    ("connections without a word, and others with noise", sockets::open_idle_connections),
    ("beacons of made-up keys, and in the name of others", sockets::send_false_beacons),
];

/// The attacks that only a member can try.
pub const AS_MEMBER: &[Attack] = &[
    ("random bytes on a link", send_random_frames),
    ("changes with false signatures", push_false_signatures),
    ("changes in another's name", push_as_another_author),
    ("changes in another's shard", push_into_another_shard),
    ("counters beyond all bounds", push_extreme_counters),
    ("replay into another group", replay_into_another_group),
    ("positions that nobody can have", send_impossible_positions),
    ("digests that never agree", send_changing_digests),
    ("asking for all of history, over and over", request_all_history),
    ("windows that nobody asked for, and a bomb", send_unrequested_batches),
    ("another's presence", send_presence_of_others),
    ("records with false signatures", send_misattributed_records),
    ("backdated grants", send_backdated_grant),
    ("ending the founder's grant", revoke_founder),
    ("frontiers that are lies", revoke_with_false_frontiers),
    ("requests to join that nobody made", forward_false_joins),
    ("two changes in one place", push_fork),
    ("writing as fast as it can", write_fast),
    ("asking who one is, over and over", repeat_membership_challenges),
    ("records that wait for what nobody has", send_records_with_missing_parents),
    ("changes that wait for what nobody has", push_changes_with_missing_deps),
    ("showing a line of grants, whether it counts or not", show_grant_path_as_member),
];

impl Adversary {
    fn send_frame(&mut self, group: GroupId, frame: &GroupFrame) {
        self.send_to_all(LinkKind::Member, &frame.encode(group));
    }

    fn send_guest_frame(&mut self, frame: &GuestFrame) {
        self.send_to_all(LinkKind::Guest, &frame.encode());
    }

    fn random_bytes(&mut self, max_len: u64) -> Vec<u8> {
        let len = self.rng.below(max_len);
        (0..len).map(|_| u8::try_from(self.rng.below(256)).unwrap_or(0)).collect()
    }

    fn make_delta(&mut self, grant: GrantId, shard_id: ShardId, start_op: u64) -> Option<Delta> {
        let (group, ..) = self.membership()?;
        let deps = group.desired()?.graph().heads();
        let value = Value::Int(i64::try_from(self.rng.below(1 << 40)).ok()?);
        Some(Delta {
            shard_id,
            grant,
            incarnation: Incarnation(hash16("adversary", &[&self.rng.next_u64().to_be_bytes()])),
            seq: 1,
            deps,
            start_op,
            time: 1,
            message: String::new(),
            puts: vec![Put { key: "config/x keys.v".to_owned(), value, preds: Vec::new() }],
        })
    }

    fn push_delta(&mut self, group: GroupId, shard_id: ShardId, delta: &Delta, signature: Sig) {
        let changes = vec![SignedDelta { delta: delta.encode(), signature }];
        self.send_frame(group, &GroupFrame::Push(PushedChanges { shard_id, changes }));
    }
}

fn send_random_guest_frames(adversary: &mut Adversary) {
    adversary.visit_all_known();
    for _ in 0..20 {
        let bytes = adversary.random_bytes(2000);
        adversary.send_to_all(LinkKind::Guest, &bytes);
    }
}

fn probe_unknown_groups(adversary: &mut Adversary) {
    adversary.visit_all_known();
    let (me, nonce) = (adversary.secret.node_id(), [7; 16]);
    for n in 0..20u8 {
        adversary.send_guest_frame(&GuestFrame::MembershipProbe(MembershipProbe::new(
            GroupId([n; 16]),
            &me,
            &me,
            nonce,
        )));
    }
}

fn send_unknown_grant_paths(adversary: &mut Adversary) {
    adversary.visit_all_known();
    let records = vec![adversary.random_bytes(30_000), adversary.random_bytes(10)];
    adversary.send_guest_frame(&GuestFrame::GrantPath(GrantPath {
        group: GroupId([9; 16]),
        records,
        is_last: false,
    }));
}

fn repeat_pairing_requests(adversary: &mut Adversary) {
    adversary.visit_all_known();
    for _ in 0..10 {
        let commit = Digest(hash16("adversary", &[&adversary.rng.below(1 << 40).to_be_bytes()]));
        adversary.send_guest_frame(&GuestFrame::PairingRequest(PairingRequest {
            commit,
            alias: "printer".to_owned(),
            labels: Vec::new(),
        }));
        adversary.send_guest_frame(&GuestFrame::PairingReveal([1; 16]));
    }
}

fn send_random_frames(adversary: &mut Adversary) {
    for kind in 1..=32u8 {
        let bytes = [vec![kind], adversary.random_bytes(4000)].concat();
        adversary.send_to_all(LinkKind::Member, &bytes);
    }
}

fn push_false_signatures(adversary: &mut Adversary) {
    let Some((group, shard_id, grant)) = adversary.membership() else { return };
    for _ in 0..50 {
        let Some(delta) = adversary.make_delta(grant, shard_id, 1_000) else { return };
        adversary.push_delta(group.id(), shard_id, &delta, Sig([7; 64]));
    }
}

fn push_as_another_author(adversary: &mut Adversary) {
    let Some((group, shard_id, _)) = adversary.membership() else { return };
    let founder = group.records().genesis();
    if let Some(delta) = adversary.make_delta(founder, shard_id, 1_000) {
        let signature = adversary.secret.sign(&delta.encode());
        adversary.push_delta(group.id(), shard_id, &delta, signature);
    }
}

fn push_into_another_shard(adversary: &mut Adversary) {
    let Some((group, _, grant)) = adversary.membership() else { return };
    let root = ShardRoot::derive(group.id(), ShardName::Observed(group.records().genesis()));
    if let Some(delta) = adversary.make_delta(grant, root.shard_id(), 1_000) {
        let signature = adversary.secret.sign(&delta.encode());
        adversary.push_delta(group.id(), root.shard_id(), &delta, signature);
    }
}

fn push_extreme_counters(adversary: &mut Adversary) {
    let Some((group, shard_id, grant)) = adversary.membership() else { return };
    for start_op in [u64::MAX, u64::MAX - 1, 1 << 62, u64::from(u32::MAX)] {
        let Some(mut delta) = adversary.make_delta(grant, shard_id, start_op) else { return };
        let chain_id = ChainId([3; 16]);
        delta.puts.iter_mut().for_each(|put| put.preds = vec![OpRef { counter: u64::MAX, chain_id }]);
        adversary.push_delta(group.id(), shard_id, &delta, Sig([1; 64]));
    }
}

fn replay_into_another_group(adversary: &mut Adversary) {
    let Some((_, shard_id, grant)) = adversary.membership() else { return };
    if let Some(delta) = adversary.make_delta(grant, shard_id, 1_000) {
        adversary.push_delta(GroupId([5; 16]), ShardId::ZERO, &delta, Sig([1; 64]));
    }
}

fn send_impossible_positions(adversary: &mut Adversary) {
    let Some((group, shard_id, _)) = adversary.membership() else { return };
    for round in 0..5u64 {
        let chain = |n: u64| {
            let actor = ChainId(hash16("adversary", &[&round.to_be_bytes(), &n.to_be_bytes()]));
            let tips = vec![Tip { seq: u64::MAX, id: ChangeId(hash("adversary", &[&n.to_be_bytes()])) }];
            Position { chain_id: actor, tips }
        };
        let chains = (0..5_000).map(chain).collect();
        adversary.send_frame(group.id(), &GroupFrame::ShardPositions(ShardPositions { shard_id, chains }));
    }
}

fn send_changing_digests(adversary: &mut Adversary) {
    let Some((group, ..)) = adversary.membership() else { return };
    for _ in 0..100 {
        let digest = Digest(hash16("adversary", &[&adversary.rng.below(1 << 40).to_be_bytes()]));
        adversary.send_frame(
            group.id(),
            &GroupFrame::GroupDigest(GroupDigest { digest, omitted_shards: Vec::new() }),
        );
    }
}

fn request_all_history(adversary: &mut Adversary) {
    let Some((group, shard_id, _)) = adversary.membership() else { return };
    let Some(desired) = group.desired() else { return };
    let chains = desired.graph().chains();
    let want = |chain: &larder_core::shard::chain::Chain| {
        let tip = desired.graph().entry_in_chain(chain, chain.len())?;
        Some(ChainRange { chain_id: chain.id, after: 0, upto: Tip { seq: tip.seq, id: tip.id } })
    };
    let wants: Vec<ChainRange> = chains.filter_map(want).take(limits::MAX_REQUESTED_CHAINS).collect();
    for _ in 0..200 {
        adversary.send_frame(
            group.id(),
            &GroupFrame::RangeRequest(RangeRequest { shard_id, ranges: wants.clone() }),
        );
    }
}

fn send_unrequested_batches(adversary: &mut Adversary) {
    let Some((group, shard_id, _)) = adversary.membership() else { return };
    // A zstd frame that repeats one byte: four bytes for each mebibyte of output.
    let bomb: Vec<u8> = [0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0xff, 0xff, 0xff, 0x7f]
        .into_iter()
        .chain(std::iter::repeat_n([0x02, 0x00, 0x10, 0x41], 1000).flatten())
        .collect();
    for columns in [bomb, adversary.random_bytes(50_000)] {
        adversary.send_frame(
            group.id(),
            &GroupFrame::RangeResponse(RangeResponse { shard_id, has_more: true, columns }),
        );
    }
}

fn send_presence_of_others(adversary: &mut Adversary) {
    let Some((group, ..)) = adversary.membership() else { return };
    let others: Vec<_> = group.members().nodes().filter(|key| *key != adversary.secret.node_id()).collect();
    for node in others {
        let presence = Presence {
            group: group.id(),
            node,
            boot_id: u64::MAX,
            sequence: u64::MAX,
            software: "adversary".to_owned(),
            host: "\u{1b}[31madversary\u{7}".to_owned(),
            addresses: vec!["/ip4/127.0.0.1/tcp/1".to_owned(); 4],
            linked_peers: Vec::new(),
            digest: Digest::ZERO,
            change_count: u64::MAX,
        };
        let (presence, signature) = presence.sign(&adversary.secret);
        adversary.send_frame(
            group.id(),
            &GroupFrame::Presence(SignedPresence { presence_bytes: presence, signature }),
        );
    }
}

fn sign_record(
    adversary: &Adversary,
    group: &Group,
    grant: GrantId,
    seq_and_prev: (u64, RecordId),
    body: RecordBody,
) -> SignedRecord {
    let (seq, prev) = seq_and_prev;
    Record { group: group.id(), grant, signer: Signer::Holder, seq, prev, body, note: None }
        .sign(&adversary.secret)
}

fn send_records(adversary: &mut Adversary, group: &Group, records: &[SignedRecord]) {
    let records = records.iter().map(SignedRecord::encode).collect();
    adversary.send_frame(group.id(), &GroupFrame::RecordBatch(RecordBatch { records, is_last: true }));
}

fn accomplice_grant() -> RecordBody {
    let key = SecretKey::from_bytes(&[201; 32]).node_id();
    RecordBody::Grant(Grant {
        holder: key,
        role: Role::Admin,
        alias: "accomplice".to_owned(),
        labels: vec![],
        invite: None,
    })
}

fn send_misattributed_records(adversary: &mut Adversary) {
    let Some((group, ..)) = adversary.membership() else { return };
    // The record claims the founder's grant, but another key signs it.
    let record =
        sign_record(adversary, &group, group.records().genesis(), (1, RecordId::ZERO), accomplice_grant());
    send_records(adversary, &group, &[record]);
}

fn send_backdated_grant(adversary: &mut Adversary) {
    let Some((group, _, grant)) = adversary.membership() else { return };
    let record = sign_record(adversary, &group, grant, (1, RecordId::ZERO), accomplice_grant());
    send_records(adversary, &group, &[record]);
}

fn revoke_founder(adversary: &mut Adversary) {
    let Some((group, _, grant)) = adversary.membership() else { return };
    let revoked = RevokeTarget::Grant(group.records().genesis());
    let body = RecordBody::Revoke(Revoke { target: revoked, frontiers: Frontiers::default() });
    let record = sign_record(adversary, &group, grant, (1, RecordId::ZERO), body);
    send_records(adversary, &group, &[record]);
}

fn revoke_with_false_frontiers(adversary: &mut Adversary) {
    let Some((group, _, grant)) = adversary.membership() else { return };
    let mut frontiers = group.frontiers_of_grant(&grant);
    for change in &mut frontiers.last_changes {
        *change = (change.0, change.1 + 1000, ChangeId([0xee; 32]));
    }
    frontiers.last_record = Some((1000, RecordId([0xee; 32])));
    let body =
        RecordBody::Revoke(Revoke { target: RevokeTarget::Grant(group.records().genesis()), frontiers });
    let record = sign_record(adversary, &group, grant, (1, RecordId::ZERO), body);
    send_records(adversary, &group, &[record]);
}

fn forward_false_joins(adversary: &mut Adversary) {
    let Some((group, ..)) = adversary.membership() else { return };
    let Some(founder) = group.records().holder_and_role(&group.records().genesis()).map(|(key, _)| key)
    else {
        return;
    };
    for n in 0..300u64 {
        let code = InviteCode::new(group.id(), &founder, hash16("adversary", &[&n.to_be_bytes()]));
        let joiner = SecretKey::from_bytes(&hash("adversary", &[&n.to_be_bytes()]));
        let terms = JoinTerms {
            group: group.id(),
            invite_id: code.invite_id(),
            issuer_fingerprint: code.issuer_fingerprint,
            joiner: joiner.node_id(),
            contacted_member: adversary.secret.node_id(),
            nonces: ([1; 16], [2; 16]),
            alias: "nobody".to_owned(),
            labels: Vec::new(),
        };
        let request = JoinRequest::sign(terms, &code.invite_key(), &joiner);
        adversary
            .send_frame(group.id(), &GroupFrame::ForwardedJoin(ForwardedJoin { hops: u8::MAX, request }));
    }
}

fn push_fork(adversary: &mut Adversary) {
    let Some((group, ..)) = adversary.membership() else { return };
    let incarnation_seed = adversary.rng.below(1 << 40);
    for n in 0..2i64 {
        let mut copy = group.clone();
        let puts = BTreeMap::from([("config/fork keys.v".to_owned(), Value::Int(n))]);
        let fresh = Incarnation(hash16("adversary chain", &[&incarnation_seed.to_be_bytes()]));
        let Ok(written) =
            copy.write(&adversary.secret, ShardName::Desired, puts, &ChangeNote::default(), fresh)
        else {
            return;
        };
        for new in written.ingest.new_changes {
            let Some(signature) = new.signature else { continue };
            let changes = vec![SignedDelta { delta: new.delta, signature }];
            adversary
                .send_frame(group.id(), &GroupFrame::Push(PushedChanges { shard_id: new.shard_id, changes }));
        }
    }
}

fn write_fast(adversary: &mut Adversary) {
    let Some((group, ..)) = adversary.membership() else { return };
    for n in 0..400 {
        let value = Value::from("x".repeat(1000).as_str());
        let field = FieldEdit::Assign(Literal::Scalar(value));
        let (Ok(resource), Ok(path)) = ("config/flood".parse(), format!("keys.k{}", n % 50).parse()) else {
            return;
        };
        let edits = vec![Edit::Set { resource, fields: vec![(path, field)], replace: false }];
        let note = ChangeNote { message: n.to_string(), ..ChangeNote::default() };
        let write = WriteRequest {
            group: group.id().into(),
            edits,
            expected_heads: None,
            note,
            allow_unknown: false,
        };
        adversary.request(Request::Write(write));
        adversary.request(Request::Write(WriteRequest {
            group: group.id().into(),
            edits: Vec::new(),
            expected_heads: None,
            note: ChangeNote::default(),
            allow_unknown: false,
        }));
    }
}

fn repeat_membership_challenges(adversary: &mut Adversary) {
    let Some((group, ..)) = adversary.membership() else { return };
    for _ in 0..500 {
        adversary.send_frame(group.id(), &GroupFrame::ProveMembership);
    }
}

fn send_records_with_missing_parents(adversary: &mut Adversary) {
    let Some((group, ..)) = adversary.membership() else { return };
    for _ in 0..20 {
        let mut records = Vec::new();
        for _ in 0..200 {
            let unknown_grant = RecordId(hash("adversary", &[&adversary.rng.below(1 << 40).to_be_bytes()]));
            records.push(sign_record(
                adversary,
                &group,
                unknown_grant,
                (1, RecordId::ZERO),
                accomplice_grant(),
            ));
        }
        send_records(adversary, &group, &records);
    }
}

fn push_changes_with_missing_deps(adversary: &mut Adversary) {
    let Some((group, shard_id, grant)) = adversary.membership() else { return };
    for _ in 0..200 {
        let Some(mut delta) = adversary.make_delta(grant, shard_id, 1_000) else { return };
        delta.deps = vec![ChangeId(hash("adversary", &[&adversary.rng.below(1 << 40).to_be_bytes()]))];
        delta.puts.iter_mut().for_each(|put| put.value = Value::from("x".repeat(10_000).as_str()));
        adversary.push_delta(group.id(), shard_id, &delta, Sig([1; 64]));
    }
}

fn show_grant_path_as_member(adversary: &mut Adversary) {
    let Some((group, _, grant)) = adversary.membership() else { return };
    adversary.claim_membership_of_all();
    adversary.visit_all_known();
    let records = group.records().grant_proof(&grant).unwrap_or_default();
    let records = records.iter().map(SignedRecord::encode).collect();
    adversary.send_guest_frame(&GuestFrame::GrantPath(GrantPath {
        group: group.id(),
        records,
        is_last: true,
    }));
}
