//! Copies of one group that write and pull from each other, without a node around them.

use std::collections::BTreeMap;

use super::{operator_records, secret_key};
use crate::group::{ChainRange, ChangeNote, Group};
use crate::id::{ChangeId, Incarnation, SecretKey, ShardId, hash16};
use crate::record::RecordSet;
use crate::shard::root::ShardName;
use crate::store::MemoryStore;
use crate::value::Value;

/// One member's copy of a group, with its store.
#[derive(Clone, Debug)]
pub struct GroupPeer {
    /// The key of the member.
    pub secret: SecretKey,
    /// The member's copy of the group.
    pub group: Group,
    /// The rows that the member stored.
    pub store: MemoryStore,
    /// The user whom the member's changes name.
    pub user: &'static str,
    incarnation_count: u64,
}

impl GroupPeer {
    /// The members of a group of `count` operators. The first is the founder; the others have the aliases
    /// that `alias_of` gives their numbers.
    pub fn new_group(count: u8, alias_of: impl Fn(u8) -> String) -> Vec<Self> {
        let holders = (2..=count).map(|number| (secret_key(number).node_id(), alias_of(number), Vec::new()));
        let records = operator_records(holders);
        let (genesis, grants) = records.split_first().expect("the Genesis record");
        let peer = |number: u8| {
            let record_set = RecordSet::from_genesis(genesis.clone()).expect("a Genesis record");
            let mut group = Group::new(record_set);
            // Out of order on purpose: a record waits for the one before it.
            let outcome = group.apply_records(grants.iter().rev().cloned());
            assert_eq!((outcome.new_records.len(), outcome.fault), (grants.len(), None));
            let mut peer = Self::new(number, group);
            peer.store.write(&outcome.rows);
            peer
        };
        (1..=count).map(peer).collect()
    }

    /// The copy of the member with the key of this number. Its store is empty.
    pub fn new(number: u8, group: Group) -> Self {
        let user = ["ann", "ben", "cem"][usize::from(number) % 3];
        let incarnation_count = 1000 * u64::from(number);
        Self { secret: secret_key(number), group, store: MemoryStore::default(), user, incarnation_count }
    }

    /// An incarnation that this copy has not used.
    pub fn next_incarnation(&mut self) -> Incarnation {
        self.incarnation_count += 1;
        Incarnation(hash16("test life", &[&self.incarnation_count.to_be_bytes()]))
    }

    /// Writes a change and stores it. Returns its id, unless nothing differed.
    pub fn write(&mut self, shard: ShardName, puts: BTreeMap<String, Value>, time: i64) -> Option<ChangeId> {
        let incarnation = self.next_incarnation();
        let note =
            ChangeNote { message: "why".into(), user: self.user.into(), command: "larder set".into(), time };
        let written = self.group.write(&self.secret, shard, puts, &note, incarnation).expect("a valid write");
        self.store.write(&written.ingest.rows);
        written.change_id
    }
}

/// Sends everything that `from` has and `to` lacks, batch by batch.
///
/// # Panics
///
/// If a batch is rejected or has nothing new.
pub fn pull_all(from: &mut GroupPeer, to: &mut GroupPeer) {
    let shard_ids: Vec<ShardId> = from.group.shards().map(|shard| shard.root().shard_id()).collect();
    for shard_id in shard_ids {
        loop {
            let ranges = missing_ranges(&from.group, &to.group, &shard_id);
            let Some((batch, _)) = from.group.next_batch(&shard_id, &ranges) else { break };
            let outcome = to.group.ingest_batch(shard_id, &batch);
            assert_eq!(outcome.rejection, None);
            assert!(!outcome.new_changes.is_empty() && !outcome.has_gap, "each batch has new changes");
            to.store.write(&outcome.rows);
        }
    }
}

/// The ranges of a shard that `from` has and `to` lacks.
pub fn missing_ranges(from: &Group, to: &Group, shard_id: &ShardId) -> Vec<ChainRange> {
    let positions = from.shard_states().chain_positions(shard_id);
    let missing = positions.iter().filter_map(|position| {
        let after = to.shard_states().accepted_len(shard_id, &position.chain_id);
        let upto = *position.tips.first()?;
        (upto.seq > after).then_some(ChainRange { chain_id: position.chain_id, after, upto })
    });
    missing.collect()
}
