//! What a Revoke lets count of an ended grant, and what tells somebody that it is no member any more.

use std::collections::{BTreeMap, BTreeSet};

use super::Group;
use crate::id::{Actor, ChangeId, GrantId, NodeId, RecordId};
use crate::limits;
use crate::record::{Body, Frontiers, SignedRecord, Signer};
use crate::shard::Shard;
use crate::shard::graph::Clock;

impl Group {
    /// Everything that this node has accepted of a grant, and every record under it: what a Revoke lets count unless it is
    /// told otherwise.
    pub fn frontiers(&self, grant: &GrantId) -> Frontiers {
        self.frontiers_within(grant, |_| None)
    }

    /// The same, but of the shard that holds `change` no more than what it was built on and itself. `None` if no shard
    /// does.
    pub fn frontiers_through(&self, grant: &GrantId, change: &ChangeId) -> Option<Frontiers> {
        let shard = self.shards.values().find(|shard| shard.graph().contains(change))?;
        let past = shard.graph().clock([change]);
        let within = |of: &Shard| (of.root().epoch() == shard.root().epoch()).then(|| past.clone());
        Some(self.frontiers_within(grant, within))
    }

    /// The grant under which an accepted change was written.
    pub fn grant_behind(&self, change: &ChangeId) -> Option<GrantId> {
        let graph = self.shards.values().map(Shard::graph).find(|graph| graph.contains(change))?;
        Some(graph.chain_of(graph.get(change)?)?.grant)
    }

    fn frontiers_within(&self, grant: &GrantId, within: impl Fn(&Shard) -> Option<Clock>) -> Frontiers {
        let mut changes: BTreeMap<Actor, (u64, ChangeId)> = BTreeMap::new();
        for shard in self.shards.values() {
            let (graph, within) = (shard.graph(), within(shard));
            for chain in graph.chains().filter(|chain| chain.grant == *grant) {
                let reach = within.as_ref().map_or(chain.len(), |clock| graph.reach(clock, &chain.actor));
                let tip = graph.at(chain, reach).map(|tip| (chain.actor, (tip.seq, tip.id)));
                changes.extend(tip);
            }
        }
        let mut changes: Vec<_> = changes.into_iter().map(|(actor, (seq, id))| (actor, seq, id)).collect();
        if changes.len() > limits::FRONTIER_CHAINS {
            // So many lives of one grant are a fault in themselves; the longest had most to say.
            changes.sort_by_key(|(_, seq, _)| std::cmp::Reverse(*seq));
            changes.truncate(limits::FRONTIER_CHAINS);
            changes.sort_unstable();
        }
        Frontiers { record: self.records.newest((*grant, Signer::Holder)), changes }
    }

    /// What shows somebody whose grants are known here that none of them counts: the records that ended them, or those of
    /// the line up to Genesis, with all that is needed to understand them. Empty for everybody else.
    pub fn evidence(&self, former: &NodeId) -> Vec<SignedRecord> {
        let theirs = |id: &RecordId| self.records.holder(id).is_some_and(|(key, _)| key == *former);
        let grants = self.records.iter().map(SignedRecord::id).filter(theirs);
        let line = grants.filter_map(|grant| self.records.line(&grant)).flatten().collect();
        self.evidence_of(former, &line)
    }

    /// The same for somebody who shows these records as its line of grants: it may have been let in by one who could do so
    /// no more, and know as little of that as of itself.
    pub fn evidence_of(&self, former: &NodeId, line: &BTreeSet<RecordId>) -> Vec<SignedRecord> {
        let grants = || line.iter().filter(|id| self.members.grant(id).is_some());
        // Whoever shows the line of another is a stranger.
        let leads_here = line.iter().filter_map(|id| self.records.holder(id)).any(|(key, _)| key == *former);
        if self.members.contains(former) || !leads_here {
            return Vec::new();
        }
        let endings = grants().flat_map(|grant| self.members.endings(grant));
        let mut ids: BTreeSet<RecordId> = endings.map(|ending| ending.record).collect();
        if grants().next().is_some() {
            ids.extend(self.members.dissolved());
        }
        self.records.missing(&self.records.with_foundations(self.deciding(ids)), &[])
    }

    /// These records with those that decide whether they count, and up to where: what ended the grants that they were
    /// issued under, and what their frontiers name. One who has fewer may read them otherwise.
    fn deciding(&self, mut ids: BTreeSet<RecordId>) -> BTreeSet<RecordId> {
        let mut open: Vec<RecordId> = ids.iter().copied().collect();
        while let Some(id) = open.pop() {
            let Some(record) = self.records.get(&id).map(SignedRecord::record) else { continue };
            let line = self.records.line(&record.grant).unwrap_or_default();
            let endings = line.iter().flat_map(|grant| self.members.endings(grant));
            let named = match &record.body {
                Body::Revoke(revoke) => revoke.frontiers.record.map(|(_, id)| id),
                _ => None,
            };
            for id in endings.map(|ending| ending.record).chain(named) {
                if ids.insert(id) {
                    open.push(id);
                }
            }
        }
        ids
    }
}
