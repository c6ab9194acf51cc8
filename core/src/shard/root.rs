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
use crate::delta::compose::{actor_id, change_id, compose_root};
use crate::id::{Actor, ChangeId, EpochId, GrantId, GroupId, hash16};
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
    pub fn buckets(self) -> u16 {
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
pub struct Root {
    group: GroupId,
    shard: ShardName,
    actor: Actor,
    id: ChangeId,
    epoch: EpochId,
    change: Change,
}

impl Root {
    /// The root of `shard` in `group`, in its first epoch.
    pub fn derive(group: GroupId, shard: ShardName) -> Self {
        let name = shard.to_string();
        let actor = Actor(hash16("larder 1 root actor", &[&group.0, name.as_bytes()]));
        let change = compose_root(actor, &name, shard.buckets());
        let id = change_id(&change);
        let mut epoch = EpochId::ZERO;
        for (to, from) in epoch.0.iter_mut().zip(id.0) {
            *to = from;
        }
        Self { group, shard, actor, id, epoch, change }
    }

    /// The group it belongs to.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The shard it begins.
    pub fn shard(&self) -> ShardName {
        self.shard
    }

    /// The root's own actor, under which nothing else is written.
    pub fn actor(&self) -> Actor {
        self.actor
    }

    /// The root change's hash.
    pub fn id(&self) -> ChangeId {
        self.id
    }

    /// The epoch it begins.
    pub fn epoch(&self) -> EpochId {
        self.epoch
    }

    /// The change itself.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// Counter of the root's last operation.
    pub fn max_op(&self) -> u64 {
        1 + u64::from(self.shard.buckets())
    }

    /// Counter of the operation that made the bucket of `key`.
    pub fn bucket_op(&self, key: &str) -> u64 {
        2 + u64::from(bucket::of(key, self.shard.buckets()))
    }

    /// The Automerge object that is the bucket of `key`.
    pub fn bucket(&self, key: &str) -> ObjId {
        ObjId::Id(self.bucket_op(key), actor_id(self.actor), 0)
    }

    /// All buckets, as Automerge objects.
    pub fn buckets(&self) -> impl Iterator<Item = ObjId> {
        (0..self.shard.buckets()).map(|b| ObjId::Id(2 + u64::from(b), actor_id(self.actor), 0))
    }
}
