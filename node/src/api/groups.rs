//! Groups: founding and listing them.

use std::path::PathBuf;

use axum::extract::State;
use larder_core::id::GroupId;
use larder_core::machine::{Answer, Machine, Request, Standing};
use serde::{Deserialize, Serialize};

use super::{Api, Body, Reply, Shown};
use crate::daemon::Handle;
use crate::failure::{Exit, Failure};
use crate::identity;
use crate::place::{Place, write_secret};
use crate::view::{Founded, GroupRow, Groups, Joining, Paths};

/// What `init` asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    /// What to call the group.
    pub name: String,
}

pub(super) async fn paths(State(api): State<Api>) -> Reply<Paths> {
    Ok(Shown(describe(&api.place, true)))
}

/// A node's paths.
pub fn describe(place: &Place, running: bool) -> Paths {
    let text = |path: PathBuf| path.display().to_string();
    Paths {
        data: text(place.data.clone()),
        socket: text(place.socket.clone()),
        key: text(place.key()),
        store: text(place.store()),
        settings: text(place.settings()),
        running,
    }
}

pub(super) async fn list(State(api): State<Api>) -> Reply<Groups> {
    Ok(Shown(api.handle.look(|machine| read(machine)).await?))
}

fn read(machine: &Machine) -> Groups {
    let me = machine.me();
    let mut groups: Vec<GroupRow> = machine
        .groups()
        .map(|of| GroupRow {
            id: of.group.id().to_string(),
            name: of.group.name().to_owned(),
            role: of.group.members().role(&me).map(|role| role.to_string()),
            members: of.group.members().keys().count(),
            changes: of.group.changes(),
            paused: of.paused,
            standing: Standing::of(of.group.members(), &me).word().to_owned(),
        })
        .collect();
    groups.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    let joins = machine.joins().filter(|(_, join)| !join.granted);
    let joining = joins.map(|(id, join)| Joining { id: id.to_string(), waiting_for: join.waiting.clone() });
    Groups { groups, joining: joining.collect() }
}

pub(super) async fn create(State(api): State<Api>, Body(found_): Body<Found>) -> Reply<Founded> {
    let (id, recovery) = found(&api.handle, &api.place, &found_.name).await?;
    let recovery_key = recovery.display().to_string();
    Ok(Shown(Founded { id: id.to_string(), name: found_.name, recovery_key }))
}

/// Founds a group, and writes its recovery key into the data directory.
pub async fn found(handle: &Handle, place: &Place, name: &str) -> Result<(GroupId, PathBuf), Failure> {
    let wanted = name.to_owned();
    let taken = handle.look(move |machine| machine.groups().any(|of| of.group.name() == wanted)).await?;
    if taken {
        return Err(Failure::new(
            Exit::Refused,
            "member",
            format!("this node is in a group `{name}` already"),
        )
        .hint("see `larder groups`"));
    }
    let Answer::Founded { group, recovery } =
        handle.request(Request::Found { name: name.to_owned() }).await?
    else {
        return Err(Failure::failed("the machine answered something else; please report this"));
    };
    let path = place.recovery(&group.to_string());
    let text = format!(
        "# The recovery key of the Larder group \"{}\". Whoever has it can regain the group: keep it off this machine.\n{}",
        name.escape_default(),
        identity::print(&recovery)
    );
    write_secret(&path, &text).map_err(|error| {
        Failure::failed(format!(
            "the group was founded, but its recovery key could not be written to {}: {error}; without it nobody can \
             regain the group if all admins are lost",
            path.display()
        ))
    })?;
    Ok((group, path))
}
