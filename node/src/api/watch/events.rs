//! What a row of the journal tells, as events.

use std::collections::BTreeMap;

use larder_core::delta::Delta;
use larder_core::group::Beside;
use larder_core::history::{self, Found, LogEntry};
use larder_core::id::{ChangeId, EpochId, RecordId};
use larder_core::machine::Membership;
use larder_core::record::{Body, Revoked};
use larder_core::resource::ResourceName;
use larder_core::resource::observed::{Condition, Observed};
use larder_core::shard::root::ShardName;
use larder_core::store::{JournalRow, Told};

use super::since;
use crate::api::names;
use crate::view::{Event, Time, TouchRow};

/// The events of a row, each with the id to go on after it.
pub(super) fn of_row(of: &Membership, row: &JournalRow) -> Vec<Event> {
    let mut events = match (row.told, row.counts) {
        (Told::Record(id), _) => vec![member(of, &id, row.counts)],
        (Told::Change { epoch, id }, true) => accepted(of, &epoch, &id),
        (Told::Change { epoch, id }, false) => vec![retracted(of, &epoch, &id)],
    };
    let parts = events.len();
    for (part, event) in (1..).zip(&mut events) {
        event.id = since::id(row, part, parts);
        event.change = Some(row.told.id());
        event.durable = true;
    }
    events
}

fn event(kind: &str, op: &str) -> Event {
    Event { kind: kind.to_owned(), op: op.to_owned(), ..Event::default() }
}

fn accepted(of: &Membership, epoch: &EpochId, id: &ChangeId) -> Vec<Event> {
    let entry = history::entry(&of.group, &Found::Change { epoch: *epoch, id: *id });
    // It was taken back since, which is told by a later row.
    let Some(entry) = entry else { return vec![event("change", "accepted")] };
    let shard = of.group.shard_of(epoch);
    let observes = shard.is_some_and(|shard| shard.root().shard() != ShardName::Desired);
    let delta = observes.then(|| shard?.delta(id)).flatten();
    let reports: Vec<Event> = delta.iter().flat_map(|delta| reported(of, &entry, delta)).collect();
    if reports.is_empty() { vec![change(of, entry, "accepted")] } else { reports }
}

fn change(of: &Membership, entry: LogEntry, op: &str) -> Event {
    let touches = entry.touches.into_iter().map(|touch| TouchRow {
        resource: touch.resource.to_string(),
        fields: touch.fields,
        op: touch.op.word().to_owned(),
    });
    Event {
        time: Some(Time(entry.note.time)),
        node: entry.node.map(|node| names::who(of, &node)),
        user: entry.note.user,
        touches: touches.collect(),
        text: entry.note.words,
        command: entry.note.command,
        ..event("change", op)
    }
}

/// What a machine says of its resources in one change: an event for each, in order of name.
fn reported(of: &Membership, entry: &LogEntry, delta: &Delta) -> Vec<Event> {
    let report = |resource: &str, told: Observed| {
        let kind = match told.condition {
            Condition::Held => "hold",
            Condition::Drifted => "drift",
            _ => "apply",
        };
        Event {
            time: Some(Time(told.since)),
            node: entry.node.map(|node| names::who(of, &node)),
            resource: Some(resource.to_owned()),
            text: told.message,
            seen: told.change,
            ..event(kind, told.condition.word())
        }
    };
    let puts: BTreeMap<&str, _> = delta.puts.iter().map(|put| (put.key.as_str(), &put.value)).collect();
    puts.into_iter().filter_map(|(key, value)| Some(report(key, Observed::decode(value)?))).collect()
}

/// What does not count any more says what it touched as long as it is kept aside.
fn retracted(of: &Membership, epoch: &EpochId, id: &ChangeId) -> Event {
    let beside = of.group.aside(epoch).and_then(|aside| aside.get(id));
    let mut touched: BTreeMap<ResourceName, Vec<String>> = BTreeMap::new();
    for put in beside.map(|beside| beside.delta().puts.as_slice()).unwrap_or_default() {
        if let Some((name, field)) = ResourceName::of_key(&put.key) {
            touched.entry(name).or_default().push(field.to_string());
        }
    }
    let touch = |(resource, fields): (ResourceName, Vec<String>)| TouchRow {
        resource: resource.to_string(),
        fields,
        op: "set".to_owned(),
    };
    Event {
        node: beside.map(|beside| names::who(of, &beside.key)),
        time: beside.map(|beside: &Beside| Time(beside.delta().time)),
        touches: touched.into_iter().map(touch).collect(),
        ..event("change", "retracted")
    }
}

fn member(of: &Membership, id: &RecordId, counts: bool) -> Event {
    let Some(entry) = history::entry(&of.group, &Found::Record(*id)) else {
        return event("member", "retracted");
    };
    let record = of.group.records().get(id).map(|signed| signed.record());
    let op = match record.map(|record| &record.body) {
        _ if !counts => "retracted",
        Some(Body::Genesis(_)) => "founded",
        Some(Body::Grant(_)) => "granted",
        Some(Body::Revoke(revoke)) if matches!(revoke.what, Revoked::Invite(_)) => "invite-revoked",
        Some(Body::Revoke(_)) => "revoked",
        Some(Body::Admit(_)) => "admitted",
        Some(Body::Forget(_)) => "forgotten",
        Some(Body::Dissolve) => "dissolved",
        Some(Body::Unknown { .. }) | None => "unsupported",
    };
    Event {
        time: (entry.note.time != 0).then_some(Time(entry.note.time)),
        node: entry.node.map(|node| names::who(of, &node)),
        user: entry.note.user,
        text: entry.note.words,
        ..event("member", op)
    }
}
