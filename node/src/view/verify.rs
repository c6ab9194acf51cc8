//! What became of looking at everything that is stored.

use serde::{Deserialize, Serialize};

use super::View;

/// `larder.verify/1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// Changes that were looked at, of all shards.
    pub changes: u64,
    /// Membership records that were looked at.
    pub records: u64,
    /// What is not as its author signed it; the first of it, if there is much.
    pub failed: Vec<VerifyFailed>,
    /// How much else is not.
    pub more: u64,
}

impl View for Verify {
    const SCHEMA: &'static str = "larder.verify/1";
}

/// One change or record that is not as it was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyFailed {
    /// Its whole id.
    pub id: String,
    /// What is wrong with it.
    pub why: String,
}

/// `larder.progress/1`: how far something is that takes a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// So much is done,
    pub done: u64,
    /// of about so much.
    pub of: u64,
}

impl View for Progress {
    const SCHEMA: &'static str = "larder.progress/1";
}
