//! Every frame between members, and presence.

use super::fixture::{self, founder, genesis, grant, group, operator};
use super::golden_file::GoldenFile;
use super::guest_frames::{answers, request};
use crate::group::{ChainRange, Position, Tip};
use crate::id::{ChainId, ChangeId, Digest, RecordId};
use crate::record::{RecordTip, SignedRecord, Signer};
use crate::wire::member::{
    ForwardedJoin, ForwardedResponse, GroupDigest, GroupSummary, Hello, MemberFrame, PushedChanges,
    RangeRequest, RangeResponse, RecordBatch, ShardPositions, SignedPresence,
};
use crate::wire::presence::Presence;

fn presence() -> Presence {
    let mut links = vec![founder().node_id().fingerprint8(), operator().node_id().fingerprint8()];
    links.sort_unstable();
    Presence {
        group: group(),
        node: operator().node_id(),
        boot_id: u64::MAX,
        sequence: 300,
        software: "larder 0.1.0".into(),
        host: "till-2".into(),
        addresses: vec!["/ip4/192.0.2.7/tcp/4001".into(), "/ip6/fe80::1/tcp/4001".into()],
        linked_peers: links,
        digest: Digest([7; 16]),
        change_count: 100_000,
    }
}

fn records() -> Vec<Vec<u8>> {
    [genesis(), grant()].iter().map(SignedRecord::encode).collect()
}

/// Frames that bring a group into step.
fn sync_frames() -> Vec<(&'static str, MemberFrame)> {
    let (group, shard_id) = (group(), fixture::desired_root().shard_id());
    let tip = |seq| Tip { seq, id: ChangeId([seq as u8; 32]) };
    let record_tip = RecordTip { grant: genesis().id(), signer: Signer::Holder, seq: 1, id: grant().id() };
    let recovery_tip = RecordTip { signer: Signer::Recovery, seq: 300, id: RecordId([9; 32]), ..record_tip };
    let digest = Digest([1; 16]);
    vec![
        (
            "hello",
            MemberFrame::Hello(Hello { newest_version: 1, min_version: 1, software: "larder 0.1.0".into() }),
        ),
        ("digest", MemberFrame::GroupDigest(GroupDigest { group, digest, omitted_shards: vec![] })),
        (
            "digest.omitted",
            MemberFrame::GroupDigest(GroupDigest { group, digest, omitted_shards: vec![shard_id] }),
        ),
        (
            "have",
            MemberFrame::GroupSummary(GroupSummary {
                group,
                record_tips: GroupSummary::to_wire_tips(&[record_tip, recovery_tip]),
                shard_digests: vec![(shard_id, Digest([2; 16]))],
            }),
        ),
        ("records", MemberFrame::RecordBatch(RecordBatch { group, records: records(), is_last: true })),
        (
            "positions",
            MemberFrame::ShardPositions(ShardPositions {
                group,
                shard_id,
                chains: vec![
                    Position { chain_id: ChainId([1; 16]), tips: vec![tip(5)] },
                    Position { chain_id: ChainId([2; 16]), tips: vec![tip(6), tip(200)] },
                ],
            }),
        ),
        (
            "want",
            MemberFrame::RangeRequest(RangeRequest {
                group,
                shard_id,
                ranges: vec![ChainRange { chain_id: ChainId([1; 16]), after: 3, upto: tip(200) }],
            }),
        ),
        (
            "window",
            MemberFrame::RangeResponse(RangeResponse {
                group,
                shard_id,
                has_more: true,
                columns: vec![1, 2, 3],
            }),
        ),
        (
            "window.empty",
            MemberFrame::RangeResponse(RangeResponse { group, shard_id, has_more: false, columns: vec![] }),
        ),
    ]
}

/// Frames that keep it so, and all others.
fn event_frames() -> Vec<(&'static str, MemberFrame)> {
    let (group, shard_id) = (group(), fixture::desired_root().shard_id());
    let history = fixture::history();
    let changes = vec![history.change("first").signed.clone(), history.change("concurrent").signed.clone()];
    let (presence_bytes, signature) = presence().sign(&operator());
    let id = request().id();
    let carried_frame =
        |answer| MemberFrame::ForwardedResponse(ForwardedResponse { group, join_id: id, response: answer });
    let mut frames = vec![
        ("push", MemberFrame::Push(PushedChanges { group, shard_id, changes })),
        ("presence", MemberFrame::Presence(SignedPresence { group, presence_bytes, signature })),
        ("bye", MemberFrame::StopSync(group)),
        ("who-are-you", MemberFrame::ProveMembership(group)),
        ("line", MemberFrame::GrantPath(RecordBatch { group, records: records(), is_last: false })),
        ("carry", MemberFrame::ForwardedJoin(ForwardedJoin { group, hops: 8, request: request() })),
        ("ping", MemberFrame::Ping(0x0123_4567_89ab_cdef)),
        ("pong", MemberFrame::Pong(0)),
        ("newer", MemberFrame::Unknown(200)),
    ];
    for (name, answer) in answers() {
        frames.push((name, carried_frame(answer)));
    }
    frames
}

#[test]
fn frames_match_the_pinned_bytes() {
    let mut golden = GoldenFile::open("frames", "Frames on a link between members, of protocol version 1.");
    let mut kinds = Vec::new();
    for (name, frame) in sync_frames().into_iter().chain(event_frames()) {
        let name = match &frame {
            MemberFrame::ForwardedResponse(_) => format!("carried.{name}"),
            _ => name.to_owned(),
        };
        let bytes = golden.check(&name, frame.encode());
        assert_eq!(MemberFrame::decode(&bytes), Ok(frame), "{name}");
        kinds.push(bytes[0]);
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, (1..=16).chain([200]).collect::<Vec<u8>>(), "every kind is pinned");
    golden.finish();
}

#[test]
fn presence_matches_the_pinned_bytes_and_signature() {
    let mut golden = GoldenFile::open("presence", "What a member says of itself, and its signature of that.");
    let (bytes, signature) = presence().sign(&operator());
    let bytes = golden.check("presence", bytes);
    let signature = golden.check("signature", signature.0);
    let signature = crate::id::Sig::from_slice(&signature).unwrap();
    assert_eq!(Presence::decode(&bytes), Some(presence()));
    assert!(presence().is_signed_by_node(&bytes, &signature));
    golden.finish();
}
