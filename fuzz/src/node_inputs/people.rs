//! Who may call.

use crate::scene;

/// Everybody there is, the founder apart.
pub(super) const PEOPLE: [u8; 5] =
    [scene::OPERATOR, scene::ADMIN, scene::NODE, scene::READER, scene::STRANGER];
