//! How nodes meet, and what becomes of a frame on its way: the part of the network crate, and of the wire.

use larder_core::id::NodeId;
use larder_core::machine::{Input, LinkId, LinkKind};
use larder_core::wire::link::{Frame, Hello};

use super::super::wire::Wire;
use super::{Event, World};

/// How often links are tried where there should be one.
pub(super) const MEET: u64 = 250_000;
/// A cut is noticed after so long, at the least and at the most.
pub(super) const NOTICE: (u64, u64) = (500_000, 3_000_000);
/// The longest that a stream is stuck.
const STUCK: u64 = 2_000_000;
/// A kind of frame that no version has.
const LATER_KIND: u8 = 200;

impl World {
    /// Cuts one direction.
    pub(in super::super) fn cut(&mut self, from: usize, to: usize) {
        self.wire.cut.insert((from, to));
        for (link, other) in self.wire.of(from) {
            if other == to {
                self.fail(link, [from, to]);
            }
        }
    }

    /// Both ends of a link find out that it is broken, each at its own time.
    fn fail(&mut self, link: LinkId, ends: [usize; 2]) {
        for node in ends {
            let delay = self.network.between(NOTICE.0, NOTICE.1);
            self.after(delay, Event::Break { link, node });
        }
    }

    /// How long a frame takes. Each direction of each pair is as slow as it is, and then some.
    fn delay(&mut self, from: usize, to: usize) -> u64 {
        let share = (from * 7 + to * 3) as u64 % 4 + 1;
        self.network.between(100, (self.faults.delay * share / 4).max(100))
    }

    pub(super) fn send(&mut self, from: usize, link: LinkId, bytes: Vec<u8>) {
        let Some((side, to)) = self.wire.side(link, from) else { return };
        let kind = self.wire.streams.get(&link).map(|stream| stream.kind);
        let bytes = self.speak(from, to, link, kind, bytes);
        let delay = self.delay(from, to);
        let broken = self.network.once_in_thousand(self.faults.resets) || !self.wire.reaches(from, to);
        let stuck = if self.network.once_in_thousand(self.faults.clogs) {
            self.marks.reach("stream-stuck");
            self.network.roll(STUCK)
        } else {
            0
        };
        let Some(stream) = self.wire.streams.get_mut(&link) else { return };
        let arrival = (self.now + delay + stuck).max(stream.last[side] + 1);
        stream.last[side] = arrival;
        self.after((arrival - self.now) / 2, Event::Sent { link, node: from, bytes: bytes.len() });
        if broken {
            // What is lost on a stream breaks it for both, sooner or later, and nothing after it arrives.
            self.marks.reach(if bytes.first() == Some(&7) { "window-broke" } else { "stream-broke" });
            self.fail(link, [from, to]);
            return stream_end(&mut self.wire, link, 1 - side);
        }
        self.disturb(from, to, link, kind, &bytes, arrival);
        self.after(arrival - self.now, Event::Frame { link, node: to, bytes });
    }

    /// What a stream may do that promised not to: say a thing twice, too early, or long after.
    fn disturb(
        &mut self,
        from: usize,
        to: usize,
        link: LinkId,
        kind: Option<LinkKind>,
        bytes: &[u8],
        arrival: u64,
    ) {
        if !self.faults.unruly() || kind != Some(LinkKind::Member) {
            return;
        }
        let span = self.faults.delay.max(1000) * 4;
        if self.network.once_in_thousand(self.faults.duplicates) {
            self.marks.reach("duplicated");
            let later = self.network.roll(span);
            self.after(arrival + later - self.now, Event::Frame { link, node: to, bytes: bytes.to_vec() });
        }
        if self.network.once_in_thousand(self.faults.reorders) {
            // Whatever is sent next on this stream may overtake this frame.
            self.marks.reach("reordered");
            if let Some((side, _)) = self.wire.side(link, from)
                && let Some(stream) = self.wire.streams.get_mut(&link)
            {
                stream.last[side] = 0;
            }
        }
        let pick = self.network.index(1 << 16);
        let old = self.wire.old_frame(from, to, bytes, pick);
        if let Some(old) = old.filter(|_| self.network.once_in_thousand(self.faults.replays)) {
            self.marks.reach("replayed");
            let later = self.network.roll(span);
            self.after(arrival + later - self.now, Event::Frame { link, node: to, bytes: old });
        }
    }

    /// The words of a node that speaks a later version: one greater, and sometimes of things that nobody knows yet.
    fn speak(
        &mut self,
        from: usize,
        to: usize,
        link: LinkId,
        kind: Option<LinkKind>,
        bytes: Vec<u8>,
    ) -> Vec<u8> {
        if kind != Some(LinkKind::Member) || !self.faults.later.contains(&from) {
            return bytes;
        }
        match Frame::decode(&bytes) {
            Ok(Frame::Hello(Hello { version, least, .. })) => {
                self.marks.reach("later-hello");
                Frame::Hello(Hello { version: version + 1, least, software: "sim-later".to_owned() }).encode()
            }
            _ if self.network.once_in_thousand(30) => {
                // After the hello, and before what it stands before.
                self.marks.reach("later-frame");
                let arrival = self.wire.side(link, from).and_then(|(side, _)| {
                    let stream = self.wire.streams.get_mut(&link)?;
                    let arrival = stream.last[side].max(self.now) + 1;
                    stream.last[side] = arrival;
                    Some(arrival)
                });
                let news = vec![LATER_KIND, 1, 2, 3];
                let delay = arrival.map_or(1, |arrival| arrival - self.now);
                self.after(delay, Event::Frame { link, node: to, bytes: news });
                bytes
            }
            _ => bytes,
        }
    }

    pub(super) fn close(&mut self, node: usize, link: LinkId) {
        let Some((_, other)) = self.wire.side(link, node) else { return };
        // What was sent before the end still arrives.
        let last = self.wire.streams.get(&link).map_or(0, |stream| stream.last[0].max(stream.last[1]));
        let delay = self.delay(node, other) + last.saturating_sub(self.now);
        self.after(0, Event::Break { link, node });
        self.after(delay, Event::Break { link, node: other });
    }

    pub(super) fn break_link(&mut self, link: LinkId, node: usize) {
        let Some((side, _)) = self.wire.side(link, node) else { return };
        let Some(stream) = self.wire.streams.get_mut(&link) else { return };
        let was = std::mem::replace(&mut stream.alive[side], false);
        if !stream.alive.contains(&true) {
            self.wire.streams.remove(&link);
        }
        if was {
            self.input(node, Input::LinkDown { link });
        }
    }

    /// Ends every stream at both ends: what is on its way on them is never heard.
    pub(in super::super) fn end_links(&mut self) {
        let streams: Vec<_> = self.wire.streams.iter().map(|(link, stream)| (*link, stream.ends)).collect();
        for (link, ends) in streams {
            ends.into_iter().for_each(|node| self.break_link(link, node));
        }
    }

    /// What the network crate does all the time: nodes hear of each other, and members that can reach each other and
    /// have no link get one.
    pub(super) fn meet(&mut self) {
        self.after(MEET, Event::Meet);
        for a in 0..self.nodes.len() {
            for b in 0..self.nodes.len() {
                let up = self.nodes[a].is_up(self.now) && self.nodes[b].is_up(self.now);
                if a == b || !up || !self.wire.connects(a, b) || self.network.roll(3) == 0 {
                    continue;
                }
                let (id_a, id_b) = (self.nodes[a].secret.node(), self.nodes[b].secret.node());
                if self.network.roll(5) == 0 {
                    self.input(a, Input::Seen { peer: id_b, addresses: vec![format!("/sim/{b}")] });
                }
                // Either may have died of what it was told.
                let up = self.nodes[a].is_up(self.now) && self.nodes[b].is_up(self.now);
                if !up || !self.nodes[a].members.contains(&id_b) || self.wire.is_linked(a, b) {
                    continue;
                }
                if self.nodes[b].members.contains(&id_a) {
                    self.link(a, b);
                } else if id_a < id_b {
                    // Of a pair only the lower key dials, so only it hears that it is not known.
                    self.input(a, Input::Refused { peer: id_b });
                }
            }
        }
    }

    fn link(&mut self, a: usize, b: usize) {
        let (id_a, id_b) = (self.nodes[a].secret.node(), self.nodes[b].secret.node());
        let shared = self.invited.values().filter(|nodes| nodes.contains(&a) && nodes.contains(&b)).count();
        if shared > 1 {
            self.marks.reach("two-groups");
        }
        let link = self.wire.open(a, b, LinkKind::Member);
        self.input(a, Input::LinkUp { link, peer: id_b, kind: LinkKind::Member, opened: true });
        self.input(b, Input::LinkUp { link, peer: id_a, kind: LinkKind::Member, opened: false });
    }

    pub(super) fn visit(&mut self, from: usize, to: NodeId) {
        let found = self.nodes.iter().position(|node| node.secret.node() == to && node.is_up(self.now));
        let Some(to_index) = found.filter(|to| self.wire.connects(from, *to)) else {
            return self.input(from, Input::VisitFailed { peer: to });
        };
        if self.nodes[from].machine.is_none() {
            return;
        }
        let link = self.wire.open(from, to_index, LinkKind::Visit);
        let me = self.nodes[from].secret.node();
        self.input(to_index, Input::LinkUp { link, peer: me, kind: LinkKind::Visit, opened: false });
        self.input(from, Input::LinkUp { link, peer: to, kind: LinkKind::Visit, opened: true });
    }
}

/// Nothing more arrives at this end, though it may not know yet.
fn stream_end(wire: &mut Wire, link: LinkId, side: usize) {
    if let Some(stream) = wire.streams.get_mut(&link) {
        stream.lost[side] = true;
    }
}
