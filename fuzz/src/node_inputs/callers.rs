//! Who may call.

use crate::fixture;

/// Everybody there is, the founder apart.
pub(super) const OTHER_CALLERS: [u8; 5] =
    [fixture::OPERATOR, fixture::ADMIN, fixture::NODE, fixture::READER, fixture::NON_MEMBER];
