//! What this machine really has, written to its observed shard: on transitions only, gathered, and never in a flurry.

use std::collections::BTreeMap;

use super::Machine;
use super::effect::{Effect, Notice};
use crate::group::Note;
use crate::id::GroupId;
use crate::limits;
use crate::resource::ResourceName;
use crate::resource::observed::Observed;
use crate::shard::root::ShardName;
use crate::value::Value;

impl Machine {
    pub(super) fn observe(&mut self, group: GroupId, reports: Vec<(ResourceName, Observed)>) {
        if self.outbox.has_failed() {
            return;
        }
        let now = self.now.mono;
        let Some(of) = self.groups.get_mut(&group) else { return };
        of.observing.pending.extend(reports);
        if of.observing.pending.is_empty() {
            return;
        }
        let spaced = of.observing.written.map_or(now, |at| at.plus_ms(limits::OBSERVE_SPACING_MS));
        let due = now.plus_ms(limits::OBSERVE_MS).max(spaced);
        of.observing.due.get_or_insert(due);
    }

    pub(super) fn write_observed(&mut self) {
        if self.outbox.has_failed() {
            return;
        }
        let now = self.now.mono;
        for group in self.groups.keys().copied().collect::<Vec<_>>() {
            let fresh = self.chance.incarnation();
            let Some((of, mut cx)) = self.split(group) else { continue };
            if of.refetching || of.observing.due.is_none_or(|due| due > now) {
                continue;
            }
            of.observing.due = None;
            of.observing.written = Some(now);
            let pending = std::mem::take(&mut of.observing.pending);
            let puts = transitions(of.group.observed_by(&cx.me), pending);
            let note = Note { time: cx.now.wall, ..Note::default() };
            // The shard's own name does not matter: a node observes under its oldest grant that may.
            match of.group.write(
                cx.secret,
                ShardName::Observed(crate::id::RecordId::ZERO),
                puts,
                &note,
                fresh,
            ) {
                Ok(written) => of.wrote(&mut cx, written),
                // A reader observes nothing.
                Err(crate::group::AuthorError::Role(_) | crate::group::AuthorError::Member) => {}
                Err(error) => {
                    cx.outbox.push(Effect::Notice(Notice::Isolated { group, what: error.to_string() }))
                }
            }
        }
    }
}

/// What differs from what was written before, the time apart.
fn transitions(
    shard: Option<&crate::shard::Shard>,
    pending: BTreeMap<ResourceName, Observed>,
) -> BTreeMap<String, Value> {
    let before = |key: &str| shard.and_then(|shard| shard.state().winner(key)).and_then(Observed::decode);
    let mut puts = BTreeMap::new();
    for (resource, observed) in pending {
        let key = resource.to_string();
        let same =
            before(&key).is_some_and(|before| Observed { since: observed.since, ..before } == observed);
        if !same {
            puts.insert(key, observed.encode());
        }
    }
    puts
}
