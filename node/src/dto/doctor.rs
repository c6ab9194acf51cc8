//! The findings of `doctor`.

use serde::{Deserialize, Serialize};

use super::HasSchema;

/// The response of `doctor`: `larder.doctor/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DoctorReport {
    /// The checks of this node, then those of each group.
    pub checks: Vec<DoctorCheck>,
}

impl HasSchema for DoctorReport {
    const SCHEMA: &'static str = "larder.doctor/1";
}

/// One check with its result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DoctorCheck {
    /// The group's name; `None` for a check of the node itself.
    pub group: Option<String>,
    /// The subject of the check, in one word.
    pub topic: String,
    /// The severity of the finding.
    pub state: CheckState,
    /// The finding in words.
    pub text: String,
    /// The advice to the operator, if there is any.
    pub hint: Option<String>,
}

word_enum! {
    /// The severity of a finding.
    pub enum CheckState {
        /// No action is needed.
        Good = "good",
        /// An operator should read the finding.
        Care = "care",
        /// The node does not work as it should.
        Bad = "bad",
    }
}
