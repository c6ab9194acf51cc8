//! What the daemon answers and the commands print: one type a schema, the same on both sides of the socket.
//!
//! The JSON that `--json` prints is these types as they are, with their schema as first field.

mod backup;
mod blame;
mod doc;
mod doctor;
mod edit;
mod event;
mod group;
mod history;
mod join_requests;
mod node;
mod node_diff;
mod resource;
mod revert;
mod status;
mod sync;
mod value;
mod verify;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use backup::{BackupFile, BackupGroup, BackupManifest, RestoreResult, RotateResult};
pub use blame::{BlameField, BlameLine, BlameReport, ChangeOrigin};
pub use doc::{DocAuthorEntry, DocAuthorList, DocExport, DocKeys};
pub use doctor::{DoctorCheck, DoctorReport};
pub use edit::EditBuffer;
pub use event::WatchEvent;
pub use group::{
    CreatedGroup, CreatedInvite, GroupEntry, GroupList, InviteEntry, InviteList, InviteState, JoinedGroup,
    JoiningGroup, NodePaths,
};
pub use history::{ChangeDetail, ChangeEntry, ChangeLog, DiffReport, FieldDiff, TouchedResource, WritePlan};
pub use join_requests::{
    PairingPeerEntry, PairingStatus, PendingList, PendingNode, QuarantineList, QuarantinedChange,
};
pub use node::{NodeEntry, NodeList, PingResult, ReplaceResult};
pub use node_diff::{NodeDiffReport, NodeDrift, ResourceDrift};
pub use resource::{
    ConflictEntry, ConflictList, ConflictSide, ExportedManifest, ResourceEntry, ResourceList, ResourceValues,
    WriteResult,
};
pub use revert::{RevertResult, TagEntry, TagList};
pub use status::{GroupRef, NodeResourceStatus, ResourceStatus, StatusReport, StatusSummary};
pub use sync::{GroupHeads, NodeRef, PeerSync, PeerSyncState, SyncReport};
pub use value::{JsonTime, JsonValue};
pub use verify::{TaskProgress, VerifyFailure, VerifyReport};

/// Something that is answered whole.
pub trait HasSchema: Serialize + DeserializeOwned {
    /// Its name and major version, as scripts check it.
    const SCHEMA: &'static str;
}

/// A view with its schema in front.
#[derive(Debug, Serialize)]
pub struct WithSchema<'a, V> {
    schema: &'static str,
    #[serde(flatten)]
    body: &'a V,
}

impl<'a, V: HasSchema> WithSchema<'a, V> {
    /// Puts the schema in front.
    pub fn new(body: &'a V) -> Self {
        Self { schema: V::SCHEMA, body }
    }
}

/// A view that says that something was done, and nothing more.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Acknowledged {}

impl HasSchema for Acknowledged {
    const SCHEMA: &'static str = "larder.done/1";
}

impl HasSchema for crate::error::CliError {
    const SCHEMA: &'static str = "larder.error/1";
}
