//! The reasons why a resource is not applied. Each begins with the reason and ends with the path, because a
//! long message is cut at its end.

use std::io;

use larder_core::resource::observed::ResourceState;

use super::{AppliedState, ApplyOutcome};

/// The reason why a resource was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The roots of this host do not allow it.
    #[error("policy: {0}")]
    Policy(String),
    /// The desired state cannot be applied as it is written.
    #[error("{0}")]
    BadSpec(String),
    /// Something on this host is in the way. It may change at any time.
    #[error("{0}")]
    Obstacle(String),
    /// A step failed with an error of the operating system.
    #[error("cannot {step}: {error}: {path}")]
    Io {
        /// The step that failed, as a verb and its object.
        step: &'static str,
        /// The path as the resource names it.
        path: String,
        /// The error of the operating system.
        error: io::Error,
    },
}

impl ApplyError {
    pub(super) fn to_outcome(&self) -> ApplyOutcome {
        let (state, errno) = match self {
            Self::Policy(_) | Self::BadSpec(_) | Self::Obstacle(_) => (ResourceState::Blocked, 0),
            Self::Io { error, .. } => (ResourceState::Failed, error.raw_os_error().map_or(0, i64::from)),
        };
        ApplyOutcome {
            state,
            errno,
            message: self.to_string(),
            applied: AppliedState::Unchanged,
            is_retried: self.depends_on_host(),
        }
    }

    /// True if the same resource may succeed later, because the host changed.
    pub(super) fn depends_on_host(&self) -> bool {
        matches!(self, Self::Obstacle(_) | Self::Io { .. })
    }
}
