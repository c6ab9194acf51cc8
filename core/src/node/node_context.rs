//! What a node lends to the handlers of one input.

use std::collections::BTreeMap;

use super::effect::Effect;
use super::group_state::{GroupContext, GroupState, MemberLink};
use super::guest_backoff::GuestBackoff;
use super::input::{ClockReading, LinkId};
use super::outbox::Outbox;
use super::pairing::Pairings;
use super::pending_joins::PendingJoins;
use super::rng::SeededRng;
use crate::id::{GroupId, NodeId, SecretKey};
use crate::limit_stats::LimitStats;
use crate::wire::guest::GuestFrame;

/// The parts of a node that joins, pairings and guest streams need, lent for one input.
pub(super) struct NodeContext<'a> {
    pub(super) now: ClockReading,
    pub(super) own_id: NodeId,
    pub(super) secret: &'a SecretKey,
    pub(super) rng: &'a mut SeededRng,
    pub(super) groups: &'a mut BTreeMap<GroupId, GroupState>,
    pub(super) links: &'a mut BTreeMap<LinkId, MemberLink>,
    pub(super) joins: &'a mut PendingJoins,
    pub(super) pairings: &'a mut Pairings,
    pub(super) backoff: &'a mut GuestBackoff,
    pub(super) outbox: &'a mut Outbox,
    pub(super) limit_stats: &'a mut LimitStats,
}

impl NodeContext<'_> {
    pub(super) fn group(&mut self, group: GroupId) -> Option<(&mut GroupState, GroupContext<'_>)> {
        let state = self.groups.get_mut(&group)?;
        let ctx = GroupContext {
            group,
            now: self.now,
            own_id: self.own_id,
            secret: self.secret,
            rng: self.rng,
            outbox: self.outbox,
            links: self.links,
            limit_stats: self.limit_stats,
        };
        Some((state, ctx))
    }

    /// Sends a frame on a guest stream.
    pub(super) fn send(&mut self, link: LinkId, frame: &GuestFrame) {
        self.outbox.push(Effect::Send { link, bytes: frame.encode() });
    }

    pub(super) fn close(&mut self, link: LinkId, reason: impl Into<String>) {
        self.outbox.push(Effect::Close { link, reason: reason.into() });
    }
}
