//! Founding groups, and writing to their desired state.

use std::collections::BTreeMap;

use super::Machine;
use super::effect::{Answer, Declined, Effect, Notice};
use super::hosting;
use super::input::{Caller, WriteRequest};
use super::membership::Membership;
use crate::group::{Group, Note};
use crate::history::{self, Back};
use crate::id::{ChangeId, GroupId};
use crate::limits;
use crate::record::Records;
use crate::resource::draft;
use crate::shard::root::ShardName;
use crate::value::Value;

impl Machine {
    pub(super) fn found(&mut self, caller: Caller, name: &str) {
        let sound =
            !name.is_empty() && name.len() <= limits::NAME_BYTES && !name.chars().any(char::is_control);
        if !sound {
            return self.decline(caller, Declined::GroupName);
        }
        if self.groups.len() >= limits::GROUPS {
            return self.decline(caller, Declined::Full("groups"));
        }
        let (genesis, recovery) =
            hosting::found(&self.secret, name, self.chance.nonce(), self.chance.secret());
        let Some(records) = Records::begin(genesis) else { return self.decline(caller, Declined::GroupName) };
        let mut of = Membership::new(Group::new(records), self.now);
        let group = of.group.id();
        let mut rows = of.group.rows();
        rows.push(of.row());
        self.groups.insert(group, of);
        self.outbox.store(rows);
        self.outbox.push(Effect::Notice(Notice::Entered { group }));
        self.outbox.push(Effect::Changed { group });
        self.outbox.answer(caller, Ok(Answer::Founded { group, recovery }));
    }

    pub(super) fn write(&mut self, caller: Caller, request: WriteRequest) {
        let answer = self.try_write(request);
        self.outbox.answer(caller, answer.map(Answer::Written));
    }

    fn try_write(&mut self, request: WriteRequest) -> Result<Option<ChangeId>, Declined> {
        let WriteRequest { group, edits, base, note, lenient } = request;
        self.change(group, note, |of| {
            let desired = of.group.desired().ok_or(Declined::NoGroup)?;
            if let Some(base) = base
                && !same_heads(&base, &desired.graph().heads())
            {
                let short: Vec<String> = base.iter().map(ChangeId::short).collect();
                return Err(Declined::BaseMoved(short.join(", ")));
            }
            Ok(draft::draw_up(desired, &edits, lenient)?)
        })
    }

    pub(super) fn put_back(&mut self, caller: Caller, group: GroupId, back: &Back, note: Note) {
        let answer = self.change(group, note, |of| {
            // What was before is read from the document.
            of.group.flush();
            let desired = of.group.desired().ok_or(Declined::NoGroup)?;
            Ok(history::put_back(desired, of.group.members(), back)?)
        });
        self.outbox.answer(caller, answer.map(Answer::Written));
    }

    /// Writes what is drawn up as one change of this node.
    fn change(
        &mut self,
        group: GroupId,
        mut note: Note,
        draw_up: impl FnOnce(&mut Membership) -> Result<BTreeMap<String, Value>, Declined>,
    ) -> Result<Option<ChangeId>, Declined> {
        note.time = self.now.wall;
        let fresh = self.chance.incarnation();
        let (of, mut cx) = self.split(group).ok_or(Declined::NoGroup)?;
        if of.refetching {
            return Err(Declined::Refetching);
        }
        let puts = draw_up(of)?;
        let written = of.group.write(cx.secret, ShardName::Desired, puts, &note, fresh)?;
        let id = written.id;
        of.wrote(&mut cx, written);
        Ok(id)
    }
}

fn same_heads(base: &[ChangeId], heads: &[ChangeId]) -> bool {
    let mut base = base.to_vec();
    base.sort_unstable();
    base == heads
}
