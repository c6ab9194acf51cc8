//! What an operator should know of a group before anything else.

use larder_core::machine::{EndedBy, Machine, Membership, Standing};

use super::names;
use crate::failure::{Exit, Failure};
use crate::time;

/// What shows that a copy of this node runs, or ran.
pub(super) const TWIN: &str = "changes came that this node's key wrote and this node does not remember";
/// What that means, and what to do.
pub(super) const TWIN_HINT: &str = "a copy of its data directory runs elsewhere, or this one was restored from a backup. \
                                    If there is a copy, stop one of the two";

/// What shows that this may be a copy.
pub(super) const REBORN: &str =
    "this data directory was copied, moved or restored before this start: the node writes under new chains";
/// What to do then.
pub(super) const REBORN_HINT: &str = "if the machine that it comes from still runs, stop one of the two";

/// Members whose history forked, each in a sentence.
pub(super) fn forked(of: &Membership) -> impl Iterator<Item = String> {
    of.group.members().keys().filter(|key| of.group.is_forked(key)).map(|key| {
        let name = names::alias(of, &key).unwrap_or_else(|| key.short());
        format!("the history of {name} forked: its data directory was copied, or set back")
    })
}

/// Everything that should not go unseen.
pub(super) fn warnings(machine: &Machine, of: &Membership) -> Vec<String> {
    let mut out: Vec<String> = outside(machine, of).into_iter().collect();
    if of.twin {
        out.push(format!("{TWIN}: {TWIN_HINT}"));
    }
    if of.reborn {
        out.push(format!("{REBORN}; {REBORN_HINT}"));
    }
    out.extend(
        forked(of).map(|text| format!("{text}. What the other branches say is in `larder quarantine list`")),
    );
    for id in of.group.members().unsupported() {
        out.push(format!("membership record {} is not understood by this version", id.short()));
    }
    let aside = wishes_aside(of);
    if aside > 0 {
        let changes = crate::render::count(aside, "change");
        out.push(format!("{changes} kept aside, without effect: see `larder quarantine list`"));
    }
    for (what, bound) in machine.bounds().iter() {
        out.push(format!(
            "there were as many {what} as this node takes ({}), and {} more were put off",
            bound.most, bound.hits
        ));
    }
    out
}

/// How many changes of the desired state are kept aside: what nodes reported of themselves is not worth a word.
pub(super) fn wishes_aside(of: &Membership) -> usize {
    let epoch = of.group.desired().map(|desired| desired.root().epoch());
    epoch.and_then(|epoch| of.group.aside(&epoch)).map_or(0, |aside| aside.iter().count())
}

/// Why this node is no member, if it is none.
pub(super) fn outside(machine: &Machine, of: &Membership) -> Option<String> {
    let (me, name) = (machine.me(), of.group.name());
    let standing = Standing::of(of.group.members(), &me);
    let ended = EndedBy::of(&of.group, &me);
    let by = ended.as_ref().map(|ended| {
        let who = match &ended.by {
            Some(key) => names::alias(of, key).unwrap_or_else(|| key.short()),
            None => "the recovery key".to_owned(),
        };
        let user =
            if ended.remark.user.is_empty() { String::new() } else { format!("{}@", ended.remark.user) };
        let when = if ended.remark.time == 0 {
            String::new()
        } else {
            format!(" on {}", time::local(ended.remark.time))
        };
        let why =
            if ended.remark.words.is_empty() { String::new() } else { format!(": {}", ended.remark.words) };
        (format!("by {user}{who}{when}{why}"), when)
    });
    let (by, when) = by.unwrap_or_default();
    let rest = "its data stays readable here, and changes no more";
    match standing {
        Standing::Member => None,
        Standing::Left => Some(format!("this node left group `{name}`{when}; {rest}")),
        Standing::Removed => Some(format!("this node was removed from group `{name}` {by}; {rest}")),
        Standing::Dissolved => Some(format!("group `{name}` was dissolved {by}; {rest}")),
        Standing::Stranger => Some(format!("this node is no member of group `{name}`; {rest}")),
    }
}

/// Refuses what only a member may do.
pub(super) fn only_members(machine: &Machine, of: &Membership) -> Result<(), Failure> {
    match outside(machine, of) {
        None => Ok(()),
        Some(text) => Err(Failure::new(Exit::Refused, "no-member", text)
            .hint("ask an admin for a code, and come back with `larder join CODE`")),
    }
}
