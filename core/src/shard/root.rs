//! The root of a shard: its first change. Every node derives it from the group id and the shard name. It is
//! never sent, signed or counted. It creates the shard's map and the buckets in it; no other change creates
//! an object.
//!
//! ```text
//! op 1        ROOT[<shard name>] = map
//! op 2 + b    op1["%02x" % b]    = map, for b in 0 .. buckets
//! actor       first 16 bytes of BLAKE3("larder 1 root actor", group | shard name)
//! shard id    first 16 bytes of the change's hash
//! ```

use std::fmt;

use automerge::{Change, ObjId};

use super::bucket;
use crate::delta::OpRef;
use crate::delta::automerge_codec::{automerge_actor_id, build_root_change, change_id};
use crate::id::{ChainId, ChangeId, GrantId, GroupId, ShardId, hash16};
use crate::limits;

/// The name of a shard of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShardName {
    /// What operators want, with aliases and labels.
    Desired,
    /// What the node with this grant reports about its host. Only that node writes it.
    Observed(GrantId),
}

impl ShardName {
    /// The number of buckets of a shard with this name.
    pub fn bucket_count(self) -> u16 {
        match self {
            Self::Desired => limits::DESIRED_BUCKETS,
            Self::Observed(_) => limits::OBSERVED_BUCKETS,
        }
    }
}

impl fmt::Display for ShardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Desired => f.write_str("desired"),
            Self::Observed(grant) => write!(f, "observed/{grant}"),
        }
    }
}

/// The root change of a shard, with the ids that follow from it.
#[derive(Clone, Debug)]
pub struct ShardRoot {
    group: GroupId,
    name: ShardName,
    chain_id: ChainId,
    id: ChangeId,
    shard_id: ShardId,
    change: Change,
}

impl ShardRoot {
    /// Derives the root of a shard.
    pub fn derive(group: GroupId, shard_name: ShardName) -> Self {
        let name_text = shard_name.to_string();
        let chain_id = ChainId(hash16("larder 1 root actor", &[&group.0, name_text.as_bytes()]));
        let change = build_root_change(chain_id, &name_text, shard_name.bucket_count());
        let id = change_id(&change);
        let mut shard_id = ShardId::ZERO;
        for (to, from) in shard_id.0.iter_mut().zip(id.0) {
            *to = from;
        }
        Self { group, name: shard_name, chain_id, id, shard_id, change }
    }

    /// The group that the shard belongs to.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The shard's name.
    pub fn name(&self) -> ShardName {
        self.name
    }

    /// The root's own chain, which has no other change.
    pub fn chain_id(&self) -> ChainId {
        self.chain_id
    }

    /// The root change's hash.
    pub fn id(&self) -> ChangeId {
        self.id
    }

    /// The shard's id.
    pub fn shard_id(&self) -> ShardId {
        self.shard_id
    }

    /// The root as an Automerge change.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// The counter of the root's last operation.
    pub fn max_op(&self) -> u64 {
        1 + u64::from(self.name.bucket_count())
    }

    /// The operation that made the bucket of `key`.
    pub fn bucket(&self, key: &str) -> OpRef {
        let bucket = bucket::bucket_index(key, self.name.bucket_count());
        OpRef { counter: 2 + u64::from(bucket), chain_id: self.chain_id }
    }

    /// The Automerge object that is the bucket of `key`.
    pub fn bucket_object(&self, key: &str) -> ObjId {
        ObjId::Id(self.bucket(key).counter, automerge_actor_id(self.chain_id), 0)
    }

    /// All buckets, as Automerge objects.
    pub fn bucket_objects(&self) -> impl Iterator<Item = ObjId> {
        (0..self.name.bucket_count())
            .map(|bucket| ObjId::Id(2 + u64::from(bucket), automerge_actor_id(self.chain_id), 0))
    }
}
