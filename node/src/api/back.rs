//! Putting back: undo, revert and restore, each as one change; and the tags that name points to go back to.

use std::collections::BTreeSet;

use axum::extract::State;
use larder_core::group::Note;
use larder_core::history::{self, Found, Scope, UNDO};
use larder_core::id::{ChangeId, GroupId};
use larder_core::machine::{Answer, Declined, Machine, Membership, Request};
use larder_core::resource::tag;
use larder_core::shard::Shard;
use serde::{Deserialize, Serialize};

use super::history::{edit_row, point};
use super::names::{self, Which};
use super::{Api, Body, Query, Reply, Shown, User};
use crate::failure::{Exit, Failure};
use crate::view::{Back, Plan, TagRow, Tags, Time};

/// What `undo`, `revert` and `restore` ask for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PutBack {
    /// In which group.
    pub group: Option<String>,
    /// What.
    pub what: What,
    /// Why, in the operator's words; if empty, it is said what was put back.
    pub message: String,
    /// Only say what would differ.
    pub dry_run: bool,
}

/// What is to be put back, in names as they were typed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The newest thing that this node did and that is not undone yet.
    Undo,
    /// What these changes did.
    Revert(Vec<String>),
    /// How it was.
    Restore {
        /// At a time, change or tag.
        at: String,
        /// `<kind>` or `<kind>/<name>`; everything if left out.
        path: Option<String>,
    },
}

/// A request whose names are understood.
struct Meant {
    group: GroupId,
    back: history::Back,
    of: Vec<ChangeId>,
    note: Note,
    plan: Plan,
}

pub(super) async fn back(State(api): State<Api>, user: User, Body(asked): Body<PutBack>) -> Reply<Back> {
    let dry_run = asked.dry_run;
    let meant = api.handle.look(move |machine| understand(machine, asked, user.0)).await??;
    if dry_run {
        return Ok(Shown(Back { change: None, of: texts(&meant.of), edits: meant.plan.edits }));
    }
    let group = meant.group;
    let request = Request::PutBack { group, back: meant.back, note: meant.note };
    let change = match api.handle.request(request).await? {
        Answer::Written(change) => change,
        _ => return Err(Failure::failed("the machine answered something else; please report this")),
    };
    let done = move |machine: &mut Machine| {
        let of = names::membership(machine, Some(&group.to_string()))?;
        let epoch = names::desired(of)?.root().epoch();
        let edits = change.map(|id| history::show(&of.group, &epoch, &id)).unwrap_or_default();
        let edits = edits.into_iter().map(edit_row).collect();
        Ok(Shown(Back { change: change.map(|id| id.to_string()), of: texts(&meant.of), edits }))
    };
    api.handle.look(done).await?
}

fn texts(ids: &[ChangeId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn understand(machine: &mut Machine, asked: PutBack, user: String) -> Result<Meant, Failure> {
    let me = machine.me();
    let group = names::group(machine, asked.group.as_deref())?;
    let of = machine.group(&group).ok_or_else(|| Failure::failed("the group is gone"))?;
    super::warnings::only_members(machine, of)?;
    let of = names::membership(machine, Some(&group.to_string()))?;
    let desired = names::desired(of)?;
    let (back, changes, command, words) = match asked.what {
        What::Undo => {
            let done = history::newest_done(&of.group, &me).ok_or_else(|| {
                Failure::not_found("this node has done nothing lately that could be undone")
                    .hint("see `larder log`; `larder revert CHANGE` takes back what any node did")
            })?;
            let (change, cancelled) = (done.change, done.cancelled);
            let back = history::Back::Revert { changes: BTreeSet::from([change]), cancelled };
            (back, vec![change], format!("{UNDO}{change}"), said_of(of, "undoes", &[change]))
        }
        What::Revert(texts) => {
            let changes = reverted(of, desired, &texts)?;
            let command = format!("revert {}", shorts(&changes));
            let words = said_of(of, "reverts", &changes);
            let set = changes.iter().copied().collect();
            (history::Back::Revert { changes: set, cancelled: BTreeSet::new() }, changes, command, words)
        }
        What::Restore { at, path } => {
            let heads = point(desired, &at)?;
            let scope = scope(desired, path.as_deref())?;
            let command = format!("restore --at {at} {}", path.unwrap_or_default()).trim_end().to_owned();
            let words = format!("restores what was wanted at {at}");
            (history::Back::Restore { at: heads.clone(), scope }, heads, command, words)
        }
    };
    let puts = history::put_back(desired, of.group.members(), &back)
        .map_err(|error| Failure::from(Declined::from(error)))?;
    let plan = Plan::new(desired, &puts);
    let words = if asked.message.is_empty() { words } else { asked.message };
    let note = Note { words, user, command, time: 0 };
    Ok(Meant { group, back, of: changes, note, plan })
}

/// The changes that are to be reverted: of `desired` alone, since what a machine observed is what was so.
fn reverted(of: &Membership, desired: &Shard, texts: &[String]) -> Result<Vec<ChangeId>, Failure> {
    let one = |text: &String| {
        let found = history::find(&of.group, &text.to_ascii_lowercase());
        let elsewhere = found.is_ok_and(|found| match found {
            Found::Change { epoch, .. } => epoch != desired.root().epoch(),
            Found::Record(_) => true,
        });
        if elsewhere {
            let text = format!("{text} is no change of what is wanted, and only those can be reverted");
            return Err(Failure::new(Exit::Refused, "not-desired", text)
                .hint("see `larder show`; memberships are changed by `larder role` and `larder remove`"));
        }
        names::change(desired, text)
    };
    let mut changes = texts.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    changes.sort_unstable();
    changes.dedup();
    Ok(changes)
}

fn scope(desired: &Shard, path: Option<&str>) -> Result<Scope, Failure> {
    let scope = names::scope(path)?;
    if !history::is_known(desired, &scope) {
        let path = path.unwrap_or_default();
        return Err(Failure::not_found(format!("no resource {path} was ever here")).hint("see `larder log`"));
    }
    Ok(scope)
}

fn shorts(changes: &[ChangeId]) -> String {
    changes.iter().map(ChangeId::short).collect::<Vec<_>>().join(" ")
}

/// What a change is said to be for that takes others back, if nobody says more.
fn said_of(of: &Membership, does: &str, changes: &[ChangeId]) -> String {
    let whole = format!("{does} {}", shorts(changes));
    let [one] = changes else { return whole };
    let epoch = of.group.desired().map(|shard| shard.root().epoch());
    let entry = epoch.and_then(|epoch| history::entry(&of.group, &Found::Change { epoch, id: *one }));
    match entry.as_ref().and_then(|entry| entry.note.words.lines().next()) {
        Some(words) if !words.is_empty() => format!("{whole}: {words}"),
        _ => whole,
    }
}

/// The change that a tag is to be made of, and whether it may be.
pub(super) fn tagged(
    of: &Membership,
    name: &str,
    at: Option<&str>,
    force: bool,
) -> Result<Vec<ChangeId>, Failure> {
    let desired = names::desired(of)?;
    if crate::time::looks_like_time(name) {
        return Err(Failure::usage(format!("`{name}` cannot be a tag: it may be taken for a time"))
            .hint("as before_upgrade or v1.2"));
    }
    let mut heads = at.map_or_else(|| Ok(desired.graph().heads()), |at| point(desired, at))?;
    heads.sort_unstable();
    match tag::tag(desired, name) {
        Some(there) if there.heads != heads && !force => {
            let text = format!("tag {name} stands for {} already", shorts(&there.heads));
            Err(Failure::new(Exit::Refused, "tag-exists", text)
                .hint("move it with --force, or take another name"))
        }
        _ => Ok(heads),
    }
}

/// Refuses to take away a tag that is not there.
pub(super) fn known_tag(of: &Membership, name: &str) -> Result<(), Failure> {
    match tag::tag(names::desired(of)?, name) {
        Some(_) => Ok(()),
        None => Err(Failure::not_found(format!("no tag `{name}` here")).hint("see `larder tag`")),
    }
}

pub(super) async fn tags(State(api): State<Api>, Query(which): Query<Which>) -> Reply<Tags> {
    let look = move |machine: &mut Machine| {
        let of = names::membership(machine, which.group.as_deref())?;
        let desired = names::desired(of)?;
        let tags = tag::tags(desired).into_iter().filter_map(|tag| tag_row(of, desired, &tag)).collect();
        Ok(Shown(Tags { tags }))
    };
    api.handle.look(look).await?
}

fn tag_row(of: &Membership, desired: &Shard, tag: &tag::Tag) -> Option<TagRow> {
    let found = Found::Change { epoch: desired.root().epoch(), id: tag.change };
    let entry = history::entry(&of.group, &found)?;
    Some(TagRow {
        name: tag.name.clone(),
        heads: texts(&tag.heads),
        change: tag.change.to_string(),
        node: entry.node.map(|node| names::who(of, &node)),
        user: entry.note.user,
        time: Time(entry.note.time),
        message: entry.note.words,
    })
}
