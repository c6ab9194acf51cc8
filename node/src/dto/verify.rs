//! What became of looking at everything that is stored.

use serde::{Deserialize, Serialize};

use super::HasSchema;

/// `larder.verify/1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Changes that were looked at, of all shards.
    pub changes: u64,
    /// Membership records that were looked at.
    pub records: u64,
    /// What is not as its author signed it; the first of it, if there is much.
    pub failed: Vec<VerifyFailure>,
    /// How much else is not.
    pub more: u64,
}

impl HasSchema for VerifyReport {
    const SCHEMA: &'static str = "larder.verify/1";
}

/// One change or record that is not as it was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyFailure {
    /// Its whole id.
    pub id: String,
    /// What is wrong with it.
    pub reason: String,
}

/// `larder.progress/1`: how far something is that takes a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskProgress {
    /// So much is done,
    pub done: u64,
    /// of about so much.
    pub total: u64,
}

impl HasSchema for TaskProgress {
    const SCHEMA: &'static str = "larder.progress/1";
}
