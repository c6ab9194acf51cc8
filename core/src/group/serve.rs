//! History for others: where this node stands, and windows of what another lacks.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use serde::{Deserialize, Serialize};

use super::Group;
use crate::delta::Delta;
use crate::delta::columns::{self, Head, Placed, Proof};
use crate::id::{Actor, ChangeId, EpochId};
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
    /// Where this node stands in every chain of a shard; empty if nobody has written to it.
    pub fn positions(&self, epoch: &EpochId) -> Vec<Position> {
        let Some(shard) = self.shards.get(epoch) else { return Vec::new() };
        let graph = shard.graph();
        let tip =
            |chain: &Chain| graph.at(chain, chain.len()).map(|entry| Tip { seq: entry.seq, id: entry.id });
        graph
            .chains()
            .filter_map(|chain| Some(Position { actor: chain.actor, tips: vec![tip(chain)?] }))
            .collect()
    }

    /// How far this node has got in one chain.
    pub fn reach(&self, epoch: &EpochId, actor: &Actor) -> u64 {
        self.shards.get(epoch).and_then(|shard| shard.graph().chain(actor)).map_or(0, Chain::len)
    }

    /// The newest signature of a change, if it is the newest of its chain: what a push carries.
    pub fn signature_of(&self, epoch: &EpochId, actor: &Actor, seq: u64) -> Option<crate::id::Sig> {
        let chain = self.shards.get(epoch)?.graph().chain(actor)?;
        let cover = chain.cover().filter(|cover| cover.ahead.is_empty() && chain.len() == seq);
        cover.map(|cover| cover.signature).or_else(|| chain.mark_at(seq).copied())
    }

    /// The next window of what was asked for, in causal order, and whether more is left after it. Chains that this node
    /// does not have, or not so, are passed over; of one that is asked for twice, the first part counts.
    pub fn window(&mut self, epoch: &EpochId, wants: &[Want]) -> Option<(Vec<u8>, bool)> {
        let shard = self.shards.get_mut(epoch)?;
        shard.flush();
        let shard = self.shards.get(epoch)?;
        let graph = shard.graph();
        let mut lacking: Vec<&Entry> = Vec::new();
        let mut asked = BTreeSet::new();
        for want in wants.iter().take(limits::WANT_CHAINS) {
            let Some(chain) = graph.chain(&want.actor).filter(|chain| asked.insert(chain.actor)) else {
                continue;
            };
            let from = want.after.saturating_add(1);
            let upto = want.upto.seq.min(chain.len());
            lacking.extend((from..=upto).filter_map(|seq| graph.at(chain, seq)));
        }
        lacking.sort_unstable_by_key(|entry| (entry.depth, entry.id));
        let mut deltas = std::mem::take(&mut self.served);
        let picked = pick(shard, &lacking, wants, &mut deltas);
        let (chosen, rest) = lacking.split_at_checked(picked).filter(|_| picked > 0)?;
        let packed = pack(shard, chosen, &deltas)?;
        // What was read in bulk and not sent yet is what the next window begins with.
        let rest = rest.iter().take(limits::SERVE_CHANGES);
        self.served = rest.filter_map(|entry| Some((entry.id, deltas.remove(&entry.id)?))).collect();
        Some((packed, picked < lacking.len()))
    }
}

/// How many of the changes fit one window. Their contents are added to `deltas`.
fn pick(shard: &Shard, lacking: &[&Entry], wants: &[Want], deltas: &mut BTreeMap<ChangeId, Delta>) -> usize {
    let most = lacking.len().min(limits::WINDOW_CHANGES);
    let unread = lacking.iter().take(most).filter(|entry| !deltas.contains_key(&entry.id)).count();
    if unread > BULK {
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
    for entry in lacking.iter().take(most) {
        let delta = match deltas.entry(entry.id) {
            btree_map::Entry::Occupied(read) => read.into_mut(),
            btree_map::Entry::Vacant(unread) => match shard.delta(&entry.id) {
                Some(delta) => unread.insert(delta),
                None => break,
            },
        };
        bytes += columns::weight(delta);
        if chains.insert(delta.incarnation) {
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

fn pack(shard: &Shard, chosen: &[&Entry], deltas: &BTreeMap<ChangeId, Delta>) -> Option<Vec<u8>> {
    let graph = shard.graph();
    let mut places: BTreeMap<Actor, usize> = BTreeMap::new();
    let mut spans: Vec<(&Chain, u64, u64)> = Vec::new();
    let mut placed: Vec<Placed<'_>> = Vec::with_capacity(chosen.len());
    for entry in chosen {
        let chain = graph.chain_of(entry)?;
        let place = *places.entry(chain.actor).or_insert(spans.len());
        match spans.get_mut(place) {
            Some((_, _, upto)) => *upto = entry.seq,
            None => spans.push((chain, entry.seq - 1, entry.seq)),
        }
        placed.push((place, entry.id, deltas.get(&entry.id)?));
    }
    let mut chains = Vec::with_capacity(spans.len());
    for (chain, after, upto) in spans {
        let base = if after == 0 { ChangeId::ZERO } else { graph.at(chain, after)?.id };
        let head = Head { grant: chain.grant, incarnation: chain.incarnation, after, base };
        let marks = chain.marks_between(after, upto).map(|(_, mark)| mark).collect();
        chains.push((head, Proof { marks, cover: cover_at(shard, chain, upto)? }));
    }
    Some(columns::encode(shard.root(), &chains, &placed))
}

/// What proves a chain up to `seq`: the next signature at or beyond it, and the hashes on the way there.
fn cover_at(shard: &Shard, chain: &Chain, seq: u64) -> Option<Cover> {
    let next_mark = seq.next_multiple_of(limits::SIGNED_EVERY);
    let ids = |upto: u64| (seq + 1..=upto).filter_map(|seq| Some(shard.graph().at(chain, seq)?.id));
    if let Some(signature) = chain.mark_at(next_mark) {
        return Some(Cover { ahead: ids(next_mark).collect(), signature: *signature });
    }
    let cover = chain.cover()?;
    let ahead = ids(chain.len()).chain(cover.ahead.iter().copied()).collect();
    Some(Cover { ahead, signature: cover.signature })
}
