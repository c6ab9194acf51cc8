//! A shard's first change: a pure function of group and shard name, derived by every node alike, never sent, signed or
//! counted. It makes the shard's map and the buckets in it; no other object is ever made.
//!
//! ```text
//! op 1        ROOT[<shard name>] = map
//! op 2 + b    op1["%02x" % b]    = map, for b in 0 .. buckets
//! actor       first 16 bytes of BLAKE3("larder 1 root actor", group | shard name)
//! epoch       first 16 bytes of the change's hash
//! ```

use std::fmt;

use automerge::{Change, ObjId};

use super::bucket;
use crate::delta::OpRef;
use crate::delta::automerge_codec::{automerge_actor_id, build_root_change, change_id};
use crate::id::{ChainId, ChangeId, GrantId, GroupId, ShardId, hash16};
use crate::limits;

/// Names a shard of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShardName {
    /// What operators want, with node labels and aliases.
    Desired,
    /// What the machine that holds this grant really has; written by it alone.
    Observed(GrantId),
}

impl ShardName {
    /// How many buckets a shard of this sort has.
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

/// A shard's root change and what follows from it.
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
    /// The root of `shard` in `group`, in its first epoch.
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

    /// The group it belongs to.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The shard it begins.
    pub fn name(&self) -> ShardName {
        self.name
    }

    /// The root's own actor, under which nothing else is written.
    pub fn chain_id(&self) -> ChainId {
        self.chain_id
    }

    /// The root change's hash.
    pub fn id(&self) -> ChangeId {
        self.id
    }

    /// The epoch it begins.
    pub fn shard_id(&self) -> ShardId {
        self.shard_id
    }

    /// The change itself.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// Counter of the root's last operation.
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
