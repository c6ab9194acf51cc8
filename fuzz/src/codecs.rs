//! Targets for decoders of untrusted bytes. What a decoder accepts must encode to the same bytes, and must be
//! harmless afterwards.

use larder_core::delta::Delta;
use larder_core::delta::automerge_codec;
use larder_core::delta::columnar::{self, IndexedDelta};
use larder_core::delta::encoded_change::EncodedChange;
use larder_core::id::{GroupId, NodeId};
use larder_core::record::SignedRecord;
use larder_core::shard::Shard;
use larder_core::shard::validate::Validation;
use larder_core::wire::guest::{self, GuestFrame, JoinResponse};
use larder_core::wire::invite_code::InviteCode;
use larder_core::wire::member::{GroupFrame, MemberFrame};
use larder_core::wire::presence::Presence;

use crate::decisions::Decisions;
use crate::fixture::FIXTURE;

/// Decodes the bytes as a frame of a link and as a frame of a guest stream.
pub fn fuzz_frame(data: &[u8]) {
    if let Ok(frame) = MemberFrame::decode(data) {
        assert_eq!(MemberFrame::decode(&frame.encode()).as_ref(), Ok(&frame));
        check_frame(frame);
    }
    if let Ok(frame) = GuestFrame::decode(data) {
        assert_eq!(GuestFrame::decode(&frame.encode()).as_ref(), Ok(&frame));
        match frame {
            GuestFrame::JoinRequest(request) => {
                let _ = (request.has_valid_signatures(), request.id());
            }
            GuestFrame::ProbeResponse(proof) => check_portions(&proof.records),
            GuestFrame::GrantPath(line) => check_portions(&line.records),
            GuestFrame::JoinResponse(JoinResponse::Granted { records, .. }) => check_portions(&records),
            _ => {}
        }
    }
}

fn check_frame(frame: MemberFrame) {
    let MemberFrame::Group(_, frame) = frame else { return };
    match frame {
        GroupFrame::GroupSummary(have) => {
            let tips = have.decode_record_tips();
            assert!(tips.len() <= have.record_tips.len());
        }
        GroupFrame::RecordBatch(bundle) | GroupFrame::GrantPath(bundle) => check_portions(&bundle.records),
        GroupFrame::RangeResponse(batch) => {
            let _ = columnar::decode(&FIXTURE.root, &batch.columns);
        }
        GroupFrame::Push(push) => {
            push.changes.iter().for_each(|change| check_delta_is_canonical(&change.delta))
        }
        GroupFrame::Presence(signed_presence) => {
            let read = Presence::decode(&signed_presence.presence_bytes);
            let _ = read.is_some_and(|presence| {
                presence.is_signed_by_node(&signed_presence.presence_bytes, &signed_presence.signature)
            });
        }
        GroupFrame::ForwardedJoin(carry) => {
            let _ = (carry.request.has_valid_signatures(), carry.request.id());
        }
        _ => {}
    }
}

/// Records are split into portions of one frame each. No record is lost, and each portion fits.
fn check_portions(records: &[Vec<u8>]) {
    records.iter().for_each(|record| check_record_is_canonical(record));
    let portions = guest::split_records(records.to_vec());
    assert!(portions.iter().flat_map(|(portion, _)| portion).eq(records));
    assert_eq!(portions.iter().filter(|(_, last)| *last).count(), 1);
    assert!(portions.last().is_some_and(|(_, last)| *last));
}

/// A record has exactly one encoding.
pub(crate) fn check_record_is_canonical(bytes: &[u8]) {
    if let Ok(record) = SignedRecord::decode(bytes) {
        assert_eq!(record.encode(), bytes);
        assert_eq!(record.encoded_len(), bytes.len());
    }
}

/// Decodes the bytes as a delta, as uncompressed columns of a batch, or as a compressed batch.
pub fn fuzz_delta(data: &[u8]) {
    let mut decisions = Decisions::new(data);
    match decisions.next_byte_or_zero() % 4 {
        0 => check_batch_round_trips(&zstd::bulk::compress(decisions.remaining(), 1).unwrap_or_default()),
        1 => check_batch_round_trips(decisions.remaining()),
        _ => {
            let bytes = decisions.remaining();
            check_delta_is_canonical(bytes);
            if let Ok(delta) = Delta::decode(bytes) {
                check_delta_composes(delta);
            }
        }
    }
}

fn check_delta_is_canonical(bytes: &[u8]) {
    if let Ok(delta) = Delta::decode(bytes) {
        assert_eq!(delta.encode(), bytes, "a delta has one spelling");
    }
}

/// Every delta can be encoded as an Automerge change, decoded again, and validated by a shard. A valid change
/// is applied.
fn check_delta_composes(delta: Delta) {
    let delta = Delta { shard_id: FIXTURE.root.shard_id(), ..delta };
    let Ok(composed) = EncodedChange::new(&FIXTURE.root, delta.clone()) else { return };
    let id = composed.id();
    let (encoded_delta, change) = composed.clone().into_parts();
    let again = automerge_codec::decode_change(
        &change,
        encoded_delta.shard_id,
        (encoded_delta.grant, encoded_delta.incarnation),
    );
    assert_eq!(again.as_ref(), Some(&delta), "a change says what its delta said");
    let mut shard = Shard::new(FIXTURE.root.clone());
    // With one dependency, the delta is based on the root of an empty shard so that it can be valid.
    let fitting = Delta {
        deps: if delta.deps.len() == 1 { vec![FIXTURE.root.id()] } else { delta.deps.clone() },
        start_op: FIXTURE.root.max_op() + 1,
        seq: 1,
        puts: delta
            .puts
            .iter()
            .cloned()
            .map(|put| larder_core::delta::Put { preds: vec![], ..put })
            .collect(),
        ..delta
    };
    let _ = shard.validate(composed);
    let Ok(fitted) = EncodedChange::new(&FIXTURE.root, fitting) else { return };
    let is_fitting = fitted.delta().deps == [FIXTURE.root.id()];
    let verdict = shard.validate(fitted);
    assert_eq!(matches!(verdict, Validation::Valid(_)), is_fitting, "{verdict:?} of {id:?}");
    if let Validation::Valid(checked) = verdict {
        let (id, puts) = (checked.id(), checked.delta().puts.clone());
        shard.apply_change(*checked);
        shard.flush();
        assert_eq!(shard.document().fault(), None);
        assert_eq!(shard.document().heads(), [id]);
        for put in puts {
            assert_eq!(shard.state().get(&put.key).last().map(|visible| &visible.value), Some(&put.value));
            assert_eq!(
                shard.document().visible_at(&FIXTURE.root, &put.key, &[id]).map(|all| all.len()),
                Ok(1)
            );
        }
    }
}

/// A batch that can be decoded can be encoded and decoded again.
fn check_batch_round_trips(sent: &[u8]) {
    let Ok(batch) = columnar::decode(&FIXTURE.root, sent) else { return };
    let chain_index = |delta: &Delta| {
        let is_chain_of_delta = |(head, _): &(columnar::SegmentHeader, columnar::SegmentProof)| {
            (head.grant, head.incarnation) == (delta.grant, delta.incarnation)
        };
        batch.segments.iter().position(is_chain_of_delta).expect("a change of a chain that the batch names")
    };
    let indexed: Vec<IndexedDelta<'_>> = batch
        .changes
        .iter()
        .map(|change| (chain_index(change.delta()), change.id(), change.delta()))
        .collect();
    let again = columnar::encode(&FIXTURE.root, &batch.segments, &indexed);
    let again = columnar::decode(&FIXTURE.root, &again).expect("what was read is written so that it is read");
    assert_eq!(again.segments, batch.segments);
    assert!(again.changes.iter().map(EncodedChange::id).eq(batch.changes.iter().map(EncodedChange::id)));
    for change in &batch.changes {
        check_delta_is_canonical(change.bytes());
    }
    let _ = FIXTURE.operator_copy.clone().ingest_batch(FIXTURE.root.shard_id(), sent);
}

/// Parses the bytes as an invite code, and parses a printed code with some characters changed.
pub fn fuzz_invite_code(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(code) = text.parse::<InviteCode>()
    {
        check_code_round_trips(&code);
        assert_eq!(normalized_code(text), normalized_code(&code.to_string()), "one code, one spelling");
    }
    let mut decisions = Decisions::new(data);
    let mut bytes = [0; 40];
    bytes.iter_mut().for_each(|byte| *byte = decisions.next_byte_or_zero());
    let Some(code) = InviteCode::from_bytes(&bytes) else { panic!("40 bytes are a code") };
    assert_eq!(code.to_bytes(), bytes);
    check_code_round_trips(&code);
    let mut typed: Vec<char> = code.to_string().chars().collect();
    for _ in 0..=decisions.next_byte_or_zero() % 3 {
        let at = decisions.index(typed.len());
        typed[at] = char::from(decisions.next_byte_or_zero());
    }
    let typed: String = typed.into_iter().collect();
    if let Ok(read) = typed.parse::<InviteCode>() {
        assert_eq!(normalized_code(&typed), normalized_code(&read.to_string()));
    }
    assert_eq!(
        InviteCode::new(GroupId(decisions.repeated_byte()), &NodeId([1; 32]), [2; 16]).to_bytes().len(),
        40
    );
}

fn check_code_round_trips(code: &InviteCode) {
    assert_eq!(code.to_string().parse::<InviteCode>().as_ref(), Ok(code));
    assert_eq!(InviteCode::from_bytes(&code.to_bytes()).as_ref(), Some(code));
    let _ = code.invite_id();
}

/// A code without the differences that its parser ignores.
fn normalized_code(text: &str) -> String {
    let text = text.trim().to_ascii_lowercase();
    let body = text.strip_prefix("larder1").unwrap_or(&text);
    let body = body.chars().filter(|c| *c != '-' && !c.is_whitespace());
    body.map(|c| match c {
        'i' | 'l' => '1',
        'o' => '0',
        c => c,
    })
    .collect()
}
