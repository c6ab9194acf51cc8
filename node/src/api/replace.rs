//! One machine in another's place.

use axum::extract::State;
use larder_core::group::Note;
use larder_core::id::{ChangeId, GroupId, NodeId};
use larder_core::limits::AWAY_MS;
use larder_core::machine::{Answer, Machine, NodeState, NodeView, Request, WriteRequest};
use larder_core::resource::replace::{Replacement, replacement};
use serde::{Deserialize, Serialize};

use super::{Api, Body, Reply, Shown, User, names, warnings};
use crate::failure::{Exit, Failure};
use crate::view::Replaced;

/// What `replace` asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Replace {
    /// In which group.
    pub group: Option<String>,
    /// Whose place this node takes.
    pub old: String,
    /// Why, in the operator's words.
    pub message: String,
    /// The command, for the history.
    pub command: String,
}

/// What there is to write, and against which state of things.
struct Drawn {
    group: GroupId,
    old: NodeId,
    is_member: bool,
    replacement: Replacement,
    base: Vec<ChangeId>,
}

pub(super) async fn replace(
    State(api): State<Api>,
    user: User,
    Body(replace): Body<Replace>,
) -> Reply<Replaced> {
    let (group, old) = (replace.group, replace.old);
    let look = move |machine: &mut Machine| draw(machine, group.as_deref(), &old);
    let Drawn { group, old, is_member, replacement, base } = api.handle.look(look).await??;
    let note = Note { words: replace.message, user: user.0, command: replace.command, time: 0 };
    let Replacement { labels, resources, edits } = replacement;
    // The values stand in the document already, even those that this version does not know.
    let write = WriteRequest { group, edits, base: Some(base), note, lenient: true };
    let Answer::Written(change) = api.handle.request(Request::Write(write)).await? else {
        return Err(Failure::failed("the machine answered something else; please report this"));
    };
    Ok(Shown(Replaced {
        old: old.to_string(),
        is_member,
        alias: labels.alias,
        labels: labels.labels,
        resources: resources.iter().map(ToString::to_string).collect(),
        change: change.map(|id| id.to_string()),
    }))
}

fn draw(machine: &mut Machine, group: Option<&str>, old: &str) -> Result<Drawn, Failure> {
    let group = names::group(machine, group)?;
    let of = machine.group(&group).ok_or_else(|| Failure::failed("the group is gone"))?;
    warnings::only_members(machine, of)?;
    let (id, me) = (names::node_or_former(of, old)?, machine.me());
    if id == me {
        return Err(Failure::usage(
            "that is this node itself: run `replace` on the machine that takes the place",
        ));
    }
    let is_up = |node: &NodeView| node.id == id && node.state == NodeState::Up;
    if machine.members(of).iter().any(is_up) {
        let text = format!("{old} is up, and would run what is meant for this node from now on");
        return Err(Failure::new(Exit::Refused, "up", text)
            .hint(format!(
                "stop its daemon, or remove it with `larder remove`; it counts as up for {} s after it was heard last",
                AWAY_MS.div_ceil(1000)
            )));
    }
    let desired = names::desired(of)?;
    let members = of.group.members();
    Ok(Drawn {
        group,
        old: id,
        is_member: members.contains(&id),
        replacement: replacement(desired.state(), members, &id, &me),
        base: desired.graph().heads(),
    })
}
