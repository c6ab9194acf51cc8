//! The phases of a sync session and the transitions between them, all of which stand here.
//!
//! | from | event | to | consequence |
//! |---|---|---|---|
//! | any | the digests are equal | `InSync` | the neighbour is known to hold all that is here |
//! | `InSync` | the neighbour's digest differs | `Comparing` | summaries are exchanged |
//! | `Rechecking` | the neighbour's digest differs | `Fetching` | |
//! | `Comparing` | positions arrive | `Fetching` | missing ranges are requested |
//! | `InSync` | positions arrive | `Rechecking` | missing ranges are requested |
//! | `Fetching` | nothing is missing | `Comparing` | this node sends its digest |
//! | `Rechecking` | nothing is missing | `InSync` | this node sends its digest |

/// The phase of a sync session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SyncPhase {
    /// The digests differ, or are not known to be equal.
    Comparing,
    /// The digests differ, and this node requests what the neighbour's positions show to be missing.
    Fetching,
    /// The digests were equal when they were last compared.
    InSync,
    /// The digests were equal, and this node requests what positions that came later show to be missing.
    Rechecking,
}

impl SyncPhase {
    pub(super) fn is_in_sync(self) -> bool {
        matches!(self, Self::InSync | Self::Rechecking)
    }

    /// The neighbour's digest differs.
    pub(super) fn on_digest_differs(&mut self) {
        *self = match self {
            Self::Comparing | Self::InSync => Self::Comparing,
            Self::Fetching | Self::Rechecking => Self::Fetching,
        };
    }

    /// The digests are equal.
    pub(super) fn on_digest_equal(&mut self) {
        *self = Self::InSync;
    }

    /// The neighbour's positions in a shard are known.
    pub(super) fn on_positions(&mut self) {
        *self = if self.is_in_sync() { Self::Rechecking } else { Self::Fetching };
    }

    /// Nothing is left to request. True if that ends a round of requests.
    pub(super) fn on_nothing_missing(&mut self) -> bool {
        let next = match self {
            Self::Fetching => Self::Comparing,
            Self::Rechecking => Self::InSync,
            Self::Comparing | Self::InSync => return false,
        };
        *self = next;
        true
    }
}
