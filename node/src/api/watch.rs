//! `watch`: the events of a group, one a line, until the caller ends.
//!
//! ```text
//! durable events      1 2 3 4 5 6 7 ...     read from the journal, page by page, from the caller's cursor
//! transient events         up   away        sent in between, to present watchers only
//! ```
//!
//! The next events are read when the caller has taken the last ones, so a slow caller needs no memory. A
//! transient event carries the id of the durable event before it, which is a cursor too.

mod conflicts;
mod cursor;
mod events;

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use larder_core::history::ResourceScope;
use larder_core::id::GroupId;
use larder_core::node::Node;
use larder_core::resource::ResourceName;
use larder_core::store::{JournalRow, Table, decode_layout, key};
use serde::Deserialize;

use super::params::{GroupPath, group_state, node_ref, parse_scope};
use super::{ApiContext, QueryParams};
use crate::daemon::{DaemonHandle, EventWatcher, TransientEvent, TransientKind, WatchItem};
use crate::dto::{EventKind, EventOp, JsonTime, WatchEvent, WithSchema};
use crate::error::CliError;
use crate::limits;
use crate::store::StoreReader;
use crate::time::wall_clock_seconds;
use conflicts::ConflictTracker;
use cursor::Cursor;

/// The parameters of `GET /v1/groups/{group}/events`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct WatchQuery {
    /// The cursor after which to start; without it, now.
    since: Option<String>,
    /// The resources, as `<kind>` or `<kind>/<name>`; without it, all.
    path: Option<String>,
}

/// True for an event that touches a resource in scope.
fn is_in_scope(scope: &ResourceScope, event: &WatchEvent) -> bool {
    let covers =
        |resource: &str| resource.parse().is_ok_and(|resource: ResourceName| scope.contains(&resource));
    let touches = || event.touches.iter().any(|touch| covers(&touch.resource));
    // The resources of a retracted change may not be known any more. It is shown, so that none is missed.
    let unknown =
        event.op == EventOp::Retracted && event.kind == EventKind::Change && event.touches.is_empty();
    let is_always_shown = *scope == ResourceScope::Everything || event.kind == EventKind::Stream || unknown;
    is_always_shown || event.resource.as_deref().is_some_and(covers) || touches()
}

pub(super) async fn watch_group(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    QueryParams(params): QueryParams<WatchQuery>,
) -> Result<Response, CliError> {
    let scope = parse_scope(params.path.as_deref())?;
    let watcher = api.event_bus.subscribe()?;
    let query = move |local_node: &mut Node| {
        let state = group_state(local_node, &group)?;
        let conflicts = ConflictTracker::current(state.desired_shard()?, state.group.members());
        Ok::<_, CliError>((state.group.id(), state.group.name().to_owned(), conflicts))
    };
    let (group, name, conflicts) = api.handle.query(query).await??;
    let reader = watcher.reader();
    let start = read_blocking(move || match &params.since {
        Some(text) => cursor::cursor_after(&reader, group, text),
        None => cursor::cursor_at_end(&reader, group),
    });
    let start = start.await?;
    let start_event = WatchEvent { text: name, ..WatchEvent::new(EventKind::Stream, EventOp::Start) };
    let stream = WatchStream {
        handle: api.handle,
        watcher,
        group,
        scope,
        cursor: start,
        conflicts,
        start_event: Some(start_event),
    };
    let lines = futures_util::stream::unfold(stream, |mut watch| async {
        let events = watch.next_events().await?;
        Some((Ok::<Bytes, Infallible>(watch.to_json_lines(events)), watch))
    });
    let content_type = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((content_type, Body::from_stream(lines)).into_response())
}

/// Reads the disk on a blocking thread.
async fn read_blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, CliError> + Send + 'static,
) -> Result<T, CliError> {
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or_else(|error| Err(CliError::failed(format!("the journal could not be read: {error}"))))
}

/// The stream of events to one caller about one group.
struct WatchStream {
    handle: DaemonHandle,
    watcher: EventWatcher,
    group: GroupId,
    scope: ResourceScope,
    /// The next row to read, and the id of the last event.
    cursor: Cursor,
    conflicts: ConflictTracker,
    /// The first event, until it is sent.
    start_event: Option<WatchEvent>,
}

impl WatchStream {
    /// Waits for the next events; `None` when the daemon stops.
    async fn next_events(&mut self) -> Option<Vec<WatchEvent>> {
        if let Some(start_event) = self.start_event.take() {
            return Some(vec![self.as_transient(start_event)]);
        }
        let mut pending_events = Vec::new();
        loop {
            self.watcher.mark_commits_seen();
            while let Some(events) = self.read_journal_page().await? {
                if !events.is_empty() {
                    pending_events.retain(|event| is_in_scope(&self.scope, event));
                    return Some(pending_events.into_iter().chain(events).collect());
                }
            }
            let conflict_events = self.check_conflicts().await?;
            pending_events.extend(conflict_events.into_iter().map(|event| self.as_transient(event)));
            while pending_events.len() < limits::TRANSIENT_EVENT_QUEUE_LEN
                && let Some(item) = self.watcher.try_next()
            {
                pending_events.extend(self.watch_item_event(item).await?);
            }
            pending_events.retain(|event| is_in_scope(&self.scope, event));
            if !pending_events.is_empty() {
                return Some(pending_events);
            }
            match self.watcher.next().await {
                WatchItem::Stopping => return None,
                item => pending_events.extend(self.watch_item_event(item).await?),
            }
        }
    }

    /// Reads the next page of the journal; `Some(None)` at its end, `None` when the daemon stops.
    #[allow(clippy::option_option, reason = "the end of the journal is not the end of the daemon")]
    async fn read_journal_page(&mut self) -> Option<Option<Vec<WatchEvent>>> {
        let (group, number, reader) = (self.group, self.cursor.row_number, self.watcher.reader());
        let rows =
            read_blocking(move || Ok(read_journal_rows(&reader, group, number))).await.unwrap_or_default();
        let Some((last, _)) = rows.last() else { return Some(None) };
        let next = last.saturating_add(1);
        let (scope, mut conflicts) = (self.scope.clone(), std::mem::take(&mut self.conflicts));
        let mut skipped = std::mem::take(&mut self.cursor.events_seen);
        let query = move |local_node: &mut Node| {
            let mut events = Vec::new();
            let mut last = None;
            let state = local_node.group(&group)?;
            for row in rows.iter().filter_map(|(_, row)| row.as_ref()) {
                let row_events = events::row_events(state, row);
                let parts = row_events.len();
                last = Some(cursor::event_id(row, parts, parts));
                row_events.iter().for_each(|event| conflicts.on_event(event));
                events.extend(row_events.into_iter().skip(std::mem::take(&mut skipped)));
            }
            events.retain(|event| is_in_scope(&scope, event));
            Some((events, last, conflicts))
        };
        let (events, last, conflicts) = self.handle.query(query).await.ok()??;
        self.conflicts = conflicts;
        self.cursor = Cursor {
            row_number: next,
            events_seen: 0,
            event_id: last.unwrap_or_else(|| self.cursor.event_id.clone()),
        };
        Some(Some(events))
    }

    async fn check_conflicts(&mut self) -> Option<Vec<WatchEvent>> {
        if !self.conflicts.needs_check() {
            return Some(Vec::new());
        }
        let (group, mut conflicts) = (self.group, std::mem::take(&mut self.conflicts));
        let query = move |local_node: &mut Node| {
            let state = local_node.group(&group).map(|state| &state.group);
            let events =
                state.and_then(|state| Some(conflicts.check(local_node, state.desired()?, state.members())));
            (events.unwrap_or_default(), conflicts)
        };
        let (events, conflicts) = self.handle.query(query).await.ok()?;
        self.conflicts = conflicts;
        Some(events)
    }

    /// Makes an event of an item from the bus, if it is about this group.
    async fn watch_item_event(&mut self, item: WatchItem) -> Option<Option<WatchEvent>> {
        match item {
            WatchItem::Transient(transient) if transient.group == self.group => {
                let (group, peer) = (self.group, transient.peer);
                let query = move |local_node: &mut Node| Some(node_ref(local_node.group(&group)?, &peer?));
                let node = self.handle.query(query).await.ok()?;
                Some(Some(self.as_transient(WatchEvent { node, ..transient_event(&transient) })))
            }
            WatchItem::Lost(lost) => {
                let event = WatchEvent::new(EventKind::Stream, EventOp::Lost);
                Some(Some(self.as_transient(WatchEvent { lost: Some(lost), ..event })))
            }
            WatchItem::Transient(_) | WatchItem::Committed | WatchItem::Stopping => Some(None),
        }
    }

    /// Completes a transient event. Its cursor is that of the durable event before it.
    fn as_transient(&self, event: WatchEvent) -> WatchEvent {
        let time = event.time.or(Some(JsonTime(wall_clock_seconds())));
        WatchEvent { id: self.cursor.event_id.clone(), durable: false, time, ..event }
    }

    fn to_json_lines(&self, events: Vec<WatchEvent>) -> Bytes {
        let mut lines = Vec::new();
        for event in events {
            // An event can always be encoded.
            if serde_json::to_writer(&mut lines, &WithSchema::new(&event)).is_ok() {
                lines.push(b'\n');
            }
        }
        lines.into()
    }
}

fn transient_event(transient: &TransientEvent) -> WatchEvent {
    let (kind, op) = match transient.kind {
        TransientKind::Linked => (EventKind::Net, EventOp::Linked),
        TransientKind::Unlinked => (EventKind::Net, EventOp::Unlinked),
        TransientKind::Up => (EventKind::Net, EventOp::Up),
        TransientKind::Away => (EventKind::Net, EventOp::Away),
        TransientKind::InSync => (EventKind::Sync, EventOp::InSync),
        TransientKind::Refetched => (EventKind::Sync, EventOp::Refetched),
    };
    WatchEvent { time: Some(JsonTime(transient.time)), ..WatchEvent::new(kind, op) }
}

/// Reads the next rows of a journal with their numbers; `None` for a row that cannot be decoded. There are no
/// rows while the store is out of order.
fn read_journal_rows(reader: &StoreReader, group: GroupId, number: u64) -> Vec<(u64, Option<JournalRow>)> {
    let from = key::journal(group, number);
    let rows = reader.read_page(Table::Journal, &key::for_group(group), &from, limits::WATCH_PAGE_ROWS);
    let rows = rows.unwrap_or_else(|error| {
        tracing::debug!(%error, "the journal cannot be read now");
        None
    });
    let decode_row =
        |(row, value): (Vec<u8>, Vec<u8>)| Some((key::journal_number(&row)?, decode_layout(&value)));
    rows.unwrap_or_default().into_iter().filter_map(decode_row).collect()
}
