//! The JSON bodies of the local API, which the daemon writes, commands read, and `--json` prints. Each type
//! that is a whole body has a schema, which is the first field of the JSON.

#[macro_use]
mod word_enum;

mod backup;
mod blame;
mod doc;
mod doctor;
mod edit;
mod event;
mod group;
mod history;
mod join_requests;
mod kept;
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
pub use doctor::{CheckState, DoctorCheck, DoctorReport};
pub use edit::EditBuffer;
pub use event::{EventKind, EventOp, WatchEvent};
pub use group::{
    CreatedGroup, CreatedInvite, GroupEntry, GroupList, GroupStatus, InviteEntry, InviteList, InviteState,
    JoinedGroup, JoiningGroup, NodePaths,
};
pub use history::{
    ChangeDetail, ChangeEntry, ChangeLog, ChangeSource, ClockFault, DiffReport, FieldDiff, FieldOp,
    TouchedResource, WritePlan,
};
pub use join_requests::{
    PairingPeerEntry, PairingStatus, PendingList, PendingNode, QuarantineList, QuarantineState,
    QuarantinedChange,
};
pub use kept::{KeptContents, KeptList, KeptVersion, RestoredKept};
pub use node::{MemberRole, NodeEntry, NodeList, NodeState, PingResult, ReplaceResult};
pub use node_diff::{NodeDiffReport, NodeDrift, ResourceDrift};
pub use resource::{
    ConflictEntry, ConflictKind, ConflictList, ConflictSide, ExportedManifest, ResourceEntry, ResourceList,
    ResourceValues, WriteResult,
};
pub use revert::{RevertResult, TagEntry, TagList};
pub use status::{
    GroupRef, NodeResourceState, NodeResourceStatus, ResourceStatus, StatusReport, StatusSummary,
};
pub use sync::{GroupHeads, NodeRef, PeerSync, PeerSyncState, SyncReport};
pub use value::{JsonTime, JsonValue};
pub use verify::{TaskProgress, VerifyFailure, VerifyReport};

/// A type that is a whole JSON body.
pub trait HasSchema: Serialize + DeserializeOwned {
    /// The schema's name and major version.
    const SCHEMA: &'static str;
}

/// A body with its schema as the first field.
#[derive(Debug, Serialize)]
pub struct WithSchema<'a, V> {
    schema: &'static str,
    #[serde(flatten)]
    body: &'a V,
}

impl<'a, V: HasSchema> WithSchema<'a, V> {
    /// Adds the schema to `body`.
    pub fn new(body: &'a V) -> Self {
        Self { schema: V::SCHEMA, body }
    }
}

/// The body of a response that only says that the request succeeded.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Acknowledged {}

impl HasSchema for Acknowledged {
    const SCHEMA: &'static str = "larder.done/1";
}

impl HasSchema for crate::error::CliError {
    const SCHEMA: &'static str = "larder.error/1";
}
