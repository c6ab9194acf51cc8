//! Links and visits: what comes in on them, and to whom it goes.

use std::collections::BTreeSet;

use super::Machine;
use super::effect::{Answer, Declined, Effect, Notice};
use super::input::{Caller, LinkId, LinkKind, Moment};
use super::joining::Asking;
use super::membership::Link;
use super::nodes::Seen;
use crate::id::{GroupId, NodeId};
use crate::limits;
use crate::record::SignedRecord;
use crate::wire::link::{Frame, Hello};
use crate::wire::visit::VisitFrame;
use crate::wire::{LEAST_VERSION, VERSION};

/// A visit, from either side.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    pub(super) peer: NodeId,
    /// True if this node opened it.
    pub(super) opened: bool,
    pub(super) since: Moment,
    /// What this node, as a joiner, has heard so far.
    pub(super) asking: Option<Asking>,
    /// What this node, as a member, was asked for: group, the joiner's nonce and its own.
    pub(super) hosting: Option<(GroupId, [u8; 16], [u8; 16])>,
    /// True once somebody asked on it to be let in without a code.
    pub(super) sought: bool,
    /// True once this node told the other side everything, since that took one of the two for no member.
    pub(super) argued: bool,
    /// A line of grants that comes in portions.
    pub(super) line: Vec<SignedRecord>,
    /// Lines of grants that this node showed and that were not answered yet. Answers come in order: these before that
    /// to the first probe.
    pub(super) shown: usize,
}

/// A ping under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pinging {
    pub(super) caller: Caller,
    pub(super) link: LinkId,
    pub(super) since: Moment,
}

impl Machine {
    pub(super) fn on_seen(&mut self, peer: NodeId, addresses: Vec<String>) {
        if peer == self.me {
            return;
        }
        if self.seen.len() >= limits::SEEN
            && !self.seen.contains_key(&peer)
            && let Some(oldest) = self.seen.iter().min_by_key(|(_, seen)| seen.at).map(|(peer, _)| *peer)
        {
            self.bounds.hit("nodes seen on the network", limits::SEEN);
            self.seen.remove(&oldest);
        }
        self.seen.insert(peer, Seen { addresses, at: self.now.mono, wall: self.now.wall });
        self.ask_around();
    }

    /// Visits members that are near and not linked, to show them the line of grants: one that was admitted on the other
    /// side of a cut is unknown here, and of a pair only the lower key dials.
    pub(super) fn prove_to_members(&mut self) {
        let now = self.now.mono;
        let linked: BTreeSet<NodeId> = self.links.values().map(|link| link.peer).collect();
        let near = |peer: &NodeId| {
            let seen = self.seen.get(peer);
            seen.is_some_and(|seen| now.ms_since(seen.at) < limits::NEAR_MS)
        };
        let missed: BTreeSet<NodeId> =
            self.admitted.iter().copied().filter(|peer| !linked.contains(peer) && near(peer)).collect();
        self.unproved.retain(|peer, _| missed.contains(peer));
        for peer in missed {
            let due = self.unproved.entry(peer).or_insert(now.plus_ms(limits::PROVE_AFTER_MS));
            if *due <= now {
                *due = now.plus_ms(limits::PROVE_AGAIN_MS);
                self.outbox.push(Effect::Visit { peer });
            }
        }
    }

    pub(super) fn on_addresses(&mut self, addresses: Vec<String>) {
        self.about.addresses = addresses;
        for of in self.groups.values_mut() {
            of.presence_due = of.presence_due.min(self.now.mono.plus_ms(limits::PRESENCE_SETTLE_MS));
        }
    }

    pub(super) fn on_link_up(&mut self, link: LinkId, peer: NodeId, kind: LinkKind, opened: bool) {
        match kind {
            LinkKind::Member => {
                self.links.insert(link, Link::new(peer, self.now.mono));
                let hello =
                    Hello { version: VERSION, least: LEAST_VERSION, software: self.about.software.clone() };
                self.tell(link, &Frame::Hello(hello));
            }
            LinkKind::Visit => self.on_visit_up(link, peer, opened),
        }
    }

    fn on_visit_up(&mut self, link: LinkId, peer: NodeId, opened: bool) {
        if self.visits.len() >= limits::VISITS {
            self.bounds.hit("visits of strangers at once", limits::VISITS);
            self.outbox.push(Effect::Close { link, why: "too many visits at once".to_owned() });
            return;
        }
        if self.outbox.has_failed() {
            self.outbox.push(Effect::Close { link, why: "the store failed".to_owned() });
            return;
        }
        let since = self.now.mono;
        self.visits.insert(
            link,
            Visit {
                peer,
                opened,
                since,
                asking: None,
                hosting: None,
                sought: false,
                argued: false,
                line: Vec::new(),
                shown: 0,
            },
        );
        if !opened {
            return;
        }
        self.show_lines(link, peer);
        let asks = self.probe(link, peer);
        let shows = self.visits.get(&link).is_some_and(|visit| visit.shown > 0);
        if !asks && !shows {
            self.hang_up(link, "nothing to say");
        }
    }

    pub(super) fn on_link_down(&mut self, link: LinkId) {
        self.visits.remove(&link);
        if self.links.remove(&link).is_none() {
            return;
        }
        let lost: Vec<_> =
            self.pings.iter().filter(|(_, ping)| ping.link == link).map(|(id, _)| *id).collect();
        for caller in
            lost.iter().filter_map(|id| self.pings.remove(id)).map(|ping| ping.caller).collect::<Vec<_>>()
        {
            self.decline(caller, Declined::NoLink);
        }
        for group in self.groups.keys().copied().collect::<Vec<_>>() {
            if let Some((of, mut cx)) = self.split(group) {
                of.close_session(&mut cx, link);
            }
        }
    }

    pub(super) fn on_sent(&mut self, link: LinkId, bytes: usize) {
        let Some(of) = self.links.get_mut(&link) else { return };
        let was = of.pending > limits::LINK_PENDING_BYTES;
        of.pending = of.pending.saturating_sub(bytes);
        if was && of.pending <= limits::LINK_PENDING_BYTES {
            for group in self.groups.keys().copied().collect::<Vec<_>>() {
                if let Some((of, mut cx)) = self.split(group) {
                    of.catch_up(&mut cx);
                }
            }
        }
    }

    /// Opens a session wherever a neighbour is a member and has none yet.
    pub(super) fn open_sessions(&mut self) {
        let links: Vec<_> =
            self.links.iter().filter(|(_, link)| link.greeted).map(|(id, link)| (*id, link.peer)).collect();
        for group in self.groups.keys().copied().collect::<Vec<_>>() {
            let Some((of, mut cx)) = self.split(group) else { continue };
            let live = of.is_live(&cx.me);
            for (link, peer) in &links {
                match (of.group.members().contains(peer), live) {
                    (true, true) => of.open_session(&mut cx, *link, *peer),
                    (true, false) => of.say_farewell(&mut cx, *link),
                    (false, _) => {}
                }
            }
        }
    }

    pub(super) fn on_frame(&mut self, link: LinkId, bytes: &[u8]) {
        let outcome = if let Some(peer) = self.links.get(&link).map(|link| link.peer) {
            match Frame::decode(bytes) {
                Ok(frame) => self.on_link_frame(link, peer, frame).map_err(|what| (peer, what)),
                Err(error) => {
                    self.outbox.push(Effect::Close { link, why: error.to_string() });
                    Err((peer, error.to_string()))
                }
            }
        } else if let Some(peer) = self.visits.get(&link).map(|visit| visit.peer) {
            if self.outbox.has_failed() {
                return self.hang_up(link, "the store failed");
            }
            let outcome = match VisitFrame::decode(bytes) {
                Ok(frame) => self.on_visit_frame(link, peer, frame),
                Err(error) => Err(error.to_string()),
            };
            outcome.map_err(|what| {
                self.hang_up(link, &what);
                (peer, what)
            })
        } else {
            Ok(())
        };
        if let Err((peer, what)) = outcome {
            self.outbox.push(Effect::Notice(Notice::Fault { peer, what }));
        }
    }

    fn on_link_frame(&mut self, link: LinkId, peer: NodeId, frame: Frame) -> Result<(), String> {
        match &frame {
            Frame::Hello(hello) => {
                self.on_hello(link, peer, hello);
                return Ok(());
            }
            Frame::Ping(nonce) => {
                self.tell(link, &Frame::Pong(*nonce));
                return Ok(());
            }
            Frame::Pong(nonce) => {
                if let Some(ping) = self.pings.remove(nonce).filter(|ping| ping.link == link) {
                    let micros = self.now.mono.0.saturating_sub(ping.since.0);
                    self.outbox.answer(ping.caller, Ok(Answer::Ponged(micros)));
                }
                return Ok(());
            }
            _ => {}
        }
        if !self.links.get(&link).is_some_and(|link| link.greeted) {
            return Err("a frame before any hello".to_owned());
        }
        self.on_group_frame(link, peer, frame)
    }

    fn on_hello(&mut self, link: LinkId, peer: NodeId, hello: &Hello) {
        if hello.version < LEAST_VERSION || hello.least > VERSION {
            let software = hello.software.clone();
            self.outbox.push(Effect::Notice(Notice::Version { peer, software }));
            self.outbox.push(Effect::Close { link, why: "no version of the protocol in common".to_owned() });
            return;
        }
        if let Some(link) = self.links.get_mut(&link) {
            link.greeted = true;
        }
        self.open_sessions();
    }

    /// A frame that belongs to a group. Of a group that this node is not in, or has paused, nothing is said.
    fn on_group_frame(&mut self, link: LinkId, peer: NodeId, frame: Frame) -> Result<(), String> {
        let Some(group) = group_of(&frame) else { return Ok(()) };
        let Some((of, mut cx)) = self.split(group) else { return Ok(()) };
        // What cannot be stored is not taken in, and what may not be stored is not given out.
        if of.paused || (cx.outbox.has_failed() && !matches!(frame, Frame::Presence(_) | Frame::Bye(_))) {
            return Ok(());
        }
        if !of.is_live(&cx.me) {
            of.on_frame_outside(&mut cx, link, peer, &frame)?;
            self.open_sessions();
            return Ok(());
        }
        if !of.group.members().contains(&peer) {
            match frame {
                Frame::Line(bundle) => of.on_records(&mut cx, link, &bundle)?,
                Frame::WhoAreYou(_) | Frame::Bye(_) => {}
                _ => of.answer_stranger(&mut cx, link, peer),
            }
            self.open_sessions();
            return Ok(());
        }
        if !of.sessions.contains_key(&link) && !matches!(frame, Frame::Bye(_)) {
            of.open_session(&mut cx, link, peer);
        }
        of.hear_link(&mut cx, peer);
        match frame {
            Frame::Digest(body) => of.on_digest(&mut cx, link, &body),
            Frame::Have(body) => of.on_have(&mut cx, link, &body),
            Frame::Records(body) | Frame::Line(body) => of.on_records(&mut cx, link, &body)?,
            Frame::Positions(body) => of.on_positions(&mut cx, link, &body),
            Frame::Want(body) => of.on_want(&mut cx, link, &body),
            Frame::Window(body) => of.on_window(&mut cx, link, &body)?,
            Frame::Push(body) => of.on_push(&mut cx, link, &body)?,
            Frame::Presence(body) => of.on_presence(&mut cx, link, &body),
            Frame::Bye(_) => of.close_session(&mut cx, link),
            Frame::WhoAreYou(_) => of.show_line(&mut cx, link),
            Frame::Carry(body) => of.on_carry(&mut cx, link, body)?,
            Frame::Carried(body) => of.on_carried(&mut cx, body),
            Frame::Hello(_) | Frame::Ping(_) | Frame::Pong(_) | Frame::Unknown(_) => {}
        }
        Ok(())
    }

    fn on_visit_frame(&mut self, link: LinkId, peer: NodeId, frame: VisitFrame) -> Result<(), String> {
        if let Some(visit) = self.visits.get_mut(&link) {
            visit.since = self.now.mono;
        }
        match frame {
            VisitFrame::Probe(probe) => self.on_probe(link, peer, &probe),
            VisitFrame::Proof(proof) => self.on_proof(link, peer, &proof)?,
            VisitFrame::Join(request) => self.on_join(link, peer, request)?,
            VisitFrame::Answer(answer) => self.on_join_answer(link, &answer)?,
            VisitFrame::Line(line) => self.on_line(link, peer, &line)?,
            VisitFrame::Removed(line) => self.on_removed(link, &line)?,
            VisitFrame::Ask(ask) => self.on_ask(link, peer, ask),
            VisitFrame::Heard(chance) => self.on_heard(link, peer, chance)?,
            VisitFrame::Reveal(chance) => self.on_reveal(link, peer, chance)?,
            VisitFrame::NotHere => {
                if !self.line_answered(link, "not known") && !self.probe(link, peer) {
                    self.hang_up(link, "not in the same group");
                }
            }
            VisitFrame::Welcome(_) => drop(self.line_answered(link, "known now")),
            VisitFrame::Unknown(_) => {}
        }
        Ok(())
    }

    /// A line that this node showed was answered, and nothing is left to say once all were, unless it came to ask for
    /// something too. False if none was waited for.
    pub(super) fn line_answered(&mut self, link: LinkId, why: &str) -> bool {
        let Some(visit) = self.visits.get_mut(&link) else { return true };
        if visit.shown == 0 {
            return false;
        }
        visit.shown -= 1;
        if visit.shown == 0 && visit.asking.is_none() {
            self.hang_up(link, why);
        }
        true
    }

    /// Sends a frame that belongs to no group.
    fn tell(&mut self, link: LinkId, frame: &Frame) {
        let bytes = frame.encode();
        if let Some(link) = self.links.get_mut(&link) {
            link.carry(self.now.mono, bytes.len());
        }
        self.outbox.push(Effect::Send { link, bytes });
    }

    pub(super) fn say(&mut self, link: LinkId, frame: &VisitFrame) {
        self.outbox.push(Effect::Send { link, bytes: frame.encode() });
    }

    pub(super) fn hang_up(&mut self, link: LinkId, why: &str) {
        self.visits.remove(&link);
        self.outbox.push(Effect::Close { link, why: why.to_owned() });
    }

    pub(super) fn close_old_visits(&mut self) {
        let now = self.now.mono;
        let old = self.visits.iter().filter(|(_, visit)| now.ms_since(visit.since) >= limits::VISIT_MS);
        for link in old.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.hang_up(link, "a visit without a word");
        }
    }

    pub(super) fn ping(&mut self, caller: Caller, node: NodeId) {
        let Some((&link, _)) = self.links.iter().find(|(_, link)| link.peer == node) else {
            return self.decline(caller, Declined::NoLink);
        };
        let nonce = self.chance.number();
        self.pings.insert(nonce, Pinging { caller, link, since: self.now.mono });
        self.tell(link, &Frame::Ping(nonce));
    }

    /// Pings links that carried nothing for a while: one without a frame counts as dead. Nobody waits for the answer.
    pub(super) fn keep_alive(&mut self) {
        let now = self.now.mono;
        let quiet = self.links.iter().filter(|(_, link)| now.ms_since(link.told) >= limits::PRESENCE_MS);
        for link in quiet.map(|(id, _)| *id).collect::<Vec<_>>() {
            let nonce = self.chance.number();
            self.tell(link, &Frame::Ping(nonce));
        }
    }

    pub(super) fn pause(&mut self, caller: Caller, group: GroupId, paused: bool) {
        let Some((of, mut cx)) = self.split(group) else { return self.decline(caller, Declined::NoGroup) };
        if of.paused != paused {
            of.paused = paused;
            let row = of.row();
            if paused {
                for link in of.sessions.keys().copied().collect::<Vec<_>>() {
                    cx.send(link, &Frame::Bye(group));
                    of.close_session(&mut cx, link);
                }
            }
            cx.outbox.store(vec![row]);
        }
        self.open_sessions();
        self.outbox.answer(caller, Ok(Answer::Done));
    }
}

fn group_of(frame: &Frame) -> Option<GroupId> {
    match frame {
        Frame::Digest(body) => Some(body.group),
        Frame::Have(body) => Some(body.group),
        Frame::Records(body) | Frame::Line(body) => Some(body.group),
        Frame::Positions(body) => Some(body.group),
        Frame::Want(body) => Some(body.group),
        Frame::Window(body) => Some(body.group),
        Frame::Push(body) => Some(body.group),
        Frame::Presence(body) => Some(body.group),
        Frame::Bye(group) | Frame::WhoAreYou(group) => Some(*group),
        Frame::Carry(body) => Some(body.group),
        Frame::Carried(body) => Some(body.group),
        Frame::Hello(_) | Frame::Ping(_) | Frame::Pong(_) | Frame::Unknown(_) => None,
    }
}
