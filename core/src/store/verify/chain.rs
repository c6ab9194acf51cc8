//! One chain, walked from its first change to its newest.

use super::{Pass, Place};
use crate::delta::compose::Composed;
use crate::id::{ChangeId, NodeId};
use crate::limits;
use crate::shard::chain::{Link, first_link, is_covered, next_link, verify};

/// Where the walk has got to.
pub(super) struct Walk {
    pub(super) at: Place,
    author: Option<NodeId>,
    seq: u64,
    link: Link,
    newest: Option<ChangeId>,
    /// True once a signature can say nothing any more, since the chain up to there is not here.
    broken: bool,
}

impl Pass<'_> {
    pub(super) fn begin(&self, at: Place) -> Walk {
        let link = first_link(self.group.id(), at.0, at.1);
        Walk { at, author: None, seq: 0, link, newest: None, broken: false }
    }

    /// One more change. The link follows from the name that it is kept under: so what is tampered with is named itself,
    /// and does not spoil what stands beside it.
    pub(super) fn step(&mut self, walk: &mut Walk, seq: u64, id: ChangeId, composed: Option<Composed>) {
        if seq != walk.seq + 1 && !walk.broken {
            self.found.fail(
                &id,
                &format!("the change before it in its chain, number {}, is missing", seq.saturating_sub(1)),
            );
            walk.broken = true;
        }
        walk.seq = seq;
        walk.link = next_link(&walk.link, id);
        walk.newest = Some(id);
        if let Some(base) = self.bases.get_mut(&(walk.at, seq)) {
            *base = Some((id, walk.link));
        }
        let grant = composed.map(|composed| composed.delta().grant);
        if let (None, Some(grant)) = (walk.author, grant) {
            walk.author = self.group.records().holder(&grant).map(|(key, _)| key);
            if walk.author.is_none() {
                self.found
                    .fail(&id, "its author is not known: the grant that it was written under is missing");
                walk.broken = true;
            }
        }
        let signed = seq.is_multiple_of(limits::SIGNED_EVERY);
        if let (true, false, Some(author)) = (signed, walk.broken, walk.author) {
            let right = self
                .marks
                .get(&(walk.at, seq))
                .is_some_and(|mark| verify(&author, self.group.id(), walk.at.0, seq, &walk.link, mark));
            if !right {
                self.found.fail(&id, &not_signed(seq - (limits::SIGNED_EVERY - 1), seq));
            }
        }
    }

    /// The end of a chain, which its newest signature proves.
    pub(super) fn end(&mut self, walk: Walk) {
        let cover = self.covers.remove(&walk.at);
        let (Some(newest), Some(author), false) = (walk.newest, walk.author, walk.broken) else { return };
        let Some((seq, cover)) = cover else {
            return self.found.fail(&newest, "nothing proves the end of its chain");
        };
        if seq != walk.seq {
            let why =
                format!("its chain ends here, and is signed for up to number {seq} (this is {})", walk.seq);
            return self.found.fail(&newest, &why);
        }
        if !is_covered(&author, (self.group.id(), walk.at.0), seq, &walk.link, &cover) {
            let from = (seq - 1) / limits::SIGNED_EVERY * limits::SIGNED_EVERY + 1;
            self.found.fail(&newest, &not_signed(from, seq));
        }
    }
}

fn not_signed(from: u64, upto: u64) -> String {
    format!("its author did not sign its chain up to here (changes {from} to {upto} of it)")
}
