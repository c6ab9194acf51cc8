//! The peers of the tested node.

use crate::fixture;

/// The key numbers of all peers of the founder.
pub(super) const OTHER_CALLERS: [u8; 5] =
    [fixture::OPERATOR, fixture::ADMIN, fixture::NODE, fixture::READER, fixture::NON_MEMBER];
