//! Questions to the past.

use std::collections::BTreeSet;

use axum::extract::State;
use larder_core::history::{self, FindError, Found, LogEntry, Source};
use larder_core::id::ChangeId;
use larder_core::machine::{Machine, Membership};
use larder_core::resource::tag;
use larder_core::shard::Shard;
use larder_core::store::Table;
use serde::Deserialize;

use super::names;
use super::{Api, Query, Reply, Shown};
use crate::daemon::wall;
use crate::failure::Failure;
use crate::limits;
use crate::store::Reader;
use crate::time;
use crate::view::{Diff, EditRow, Log, LogRow, Plain, Show, Time, TouchRow};

/// What `log` asks for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct LogOf {
    group: Option<String>,
    at: Option<String>,
    resource: Option<String>,
    node: Option<String>,
    user: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    /// How many of the newest were asked for before.
    #[serde(default)]
    skip: usize,
    #[serde(default)]
    all: bool,
    /// With what each change did.
    #[serde(default)]
    edits: bool,
}

/// What `show` asks for.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ShowOf {
    group: Option<String>,
    at: Option<String>,
    /// A change, or `<kind>/<name>` for the newest change of that.
    what: String,
}

/// What `diff` asks for.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DiffOf {
    group: Option<String>,
    /// From where; the root if left out.
    from: Option<String>,
    /// To where; the present if left out.
    to: Option<String>,
    resource: Option<String>,
}

/// The heads at a point of the past that a text names: a time, a tag, a change, or several changes with commas between.
pub(super) fn point(desired: &Shard, text: &str) -> Result<Vec<ChangeId>, Failure> {
    if time::looks_like_time(text) {
        let moment = time::parse_moment(text)
            .map_err(|failure| Failure { exit: crate::failure::Exit::NotFound, ..failure })?;
        return Ok(history::heads_at_time(desired, moment));
    }
    if let Some(tag) = tag::tag(desired, text) {
        // What a tag names may have left the document since: then it says which change is missing.
        let heads = tag.heads.iter().map(ToString::to_string).collect::<Vec<_>>();
        return names::changes(desired, &heads);
    }
    if text.contains(',') {
        let texts: Vec<String> = text.split(',').map(str::to_owned).collect();
        return names::changes(desired, &texts);
    }
    names::change(desired, text).map(|id| vec![id]).map_err(|failure| match failure.code.as_str() {
        "not-found" => Failure { text: format!("no change or tag `{text}` here"), ..failure }
            .hint("see `larder log` and `larder tag`"),
        _ => failure,
    })
}

/// Heads as they are told: the root is no change that anybody could ask for.
pub(super) fn name_heads(desired: &Shard, heads: &[ChangeId]) -> Vec<String> {
    heads.iter().filter(|id| **id != desired.root().id()).map(ToString::to_string).collect()
}

pub(super) async fn log(State(api): State<Api>, Query(of): Query<LogOf>) -> Reply<Log> {
    let reader = api.news.reader();
    api.handle.look(move |machine| read_log(machine, &reader, &of)).await?.map(Shown)
}

fn read_log(machine: &mut Machine, reader: &Reader, asked: &LogOf) -> Result<Log, Failure> {
    let of = names::membership(machine, asked.group.as_deref())?;
    if asked.resource.is_some() {
        of.group.index();
    }
    let desired = names::desired(of)?;
    let moment = |text: &Option<String>| text.as_deref().map(time::parse_moment).transpose();
    let at = asked.at.as_deref().map(|at| point(desired, at)).transpose()?;
    let nodes = asked.node.as_deref().map(|node| names::node(of, node)).transpose()?;
    let query = history::Query {
        resource: asked.resource.as_deref().map(names::resource).transpose()?,
        nodes: nodes.map(|node| BTreeSet::from([node])),
        user: asked.user.clone(),
        since: moment(&asked.since)?,
        until: moment(&asked.until)?,
        // One more than is shown tells whether there are more.
        limit: asked.limit.map(|limit| limit.saturating_add(1)),
        skip: asked.skip,
        all: asked.all,
        at: at.clone(),
    };
    let changes = reader.table(Table::Changes);
    let mut entries = history::log(&of.group, &query, &|key| changes.as_ref()?.get(key));
    if let (Some(name), true) = (&query.resource, entries.is_empty() && asked.skip == 0) {
        let known = larder_core::resource::view::ResourceView::read(desired.state(), name).is_some();
        if !known {
            return Err(
                Failure::not_found(format!("no resource {name} was ever here")).hint("see `larder log`")
            );
        }
    }
    let more = asked.limit.is_some_and(|limit| entries.len() > limit);
    entries.truncate(asked.limit.unwrap_or(usize::MAX));
    let told = at.as_ref().map(|at| name_heads(desired, at));
    let heads = at.unwrap_or_else(|| desired.graph().heads());
    let changes = entries.into_iter().map(|entry| row(of, entry, asked.edits)).collect();
    Ok(Log { heads: heads.iter().map(ToString::to_string).collect(), changes, more, at: told })
}

fn row(of: &Membership, entry: LogEntry, edits: bool) -> LogRow {
    let source = match entry.source {
        Source::Desired => "desired",
        Source::Observed(_) => "observed",
        Source::Membership => "membership",
    };
    let edits = match history::find(&of.group, &entry.id) {
        Ok(Found::Change { epoch, id }) if edits => {
            history::show(&of.group, &epoch, &id).into_iter().map(edit_row).collect()
        }
        _ => Vec::new(),
    };
    let clock = clock(&entry).map(str::to_owned);
    LogRow {
        id: entry.id,
        source: source.to_owned(),
        node: entry.node.map(|node| names::who(of, &node)),
        user: entry.note.user,
        time: Time(entry.note.time),
        message: entry.note.words,
        command: entry.note.command,
        deps: entry.deps,
        parents: entry.parents,
        verified: entry.verified,
        clock,
        touches: entry
            .touches
            .into_iter()
            .map(|touch| TouchRow {
                resource: touch.resource.to_string(),
                fields: touch.fields,
                op: touch.op.word().to_owned(),
            })
            .collect(),
        edits,
    }
}

/// What the author's clock did, if it disagreed with others.
fn clock(entry: &LogEntry) -> Option<&'static str> {
    match entry.note.time > wall().saturating_add(limits::CLOCK_AHEAD) {
        true => Some("ahead"),
        false => entry.behind.then_some("behind"),
    }
}

pub(super) fn edit_row(edit: history::Edit) -> EditRow {
    EditRow {
        resource: edit.resource.to_string(),
        field: edit.field,
        op: edit.op.word().to_owned(),
        old: edit.old.map(Plain),
        new: edit.new.map(Plain),
        change: edit.change.map(|id| id.to_string()),
    }
}

pub(super) async fn show(State(api): State<Api>, Query(of): Query<ShowOf>) -> Reply<Show> {
    let reader = api.news.reader();
    api.handle.look(move |machine| read_show(machine, &reader, &of)).await?.map(Shown)
}

fn read_show(machine: &mut Machine, reader: &Reader, asked: &ShowOf) -> Result<Show, Failure> {
    let of = names::membership(machine, asked.group.as_deref())?;
    let what = &asked.what;
    if what.contains('/') {
        let newest = LogOf {
            at: asked.at.clone(),
            resource: Some(what.clone()),
            limit: Some(1),
            edits: true,
            ..LogOf::default()
        };
        let group = Some(of.group.id().to_string());
        let log = read_log(machine, reader, &LogOf { group, ..newest })?;
        let (change, at) = (log.changes.into_iter().next(), log.at);
        return change
            .map(|change| Show { change, at })
            .ok_or_else(|| Failure::not_found(format!("no change of {what} here")));
    }
    let found = history::find(&of.group, &what.to_ascii_lowercase()).map_err(|error| match error {
        FindError::None => {
            Failure::not_found(format!("no change `{what}` here")).hint("see `larder log --all`")
        }
        FindError::Ambiguous(candidates) => Failure::ambiguous("change", what, &candidates),
    })?;
    let entry = history::entry(&of.group, &found);
    let entry = entry.ok_or_else(|| Failure::not_found(format!("no change `{what}` here")))?;
    Ok(Show { change: row(of, entry, true), at: None })
}

pub(super) async fn diff(State(api): State<Api>, Query(of): Query<DiffOf>) -> Reply<Diff> {
    let look = move |machine: &mut Machine| {
        let member = names::membership(machine, of.group.as_deref())?;
        let desired = names::desired(member)?;
        let resource = of.resource.as_deref().map(names::resource).transpose()?;
        let at =
            |text: Option<&str>, other: Vec<ChangeId>| text.map_or(Ok(other), |text| point(desired, text));
        let from = at(of.from.as_deref(), vec![desired.root().id()])?;
        let to = at(of.to.as_deref(), desired.graph().heads())?;
        let edits = history::diff(desired, &from, &to, resource.as_ref());
        let text = |heads: &[ChangeId]| heads.iter().map(ToString::to_string).collect();
        let told = of.to.is_some().then(|| name_heads(desired, &to));
        let edits = edits.into_iter().map(edit_row).collect();
        Ok(Shown(Diff { from: text(&from), to: text(&to), edits, at: told }))
    };
    api.handle.look(look).await?
}
