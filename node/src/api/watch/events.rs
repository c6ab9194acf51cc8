//! The events of one row of the journal.

use std::collections::BTreeMap;

use larder_core::delta::Delta;
use larder_core::group::UnacceptedChange;
use larder_core::history::{self, LogEntry};
use larder_core::id::{ChangeId, HistoryEntryId, RecordId, ShardId};
use larder_core::node::GroupState;
use larder_core::record::{RecordBody, RevokeTarget};
use larder_core::resource::ResourceName;
use larder_core::resource::observed::{ObservedState, ResourceState};
use larder_core::shard::root::ShardName;
use larder_core::store::JournalRow;

use super::cursor;
use crate::api::history::touched_resource;
use crate::api::params::node_ref;
use crate::api::record_summary::entry_message;
use crate::dto::{EventKind, EventOp, FieldOp, JsonTime, TouchedResource, WatchEvent};

/// The events of a row, each with its cursor.
pub(super) fn row_events(state: &GroupState, row: &JournalRow) -> Vec<WatchEvent> {
    let mut events = match (row.subject, row.is_accepted) {
        (HistoryEntryId::Record(id), _) => vec![member_event(state, &id, row.is_accepted)],
        (HistoryEntryId::Change { shard_id, id }, true) => accepted_events(state, &shard_id, &id),
        (HistoryEntryId::Change { shard_id, id }, false) => vec![retracted_event(state, &shard_id, &id)],
    };
    let parts = events.len();
    for (event_number, event) in (1..).zip(&mut events) {
        event.id = cursor::event_id(row, event_number, parts);
        event.change = Some(row.subject.hex_id());
        event.durable = true;
    }
    events
}

fn accepted_events(state: &GroupState, shard_id: &ShardId, id: &ChangeId) -> Vec<WatchEvent> {
    let entry = history::find_entry(&state.group, &HistoryEntryId::Change { shard_id: *shard_id, id: *id });
    // The change was retracted since. A later row reports that.
    let Some(entry) = entry else { return vec![WatchEvent::new(EventKind::Change, EventOp::Accepted)] };
    let shard = state.group.shard_by_id(shard_id);
    let is_observed_shard = shard.is_some_and(|shard| shard.root().name() != ShardName::Desired);
    let delta = is_observed_shard.then(|| shard?.read_delta(id)).flatten();
    let report_events: Vec<WatchEvent> =
        delta.iter().flat_map(|delta| report_events(state, &entry, delta)).collect();
    if report_events.is_empty() { vec![change_event(state, entry)] } else { report_events }
}

fn change_event(state: &GroupState, entry: LogEntry) -> WatchEvent {
    WatchEvent {
        time: Some(JsonTime(entry.note.time)),
        node: entry.node.map(|node| node_ref(state, &node)),
        user: entry.note.user,
        touches: entry.field_changes.into_iter().map(touched_resource).collect(),
        text: entry.note.message,
        command: entry.note.command,
        ..WatchEvent::new(EventKind::Change, EventOp::Accepted)
    }
}

/// The states of resources that a node reports in one change: an event for each, in order of name.
fn report_events(state: &GroupState, entry: &LogEntry, delta: &Delta) -> Vec<WatchEvent> {
    let report_event = |resource: &str, observed: ObservedState| {
        let kind = match observed.state {
            ResourceState::Held => EventKind::Hold,
            ResourceState::Drifted => EventKind::Drift,
            _ => EventKind::Apply,
        };
        WatchEvent {
            time: Some(JsonTime(observed.since)),
            node: entry.node.map(|node| node_ref(state, &node)),
            resource: Some(resource.to_owned()),
            text: observed.message,
            seen: observed.change,
            ..WatchEvent::new(kind, observed.state.as_str().to_owned().into())
        }
    };
    let puts: BTreeMap<&str, _> = delta.puts.iter().map(|put| (put.key.as_str(), &put.value)).collect();
    puts.into_iter()
        .filter_map(|(key, value)| Some(report_event(key, ObservedState::decode(value)?)))
        .collect()
}

/// The event of a retracted change. It lists the touched resources while the change is kept as unaccepted.
fn retracted_event(state: &GroupState, shard_id: &ShardId, id: &ChangeId) -> WatchEvent {
    let unaccepted = state.group.unaccepted_in(shard_id).and_then(|unaccepted_set| unaccepted_set.get(id));
    let mut touched: BTreeMap<ResourceName, Vec<String>> = BTreeMap::new();
    for put in unaccepted.map(|unaccepted| unaccepted.delta().puts.as_slice()).unwrap_or_default() {
        if let Some((name, field)) = ResourceName::split_key(&put.key) {
            touched.entry(name).or_default().push(field.to_string());
        }
    }
    let to_touched = |(resource, fields): (ResourceName, Vec<String>)| TouchedResource {
        resource: resource.to_string(),
        fields,
        op: FieldOp::Set,
    };
    WatchEvent {
        node: unaccepted.map(|unaccepted| node_ref(state, &unaccepted.author)),
        time: unaccepted.map(|unaccepted: &UnacceptedChange| JsonTime(unaccepted.delta().time)),
        touches: touched.into_iter().map(to_touched).collect(),
        ..WatchEvent::new(EventKind::Change, EventOp::Retracted)
    }
}

fn member_event(state: &GroupState, id: &RecordId, is_in_effect: bool) -> WatchEvent {
    let Some(entry) = history::find_entry(&state.group, &HistoryEntryId::Record(*id)) else {
        return WatchEvent::new(EventKind::Member, EventOp::Retracted);
    };
    let record = state.group.records().get(id).map(|signed| signed.record());
    let op = match record.map(|record| &record.body) {
        _ if !is_in_effect => EventOp::Retracted,
        Some(RecordBody::Genesis(_)) => EventOp::Founded,
        Some(RecordBody::Grant(_)) => EventOp::Granted,
        Some(RecordBody::Revoke(revoke)) if matches!(revoke.target, RevokeTarget::Invite(_)) => {
            EventOp::InviteRevoked
        }
        Some(RecordBody::Revoke(_)) => EventOp::Revoked,
        Some(RecordBody::Admit(_)) => EventOp::Admitted,
        Some(RecordBody::Forget(_)) => EventOp::Forgotten,
        Some(RecordBody::Dissolve) => EventOp::Dissolved,
        Some(RecordBody::Unknown { .. }) | None => EventOp::Unsupported,
    };
    WatchEvent {
        text: entry_message(&state.group, &entry),
        time: (entry.note.time != 0).then_some(JsonTime(entry.note.time)),
        node: entry.node.map(|node| node_ref(state, &node)),
        user: entry.note.user,
        ..WatchEvent::new(EventKind::Member, op)
    }
}
