//! Writing this node's own changes: they are validated like any other change, and then signed.

use std::collections::BTreeMap;

use super::Group;
use super::fast_path;
use super::ingest::IngestPass;
use super::ingest_outcome::IngestOutcome;
use crate::delta::change_note::{ChangeNote, MessageTooLong};
use crate::delta::encoded_change::EncodedChange;
use crate::delta::{Delta, DeltaError, Put};
use crate::id::{ChainId, ChangeId, GrantId, Incarnation, NodeId, SecretKey, ShardId};
use crate::limits;
use crate::record::Role;
use crate::shard::Shard;
use crate::shard::chain::{self, EndProof, first_chain_hash, next_chain_hash};
use crate::shard::document::ShardFault;
use crate::shard::graph::GraphEntry;
use crate::shard::root::ShardName;
use crate::shard::validate::{ChangeFault, Validation};
use crate::store::{LAYOUT_VERSION, OwnTipRow, Row, Table, key};
use crate::value::Value;

/// The outcome of [`Group::write`].
#[derive(Clone, Debug, Default)]
pub struct WriteOutcome {
    /// The change that holds the puts; `None` if there were none.
    pub change_id: Option<ChangeId>,
    /// All new changes, including those that merge heads, and the rows to make durable.
    pub ingest: IngestOutcome,
}

/// Why this node cannot write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The caller is at fault: the node's role may not write there.
    #[error("this node is {0} in the group, and that role may not write there")]
    Role(Role),
    /// The node is not a member, or no longer one.
    #[error("this node is not a member of the group")]
    NotMember,
    /// The caller is at fault: the change exceeds a limit.
    #[error(transparent)]
    Delta(#[from] DeltaError),
    /// The caller is at fault: the operator's message is too long.
    #[error(transparent)]
    MessageTooLong(#[from] MessageTooLong),
    /// A defect isolated the shard.
    #[error(transparent)]
    ShardFault(#[from] ShardFault),
    /// A defect: this node's own change is invalid.
    #[error("this node made an invalid change ({0}); nothing was written, please report this")]
    Invalid(ChangeFault),
    /// A defect: this node's own change depends on one that is not here.
    #[error("this node made a change whose dependency is missing; nothing was written, please report this")]
    MissingDeps,
}

/// The chain that this node writes next: one incarnation of one grant in one shard.
#[derive(Clone, Copy)]
struct ActiveChain {
    shard_id: ShardId,
    grant: GrantId,
    incarnation: Incarnation,
    chain_id: ChainId,
}

impl Group {
    /// Writes `puts` to a shard. `new_incarnation` is 128 random bits. They are used if a new incarnation has
    /// to begin: at the first change, and if this node's chain here is not as the node remembers it.
    pub fn write(
        &mut self,
        secret: &SecretKey,
        shard_name: ShardName,
        puts: BTreeMap<String, Value>,
        note: &ChangeNote,
        new_incarnation: Incarnation,
    ) -> Result<WriteOutcome, WriteError> {
        if puts.is_empty() {
            return Ok(WriteOutcome::default());
        }
        note.check()?;
        let active = active_chain(self, &secret.node_id(), shard_name, new_incarnation)?;
        let mut pass = IngestPass::new(self);
        let root = pass.membership.root(&active.shard_id).ok_or(WriteError::NotMember)?;
        if let Some(shard_fault) = pass.shards.ensure(root).shard.document().fault() {
            return Err(shard_fault.clone().into());
        }
        // More heads than one change may depend on are merged first, by changes without puts.
        while pass.head_count(&active.shard_id) >= limits::MAX_DEPS_PER_CHANGE {
            let merge_note =
                ChangeNote { time: note.time, command: "merge".to_owned(), ..ChangeNote::default() };
            pass.write_change(secret, active, BTreeMap::new(), &merge_note)?;
        }
        let own_tip = pass.write_change(secret, active, puts, note)?;
        let mut ingest = pass.finish();
        let row_key = key::own_tip(self.id, active.shard_id, active.grant);
        ingest.rows.push(Row::put_encoded(Table::OwnTips, row_key, &own_tip));
        let change_id = Some(own_tip.id);
        self.own_tips.insert((active.shard_id, active.grant), own_tip);
        Ok(WriteOutcome { change_id, ingest })
    }
}

/// The chain that this node continues, or a new one.
fn active_chain(
    group: &Group,
    node: &NodeId,
    shard_name: ShardName,
    new_incarnation: Incarnation,
) -> Result<ActiveChain, WriteError> {
    let role = group.members().role_of(node).ok_or(WriteError::NotMember)?;
    let may_write = match shard_name {
        ShardName::Desired => Role::can_write_desired,
        ShardName::Observed(_) => Role::can_write_observed,
    };
    let grant = group.members().oldest_grant_allowing(node, may_write).ok_or(WriteError::Role(role))?;
    let shard_name = if shard_name == ShardName::Desired { shard_name } else { ShardName::Observed(grant) };
    let shard_id = group.membership.shard_id(shard_name).ok_or(WriteError::NotMember)?;
    let reusable = group.own_tips.get(&(shard_id, grant)).filter(|own_tip| {
        let Some(state) = group.shards.get(&shard_id) else { return false };
        let chain_id = ChainId::derive(group.id, shard_id, grant, own_tip.incarnation);
        // If another branch of this chain is known, one more change could fork it again.
        if state.unaccepted.contains_chain(&chain_id) {
            return false;
        }
        let tip = chain_tip(state.shard(), &chain_id);
        tip.is_some_and(|tip| tip.seq == own_tip.seq && tip.id == own_tip.id)
    });
    let incarnation = reusable.map_or(new_incarnation, |own_tip| own_tip.incarnation);
    let chain_id = ChainId::derive(group.id, shard_id, grant, incarnation);
    Ok(ActiveChain { shard_id, grant, incarnation, chain_id })
}

/// The newest change of a chain.
fn chain_tip<'a>(shard: &'a Shard, chain_id: &ChainId) -> Option<&'a GraphEntry> {
    let chain = shard.graph().chain(chain_id)?;
    shard.graph().entry_in_chain(chain, chain.len())
}

impl IngestPass<'_> {
    fn head_count(&self, shard_id: &ShardId) -> usize {
        self.shards.get(shard_id).map_or(0, |state| state.shard().graph().heads().len())
    }

    /// Writes one change on top of all heads, signs it, and returns the new end of the chain.
    fn write_change(
        &mut self,
        secret: &SecretKey,
        active: ActiveChain,
        puts: BTreeMap<String, Value>,
        note: &ChangeNote,
    ) -> Result<OwnTipRow, WriteError> {
        let ActiveChain { shard_id, incarnation, chain_id, .. } = active;
        let state = self.shards.get_mut(&shard_id).ok_or(WriteError::NotMember)?;
        let chain = state.shard.graph().chain(&chain_id);
        let chain_hash =
            chain.map_or_else(|| first_chain_hash(self.id, shard_id, chain_id), |chain| *chain.hash());
        let delta = build_delta(&state.shard, &active, puts, note);
        let seq = delta.seq;
        let root = state.shard.root().clone();
        let validated = match state.shard.validate(EncodedChange::new(&root, delta)?) {
            Validation::Valid(validated) => validated,
            Validation::ShardFault(shard_fault) => return Err(shard_fault.into()),
            Validation::Rejected { fault, .. } => return Err(WriteError::Invalid(fault)),
            Validation::Known(_) | Validation::MissingDeps { .. } => return Err(WriteError::MissingDeps),
        };
        let id = validated.id();
        if !fast_path::can_skip_reacceptance(self.membership.members(), state, &validated, &chain_id) {
            self.shards_to_reaccept.insert(shard_id);
        }
        let signature = chain::sign_chain(secret, self.id, shard_id, seq, &next_chain_hash(&chain_hash, id));
        self.insert_accepted(*validated, Some(signature));
        self.set_end_proof(shard_id, chain_id, EndProof { ids_ahead: Vec::new(), signature });
        Ok(OwnTipRow { version: LAYOUT_VERSION, incarnation, seq, id })
    }
}

/// The next delta of a chain: on top of the shard's heads, and replacing all visible values of its keys.
fn build_delta(
    shard: &Shard,
    active: &ActiveChain,
    puts: BTreeMap<String, Value>,
    note: &ChangeNote,
) -> Delta {
    let graph = shard.graph();
    let previous = chain_tip(shard, &active.chain_id);
    let previous_id = previous.map(|tip| tip.id);
    let mut deps: Vec<ChangeId> =
        graph.heads().into_iter().filter(|head| Some(*head) != previous_id).collect();
    deps.truncate(limits::MAX_DEPS_PER_CHANGE - 1);
    deps.extend(previous_id);
    deps.sort_unstable();
    let max_dep_op = deps.iter().filter_map(|dep| graph.get(dep)).map(|dep| dep.max_op).max();
    let put_for = |(key, value): (String, Value)| {
        let preds = shard.state().get(&key).iter().map(|visible| visible.op).collect();
        Put { key, value, preds }
    };
    Delta {
        shard_id: active.shard_id,
        grant: active.grant,
        incarnation: active.incarnation,
        seq: previous.map_or(0, |tip| tip.seq) + 1,
        deps,
        start_op: max_dep_op.unwrap_or(0) + 1,
        time: note.time.clamp(0, limits::MAX_TIME_SECONDS),
        message: note.encode(),
        puts: puts.into_iter().map(put_for).collect(),
    }
}
