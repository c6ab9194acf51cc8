//! The result of `log --verify`.

use serde::{Deserialize, Serialize};

use super::HasSchema;

/// The result of verifying a group: `larder.verify/1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// The number of changes that were verified.
    pub changes: u64,
    /// The number of membership records that were verified.
    pub records: u64,
    /// The changes and records that failed. The list is limited.
    pub failed: Vec<VerifyFailure>,
    /// The number of failures that are not listed.
    pub more: u64,
}

impl HasSchema for VerifyReport {
    const SCHEMA: &'static str = "larder.verify/1";
}

/// A change or record that is not as its author signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyFailure {
    /// The id of the change or record.
    pub id: String,
    /// The reason why it failed.
    pub reason: String,
}

/// The progress of a long task: `larder.progress/1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskProgress {
    /// The amount that is done.
    pub done: u64,
    /// The estimated total amount.
    pub total: u64,
}

impl HasSchema for TaskProgress {
    const SCHEMA: &'static str = "larder.progress/1";
}
