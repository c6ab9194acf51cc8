//! Who can reach whom, and the streams between them. Streams are like TCP: in order and whole, or broken.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::machine::{LinkId, LinkKind};

/// One stream between two nodes.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// Who opened it, and who accepted.
    pub(super) ends: [usize; 2],
    /// What sort of stream it is.
    pub(super) kind: LinkKind,
    /// Which ends still believe in it.
    pub(super) alive: [bool; 2],
    /// When the last frame in each direction arrives: no later one may overtake it.
    pub(super) last: [u64; 2],
    /// At which ends nothing arrives any more, though they may not know yet.
    pub(super) lost: [bool; 2],
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire {
    /// Directions in which nothing arrives.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// The streams.
    pub(super) streams: BTreeMap<LinkId, Stream>,
    next: u64,
}

impl Wire {
    /// True if packets from `a` reach `b`.
    pub(super) fn reaches(&self, a: usize, b: usize) -> bool {
        !self.cut.contains(&(a, b))
    }

    /// True if both reach each other: without that no stream can be opened.
    pub(super) fn connects(&self, a: usize, b: usize) -> bool {
        self.reaches(a, b) && self.reaches(b, a)
    }

    /// Opens a stream.
    pub(super) fn open(&mut self, from: usize, to: usize, kind: LinkKind) -> LinkId {
        self.next += 1;
        let link = LinkId(self.next);
        self.streams.insert(
            link,
            Stream { ends: [from, to], kind, alive: [true, true], last: [0, 0], lost: [false, false] },
        );
        link
    }

    /// True if the two have a member link that either of them believes in.
    pub(super) fn is_linked(&self, a: usize, b: usize) -> bool {
        self.streams.values().any(|stream| {
            let same = stream.ends == [a, b] || stream.ends == [b, a];
            same && stream.kind == LinkKind::Member && stream.alive.contains(&true)
        })
    }

    /// Which end of a stream a node is, and who is at the other.
    pub(super) fn side(&self, link: LinkId, node: usize) -> Option<(usize, usize)> {
        let stream = self.streams.get(&link)?;
        let side = stream.ends.iter().position(|end| *end == node)?;
        Some((side, stream.ends[1 - side]))
    }
}
