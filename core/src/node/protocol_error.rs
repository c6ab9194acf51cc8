//! What a peer did against the protocol.
//!
//! On a member link, a frame that cannot be decoded closes the link; every other error drops the frame and
//! keeps the link. On a guest stream, every error closes the stream. The operator gets
//! [`super::NodeEvent::ProtocolViolation`].

use crate::group::IngestFault;
use crate::record::{RecordDecodeError, RecordFault};
use crate::wire::FrameError;

/// A peer's violation of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The peer sent bytes that are not a frame. The link or guest stream is closed.
    #[error("sent an undecodable frame: {0}")]
    UndecodableFrame(#[from] FrameError),
    /// The peer sent a frame of a group before its Hello. The frame is dropped.
    #[error("sent a frame before its Hello")]
    FrameBeforeHello,
    /// The peer sent bytes that are not a membership record. The frame is dropped.
    #[error("sent an invalid membership record: {0}")]
    UndecodableRecord(#[from] RecordDecodeError),
    /// The peer sent a record that can never be part of the group. The record is dropped.
    #[error("sent an invalid membership record: {0}")]
    InvalidRecord(#[from] RecordFault),
    /// The peer sent more records than a group may have. The guest stream is closed.
    #[error("sent more records than a group may have")]
    TooManyRecords,
    /// The peer sent changes that can never be part of the group. The changes are dropped.
    #[error("sent invalid changes: {0}")]
    InvalidChanges(#[from] IngestFault),
    /// The peer sent a frame that does not belong to the exchange under way. The guest stream is closed.
    #[error("sent a frame that is not part of the exchange")]
    UnexpectedFrame,
    /// The peer sent a join request whose terms or signatures do not match the exchange. The request is not
    /// answered, or denied on a guest stream.
    #[error("sent a join request without valid signatures")]
    InvalidJoinRequest,
    /// The peer sent a grant path that does not begin with the Genesis of the group. The guest stream is
    /// closed.
    #[error("sent a grant path that does not begin with the group's Genesis")]
    GrantPathWithoutGenesis,
    /// The peer sent a grant path that does not make it a member. The guest stream is closed.
    #[error("sent a grant path that does not make it a member")]
    GrantPathOfOtherNode,
    /// The peer sent a grant for a second time, or for another key. The guest stream is closed.
    #[error("sent a grant that does not make this node a member")]
    UselessGrant,
    /// The peer sent another pairing nonce than before. The guest stream is closed.
    #[error("changed its pairing nonce")]
    PairingNonceChanged,
    /// The peer revealed a pairing nonce that its commitment does not match. The guest stream is closed.
    #[error("revealed a pairing nonce that does not match its commitment")]
    PairingCommitmentBroken,
}
