//! The network between the nodes: how links open, and what happens to a frame on its way. It stands for the
//! network crate and the wire.

use larder_core::id::NodeId;
use larder_core::node::{Input, LinkId, LinkKind};
use larder_core::wire::member::{Hello, MemberFrame};

use super::super::network::SimNetwork;
use super::{World, WorldEvent};

/// The interval at which missing links are opened.
pub(super) const LINK_INTERVAL_US: u64 = 250_000;
/// The shortest and the longest time until a cut is noticed.
pub(super) const CUT_NOTICE_US: (u64, u64) = (500_000, 3_000_000);
/// The longest stall of a stream.
const MAX_STALL_US: u64 = 2_000_000;
/// A kind of frame that no version defines.
const UNKNOWN_FRAME_KIND: u8 = 200;

impl World {
    pub(in super::super) fn cut_direction(&mut self, from: usize, to: usize) {
        self.network.cut_directions.insert((from, to));
        for (link, other) in self.network.streams_of(from) {
            if other == to {
                self.break_stream_later(link, [from, to]);
            }
        }
    }

    /// Lets both ends of a link notice that it is broken, each at its own time.
    fn break_stream_later(&mut self, link: LinkId, ends: [usize; 2]) {
        for node in ends {
            let delay = self.network_rng.between(CUT_NOTICE_US.0, CUT_NOTICE_US.1);
            self.schedule_event(delay, WorldEvent::Break { link, node });
        }
    }

    /// The delay of a frame. Each direction of each pair has its own range.
    fn frame_delay(&mut self, from: usize, to: usize) -> u64 {
        let share = (from * 7 + to * 3) as u64 % 4 + 1;
        self.network_rng.between(100, (self.faults.delay * share / 4).max(100))
    }

    pub(super) fn send_frame(&mut self, from: usize, link: LinkId, bytes: Vec<u8>) {
        let Some((side, to)) = self.network.end_of(link, from) else { return };
        let kind = self.network.streams.get(&link).map(|stream| stream.kind);
        let bytes = self.rewrite_for_later_version(from, to, link, kind, bytes);
        let delay = self.frame_delay(from, to);
        let broken = self.network_rng.per_mille(self.faults.resets) || !self.network.can_reach(from, to);
        let stuck = if self.network_rng.per_mille(self.faults.clogs) {
            self.coverage.record("stream-stuck");
            self.network_rng.below(MAX_STALL_US)
        } else {
            0
        };
        let Some(stream) = self.network.streams.get_mut(&link) else { return };
        let arrival = (self.now + delay + stuck).max(stream.last_arrival[side] + 1);
        stream.last_arrival[side] = arrival;
        self.schedule_event(
            (arrival - self.now) / 2,
            WorldEvent::Sent { link, node: from, bytes: bytes.len() },
        );
        if broken {
            // A lost frame breaks its stream: no later frame arrives, and both ends notice it sooner or
            // later.
            self.coverage.record(if bytes.first() == Some(&7) { "window-broke" } else { "stream-broke" });
            self.break_stream_later(link, [from, to]);
            return stop_receiving(&mut self.network, link, 1 - side);
        }
        self.inject_disorder(from, to, link, kind, &bytes, arrival);
        self.schedule_event(arrival - self.now, WorldEvent::Frame { link, node: to, bytes });
    }

    /// Duplicates, reorders or replays frames, in a plan whose streams break their order.
    fn inject_disorder(
        &mut self,
        from: usize,
        to: usize,
        link: LinkId,
        kind: Option<LinkKind>,
        bytes: &[u8],
        arrival: u64,
    ) {
        if !self.faults.breaks_stream_order() || kind != Some(LinkKind::Member) {
            return;
        }
        let span = self.faults.delay.max(1000) * 4;
        if self.network_rng.per_mille(self.faults.duplicates) {
            self.coverage.record("duplicated");
            let later = self.network_rng.below(span);
            self.schedule_event(
                arrival + later - self.now,
                WorldEvent::Frame { link, node: to, bytes: bytes.to_vec() },
            );
        }
        if self.network_rng.per_mille(self.faults.reorders) {
            // The next frame on this stream may overtake this one.
            self.coverage.record("reordered");
            if let Some((side, _)) = self.network.end_of(link, from)
                && let Some(stream) = self.network.streams.get_mut(&link)
            {
                stream.last_arrival[side] = 0;
            }
        }
        let pick = self.network_rng.index(1 << 16);
        let old = self.network.exchange_old_frame(from, to, bytes, pick);
        if let Some(old) = old.filter(|_| self.network_rng.per_mille(self.faults.replays)) {
            self.coverage.record("replayed");
            let later = self.network_rng.below(span);
            self.schedule_event(arrival + later - self.now, WorldEvent::Frame { link, node: to, bytes: old });
        }
    }

    /// Rewrites the frames of a node that speaks a later version: a larger version in its hello, and
    /// sometimes an unknown frame.
    fn rewrite_for_later_version(
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
        match MemberFrame::decode(&bytes) {
            Ok(MemberFrame::Hello(Hello { newest_version: version, min_version: least, .. })) => {
                self.coverage.record("later-hello");
                MemberFrame::Hello(Hello {
                    newest_version: version + 1,
                    min_version: least,
                    software: "sim-later".to_owned(),
                })
                .encode()
            }
            _ if self.network_rng.per_mille(30) => {
                // The unknown frame comes after the hello, and before the frame that is sent now.
                self.coverage.record("later-frame");
                let arrival = self.network.end_of(link, from).and_then(|(side, _)| {
                    let stream = self.network.streams.get_mut(&link)?;
                    let arrival = stream.last_arrival[side].max(self.now) + 1;
                    stream.last_arrival[side] = arrival;
                    Some(arrival)
                });
                let unknown_frame = vec![UNKNOWN_FRAME_KIND, 1, 2, 3];
                let delay = arrival.map_or(1, |arrival| arrival - self.now);
                self.schedule_event(delay, WorldEvent::Frame { link, node: to, bytes: unknown_frame });
                bytes
            }
            _ => bytes,
        }
    }

    pub(super) fn close_stream(&mut self, node: usize, link: LinkId) {
        let Some((_, other)) = self.network.end_of(link, node) else { return };
        // Frames that were sent before the close still arrive.
        let last = self
            .network
            .streams
            .get(&link)
            .map_or(0, |stream| stream.last_arrival[0].max(stream.last_arrival[1]));
        let delay = self.frame_delay(node, other) + last.saturating_sub(self.now);
        self.schedule_event(0, WorldEvent::Break { link, node });
        self.schedule_event(delay, WorldEvent::Break { link, node: other });
    }

    pub(super) fn break_link_end(&mut self, link: LinkId, node: usize) {
        let Some((side, _)) = self.network.end_of(link, node) else { return };
        let Some(stream) = self.network.streams.get_mut(&link) else { return };
        let was_alive = std::mem::replace(&mut stream.alive[side], false);
        if !stream.alive.contains(&true) {
            self.network.streams.remove(&link);
        }
        if was_alive {
            self.deliver_input(node, Input::LinkDown { link });
        }
    }

    /// Closes every stream at both ends. Frames on their way are lost.
    pub(in super::super) fn break_all_links(&mut self) {
        let streams: Vec<_> =
            self.network.streams.iter().map(|(link, stream)| (*link, stream.ends)).collect();
        for (link, ends) in streams {
            ends.into_iter().for_each(|node| self.break_link_end(link, node));
        }
    }

    /// Does what the network crate does continuously: nodes discover each other, and members that can reach
    /// each other get a link.
    pub(super) fn link_members(&mut self) {
        self.schedule_event(LINK_INTERVAL_US, WorldEvent::Meet);
        for a in 0..self.nodes.len() {
            for b in 0..self.nodes.len() {
                let up = self.nodes[a].is_up(self.now) && self.nodes[b].is_up(self.now);
                if a == b || !up || !self.network.can_connect(a, b) || self.network_rng.below(3) == 0 {
                    continue;
                }
                let (id_a, id_b) = (self.nodes[a].secret.node_id(), self.nodes[b].secret.node_id());
                if self.network_rng.below(5) == 0 {
                    self.deliver_input(
                        a,
                        Input::NodeDiscovered { peer: id_b, addresses: vec![format!("/sim/{b}")] },
                    );
                }
                // Either node may have crashed while it handled the input.
                let up = self.nodes[a].is_up(self.now) && self.nodes[b].is_up(self.now);
                if !up || !self.nodes[a].linked_members.contains(&id_b) || self.network.has_member_link(a, b)
                {
                    continue;
                }
                if self.nodes[b].linked_members.contains(&id_a) {
                    self.open_member_link(a, b);
                } else if id_a < id_b {
                    // Only the node with the lower key dials, so only it is refused.
                    self.deliver_input(a, Input::LinkRefused { peer: id_b });
                }
            }
        }
    }

    fn open_member_link(&mut self, a: usize, b: usize) {
        let (id_a, id_b) = (self.nodes[a].secret.node_id(), self.nodes[b].secret.node_id());
        let shared =
            self.invited_nodes.values().filter(|nodes| nodes.contains(&a) && nodes.contains(&b)).count();
        if shared > 1 {
            self.coverage.record("two-groups");
        }
        let link = self.network.open_stream(a, b, LinkKind::Member);
        self.deliver_input(
            a,
            Input::LinkUp { link, peer: id_b, kind: LinkKind::Member, is_opened_here: true },
        );
        self.deliver_input(
            b,
            Input::LinkUp { link, peer: id_a, kind: LinkKind::Member, is_opened_here: false },
        );
    }

    pub(super) fn open_guest_stream(&mut self, from: usize, to: NodeId) {
        let found = self.nodes.iter().position(|node| node.secret.node_id() == to && node.is_up(self.now));
        let Some(to_index) = found.filter(|to| self.network.can_connect(from, *to)) else {
            return self.deliver_input(from, Input::GuestStreamFailed { peer: to });
        };
        if self.nodes[from].core_node.is_none() {
            return;
        }
        let link = self.network.open_stream(from, to_index, LinkKind::Guest);
        let me = self.nodes[from].secret.node_id();
        self.deliver_input(
            to_index,
            Input::LinkUp { link, peer: me, kind: LinkKind::Guest, is_opened_here: false },
        );
        self.deliver_input(
            from,
            Input::LinkUp { link, peer: to, kind: LinkKind::Guest, is_opened_here: true },
        );
    }
}

/// Lets no more frames arrive at this end. The end may not have noticed yet.
fn stop_receiving(wire: &mut SimNetwork, link: LinkId, side: usize) {
    if let Some(stream) = wire.streams.get_mut(&link) {
        stream.receives_nothing[side] = true;
    }
}
