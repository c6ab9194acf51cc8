//! A run: what a window brings of one chain, with the signatures that prove it.

use crate::delta::columns::{Head, Proof};
use crate::id::{ChangeId, EpochId, GroupId, NodeId};
use crate::limits;
use crate::shard::chain::{self, Cover, Link, next_link};

/// What a window brings of one chain.
pub(super) struct Run {
    pub(super) head: Head,
    proof: Proof,
    ids: Vec<ChangeId>,
}

impl Run {
    pub(super) fn new(head: Head, proof: Proof) -> Self {
        Self { head, proof, ids: Vec::new() }
    }

    pub(super) fn push(&mut self, id: ChangeId) {
        self.ids.push(id);
    }

    /// Its last change.
    pub(super) fn last(&self) -> Option<ChangeId> {
        self.ids.last().copied()
    }

    /// The place of its last change.
    pub(super) fn end(&self) -> u64 {
        self.head.after.saturating_add(self.ids.len() as u64)
    }

    /// Checks every signature that came with it, given the link that it begins on.
    pub(super) fn check(&self, author: &NodeId, at: (GroupId, EpochId), base: Link) -> Result<(), String> {
        let mut link = base;
        let mut marks = self.proof.marks.iter();
        for (seq, id) in (self.head.after + 1..).zip(&self.ids) {
            link = next_link(&link, *id);
            let marked = seq.is_multiple_of(limits::SIGNED_EVERY);
            let good = !marked
                || marks.next().is_some_and(|mark| chain::verify(author, at.0, at.1, seq, &link, mark));
            if !good {
                return Err(format!("a window of history without the signature at {seq} of a chain"));
            }
        }
        let end = self.end();
        // Signatures past the end prove nothing here, and a cover ends at the next kept signature at the latest: if only a
        // part of the run is let in, what is left of the cover must still be one.
        let next_mark = end.next_multiple_of(limits::SIGNED_EVERY);
        let proved = !self.ids.is_empty()
            && marks.next().is_none()
            && end + self.proof.cover.ahead.len() as u64 <= next_mark
            && chain::is_covered(author, at, end, &link, &self.proof.cover);
        if proved { Ok(()) } else { Err("a window of history with a false signature".to_owned()) }
    }

    /// What proves the chain up to `seq`: the next of the signatures that came, and the hashes on the way there.
    pub(super) fn cover(&self, seq: u64) -> Option<Cover> {
        let place = |seq: u64| usize::try_from(seq.checked_sub(self.head.after)?).ok();
        let next_mark = seq.next_multiple_of(limits::SIGNED_EVERY);
        if next_mark <= self.end() {
            let before = self.head.after / limits::SIGNED_EVERY;
            let nth = usize::try_from((next_mark / limits::SIGNED_EVERY).checked_sub(before + 1)?).ok()?;
            let ahead = self.ids.get(place(seq)?..place(next_mark)?)?.to_vec();
            return Some(Cover { ahead, signature: *self.proof.marks.get(nth)? });
        }
        let mut ahead = self.ids.get(place(seq)?..)?.to_vec();
        ahead.extend(&self.proof.cover.ahead);
        Some(Cover { ahead, signature: self.proof.cover.signature })
    }
}
