//! What is wrong with a node.

use serde::{Deserialize, Serialize};

use super::HasSchema;

/// `larder.doctor/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DoctorReport {
    /// Everything that was looked at, this node first, then group by group.
    pub checks: Vec<DoctorCheck>,
}

impl HasSchema for DoctorReport {
    const SCHEMA: &'static str = "larder.doctor/1";
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DoctorCheck {
    /// The group's name; `None` of the node itself.
    pub group: Option<String>,
    /// A word for what it is about.
    pub topic: String,
    /// `good`, `care` or `bad`.
    pub state: String,
    /// What was found.
    pub text: String,
    /// What to do next, if anything.
    pub hint: Option<String>,
}
