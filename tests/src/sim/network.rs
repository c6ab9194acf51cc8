//! Which nodes can reach each other, and the streams between them. Like TCP, a stream delivers complete
//! frames in order, or breaks. A plan may make streams violate this.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use larder_core::node::{LinkId, LinkKind};

/// The number of frames for each direction of a pair that are kept for replay.
const MAX_OLD_FRAMES: usize = 32;

/// One stream between two nodes.
#[derive(Clone, Debug)]
pub(super) struct SimStream {
    /// The node that opened the stream, and the node that accepted it.
    pub(super) ends: [usize; 2],
    pub(super) kind: LinkKind,
    /// For each end, whether it believes that the stream is open.
    pub(super) alive: [bool; 2],
    /// The arrival time of the last frame in each direction. No later frame may overtake it.
    pub(super) last_arrival: [u64; 2],
    /// For each end, whether it receives nothing any more. The end may not have noticed yet.
    pub(super) receives_nothing: [bool; 2],
}

/// The streams of all nodes, and the directions that are cut.
#[derive(Clone, Debug, Default)]
pub(super) struct SimNetwork {
    /// The directions in which nothing arrives.
    pub(super) cut_directions: BTreeSet<(usize, usize)>,
    pub(super) streams: BTreeMap<LinkId, SimStream>,
    next_link: u64,
    /// Earlier frames of member links, by direction.
    sent_frames: BTreeMap<(usize, usize), VecDeque<Vec<u8>>>,
}

impl SimNetwork {
    /// True if packets from `a` reach `b`.
    pub(super) fn can_reach(&self, a: usize, b: usize) -> bool {
        !self.cut_directions.contains(&(a, b))
    }

    /// True if packets pass in both directions, as opening a stream needs.
    pub(super) fn can_connect(&self, a: usize, b: usize) -> bool {
        self.can_reach(a, b) && self.can_reach(b, a)
    }

    pub(super) fn open_stream(&mut self, from: usize, to: usize, kind: LinkKind) -> LinkId {
        self.next_link += 1;
        let link = LinkId(self.next_link);
        self.streams.insert(
            link,
            SimStream {
                ends: [from, to],
                kind,
                alive: [true, true],
                last_arrival: [0, 0],
                receives_nothing: [false, false],
            },
        );
        link
    }

    /// True if the two nodes have a member link that at least one of them believes to be open.
    pub(super) fn has_member_link(&self, a: usize, b: usize) -> bool {
        self.streams.values().any(|stream| {
            let same = stream.ends == [a, b] || stream.ends == [b, a];
            same && stream.kind == LinkKind::Member && stream.alive.contains(&true)
        })
    }

    /// The end of a stream that `node` is, and the node at the other end.
    pub(super) fn end_of(&self, link: LinkId, node: usize) -> Option<(usize, usize)> {
        let stream = self.streams.get(&link)?;
        let side = stream.ends.iter().position(|end| *end == node)?;
        Some((side, stream.ends[1 - side]))
    }

    /// The streams of a node, each with the node at the other end.
    pub(super) fn streams_of(&self, node: usize) -> Vec<(LinkId, usize)> {
        let links = self.streams.keys();
        links.filter_map(|link| self.end_of(*link, node).map(|(_, other)| (*link, other))).collect()
    }

    /// True if the node receives a frame that arrives on this stream.
    pub(super) fn can_receive(&self, link: LinkId, node: usize) -> bool {
        let side = self.end_of(link, node).map(|(side, _)| side);
        side.zip(self.streams.get(&link))
            .is_some_and(|(side, stream)| stream.alive[side] && !stream.receives_nothing[side])
    }

    /// Stores a frame, and returns an earlier one of the same direction, from any stream.
    pub(super) fn exchange_old_frame(
        &mut self,
        from: usize,
        to: usize,
        bytes: &[u8],
        pick: usize,
    ) -> Option<Vec<u8>> {
        let old = self.sent_frames.entry((from, to)).or_default();
        let again = old.get(pick % old.len().max(1)).cloned();
        if old.len() == MAX_OLD_FRAMES {
            old.pop_front();
        }
        old.push_back(bytes.to_vec());
        again
    }
}
