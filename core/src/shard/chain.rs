//! A chain: everything one actor wrote, and the signatures that prove it.
//!
//! The author signs a running hash of its chain, not each change by itself:
//!
//! ```text
//! link 0    = BLAKE3("larder 1 chain", group | epoch | actor)
//! link n    = BLAKE3("larder 1 chain", link n-1 | hash of change n)
//! signature = Ed25519 over "larder 1 chain\0" | group [16] | epoch [16] | n as u64 big-endian | link n
//! ```
//!
//! So one signature fixes the author's whole past, and kept are only those of every 64th change and of the newest.
//! Because a link needs the *hashes* of the changes and not their content, a prefix that ends between two kept
//! signatures can still be proved: by the hashes of the few changes ahead and the signature beyond them, its [`Cover`].
//! A window of history can thus be cut anywhere, stored and passed on, and nothing unproved is ever kept.

use serde::{Deserialize, Serialize};

use crate::id::{Actor, ChangeId, EpochId, GrantId, GroupId, Incarnation, NodeId, Secret, Sig, hash};
use crate::limits;

/// The running hash of a chain.
pub type Link = [u8; 32];

/// What proves the end of a chain: the hashes of the changes after it, up to one that is signed, and that signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cover {
    /// Hashes of the changes past the end; empty if the newest change is itself signed.
    pub ahead: Vec<ChangeId>,
    /// The author's signature of the chain at the last of these.
    pub signature: Sig,
}

/// The link before the first change of a chain.
pub fn first_link(group: GroupId, epoch: EpochId, actor: Actor) -> Link {
    hash("larder 1 chain", &[&group.0, &epoch.0, &actor.0])
}

/// The link after one more change.
pub fn next_link(link: &Link, change: ChangeId) -> Link {
    hash("larder 1 chain", &[link, &change.0])
}

fn message(group: GroupId, epoch: EpochId, seq: u64, link: &Link) -> Vec<u8> {
    [b"larder 1 chain\0".as_slice(), &group.0, &epoch.0, &seq.to_be_bytes(), link].concat()
}

/// Signs a chain at its change `seq`.
pub fn sign(secret: &Secret, group: GroupId, epoch: EpochId, seq: u64, link: &Link) -> Sig {
    secret.sign(&message(group, epoch, seq, link))
}

/// True if `author` signed the chain at its change `seq`.
pub fn verify(author: &NodeId, group: GroupId, epoch: EpochId, seq: u64, link: &Link, sig: &Sig) -> bool {
    author.verify(&message(group, epoch, seq, link), sig)
}

/// True if `cover` proves the chain whose link after `seq` changes is `link`.
pub fn is_covered(author: &NodeId, at: (GroupId, EpochId), seq: u64, link: &Link, cover: &Cover) -> bool {
    if cover.ahead.len() > limits::COVER {
        return false;
    }
    let signed_link = cover.ahead.iter().fold(*link, |link, id| next_link(&link, *id));
    verify(author, at.0, at.1, seq + cover.ahead.len() as u64, &signed_link, &cover.signature)
}

/// Everything known of one chain of accepted changes.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Who writes it.
    pub actor: Actor,
    /// The grant it is written under.
    pub grant: GrantId,
    /// Which life of that grant.
    pub incarnation: Incarnation,
    /// The author's changes in order, as indexes into the graph; the first has seq 1.
    pub(super) entries: Vec<u32>,
    /// The link after the newest change.
    link: Link,
    /// Signatures at 64, 128, ...
    marks: Vec<Sig>,
    /// What proves the newest change.
    cover: Option<Cover>,
}

impl Chain {
    pub(super) fn new(group: GroupId, epoch: EpochId, author: (GrantId, Incarnation)) -> Self {
        let actor = Actor::of(group, epoch, author.0, author.1);
        Self {
            actor,
            grant: author.0,
            incarnation: author.1,
            entries: Vec::new(),
            link: first_link(group, epoch, actor),
            marks: Vec::new(),
            cover: None,
        }
    }

    pub(super) fn extend(&mut self, entry: u32, change: ChangeId) {
        self.entries.push(entry);
        self.link = next_link(&self.link, change);
    }

    /// How many changes it has; also the seq of its newest.
    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// True if nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The link after the newest change.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Takes in signatures that were checked: one at a 64th change that the chain has reached is kept as a mark.
    pub fn mark(&mut self, seq: u64, signature: Sig) -> bool {
        let next = (self.marks.len() as u64 + 1) * limits::SIGNED_EVERY;
        if seq != next || seq > self.len() {
            return false;
        }
        self.marks.push(signature);
        true
    }

    /// Takes in what proves the newest change. A signature that lands on a 64th change is a mark too.
    pub fn set_cover(&mut self, cover: Cover) {
        if cover.ahead.is_empty() {
            self.mark(self.len(), cover.signature);
        }
        self.cover = Some(cover);
    }

    /// Takes over the marks of a chain that this one is the beginning of, and what proves its end.
    pub(super) fn prove_like(&mut self, whole: &Self, cover: Option<Cover>) {
        let marks = usize::try_from(self.len() / limits::SIGNED_EVERY).unwrap_or(usize::MAX);
        self.marks = whole.marks.iter().take(marks).copied().collect();
        self.cover = cover;
    }

    /// What proves the newest change.
    pub fn cover(&self) -> Option<&Cover> {
        self.cover.as_ref()
    }

    /// The signature at a 64th change.
    pub fn mark_at(&self, seq: u64) -> Option<&Sig> {
        let index = (seq / limits::SIGNED_EVERY).checked_sub(1)?;
        if !seq.is_multiple_of(limits::SIGNED_EVERY) {
            return None;
        }
        self.marks.get(usize::try_from(index).ok()?)
    }

    /// The seqs after `after` and up to `upto` that carry a mark.
    pub fn marks_between(&self, after: u64, upto: u64) -> impl Iterator<Item = (u64, Sig)> {
        let from = after / limits::SIGNED_EVERY + 1;
        (from..=upto / limits::SIGNED_EVERY)
            .map(|nth| nth * limits::SIGNED_EVERY)
            .filter_map(|seq| self.mark_at(seq).map(|sig| (seq, *sig)))
    }
}
