//! The frames between members, and presence messages.

use super::fixture::{self, founder, genesis, grant, group, operator};
use super::golden_file::GoldenFile;
use super::guest_frames::{answers, request};
use crate::group::{ChainRange, Position, Tip};
use crate::id::{ChainId, ChangeId, Digest, RecordId};
use crate::record::{RecordTip, SignedRecord, Signer};
use crate::wire::member::{
    ForwardedJoin, ForwardedResponse, GroupDigest, GroupFrame, GroupSummary, Hello, MemberFrame,
    PushedChanges, RangeRequest, RangeResponse, RecordBatch, ShardPositions, SignedPresence,
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

/// Frames that belong to no group.
fn link_frames() -> Vec<(&'static str, MemberFrame)> {
    let hello = Hello { newest_version: 1, min_version: 1, software: "larder 0.1.0".into() };
    vec![
        ("hello", MemberFrame::Hello(hello)),
        ("ping", MemberFrame::Ping(0x0123_4567_89ab_cdef)),
        ("pong", MemberFrame::Pong(0)),
        ("newer", MemberFrame::Unknown(200)),
    ]
}

/// The frames by which two nodes synchronise a group.
fn sync_frames() -> Vec<(&'static str, GroupFrame)> {
    let shard_id = fixture::desired_root().shard_id();
    let tip = |seq| Tip { seq, id: ChangeId([seq as u8; 32]) };
    let record_tip = RecordTip { grant: genesis().id(), signer: Signer::Holder, seq: 1, id: grant().id() };
    let recovery_tip = RecordTip { signer: Signer::Recovery, seq: 300, id: RecordId([9; 32]), ..record_tip };
    let digest = Digest([1; 16]);
    vec![
        ("digest", GroupFrame::GroupDigest(GroupDigest { digest, omitted_shards: vec![] })),
        ("digest.omitted", GroupFrame::GroupDigest(GroupDigest { digest, omitted_shards: vec![shard_id] })),
        (
            "have",
            GroupFrame::GroupSummary(GroupSummary {
                record_tips: GroupSummary::to_wire_tips(&[record_tip, recovery_tip]),
                shard_digests: vec![(shard_id, Digest([2; 16]))],
            }),
        ),
        ("records", GroupFrame::RecordBatch(RecordBatch { records: records(), is_last: true })),
        (
            "positions",
            GroupFrame::ShardPositions(ShardPositions {
                shard_id,
                chains: vec![
                    Position { chain_id: ChainId([1; 16]), tips: vec![tip(5)] },
                    Position { chain_id: ChainId([2; 16]), tips: vec![tip(6), tip(200)] },
                ],
            }),
        ),
        (
            "want",
            GroupFrame::RangeRequest(RangeRequest {
                shard_id,
                ranges: vec![ChainRange { chain_id: ChainId([1; 16]), after: 3, upto: tip(200) }],
            }),
        ),
        (
            "batch",
            GroupFrame::RangeResponse(RangeResponse { shard_id, has_more: true, columns: vec![1, 2, 3] }),
        ),
        (
            "batch.empty",
            GroupFrame::RangeResponse(RangeResponse { shard_id, has_more: false, columns: vec![] }),
        ),
    ]
}

/// The frames that follow an event.
fn event_frames() -> Vec<(&'static str, GroupFrame)> {
    let shard_id = fixture::desired_root().shard_id();
    let history = fixture::history();
    let changes = vec![history.change("first").signed.clone(), history.change("concurrent").signed.clone()];
    let (presence_bytes, signature) = presence().sign(&operator());
    let id = request().id();
    let carried_frame =
        |answer| GroupFrame::ForwardedResponse(ForwardedResponse { join_id: id, response: answer });
    let mut frames = vec![
        ("push", GroupFrame::Push(PushedChanges { shard_id, changes })),
        ("presence", GroupFrame::Presence(SignedPresence { presence_bytes, signature })),
        ("bye", GroupFrame::StopSync),
        ("who-are-you", GroupFrame::ProveMembership),
        ("line", GroupFrame::GrantPath(RecordBatch { records: records(), is_last: false })),
        ("carry", GroupFrame::ForwardedJoin(ForwardedJoin { hops: 8, request: request() })),
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
    let group_frames = sync_frames().into_iter().chain(event_frames());
    let group_frames = group_frames.map(|(name, frame)| {
        let prefix = if matches!(frame, GroupFrame::ForwardedResponse(_)) { "forwarded." } else { "" };
        (format!("{prefix}{name}"), frame.in_group(group()))
    });
    let link_frames = link_frames().into_iter().map(|(name, frame)| (name.to_owned(), frame));
    for (name, frame) in link_frames.chain(group_frames) {
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
    let mut golden = GoldenFile::open("presence", "The presence message of a member, and its signature.");
    let (bytes, signature) = presence().sign(&operator());
    let bytes = golden.check("presence", bytes);
    let signature = golden.check("signature", signature.0);
    let signature = crate::id::Sig::from_slice(&signature).unwrap();
    assert_eq!(Presence::decode(&bytes), Some(presence()));
    assert!(presence().is_signed_by_node(&bytes, &signature));
    golden.finish();
}
