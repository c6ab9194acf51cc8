//! The events that `watch` prints.

use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonTime, NodeRef, TouchedResource};

/// One event: `larder.event/1`. Fields that do not apply to an event are absent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WatchEvent {
    /// The kind of the event.
    pub kind: EventKind,
    /// The operation, within the kind.
    pub op: EventOp,
    /// The cursor after this event, for `watch --since`.
    pub id: String,
    /// True for an event that `watch --since` repeats. Other events are sent once, to present watchers.
    pub durable: bool,
    /// The time by the author's clock, or else by this node's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<JsonTime>,
    /// The node that the event is about, or that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeRef>,
    /// The user on that node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The id of the change or record, for `show`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// The resource, as `<kind>/<name>`, of an event about one resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The field, of an event about one field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The resources that a change touches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub touches: Vec<TouchedResource>,
    /// The operator's reason, or the message of the host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The command line of a change, without its values.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// The prefix of the resource's newest change that the node had applied or tried.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub seen: String,
    /// The number of transient events that this watcher was too slow for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
}

impl WatchEvent {
    /// An event with nothing but its kind and what happened.
    pub fn new(kind: EventKind, op: EventOp) -> Self {
        Self {
            kind,
            op,
            id: String::new(),
            durable: false,
            time: None,
            node: None,
            user: String::new(),
            change: None,
            resource: None,
            field: None,
            touches: Vec::new(),
            text: String::new(),
            command: String::new(),
            seen: String::new(),
            lost: None,
        }
    }
}

impl HasSchema for WatchEvent {
    const SCHEMA: &'static str = "larder.event/1";
}

word_enum! {
    /// The kind of an event.
    pub enum EventKind {
        /// A change of the desired state.
        Change = "change",
        /// A node applied a resource, or failed to.
        Apply = "apply",
        /// A node holds a resource because of a conflict.
        Hold = "hold",
        /// A resource was changed on a host after it was applied.
        Drift = "drift",
        /// A membership record.
        Member = "member",
        /// A conflict appeared, changed, or was resolved.
        Conflict = "conflict",
        /// The link with a member, or its reachability, changed.
        Net = "net",
        /// The synchronisation reached a state.
        Sync = "sync",
        /// A message about the stream of events itself.
        Stream = "stream",
    }
}

word_enum! {
    /// What happened, within the kind of an event.
    pub enum EventOp {
        /// A change counts from now on.
        Accepted = "accepted",
        /// A change or record no longer counts.
        Retracted = "retracted",
        /// A node applied a resource.
        Applied = "applied",
        /// A node holds a resource in conflict.
        Held = "held",
        /// A node failed to apply a resource.
        Failed = "failed",
        /// A resource was changed on the host.
        Drifted = "drifted",
        /// A node did not try to apply a resource.
        Blocked = "blocked",
        /// An operator paused a resource on a node.
        Paused = "paused",
        /// A resource no longer applies to a node.
        Released = "released",
        /// A node or record has a kind or field that a version does not know.
        Unsupported = "unsupported",
        /// A group was created.
        Founded = "founded",
        /// A node was given a role.
        Granted = "granted",
        /// An invite was revoked.
        InviteRevoked = "invite-revoked",
        /// A grant was revoked.
        Revoked = "revoked",
        /// Unaccepted changes were readmitted.
        Admitted = "admitted",
        /// The reports of a former member were forgotten.
        Forgotten = "forgotten",
        /// A group was deleted.
        Dissolved = "dissolved",
        /// A conflict appeared.
        Appeared = "appeared",
        /// The values of a conflict changed.
        Changed = "changed",
        /// A conflict was resolved.
        Settled = "settled",
        /// A link with a member opened.
        Linked = "linked",
        /// A link with a member closed.
        Unlinked = "unlinked",
        /// A member became reachable.
        Up = "up",
        /// A member became unreachable.
        Away = "away",
        /// This node has everything that a neighbour has.
        InSync = "in-sync",
        /// A damaged copy is complete again.
        Refetched = "refetched",
        /// The stream begins.
        Start = "start",
        /// The watcher was too slow for some transient events.
        Lost = "lost",
    }
}
