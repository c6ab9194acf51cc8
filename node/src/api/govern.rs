//! Governing a group: who is in it, with which role, and what of theirs counts.

use axum::extract::State;
use larder_core::group::Note;
use larder_core::id::{ChangeId, GroupId, Secret};
use larder_core::machine::{self, Answer, Machine, Membership, Request};
use larder_core::record::Role;
use serde::{Deserialize, Serialize};

use super::names::{self, Which};
use super::{Api, Body, Reply, Shown, User, entry, warnings};
use crate::failure::Failure;
use crate::identity;
use crate::view::Written;

/// What a governing command asks for.
#[derive(Clone, Serialize, Deserialize)]
pub struct Govern {
    /// In which group.
    pub group: Option<String>,
    /// What to do.
    pub act: Act,
    /// Why, in the operator's words.
    pub message: String,
}

/// What to do, in names as they were typed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// End a membership.
    Remove {
        /// Whose.
        node: String,
        /// The last of its changes that is to count.
        keep_through: Option<String>,
    },
    /// Give another role.
    Role {
        /// To whom.
        node: String,
        /// The role.
        role: String,
    },
    /// Leave the group.
    Leave {
        /// Though no other admin is left.
        force: bool,
    },
    /// End the group for everybody.
    Dissolve {
        /// The recovery key, as its file holds it.
        key: Option<String>,
    },
    /// Drop what a former member observed.
    Forget {
        /// Whose.
        node: String,
    },
    /// Become an admin by the recovery key.
    Recover {
        /// The key, as its file holds it.
        key: String,
    },
    /// Bring changes in that are kept aside.
    Readmit {
        /// Which.
        changes: Vec<String>,
    },
    /// Write what they say once more.
    Rewrite {
        /// Which.
        changes: Vec<String>,
        /// The command, for the history.
        command: String,
    },
    /// Let a machine in that asks.
    Approve {
        /// Which.
        node: String,
        /// With which role.
        role: String,
        /// What its screen shows.
        digits: Option<String>,
    },
}

pub(super) async fn govern(State(api): State<Api>, user: User, Body(govern): Body<Govern>) -> Reply<Written> {
    let words = govern.message.clone();
    let named = user.0.clone();
    let look = move |machine: &mut Machine| understand(machine, &govern, &named);
    let (group, act) = api.handle.look(look).await??;
    let request = Request::Govern(machine::Govern { group, act, user: user.0, words });
    match api.handle.request(request).await? {
        Answer::Written(change) => Ok(Shown(Written { change: change.map(|id| id.to_string()) })),
        _ => Ok(Shown(Written { change: None })),
    }
}

fn understand(
    machine: &mut Machine,
    govern: &Govern,
    user: &str,
) -> Result<(GroupId, machine::Act), Failure> {
    let group = names::group(machine, govern.group.as_deref())?;
    let of = machine.group(&group).ok_or_else(|| Failure::failed("the group is gone"))?;
    if !matches!(govern.act, Act::Recover { .. } | Act::Dissolve { key: Some(_) }) {
        warnings::only_members(machine, of)?;
    }
    let act = match &govern.act {
        Act::Remove { node, keep_through } => {
            let change = |text: &String| names::change(names::desired(of)?, text);
            let keep_through = keep_through.as_ref().map(change).transpose()?;
            machine::Act::Remove { node: names::node(of, node)?, keep_through }
        }
        Act::Role { node, role: name } => {
            machine::Act::Role { node: names::node(of, node)?, role: role(name)? }
        }
        Act::Leave { force } => machine::Act::Leave { force: *force },
        Act::Dissolve { key: text } => {
            machine::Act::Dissolve { recovery: text.as_deref().map(key).transpose()? }
        }
        Act::Forget { node } => machine::Act::Forget { node: names::node_or_former(of, node)? },
        Act::Recover { key: text } => machine::Act::Recover { key: key(text)? },
        Act::Readmit { changes } => machine::Act::Readmit { changes: asides(of, changes)? },
        Act::Rewrite { changes, command } => machine::Act::Rewrite {
            changes: asides(of, changes)?,
            note: Note {
                words: govern.message.clone(),
                user: user.to_owned(),
                command: command.clone(),
                time: 0,
            },
        },
        Act::Approve { node, role: name, digits } => {
            let which = Which { group: govern.group.clone(), at: None };
            let digits = digits.as_deref().map(entry::digits).transpose()?;
            machine::Act::Approve { node: entry::find(machine, &which, node)?, role: role(name)?, digits }
        }
    };
    Ok((group, act))
}

fn role(name: &str) -> Result<Role, Failure> {
    let unknown = || Failure::usage(format!("`{name}` is not a role: admin, operator, node or reader"));
    Role::parse(name).ok_or_else(unknown)
}

/// The recovery key in a file: lines that begin with # are words.
fn key(text: &str) -> Result<Secret, Failure> {
    let line = text.lines().find(|line| !line.starts_with('#') && !line.trim().is_empty());
    let none = || Failure::usage("that file holds no recovery key").hint("it is called recovery-GROUP.key");
    line.and_then(identity::parse).ok_or_else(none)
}

/// Changes that are kept aside, each by a unique prefix of its id.
fn asides(of: &Membership, texts: &[String]) -> Result<Vec<ChangeId>, Failure> {
    texts.iter().map(|text| aside(of, text)).collect()
}

/// A change that is kept aside, by a unique prefix of its id.
pub(super) fn aside(of: &Membership, text: &str) -> Result<ChangeId, Failure> {
    let prefix = text.trim().to_ascii_lowercase();
    let all = of.group.asides().flat_map(|(_, aside)| aside.iter()).map(larder_core::group::Beside::id);
    let found: Vec<ChangeId> =
        all.filter(|id| !prefix.is_empty() && id.to_string().starts_with(&prefix)).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(Failure::not_found(format!("no change `{text}` is kept aside"))
            .hint("see `larder quarantine list`")),
        several => {
            let ids: Vec<String> = several.iter().map(ChangeId::to_string).collect();
            Err(Failure::ambiguous("change", text, &ids))
        }
    }
}
