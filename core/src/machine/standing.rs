//! How this node stands in its groups: a member, one that left, one that was removed; and what follows for its links.

use std::collections::{BTreeMap, BTreeSet};

use super::Machine;
use super::input::{LinkId, Moment};
use super::membership::{Context, Membership};
use crate::group::Group;
use crate::id::NodeId;
use crate::limits;
use crate::record::{Body, Members, Records, Remark, Signer};
use crate::wire::link::{Bundle, Frame};

/// How a key stands in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It holds a live grant.
    Member,
    /// It ended its own grants.
    Left,
    /// Others ended its grants.
    Removed,
    /// The group was dissolved.
    Dissolved,
    /// It never held a grant that counts.
    Stranger,
}

impl Standing {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Left => "left",
            Self::Removed => "removed",
            Self::Dissolved => "dissolved",
            Self::Stranger => "stranger",
        }
    }

    /// How `key` stands.
    pub fn of(members: &Members, key: &NodeId) -> Self {
        if members.dissolved().is_some() {
            return Self::Dissolved;
        }
        if members.contains(key) {
            return Self::Member;
        }
        let mut ended = members.ended_of(key).peekable();
        if ended.peek().is_none() {
            return Self::Stranger;
        }
        let by_holder = |grant| members.endings(grant).iter().all(|ending| ending.own);
        if ended.all(|standing| by_holder(&standing.grant)) { Self::Left } else { Self::Removed }
    }
}

/// Who ended somebody's membership, when and why: as the record says, which is advisory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedBy {
    /// Whose key signed; `None` if it was the recovery key.
    pub by: Option<NodeId>,
    /// When, by whom and why.
    pub remark: Remark,
}

impl EndedBy {
    /// Of a former member, or of everybody in a group that was dissolved.
    pub fn of(group: &Group, key: &NodeId) -> Option<Self> {
        let members = group.members();
        let of_key = members.ended_of(key).flat_map(|standing| members.endings(&standing.grant));
        let newest = |records: &Records, ids: &mut dyn Iterator<Item = crate::id::RecordId>| {
            let signed = ids.filter_map(|id| records.get(&id));
            signed
                .map(crate::record::SignedRecord::record)
                .max_by_key(|record| (record.remark.as_ref().map(|remark| remark.time), record.seq))
                .cloned()
        };
        let record = match members.dissolved() {
            Some(id) => group.records().get(&id)?.record().clone(),
            None => newest(group.records(), &mut of_key.map(|ending| ending.record))?,
        };
        debug_assert!(matches!(record.body, Body::Revoke(_) | Body::Dissolve));
        let holder = || group.records().holder(&record.grant).map(|(key, _)| key);
        let by = if record.signer == Signer::Recovery { None } else { holder() };
        Some(Self { by, remark: record.remark.unwrap_or_default() })
    }
}

impl Membership {
    /// True if this node is a member.
    pub(super) fn is_live(&self, me: &NodeId) -> bool {
        self.group.members().contains(me)
    }

    /// True if this node keeps links with the members. One that left does so until somebody has heard.
    pub(super) fn keeps_links(&self, me: &NodeId) -> bool {
        let left = || Standing::of(self.group.members(), me) == Standing::Left;
        self.is_live(me) || (!self.told_leaving && left())
    }

    /// Ends sessions with those that are members no more; all of them, if this node is none.
    pub(super) fn close_with_strangers(&mut self, cx: &mut Context<'_>) {
        let live = self.is_live(&cx.me);
        let members = self.group.members();
        let strangers: Vec<LinkId> = self
            .sessions
            .iter()
            .filter(|(_, session)| !live || !members.contains(&session.peer))
            .map(|(link, _)| *link)
            .collect();
        for link in strangers {
            cx.send(link, &Frame::Bye(self.group.id()));
            self.close_session(cx, link);
        }
        // What was said of who is a member may be otherwise now, and is to be said once more.
        self.asked.clear();
        self.shown.clear();
        let stays: BTreeSet<NodeId> = self.group.members().keys().collect();
        self.heard.retain(|node, _| stays.contains(node));
    }

    /// Somebody who is no member speaks as if it were one: it is told why it is not, or asked to prove that it is.
    pub(super) fn answer_stranger(&mut self, cx: &mut Context<'_>, link: LinkId, peer: NodeId) {
        if !is_due(&mut self.asked, link, cx.now.mono) {
            return;
        }
        let evidence = self.group.evidence(&peer);
        if !evidence.is_empty() {
            self.send_records(cx, link, &evidence);
        }
        // It may have been let in again, and by whom is not known here.
        cx.send(link, &Frame::WhoAreYou(self.group.id()));
    }

    /// This node left, and a member has not heard: it is shown the record.
    pub(super) fn say_farewell(&mut self, cx: &mut Context<'_>, link: LinkId) {
        // It is no question: whoever heard it once has heard it.
        if self.asked.insert(link, cx.now.mono).is_none() {
            let records = self.group.evidence(&cx.me);
            let records = records.iter().map(crate::record::SignedRecord::encode).collect();
            cx.send(link, &Frame::Line(Bundle { group: self.group.id(), records, last: true }));
        }
    }

    /// A frame for a group in which this node is no member: only records count, for they may say otherwise.
    pub(super) fn on_frame_outside(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        peer: NodeId,
        frame: &Frame,
    ) -> Result<(), String> {
        let left = Standing::of(self.group.members(), &cx.me) == Standing::Left;
        match frame {
            Frame::Records(bundle) | Frame::Line(bundle) => self.on_records(cx, link, bundle)?,
            // It was shown the record, and ends the session: it has heard.
            Frame::Bye(_) if self.asked.contains_key(&link) => self.told_leaving = true,
            _ if left && self.group.members().contains(&peer) => self.say_farewell(cx, link),
            _ => {}
        }
        Ok(())
    }
}

/// True if something was not said on a link lately, and is to be said now. Who counts may become otherwise for the one
/// side and not for the other, so once is not enough; and to say it again and again would be a flood.
pub(super) fn is_due(said: &mut BTreeMap<LinkId, Moment>, link: LinkId, now: Moment) -> bool {
    let due = said.get(&link).is_none_or(|at| now.ms_since(*at) >= limits::PROVE_AGAIN_MS);
    if due {
        said.insert(link, now);
    }
    due
}

impl Machine {
    /// A member would not open a link: where this node left, that one has heard.
    pub(super) fn on_refused(&mut self, peer: NodeId) {
        let me = self.me;
        for of in self.groups.values_mut() {
            let members = of.group.members();
            if members.contains(&peer) && Standing::of(members, &me) == Standing::Left {
                of.told_leaving = true;
            }
        }
    }
}
