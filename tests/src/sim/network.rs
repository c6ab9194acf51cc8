//! Who can reach whom, and the streams between them. Streams are like TCP: in order and whole, or broken; a
//! plan may have them break that promise.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use larder_core::node::{LinkId, LinkKind};

/// Frames of a pair that are remembered, to come again.
const MAX_OLD_FRAMES: usize = 32;

/// One stream between two nodes.
#[derive(Clone, Debug)]
pub(super) struct SimStream {
    /// Who opened it, and who accepted.
    pub(super) ends: [usize; 2],
    /// What sort of stream it is.
    pub(super) kind: LinkKind,
    /// Which ends still believe in it.
    pub(super) alive: [bool; 2],
    /// When the last frame in each direction arrives: no later one may overtake it.
    pub(super) last_arrival: [u64; 2],
    /// At which ends nothing arrives any more, though they may not know yet.
    pub(super) receives_nothing: [bool; 2],
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct SimNetwork {
    /// Directions in which nothing arrives.
    pub(super) cut_directions: BTreeSet<(usize, usize)>,
    /// The streams.
    pub(super) streams: BTreeMap<LinkId, SimStream>,
    next_link: u64,
    /// Frames of member links, by direction.
    sent_frames: BTreeMap<(usize, usize), VecDeque<Vec<u8>>>,
}

impl SimNetwork {
    /// True if packets from `a` reach `b`.
    pub(super) fn can_reach(&self, a: usize, b: usize) -> bool {
        !self.cut_directions.contains(&(a, b))
    }

    /// True if both reach each other: without that no stream can be opened.
    pub(super) fn can_connect(&self, a: usize, b: usize) -> bool {
        self.can_reach(a, b) && self.can_reach(b, a)
    }

    /// Opens a stream.
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

    /// True if the two have a member link that either of them believes in.
    pub(super) fn has_member_link(&self, a: usize, b: usize) -> bool {
        self.streams.values().any(|stream| {
            let same = stream.ends == [a, b] || stream.ends == [b, a];
            same && stream.kind == LinkKind::Member && stream.alive.contains(&true)
        })
    }

    /// Which end of a stream a node is, and who is at the other.
    pub(super) fn end_of(&self, link: LinkId, node: usize) -> Option<(usize, usize)> {
        let stream = self.streams.get(&link)?;
        let side = stream.ends.iter().position(|end| *end == node)?;
        Some((side, stream.ends[1 - side]))
    }

    /// The streams of a node, with who is at the other end.
    pub(super) fn streams_of(&self, node: usize) -> Vec<(LinkId, usize)> {
        let links = self.streams.keys();
        links.filter_map(|link| self.end_of(*link, node).map(|(_, other)| (*link, other))).collect()
    }

    /// True if a frame that arrives at that end is heard.
    pub(super) fn can_receive(&self, link: LinkId, node: usize) -> bool {
        let side = self.end_of(link, node).map(|(side, _)| side);
        side.zip(self.streams.get(&link))
            .is_some_and(|(side, stream)| stream.alive[side] && !stream.receives_nothing[side])
    }

    /// Remembers a frame, and answers one that was sent in that direction earlier, on whatever stream.
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
