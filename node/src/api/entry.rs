//! Machines that ask to be let in, from both sides.

use axum::extract::State;
use data_encoding::HEXLOWER;
use larder_core::id::{NodeId, hash16};
use larder_core::machine::{Machine, Request};
use serde::{Deserialize, Serialize};

use super::names::{self, Which};
use super::{Api, Body, Query, Reply, Shown};
use crate::failure::Failure;
use crate::limits;
use crate::view::{Asking, Done, HeardBy, Joined, Pending, PendingRow, Time};

/// What `join` without a code asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// What to be called.
    pub alias: Option<String>,
    /// The labels to ask for.
    pub labels: Vec<(String, String)>,
}

/// What this node's operator saw where it is let in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Agree {
    /// Six digits.
    pub digits: String,
}

/// Whom `deny` means.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deny {
    /// In which group.
    pub group: Option<String>,
    /// A prefix of its id.
    pub node: String,
}

/// Six digits, as they were typed.
pub fn digits(text: &str) -> Result<u32, Failure> {
    let plain: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    let sound = plain.len() == 6 && plain.chars().all(|c| c.is_ascii_digit());
    let number = plain.parse().ok().filter(|_| sound);
    number.ok_or_else(|| Failure::usage("the digits are six, as the other screen shows them"))
}

pub(super) async fn pending(State(api): State<Api>, Query(which): Query<Which>) -> Reply<Pending> {
    let look = move |machine: &mut Machine| {
        let pending = rows(machine, &which)?.into_iter().map(|(_, row)| row).collect();
        Ok(Shown(Pending { pending }))
    };
    api.handle.look(look).await?
}

/// Those that ask, with and without a code. A node that is in no group is asked by nobody.
fn rows(machine: &Machine, which: &Which) -> Result<Vec<(NodeId, PendingRow)>, Failure> {
    let mut rows: Vec<(NodeId, PendingRow)> = Vec::new();
    for (id, asked, digits) in machine.asks() {
        let row = PendingRow {
            id: id.to_string(),
            alias: asked.alias.clone(),
            labels: asked.labels.clone(),
            since: Some(Time(asked.since)),
            digits: digits.map(|digits| format!("{digits:06}")),
            waiting_for: None,
            addrs: Vec::new(),
        };
        rows.push((id, row));
    }
    if which.group.is_some() || machine.groups().count() > 0 {
        let group = names::group(machine, which.group.as_deref())?;
        let of = machine.group(&group).ok_or_else(|| Failure::failed("the group is gone"))?;
        for (id, alias, labels, issuer) in of.waiting() {
            let row = PendingRow {
                id: id.to_string(),
                alias: alias.to_owned(),
                labels: labels.to_vec(),
                since: None,
                digits: None,
                waiting_for: Some(issuer),
                addrs: Vec::new(),
            };
            rows.push((id, row));
        }
    }
    let seen = machine.strangers();
    for (id, row) in &mut rows {
        let view = seen.iter().find(|view| view.id == *id);
        row.addrs = view.map(|view| view.addresses.clone()).unwrap_or_default();
    }
    rows.sort_by_key(|(id, _)| *id);
    Ok(rows)
}

/// The machine that asks and is meant, by a prefix of its id or by the alias it asks for.
pub(super) fn find(machine: &Machine, which: &Which, text: &str) -> Result<NodeId, Failure> {
    let rows = rows(machine, which)?;
    let prefix = text.to_ascii_lowercase();
    let by_id = rows.iter().filter(|(_, row)| !prefix.is_empty() && row.id.starts_with(&prefix));
    let called = rows.iter().filter(|(_, row)| !text.is_empty() && row.alias == text);
    let mut found: Vec<NodeId> = by_id.map(|(id, _)| *id).collect();
    if found.is_empty() {
        found = called.map(|(id, _)| *id).collect();
    }
    match found.as_slice() {
        [one] => Ok(*one),
        [] => {
            Err(Failure::not_found(format!("no machine `{text}` asks to be let in"))
                .hint("see `larder pending`"))
        }
        several => {
            let ids: Vec<String> = several.iter().map(NodeId::to_string).collect();
            Err(Failure::ambiguous("machine", text, &ids))
        }
    }
}

pub(super) async fn deny(State(api): State<Api>, Body(deny): Body<Deny>) -> Reply<Done> {
    let look = move |machine: &mut Machine| {
        let which = Which { group: deny.group.clone(), at: None };
        find(machine, &which, &deny.node)
    };
    let node = api.handle.look(look).await??;
    api.handle.request(Request::Deny { node }).await?;
    Ok(Shown(Done {}))
}

pub(super) async fn ask(State(api): State<Api>, Body(ask): Body<Ask>) -> Reply<Done> {
    let mut labels = ask.labels;
    labels.sort();
    api.handle.request(Request::Ask { alias: ask.alias.unwrap_or_default(), labels }).await?;
    Ok(Shown(Done {}))
}

pub(super) async fn agree(State(api): State<Api>, Body(agree): Body<Agree>) -> Reply<Done> {
    api.handle.request(Request::Agree { digits: digits(&agree.digits)? }).await?;
    Ok(Shown(Done {}))
}

pub(super) async fn stop(State(api): State<Api>) -> Reply<Done> {
    api.handle.request(Request::StopAsking).await?;
    Ok(Shown(Done {}))
}

/// What of this node's asking was seen already.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Told {
    /// The mark of what was seen; an answer waits for something else, but not longer than [`limits::ASK_HOLD`].
    seen: Option<String>,
}

pub(super) async fn asking(State(api): State<Api>, Query(told): Query<Told>) -> Reply<Asking> {
    let (mut moved, mut stopping) = api.news.moves();
    let until = tokio::time::Instant::now() + limits::ASK_HOLD;
    loop {
        let stands = api.handle.look(|machine| how_it_stands(machine)).await?;
        if told.seen.as_ref() != Some(&stands.mark) {
            return Ok(Shown(stands));
        }
        tokio::select! {
            changed = moved.changed() => if changed.is_err() { return Ok(Shown(stands)) },
            _ = stopping.changed() => return Ok(Shown(stands)),
            () = tokio::time::sleep_until(until) => return Ok(Shown(stands)),
        }
    }
}

fn how_it_stands(machine: &Machine) -> Asking {
    let me = machine.me();
    let Some(seeking) = machine.seeking() else {
        return marked(false, Vec::new(), None);
    };
    let heard = seeking.meetings(&me).map(|(id, digits, denied)| HeardBy {
        id: id.to_string(),
        digits: format!("{digits:06}"),
        denied,
    });
    let joined = seeking.entered.and_then(|group| machine.group(&group)).map(|of| Joined {
        id: of.group.id().to_string(),
        name: of.group.name().to_owned(),
        role: of.group.members().role(&me).map(|role| role.to_string()).unwrap_or_default(),
    });
    marked(seeking.entered.is_none(), heard.collect(), joined)
}

fn marked(asking: bool, heard: Vec<HeardBy>, joined: Option<Joined>) -> Asking {
    let mark = hash16("larder 1 asking", &[format!("{asking} {heard:?} {joined:?}").as_bytes()]);
    Asking { asking, heard, joined, mark: HEXLOWER.encode(&mark) }
}
