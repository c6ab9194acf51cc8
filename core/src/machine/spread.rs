//! Spreading: new changes go at once to the neighbours that lack them, to each at most once.
//!
//! Where the change came from a neighbour that is itself linked with another one, that one is left to it: in a full mesh
//! nobody says twice what everybody heard. If the guess was wrong, digests differ, and a round repairs it.

use std::collections::BTreeMap;

use super::effect::{Effect, Notice};
use super::input::LinkId;
use super::membership::{Context, Membership, Pace};
use crate::delta::{Delta, SignedDelta};
use crate::group::{Admitted, Taken, Tip};
use crate::id::{EpochId, NodeId};
use crate::limits;
use crate::shard::root::ShardName;
use crate::wire::link::{Frame, Push};

impl Membership {
    pub(super) fn on_push(&mut self, cx: &mut Context<'_>, link: LinkId, push: &Push) -> Result<(), String> {
        let mut all = Taken::default();
        for change in &push.changes {
            if !self.is_in_pace(cx, &change.delta) {
                // It is fetched with what comes after it, in bulk.
                all.gap = true;
                continue;
            }
            let taken = self.group.take_push(push.epoch, change);
            all.new.extend(taken.new);
            all.rows.extend(taken.rows);
            all.gap |= taken.gap;
            all.refused = all.refused.or(taken.refused);
            all.retracted.extend(taken.retracted);
            all.full.add(&taken.full);
        }
        let (gap, refused) = (all.gap, all.refused.clone());
        self.took(cx, all, Some(link));
        if gap {
            let now = cx.now.mono;
            let digest = self.digest();
            if let Some(session) = self.sessions.get_mut(&link) {
                // What is missing may be on its way by another neighbour: look again shortly.
                session.differs.get_or_insert((now, digest));
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// True if the author of a pushed change has not had more pushed lately than one author may.
    fn is_in_pace(&mut self, cx: &mut Context<'_>, delta: &[u8]) -> bool {
        let Some(grant) = Delta::grant_of(delta) else { return true };
        let Some((author, _)) = self.group.records().holder(&grant) else { return true };
        let (now, most) = (cx.now.mono, limits::AUTHOR_BURST as u64);
        let pace = self.paces.entry(author).or_insert(Pace { left: most, at: now });
        let earned = now.ms_since(pace.at).saturating_mul(limits::AUTHOR_PUSHES) / 1000;
        if earned > 0 {
            *pace = Pace { left: pace.left.saturating_add(earned).min(most), at: now };
        }
        let in_pace = pace.left > 0;
        pace.left = pace.left.saturating_sub(1);
        if !in_pace {
            cx.bounds.hit("changes of one author pushed at once", limits::AUTHOR_BURST);
        }
        in_pace
    }

    /// Changes from a neighbour were let in: make them durable, tell others, wake whom they concern.
    pub(super) fn took(&mut self, cx: &mut Context<'_>, taken: Taken, from: Option<LinkId>) {
        cx.outbox.store(taken.rows);
        cx.bounds.add(&taken.full);
        if taken.new.is_empty() && taken.retracted.is_empty() {
            return;
        }
        self.touch();
        if !taken.retracted.is_empty() {
            cx.outbox.push(Effect::Changed { group: self.group.id() });
        }
        if !self.twin
            && !self.refetching
            && taken.new.iter().any(|new| !new.returned && self.is_by(&cx.me, new))
        {
            self.twin = true;
            cx.notice(Notice::Twin { group: self.group.id() });
        }
        if let Some(session) = from.and_then(|from| self.sessions.get_mut(&from)) {
            for new in &taken.new {
                let previous = self.group.previous(&new.epoch, &new.id);
                session.has(new.epoch, new.actor, Tip { seq: new.seq, id: new.id }, previous);
            }
        }
        self.spread(cx, &taken.new, from);
        self.find_equal(cx);
    }

    /// True if that node's key wrote the change.
    fn is_by(&self, node: &NodeId, change: &Admitted) -> bool {
        let shard = self.group.shard_of(&change.epoch);
        let grant = shard.and_then(|shard| shard.graph().chain(&change.actor)).map(|chain| chain.grant);
        let holder = grant.and_then(|grant| self.group.records().holder(&grant)).map(|(key, _)| key);
        let aside = || self.group.aside(&change.epoch)?.get(&change.id).map(|beside| beside.key);
        holder.or_else(aside) == Some(*node)
    }

    /// Tells neighbours what is new.
    pub(super) fn spread(&mut self, cx: &mut Context<'_>, new: &[Admitted], from: Option<LinkId>) {
        let desired = self.group.desired().map(|shard| shard.root().epoch());
        if new.iter().any(|new| Some(new.epoch) == desired) {
            cx.outbox.push(Effect::Changed { group: self.group.id() });
        }
        let teller = from.and_then(|link| self.sessions.get(&link)).map(|session| session.peer);
        let others: Vec<_> = self.sessions.keys().copied().filter(|link| Some(*link) != from).collect();
        let single = new.iter().all(|new| new.signature.is_some());
        for link in others {
            let covered =
                self.sessions.get(&link).is_some_and(|session| self.is_linked(teller, session.peer));
            if covered {
                continue;
            }
            if single && !cx.is_choked(link) {
                self.push(cx, link, new);
            } else if let Some(session) = self.sessions.get_mut(&link) {
                session.behind = true;
            }
        }
        if !single {
            self.catch_up(cx);
        }
    }

    /// True if `teller` says that it has a link with `peer` in this group.
    pub(super) fn is_linked(&self, teller: Option<NodeId>, peer: NodeId) -> bool {
        let heard =
            teller.and_then(|teller| self.heard.get(&teller)).and_then(|heard| heard.presence.as_ref());
        heard.is_some_and(|presence| presence.links.binary_search(&peer.hint()).is_ok())
    }

    fn push(&mut self, cx: &mut Context<'_>, link: LinkId, new: &[Admitted]) {
        let (Some(session), Some(room)) = (self.sessions.get_mut(&link), cx.room(link)) else { return };
        let mut by_epoch: BTreeMap<EpochId, Vec<SignedDelta>> = BTreeMap::new();
        let mut bytes = 0;
        for change in new {
            let previous = self.group.previous(&change.epoch, &change.id);
            // A neighbour that is further behind fetches in order; this would only wait there.
            let follows = session.stands_before(change.epoch, change.actor, previous);
            let (Some(signature), true) = (change.signature, follows) else { continue };
            if bytes > room {
                session.behind = true;
                break;
            }
            bytes += change.delta.len();
            session.has(change.epoch, change.actor, Tip { seq: change.seq, id: change.id }, previous);
            let delta = SignedDelta { delta: change.delta.clone(), signature };
            by_epoch.entry(change.epoch).or_default().push(delta);
        }
        let group = self.group.id();
        for (epoch, changes) in by_epoch {
            for changes in portions(changes) {
                cx.send(link, &Frame::Push(Push { group, epoch, changes }));
            }
        }
    }

    /// Goes on with neighbours that were not told something, now that they can be.
    pub(super) fn catch_up(&mut self, cx: &mut Context<'_>) {
        let behind: Vec<_> = self
            .sessions
            .iter()
            .filter(|(link, session)| session.behind && !cx.is_choked(**link))
            .map(|(link, _)| *link)
            .collect();
        for link in behind {
            if let Some(session) = self.sessions.get_mut(&link) {
                session.behind = false;
            }
            self.tell_digest(cx, link);
        }
        let links: Vec<_> = self.sessions.keys().copied().collect();
        links.into_iter().for_each(|link| self.tell_differences(cx, link));
    }

    /// The shard's name, if it is one of this group.
    pub fn shard_name(&self, epoch: &EpochId) -> Option<ShardName> {
        self.group.shard_of(epoch).map(|shard| shard.root().shard())
    }
}

/// Changes in portions that each fit a frame.
fn portions(changes: Vec<SignedDelta>) -> Vec<Vec<SignedDelta>> {
    let mut portions: Vec<Vec<SignedDelta>> = vec![Vec::new()];
    let mut bytes = 0;
    for change in changes {
        bytes += change.delta.len() + 72;
        if bytes > limits::WINDOW_BYTES && portions.last().is_some_and(|portion| !portion.is_empty()) {
            portions.push(Vec::new());
            bytes = change.delta.len() + 72;
        }
        if let Some(portion) = portions.last_mut() {
            portion.push(change);
        }
    }
    portions
}
