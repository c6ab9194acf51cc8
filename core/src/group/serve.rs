//! History for others: where this node stands, and windows of what another lacks.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use serde::{Deserialize, Serialize};

use super::Group;
use super::aside::{Aside, Beside};
use crate::delta::Delta;
use crate::delta::columns::{self, Head, Placed, Proof};
use crate::id::{Actor, ChangeId, EpochId, GrantId, Incarnation, Sig};
use crate::limits;
use crate::shard::Shard;
use crate::shard::chain::{Chain, Cover};
use crate::shard::graph::Entry;

/// The newest change of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tip {
    /// Its place in the chain.
    pub seq: u64,
    /// Its hash.
    pub id: ChangeId,
}

/// How far a node has got in one chain: one tip, or one for every branch if the chain forked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The chain.
    pub actor: Actor,
    /// Its tips, sorted.
    pub tips: Vec<Tip>,
}

/// A part of a chain that is asked for: everything after `after`, up to the tip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// The chain.
    pub actor: Actor,
    /// What the asker has of it.
    pub after: u64,
    /// Where it is to end.
    pub upto: Tip,
}

impl Group {
    /// Where this node stands in every chain of a shard: the ends of all kept branches. A chain with more of them than one
    /// position may say has several. Empty if nothing is kept of the shard.
    pub fn positions(&self, epoch: &EpochId) -> Vec<Position> {
        let Some(shard) = self.shards.get(epoch) else { return Vec::new() };
        let graph = shard.graph();
        let mut tips: BTreeMap<Actor, Vec<Tip>> = BTreeMap::new();
        for chain in graph.chains() {
            let tip = graph.at(chain, chain.len()).map(|entry| Tip { seq: entry.seq, id: entry.id });
            tips.entry(chain.actor).or_default().extend(tip);
        }
        for (actor, branches) in self.asides.get(epoch).map(Aside::tips).unwrap_or_default() {
            let tips = tips.entry(actor).or_default();
            for tip in branches {
                let lowest = self.aside_path(epoch, tip).last().map_or(tip, |lowest| lowest);
                // The accepted end is none if a branch that is kept goes on from it.
                tips.retain(|end| {
                    lowest.delta().seq != end.seq + 1 || lowest.delta().deps.binary_search(&end.id).is_err()
                });
                tips.push(Tip { seq: tip.delta().seq, id: tip.id() });
            }
        }
        let position = |(actor, mut tips): (Actor, Vec<Tip>)| {
            tips.sort_unstable();
            let parts: Vec<Position> =
                tips.chunks(limits::TIPS).map(|tips| Position { actor, tips: tips.to_vec() }).collect();
            parts
        };
        tips.into_iter().flat_map(position).collect()
    }

    /// How many changes of one chain the document holds.
    pub fn reach(&self, epoch: &EpochId, actor: &Actor) -> u64 {
        self.shards.get(epoch).and_then(|shard| shard.graph().chain(actor)).map_or(0, Chain::len)
    }

    /// Up to where this node has what leads to a tip that it does not know, as a first guess: its own branches may be
    /// others than the one that the tip ends.
    pub fn guess(&self, epoch: &EpochId, actor: &Actor, tip: Tip) -> u64 {
        let aside = self.asides.get(epoch).into_iter().flat_map(Aside::iter);
        let aside = aside.filter(|beside| beside.actor == *actor).map(|beside| beside.delta().seq);
        let most = aside.chain([self.reach(epoch, actor)]).filter(|seq| *seq < tip.seq).max();
        most.unwrap_or(tip.seq.saturating_sub(1) / limits::SIGNED_EVERY * limits::SIGNED_EVERY)
    }

    /// The author's change before this one; `None` of the first, and of one that is not here.
    pub fn previous(&self, epoch: &EpochId, id: &ChangeId) -> Option<ChangeId> {
        let graph = self.shards.get(epoch)?.graph();
        if let Some(entry) = graph.get(id) {
            return Some(graph.at(graph.chain_of(entry)?, entry.seq.checked_sub(1)?)?.id);
        }
        let aside = self.asides.get(epoch)?;
        let beside = aside.get(id)?;
        let accepted = || Some(graph.at(graph.chain(&beside.actor)?, beside.delta().seq.checked_sub(1)?)?.id);
        aside.previous(beside).map(Beside::id).or_else(accepted)
    }

    /// The newest signature of a change, if it is the newest of its chain: what a push carries.
    pub fn signature_of(&self, epoch: &EpochId, actor: &Actor, seq: u64) -> Option<Sig> {
        let chain = self.shards.get(epoch)?.graph().chain(actor)?;
        let cover = chain.cover().filter(|cover| cover.ahead.is_empty() && chain.len() == seq);
        cover.map(|cover| cover.signature).or_else(|| chain.mark_at(seq).copied())
    }

    /// The next window of what was asked for, in causal order, and whether more is left after it. Only what is kept is
    /// served. Chains that this node does not have, or not so, are passed over; of one that is asked for twice, the first
    /// part counts.
    pub fn window(&mut self, epoch: &EpochId, wants: &[Want]) -> Option<(Vec<u8>, bool)> {
        let shard = self.shards.get_mut(epoch)?;
        shard.flush();
        let mut deltas = std::mem::take(&mut self.served);
        let shard = self.shards.get(epoch)?;
        let mut lacking: Vec<Piece<'_>> = Vec::new();
        let mut asked = BTreeSet::new();
        for want in wants.iter().take(limits::WANT_CHAINS).filter(|want| asked.insert(want.actor)) {
            lacking.extend(self.path(epoch, want));
        }
        lacking.sort_unstable_by_key(|piece| (piece.depth(), piece.id()));
        let picked = pick(shard, &lacking, wants, &mut deltas);
        let (chosen, rest) = lacking.split_at_checked(picked).filter(|_| picked > 0)?;
        let packed = self.pack(shard, chosen, &deltas)?;
        // What was read in bulk and not sent yet is what the next window begins with.
        let rest = rest.iter().take(limits::SERVE_CHANGES).map(Piece::id);
        let more = picked < lacking.len();
        self.served = rest.filter_map(|id| Some((id, deltas.remove(&id)?))).collect();
        Some((packed, more))
    }

    /// The branch that leads to what is wanted, from where the asker stands. Where that end is not known here, the
    /// accepted branch as far as it goes.
    fn path(&self, epoch: &EpochId, want: &Want) -> Vec<Piece<'_>> {
        let Some(graph) = self.shards.get(epoch).map(Shard::graph) else { return Vec::new() };
        let aside = self.asides.get(epoch).and_then(|aside| aside.get(&want.upto.id));
        let branch = aside.filter(|beside| beside.kept && beside.actor == want.actor);
        let branch: Vec<&Beside> =
            branch.map(|tip| self.aside_path(epoch, tip).collect()).unwrap_or_default();
        let from = want.after.saturating_add(1);
        let upto = branch.last().map_or(want.upto.seq, |lowest| lowest.delta().seq - 1);
        let accepted = graph.chain(&want.actor).into_iter().flat_map(|chain| {
            let upto = upto.min(chain.len());
            (from..=upto).filter_map(move |seq| Some(Piece::Accepted(chain, graph.at(chain, seq)?)))
        });
        let branch = branch.into_iter().filter(|beside| beside.delta().seq >= from).map(Piece::Aside);
        accepted.chain(branch).collect()
    }

    /// What is aside of the branch that ends there, newest first.
    fn aside_path<'a>(&'a self, epoch: &EpochId, tip: &'a Beside) -> impl Iterator<Item = &'a Beside> {
        self.asides.get(epoch).into_iter().flat_map(|aside| aside.chain_to(tip.id()))
    }

    fn pack(
        &self,
        shard: &Shard,
        chosen: &[Piece<'_>],
        deltas: &BTreeMap<ChangeId, Delta>,
    ) -> Option<Vec<u8>> {
        let mut places: BTreeMap<Actor, usize> = BTreeMap::new();
        let mut spans: Vec<Vec<&Piece<'_>>> = Vec::new();
        let mut placed: Vec<Placed<'_>> = Vec::with_capacity(chosen.len());
        for piece in chosen {
            let place = *places.entry(piece.actor()).or_insert(spans.len());
            match spans.get_mut(place) {
                Some(span) => span.push(piece),
                None => spans.push(vec![piece]),
            }
            let delta = match piece {
                Piece::Accepted(..) => deltas.get(&piece.id())?,
                Piece::Aside(beside) => beside.delta(),
            };
            placed.push((place, piece.id(), delta));
        }
        let mut chains = Vec::with_capacity(spans.len());
        for span in spans {
            let (first, last) = (span.first()?, span.last()?);
            let base = self.previous(&shard.root().epoch(), &first.id()).unwrap_or(ChangeId::ZERO);
            let (grant, incarnation) = first.author();
            let head = Head { grant, incarnation, after: first.seq() - 1, base };
            let marked = span.iter().filter(|piece| piece.seq().is_multiple_of(limits::SIGNED_EVERY));
            let marks = marked.map(|piece| piece.mark()).collect::<Option<Vec<Sig>>>()?;
            chains.push((head, Proof { marks, cover: last.cover(shard)? }));
        }
        Some(columns::encode(shard.root(), &chains, &placed))
    }
}

/// A change that is to be served, wherever it stands.
enum Piece<'a> {
    Accepted(&'a Chain, &'a Entry),
    Aside(&'a Beside),
}

impl Piece<'_> {
    fn id(&self) -> ChangeId {
        match self {
            Self::Accepted(_, entry) => entry.id,
            Self::Aside(beside) => beside.id(),
        }
    }

    fn depth(&self) -> u32 {
        match self {
            Self::Accepted(_, entry) => entry.depth,
            Self::Aside(beside) => beside.depth,
        }
    }

    fn seq(&self) -> u64 {
        match self {
            Self::Accepted(_, entry) => entry.seq,
            Self::Aside(beside) => beside.delta().seq,
        }
    }

    fn actor(&self) -> Actor {
        match self {
            Self::Accepted(chain, _) => chain.actor,
            Self::Aside(beside) => beside.actor,
        }
    }

    fn author(&self) -> (GrantId, Incarnation) {
        match self {
            Self::Accepted(chain, _) => (chain.grant, chain.incarnation),
            Self::Aside(beside) => (beside.delta().grant, beside.delta().incarnation),
        }
    }

    /// The signature at a 64th change.
    fn mark(&self) -> Option<Sig> {
        match self {
            Self::Accepted(chain, entry) => chain.mark_at(entry.seq).copied(),
            Self::Aside(beside) => beside.cover.ahead.is_empty().then_some(beside.cover.signature),
        }
    }

    /// What proves its branch up to it.
    fn cover(&self, shard: &Shard) -> Option<Cover> {
        match self {
            Self::Accepted(chain, entry) => shard.graph().cover_at(chain, entry.seq),
            Self::Aside(beside) => Some(beside.cover.clone()),
        }
    }
}

/// How many of the changes fit one window. The contents of accepted ones are added to `deltas`.
fn pick(
    shard: &Shard,
    lacking: &[Piece<'_>],
    wants: &[Want],
    deltas: &mut BTreeMap<ChangeId, Delta>,
) -> usize {
    let most = lacking.len().min(limits::WINDOW_CHANGES);
    let is_unread =
        |piece: &&Piece<'_>| matches!(piece, Piece::Accepted(..)) && !deltas.contains_key(&piece.id());
    if lacking.iter().take(most).filter(is_unread).count() > BULK {
        // Reading changes one by one costs ten times what reading all after a set of heads does.
        let asked: BTreeMap<Actor, u64> = wants.iter().map(|want| (want.actor, want.after)).collect();
        let have = shard.graph().chains().map(|chain| {
            let after = asked.get(&chain.actor).copied().unwrap_or_else(|| chain.len());
            (chain.actor, after)
        });
        let have = shard.graph().clock_of(have);
        deltas.extend(shard.deltas_after(&have));
    }
    let (mut bytes, mut chains, mut picked) = (0, BTreeSet::new(), 0);
    for piece in lacking.iter().take(most) {
        let weight = match piece {
            Piece::Aside(beside) => columns::weight(beside.delta()),
            Piece::Accepted(..) => match deltas.entry(piece.id()) {
                btree_map::Entry::Occupied(read) => columns::weight(read.get()),
                btree_map::Entry::Vacant(unread) => match shard.delta(&piece.id()) {
                    Some(delta) => columns::weight(unread.insert(delta)),
                    None => break,
                },
            },
        };
        bytes += weight;
        if chains.insert(piece.actor()) {
            bytes += CHAIN_BYTES;
        }
        if picked > 0 && bytes > limits::WINDOW_BYTES {
            break;
        }
        picked += 1;
    }
    picked
}

/// From so many changes on, they are read from the document in bulk.
const BULK: usize = 64;
/// About what a chain's head and proof take in a window, at most.
const CHAIN_BYTES: usize = 32 * limits::COVER + 64 + 120;
