//! What the daemon answers and the commands print: one type a schema, the same on both sides of the socket.
//!
//! The JSON that `--json` prints is these types as they are, with their schema as first field.

mod back;
mod backup;
mod blame;
mod doc;
mod doctor;
mod edit;
mod entry;
mod event;
mod group;
mod history;
mod node;
mod nodediff;
mod resource;
mod scalar;
mod status;
mod sync;
mod verify;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use back::{Back, TagRow, Tags};
pub use backup::{Backup, BackupFile, BackupGroup, Restored, Rotated};
pub use blame::{Blame, BlameLine, BlameRow, Origin};
pub use doc::{DocAuthor, DocAuthors, DocExport, DocKeys};
pub use doctor::{Check, Doctor};
pub use edit::Editable;
pub use entry::{Aside, Asking, HeardBy, Pending, PendingRow, Quarantine};
pub use event::Event;
pub use group::{Founded, GroupRow, Groups, InviteRow, Invited, Invites, Joined, Joining, Paths};
pub use history::{Diff, EditRow, Log, LogRow, Plan, Show, TouchRow};
pub use node::{NodeRow, Nodes, Ping, Replaced};
pub use nodediff::{Lag, NodeDiff, NodeDiffRow};
pub use resource::{Conflict, Conflicts, Export, Got, List, ListRow, Side, Written};
pub use scalar::{Plain, Time};
pub use status::{GroupName, Standing, Status, StatusRow, Summary};
pub use sync::{Heads, Peer, Sync, Who};
pub use verify::{Progress, Verify, VerifyFailed};

/// Something that is answered whole.
pub trait View: Serialize + DeserializeOwned {
    /// Its name and major version, as scripts check it.
    const SCHEMA: &'static str;
}

/// A view with its schema in front.
#[derive(Debug, Serialize)]
pub struct Tagged<'a, V> {
    schema: &'static str,
    #[serde(flatten)]
    view: &'a V,
}

impl<'a, V: View> Tagged<'a, V> {
    /// Puts the schema in front.
    pub fn new(view: &'a V) -> Self {
        Self { schema: V::SCHEMA, view }
    }
}

/// A view that says that something was done, and nothing more.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Done {}

impl View for Done {
    const SCHEMA: &'static str = "larder.done/1";
}

impl View for crate::failure::Failure {
    const SCHEMA: &'static str = "larder.error/1";
}
