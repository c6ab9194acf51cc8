//! Why changes of a peer were rejected.

use crate::delta::DeltaError;
use crate::delta::columnar::BatchDecodeError;
use crate::id::ChangeId;
use crate::record::Role;
use crate::shard::validate::ChangeFault;

/// Why changes that a peer sent were rejected. The peer that wrote or sent them is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngestFault {
    /// A pushed change is not a delta.
    #[error(transparent)]
    Delta(#[from] DeltaError),
    /// A batch cannot be decoded.
    #[error(transparent)]
    Batch(#[from] BatchDecodeError),
    /// A pushed change has a signature that is not its author's. The change itself may be valid.
    #[error("change {} has a false signature", .0.short())]
    FalseSignature(ChangeId),
    /// A batch lacks a valid signature at this checkpoint of a chain.
    #[error("a batch without the signature at number {0} of a chain")]
    MissingCheckpoint(u64),
    /// A batch has an end proof that its author did not sign.
    #[error("a batch with a false signature")]
    FalseEndProof,
    /// A change can be part of no history.
    #[error("change {}: {fault}", id.short())]
    InvalidChange {
        /// The change's hash.
        id: ChangeId,
        /// The reason for the rejection.
        fault: RejectedChangeFault,
    },
}

/// Why a change is invalid for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectedChangeFault {
    /// The change breaks a rule for authors.
    #[error(transparent)]
    Rule(#[from] ChangeFault),
    /// The change depends on a rejected one.
    #[error("it builds on a rejected change")]
    RejectedDep,
    /// The author's role may not write to the shard.
    #[error("its author is {0}, and that role may not write there")]
    Role(Role),
}
