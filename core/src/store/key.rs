//! Keys of rows: composed as in the drawing of [`crate::store`], and parsed back.
//!
//! A `parse_*` function returns `None` for bytes that are not such a key: then the store is damaged.

use crate::id::{ChainId, ChangeId, GrantId, GroupId, InviteId, NodeId, RecordId, ShardId};

/// The parts of a key of `changes` or `unaccepted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeKey {
    /// The group of the change.
    pub group: GroupId,
    /// The shard that the change belongs to.
    pub shard_id: ShardId,
    /// The chain that the change belongs to.
    pub chain_id: ChainId,
    /// The change's sequence number in the chain.
    pub seq: u64,
    /// The change's hash.
    pub id: ChangeId,
}

/// The key of `groups` and `joins`, and the prefix of all keys of a group.
pub fn for_group(group: GroupId) -> Vec<u8> {
    group.0.to_vec()
}

/// A key of `records`.
pub fn record(group: GroupId, record: RecordId) -> Vec<u8> {
    [group.0.as_slice(), &record.0].concat()
}

/// The record id in a key of `records`.
pub fn parse_record(key: &[u8]) -> Option<RecordId> {
    RecordId::from_slice(after_group(key)?)
}

/// The key of `snapshots` and `resource-index`, and the prefix of all keys of a shard.
pub fn for_shard(group: GroupId, shard: ShardId) -> Vec<u8> {
    [group.0.as_slice(), &shard.0].concat()
}

/// The key of `end-proofs`, and the prefix of all keys of a chain.
pub fn for_chain(group: GroupId, shard: ShardId, chain: ChainId) -> Vec<u8> {
    [group.0.as_slice(), &shard.0, &chain.0].concat()
}

/// The shard and chain in a key of `end-proofs`.
pub fn parse_chain(key: &[u8]) -> Option<(ShardId, ChainId)> {
    let (shard_id, chain_id) = after_group(key)?.split_at_checked(16)?;
    Some((ShardId::from_slice(shard_id)?, ChainId::from_slice(chain_id)?))
}

/// A key of `checkpoints`, and the key from which the changes of a chain with `seq` or more are scanned.
pub fn chain_from_seq(group: GroupId, shard: ShardId, chain: ChainId, seq: u64) -> Vec<u8> {
    [group.0.as_slice(), &shard.0, &chain.0, &seq.to_be_bytes()].concat()
}

/// The shard, chain and sequence number in a key of `checkpoints`.
pub fn parse_checkpoint(key: &[u8]) -> Option<(ShardId, ChainId, u64)> {
    let (chain_key, seq) = key.split_at_checked(48)?;
    let (shard_id, chain_id) = parse_chain(chain_key)?;
    Some((shard_id, chain_id, u64::from_be_bytes(seq.try_into().ok()?)))
}

/// A key of `changes` or `unaccepted`.
pub fn change(group: GroupId, shard: ShardId, chain: ChainId, seq: u64, id: ChangeId) -> Vec<u8> {
    [group.0.as_slice(), &shard.0, &chain.0, &seq.to_be_bytes(), &id.0].concat()
}

/// The parts of a key of `changes` or `unaccepted`.
pub fn parse_change(key: &[u8]) -> Option<ChangeKey> {
    let (checkpoint_key, id) = key.split_at_checked(56)?;
    let (shard_id, chain_id, seq) = parse_checkpoint(checkpoint_key)?;
    Some(ChangeKey {
        group: GroupId::from_slice(key.get(..16)?)?,
        shard_id,
        chain_id,
        seq,
        id: ChangeId::from_slice(id)?,
    })
}

/// A key of `own-tips`.
pub fn own_tip(group: GroupId, shard: ShardId, grant: GrantId) -> Vec<u8> {
    [group.0.as_slice(), &shard.0, &grant.0].concat()
}

/// The shard and grant in a key of `own-tips`.
pub fn parse_own_tip(key: &[u8]) -> Option<(ShardId, GrantId)> {
    let (shard_id, grant) = after_group(key)?.split_at_checked(16)?;
    Some((ShardId::from_slice(shard_id)?, GrantId::from_slice(grant)?))
}

/// A key of `invites`.
pub fn invite(group: GroupId, invite: InviteId) -> Vec<u8> {
    [group.0.as_slice(), &invite.0].concat()
}

/// The invite id in a key of `invites`.
pub fn parse_invite(key: &[u8]) -> Option<InviteId> {
    InviteId::from_slice(after_group(key)?)
}

/// A key of `journal`.
pub fn journal(group: GroupId, number: u64) -> Vec<u8> {
    [group.0.as_slice(), &number.to_be_bytes()].concat()
}

/// The row number in a key of `journal`.
pub fn journal_number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(after_group(key)?.try_into().ok()?))
}

/// A key of `applied`.
pub fn applied(group: GroupId, resource: &str) -> Vec<u8> {
    [group.0.as_slice(), resource.as_bytes()].concat()
}

/// A key of `addresses`.
pub fn addresses(node: NodeId) -> Vec<u8> {
    node.0.to_vec()
}

/// What follows the group id in a key.
fn after_group(key: &[u8]) -> Option<&[u8]> {
    key.split_at_checked(16).map(|(_, rest)| rest)
}
