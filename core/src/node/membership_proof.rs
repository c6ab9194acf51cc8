//! Membership proofs: how a node shows another that it is a member, and how it learns that it no longer is.
//!
//! A node sends the records from Genesis down to one of its grants. The receiver applies them like any other
//! records. If they do not make the sender a member, the receiver answers with the records that ended its
//! membership, or says that it does not know the sender.

use std::collections::BTreeSet;

use super::group_state::{GroupContext, GroupState};
use super::input::LinkId;
use super::membership_status::mark_if_due;
use super::protocol_error::ProtocolError;
use crate::group::Group;
use crate::id::{GroupId, NodeId, RecordId};
use crate::limits;
use crate::record::{RecordSet, SignedRecord};
use crate::wire::EncodedRecords;
use crate::wire::guest::split_records;
use crate::wire::member::{GroupFrame, RecordBatch};

/// What a received grant path means to the receiver.
pub(super) enum PathVerdict {
    /// Sender and receiver are members.
    Recognized,
    /// These records show that the sender's membership, or the receiver's, has ended.
    Ended(Vec<SignedRecord>),
    /// The path proves nothing about the sender.
    Unknown,
}

/// The records that prove that `node` is a member, if it is one.
pub(super) fn grant_proof_of(group: &Group, node: &NodeId) -> Option<Vec<SignedRecord>> {
    let grant = group.members().live_grants_of(node).next()?;
    group.records().grant_proof(&grant.grant)
}

/// All records of the group, if they are few enough to send at once.
fn all_records(group: &Group) -> Option<Vec<SignedRecord>> {
    let records = group.membership_records().missing_records(&[]);
    let size: usize = records.iter().map(SignedRecord::encoded_len).sum();
    (size <= limits::MAX_FULL_MEMBERSHIP_BYTES).then_some(records)
}

/// All records of a group of which this node and `peer` are members. They refute a peer that takes one of the
/// two for a former member because it lacks a record.
pub(super) fn full_membership(
    state: &GroupState,
    own_id: &NodeId,
    peer: &NodeId,
) -> Option<Vec<SignedRecord>> {
    let are_members = state.is_member(own_id) && state.group.members().is_member(peer);
    if are_members { all_records(&state.group) } else { None }
}

/// Applies records that arrived on a guest stream.
pub(super) fn apply_records(
    state: &mut GroupState,
    ctx: &mut GroupContext<'_>,
    records: Vec<SignedRecord>,
) -> Result<(), ProtocolError> {
    let outcome = state.group.apply_records(records);
    let fault = outcome.fault;
    state.sync(ctx).on_records_ingested(outcome, None);
    fault.map_or(Ok(()), |fault| Err(fault.into()))
}

/// Judges a grant path of `peer` whose records are `path`, after they were applied.
pub(super) fn judge_grant_path(
    state: &GroupState,
    own_id: &NodeId,
    peer: &NodeId,
    path: &BTreeSet<RecordId>,
) -> PathVerdict {
    let peer_is_member = state.group.members().is_member(peer);
    let self_is_member = state.is_member(own_id);
    if peer_is_member && self_is_member {
        return PathVerdict::Recognized;
    }
    let evidence = match self_is_member || !peer_is_member {
        true => state.group.membership_records().removal_proof_for_path(peer, path),
        // A member takes this node for one. It may have lost the record that ended this node's grant.
        false => state.group.membership_records().removal_proof(own_id),
    };
    if evidence.is_empty() { PathVerdict::Unknown } else { PathVerdict::Ended(evidence) }
}

/// Answers a member that asked this node on a link to prove its membership. The answer holds all records if
/// they are few, because the member may lack others too. It is sent at most once in
/// [`limits::MEMBERSHIP_PROOF_RETRY_MS`]: the question is cheap and the answer is not.
pub(super) fn answer_challenge(state: &mut GroupState, ctx: &mut GroupContext<'_>, link: LinkId) {
    if !mark_if_due(&mut state.proof_sent, link, ctx.now.mono) {
        return;
    }
    let Some(mut records) = grant_proof_of(&state.group, &ctx.own_id) else { return };
    records.extend(all_records(&state.group).unwrap_or_default());
    for (records, is_last) in split_records(records.iter().map(SignedRecord::encode).collect()) {
        ctx.send(link, &GroupFrame::GrantPath(RecordBatch { records, is_last }));
    }
}

/// Decodes records that arrive in several frames, and appends them to `received`. Returns all of them with
/// the last frame.
pub(super) fn collect_records(
    received: &mut Vec<SignedRecord>,
    encoded: &EncodedRecords,
    is_last: bool,
) -> Result<Option<Vec<SignedRecord>>, ProtocolError> {
    let mut size: usize = received.iter().map(SignedRecord::encoded_len).sum();
    for bytes in encoded {
        let record = SignedRecord::decode(bytes)?;
        size += record.encoded_len();
        received.push(record);
        if received.len() > limits::MAX_RECORDS_PER_GROUP || size > limits::MAX_GRANT_PATH_BYTES {
            return Err(ProtocolError::TooManyRecords);
        }
    }
    Ok(is_last.then(|| std::mem::take(received)))
}

/// The set of these records; `None` if they do not hold the Genesis record of `group`.
pub(super) fn build_record_set(group: GroupId, records: Vec<SignedRecord>) -> Option<RecordSet> {
    let genesis = records.iter().find(|record| record.genesis_group_id() == Some(group))?;
    let mut record_set = RecordSet::from_genesis(genesis.clone())?;
    for record in records {
        record_set.insert(record);
    }
    Some(record_set)
}
