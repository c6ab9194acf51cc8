//! Who wrote what a resource says.

use axum::extract::State;
use larder_core::history;
use larder_core::machine::{Machine, Membership};
use larder_core::resource::field::FieldPath;
use larder_core::store::Table;
use serde::Deserialize;

use super::history::{name_heads, point};
use super::names;
use super::{Api, Query, Reply, Shown};
use crate::failure::Failure;
use crate::store::Reader;
use crate::view::{Blame, BlameLine, BlameRow, Origin, Plain, Time};

/// What `blame` asks for.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct BlameOf {
    group: Option<String>,
    at: Option<String>,
    resource: String,
    /// One field, and those below it.
    field: Option<String>,
}

pub(super) async fn blame(State(api): State<Api>, Query(of): Query<BlameOf>) -> Reply<Blame> {
    let reader = api.news.reader();
    api.handle.look(move |machine| read(machine, &reader, &of)).await?.map(Shown)
}

fn read(machine: &mut Machine, reader: &Reader, asked: &BlameOf) -> Result<Blame, Failure> {
    let of = names::membership(machine, asked.group.as_deref())?;
    let desired = names::desired(of)?;
    let name = names::resource(&asked.resource)?;
    let path = |text: &str| {
        let path = text.parse::<FieldPath>().map_err(|error| Failure::not_found(error.to_string()));
        path.map(|path| path.to_string())
    };
    let field = asked.field.as_deref().map(path).transpose()?;
    let at = asked.at.as_deref().map(|at| point(desired, at)).transpose()?;
    let heads = at.clone().unwrap_or_else(|| desired.graph().heads());
    let changes = reader.table(Table::Changes);
    let stored = |key: &[u8]| changes.as_ref()?.get(key);
    let found = history::blame(&of.group, &name, field.as_deref(), &heads, &stored);
    if found.is_empty() {
        let then = if at.is_some() { " then" } else { "" };
        return Err(match &asked.field {
            Some(field) => Failure::not_found(format!("{name} has no field `{field}`{then}"))
                .hint(format!("see `larder blame {name}`")),
            None => Failure::not_found(format!("no resource {name} here{then}")).hint("see `larder list`"),
        });
    }
    Ok(Blame {
        resource: name.to_string(),
        at: at.map(|at| name_heads(desired, &at)),
        fields: found.into_iter().map(|one| row(of, one)).collect(),
    })
}

fn row(of: &Membership, one: history::Blame) -> BlameRow {
    let line = |line: history::Line| BlameLine {
        text: line.text,
        origin: origin(of, line.origin),
        older: line.older,
    };
    BlameRow {
        field: one.field,
        value: Plain(one.value),
        origin: origin(of, one.origin),
        lines: one.lines.into_iter().map(line).collect(),
    }
}

fn origin(of: &Membership, origin: history::Origin) -> Origin {
    Origin {
        change: origin.change.to_string(),
        node: origin.node.map(|node| names::who(of, &node)),
        user: origin.user,
        time: Time(origin.time),
    }
}
