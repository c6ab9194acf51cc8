//! Watching: what happens in a group, an event a line, for as long as the caller listens.
//!
//! ```text
//! journal (durable)      1 2 3 4 5 6 7 ...     read from where the caller left off, page by page
//! passing (not kept)           up   away       told between, to those who watch just then
//! ```
//!
//! Nothing is sent but what the caller takes: a slow one is behind in the journal, and costs no memory. What passes
//! carries the id of the last event of the journal before it, so there is always a point to go on from.

mod clashes;
mod events;
mod since;

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use larder_core::history::Scope;
use larder_core::id::GroupId;
use larder_core::machine::Machine;
use larder_core::resource::ResourceName;
use larder_core::store::{JournalRow, Table, key, layout};
use serde::Deserialize;

use super::{Api, Query, names};
use crate::daemon::{Handle, Heard, Passing, Watcher, What, wall};
use crate::failure::Failure;
use crate::limits;
use crate::store::Reader;
use crate::view::{Event, Tagged, Time};
use clashes::Clashes;
use since::Start;

/// What `watch` asks for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct WatchOf {
    group: Option<String>,
    /// The event after which to go on; from now on if left out.
    since: Option<String>,
    /// `<kind>` or `<kind>/<name>`: only what touches that.
    path: Option<String>,
}

/// True of an event that touches what is meant.
fn is_of(scope: &Scope, event: &Event) -> bool {
    let covers =
        |resource: &str| resource.parse().is_ok_and(|resource: ResourceName| scope.covers(&resource));
    let touches = || event.touches.iter().any(|touch| covers(&touch.resource));
    // What was touched by what is gone cannot be told any more: rather one line too many than one too few.
    let unknown = event.op == "retracted" && event.kind == "change" && event.touches.is_empty();
    let any = *scope == Scope::Everything || event.kind == "stream" || unknown;
    any || event.resource.as_deref().is_some_and(covers) || touches()
}

pub(super) async fn watch(State(api): State<Api>, Query(of): Query<WatchOf>) -> Result<Response, Failure> {
    let scope = names::scope(of.path.as_deref())?;
    let watcher = api.news.watch()?;
    let asked = of.group.clone();
    let look = move |machine: &mut Machine| {
        let of = names::membership(machine, asked.as_deref())?;
        let clashes = Clashes::of(names::desired(of)?, of.group.members());
        Ok::<_, Failure>((of.group.id(), of.group.name().to_owned(), clashes))
    };
    let (group, name, clashes) = api.handle.look(look).await??;
    let reader = watcher.reader();
    let start = reading(move || match &of.since {
        Some(text) => since::after(&reader, group, text),
        None => since::now(&reader, group),
    });
    let start = start.await?;
    let first = Event { text: name, ..stream("start") };
    let watch = Watch { handle: api.handle, watcher, group, scope, start, clashes, first: Some(first) };
    let lines = futures_util::stream::unfold(watch, |mut watch| async {
        let events = watch.next().await?;
        Some((Ok::<Bytes, Infallible>(watch.write(events)), watch))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(lines)).into_response())
}

/// Reads the disk, on a thread that may wait for it.
async fn reading<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or_else(|error| Err(Failure::failed(format!("the journal could not be read: {error}"))))
}

fn stream(op: &str) -> Event {
    Event { kind: "stream".to_owned(), op: op.to_owned(), ..Event::default() }
}

/// One caller who watches one group.
struct Watch {
    handle: Handle,
    watcher: Watcher,
    group: GroupId,
    scope: Scope,
    /// What to read next, and the id of what was told last.
    start: Start,
    clashes: Clashes,
    /// What is said before anything else.
    first: Option<Event>,
}

impl Watch {
    /// The next events; `None` when the daemon stops.
    async fn next(&mut self) -> Option<Vec<Event>> {
        if let Some(first) = self.first.take() {
            return Some(vec![self.passing(first)]);
        }
        let mut heard = Vec::new();
        loop {
            self.watcher.mark();
            while let Some(events) = self.read_page().await? {
                if !events.is_empty() {
                    heard.retain(|event| is_of(&self.scope, event));
                    return Some(heard.into_iter().chain(events).collect());
                }
            }
            let clashes = self.look_for_clashes().await?;
            heard.extend(clashes.into_iter().map(|event| self.passing(event)));
            while heard.len() < limits::PASSING
                && let Some(passed) = self.watcher.hear_now()
            {
                heard.extend(self.describe(passed).await?);
            }
            heard.retain(|event| is_of(&self.scope, event));
            if !heard.is_empty() {
                return Some(heard);
            }
            match self.watcher.hear().await {
                Heard::Stopping => return None,
                passed => heard.extend(self.describe(passed).await?),
            }
        }
    }

    /// Reads on in the journal; `None` at its end.
    #[allow(clippy::option_option, reason = "the end of the journal is not that of the daemon")]
    async fn read_page(&mut self) -> Option<Option<Vec<Event>>> {
        let (group, number, reader) = (self.group, self.start.number, self.watcher.reader());
        let rows = reading(move || Ok(page(&reader, group, number))).await.unwrap_or_default();
        let Some((last, _)) = rows.last() else { return Some(None) };
        let next = last.saturating_add(1);
        let (scope, mut clashes) = (self.scope.clone(), std::mem::take(&mut self.clashes));
        let mut told = std::mem::take(&mut self.start.told);
        let describe = move |machine: &mut Machine| {
            let mut events = Vec::new();
            let mut last = None;
            let of = machine.group(&group)?;
            for row in rows.iter().filter_map(|(_, row)| row.as_ref()) {
                let of_row = events::of_row(of, row);
                let parts = of_row.len();
                last = Some(since::id(row, parts, parts));
                of_row.iter().for_each(|event| clashes.note(event));
                events.extend(of_row.into_iter().skip(std::mem::take(&mut told)));
            }
            events.retain(|event| is_of(&scope, event));
            Some((events, last, clashes))
        };
        let (events, last, clashes) = self.handle.look(describe).await.ok()??;
        self.clashes = clashes;
        self.start = Start { number: next, told: 0, id: last.unwrap_or_else(|| self.start.id.clone()) };
        Some(Some(events))
    }

    async fn look_for_clashes(&mut self) -> Option<Vec<Event>> {
        if !self.clashes.is_due() {
            return Some(Vec::new());
        }
        let (group, mut clashes) = (self.group, std::mem::take(&mut self.clashes));
        let look = move |machine: &mut Machine| {
            let of = machine.group(&group).map(|of| &of.group);
            let found = of.and_then(|of| Some(clashes.look(machine, of.desired()?, of.members())));
            (found.unwrap_or_default(), clashes)
        };
        let (events, clashes) = self.handle.look(look).await.ok()?;
        self.clashes = clashes;
        Some(events)
    }

    /// What was heard, as an event, if it is one of this group.
    async fn describe(&mut self, heard: Heard) -> Option<Option<Event>> {
        match heard {
            Heard::Passing(passing) if passing.group == self.group => {
                let (group, peer) = (self.group, passing.peer);
                let who = move |machine: &mut Machine| Some(names::who(machine.group(&group)?, &peer?));
                let node = self.handle.look(who).await.ok()?;
                Some(Some(self.passing(Event { node, ..of_passing(&passing) })))
            }
            Heard::Lost(lost) => Some(Some(self.passing(Event { lost: Some(lost), ..stream("lost") }))),
            Heard::Passing(_) | Heard::Durable | Heard::Stopping => Some(None),
        }
    }

    /// An event that is told once: whoever goes on after it goes on after what the journal told before it.
    fn passing(&self, event: Event) -> Event {
        let time = event.time.or(Some(Time(wall())));
        Event { id: self.start.id.clone(), durable: false, time, ..event }
    }

    fn write(&self, events: Vec<Event>) -> Bytes {
        let mut lines = Vec::new();
        for event in events {
            // A view has nothing that JSON cannot say.
            if serde_json::to_writer(&mut lines, &Tagged::new(&event)).is_ok() {
                lines.push(b'\n');
            }
        }
        lines.into()
    }
}

fn of_passing(passing: &Passing) -> Event {
    let (kind, op) = match passing.what {
        What::Linked => ("net", "linked"),
        What::Unlinked => ("net", "unlinked"),
        What::Up => ("net", "up"),
        What::Away => ("net", "away"),
        What::InSync => ("sync", "in-sync"),
        What::Refetched => ("sync", "refetched"),
    };
    let time = Some(Time(passing.time));
    Event { kind: kind.to_owned(), op: op.to_owned(), time, ..Event::default() }
}

/// The next rows of a journal, with their numbers; those that cannot be read tell nothing. While the store does not work
/// there are none: it is read on when it does.
fn page(reader: &Reader, group: GroupId, number: u64) -> Vec<(u64, Option<JournalRow>)> {
    let from = key::journal(group, number);
    let rows = reader.page(Table::Journal, &key::group(group), &from, limits::WATCH_PAGE);
    let rows = rows.unwrap_or_else(|error| {
        tracing::debug!(%error, "the journal cannot be read now");
        None
    });
    let row = |(row, value): (Vec<u8>, Vec<u8>)| Some((key::number(&row)?, layout(&value)));
    rows.unwrap_or_default().into_iter().filter_map(row).collect()
}
