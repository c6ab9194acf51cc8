//! This node's own changes. They pass the same gate as anybody's, and then are signed.

use std::collections::BTreeMap;

use super::{Group, IngestOutcome};
use crate::codec::truncate_utf8;
use crate::delta::encoded_change::EncodedChange;
use crate::delta::{Delta, DeltaError, Put};
use crate::id::{ChainId, ChangeId, GrantId, Incarnation, SecretKey, ShardId};
use crate::limits;
use crate::record::Role;
use crate::shard::chain::{self, Chain, EndProof, first_chain_hash, next_chain_hash};
use crate::shard::document::ShardFault;
use crate::shard::root::ShardName;
use crate::shard::validate::{ChangeFault, Validation};
use crate::store::{LAYOUT_VERSION, OwnTipRow, Row, Table, key};
use crate::value::Value;

/// What goes with a change besides its puts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeNote {
    /// Why, in the operator's words.
    pub message: String,
    /// The operator's local user.
    pub user: String,
    /// The command, with its values cut out.
    pub command: String,
    /// Seconds since 1970 by this node's clock.
    pub time: i64,
}

impl ChangeNote {
    /// The change's message: the words, an empty line, and trailers as Git has them. What is too long is cut: words
    /// before trailers.
    pub fn encode(&self) -> String {
        let trailers: Vec<String> = [(USER_TRAILER, &self.user), (COMMAND_TRAILER, &self.command)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| {
                format!(
                    "{name}{}",
                    truncate_utf8(value, limits::MAX_TRAILER_BYTES).replace(['\n', '\r'], " ")
                )
            })
            .collect();
        let trailers = trailers.join("\n");
        let message_text = truncate_utf8(
            &self.message,
            limits::MAX_MESSAGE_BYTES - trailers.len() - TRAILER_SEPARATOR.len(),
        );
        let needs_no_separator = trailers.is_empty() && split_trailers(message_text) == (message_text, "");
        match (message_text, needs_no_separator) {
            ("", _) => trailers,
            (message_text, true) => message_text.to_owned(),
            // Words that look like trailers are told from them by trailers of their own, though there be none.
            (message_text, false) => format!("{message_text}{TRAILER_SEPARATOR}{trailers}"),
        }
    }

    /// Reads what [`ChangeNote::message`] wrote.
    pub fn decode(encoded: &str, time: i64) -> Self {
        let (message_text, trailers) = split_trailers(encoded);
        let trailer_value = |trailer_name| {
            trailers.split('\n').find_map(|line| line.strip_prefix(trailer_name)).unwrap_or_default()
        };
        Self {
            message: message_text.to_owned(),
            user: trailer_value(USER_TRAILER).to_owned(),
            command: trailer_value(COMMAND_TRAILER).to_owned(),
            time,
        }
    }
}

const USER_TRAILER: &str = "User: ";
const COMMAND_TRAILER: &str = "Command: ";
/// What stands between words and trailers.
const TRAILER_SEPARATOR: &str = "\n\n";

/// Words and trailers of a message. Trailers are its last paragraph, if that is nothing else.
fn split_trailers(encoded: &str) -> (&str, &str) {
    let is_trailer = |line: &str| line.starts_with(USER_TRAILER) || line.starts_with(COMMAND_TRAILER);
    let are_trailers = |text: &str| text.split('\n').all(is_trailer);
    match encoded.rsplit_once(TRAILER_SEPARATOR) {
        Some((message_text, trailers)) if trailers.is_empty() || are_trailers(trailers) => {
            (message_text, trailers)
        }
        None if are_trailers(encoded) => ("", encoded),
        _ => (encoded, ""),
    }
}

/// What this node wrote.
#[derive(Clone, Debug, Default)]
pub struct WriteOutcome {
    /// The change that holds the puts; `None` if nothing differed.
    pub change_id: Option<ChangeId>,
    /// Everything that is new, merges of too many heads included, and what is to be made durable.
    pub ingest: IngestOutcome,
}

/// Why this node cannot write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The caller's fault: the role does not allow it.
    #[error("this node is {0} in the group, and that role may not write there")]
    Role(Role),
    /// Nobody's fault: it is not a member (any more).
    #[error("this node is not a member of the group")]
    NotMember,
    /// The caller's fault: too much at once.
    #[error(transparent)]
    Delta(#[from] DeltaError),
    /// A defect: the shard cannot be written to.
    #[error(transparent)]
    ShardFault(#[from] ShardFault),
    /// A defect: our own change did not pass the gate.
    #[error("a change of our own did not pass the gate ({0}); nothing was written, please report this")]
    Invalid(ChangeFault),
    /// A defect: our own change builds on one that is not here.
    #[error("a change of our own builds on one that is not here; nothing was written, please report this")]
    MissingDeps,
}

/// One life of one grant in one epoch, which writes one chain.
#[derive(Clone, Copy)]
struct ActiveChain {
    shard_id: ShardId,
    grant: GrantId,
    incarnation: Incarnation,
    chain_id: ChainId,
}

impl Group {
    /// Writes `puts` to a shard. `fresh` is 128 bits of chance, used if a new incarnation has to begin: at the first
    /// change, and at any sign that this node's past here is not what it remembers.
    pub fn write(
        &mut self,
        secret: &SecretKey,
        shard_name: ShardName,
        puts: BTreeMap<String, Value>,
        note: &ChangeNote,
        new_incarnation: Incarnation,
    ) -> Result<WriteOutcome, WriteError> {
        let mut outcome = WriteOutcome::default();
        if puts.is_empty() {
            return Ok(outcome);
        }
        let active = self.active_chain(secret, shard_name, new_incarnation)?;
        if let Some(shard_fault) =
            self.ensure_shard(active.shard_id).and_then(|shard| shard.document().fault().cloned())
        {
            return Err(shard_fault.into());
        }
        // More heads than one change may name are first merged by changes that put nothing.
        while self.heads_of_shard(&active).len() >= limits::MAX_DEPS_PER_CHANGE {
            let merge_note =
                ChangeNote { time: note.time, command: "merge".to_owned(), ..ChangeNote::default() };
            self.write_change(secret, active, BTreeMap::new(), &merge_note, &mut outcome.ingest)?;
        }
        outcome.change_id = Some(self.write_change(secret, active, puts, note, &mut outcome.ingest)?);
        self.finish_ingest(&mut outcome.ingest);
        Ok(outcome)
    }

    /// The chain this node goes on with, or a new one.
    fn active_chain(
        &mut self,
        secret: &SecretKey,
        shard_name: ShardName,
        new_incarnation: Incarnation,
    ) -> Result<ActiveChain, WriteError> {
        let node = secret.node_id();
        let role = self.members.role_of(&node).ok_or(WriteError::NotMember)?;
        let may_write =
            if shard_name == ShardName::Desired { Role::can_write_desired } else { Role::can_write_observed };
        let grant = self.members.oldest_grant_allowing(&node, may_write).ok_or(WriteError::Role(role))?;
        let shard_name =
            if shard_name == ShardName::Desired { shard_name } else { ShardName::Observed(grant) };
        let shard_id = self.shard_id_by_name.get(&shard_name).copied().ok_or(WriteError::NotMember)?;
        let own_tip = self.own_tips.get(&(shard_id, grant));
        let reusable = own_tip.filter(|own_tip| {
            let chain_id = ChainId::derive(self.id, shard_id, grant, own_tip.incarnation);
            // Where another branch of this chain is known, one more change could be a fork.
            if self.unaccepted.get(&shard_id).is_some_and(|unaccepted| unaccepted.contains_chain(&chain_id)) {
                return false;
            }
            let graph = self.shards.get(&shard_id).map(crate::shard::Shard::graph);
            let chain = graph.and_then(|graph| graph.chain(&chain_id));
            let tip = chain.and_then(|chain| graph?.entry_in_chain(chain, chain.len()));
            tip.is_some_and(|tip| tip.seq == own_tip.seq && tip.id == own_tip.id)
        });
        let incarnation = reusable.map_or(new_incarnation, |own_tip| own_tip.incarnation);
        Ok(ActiveChain {
            shard_id,
            grant,
            incarnation,
            chain_id: ChainId::derive(self.id, shard_id, grant, incarnation),
        })
    }

    fn heads_of_shard(&self, active: &ActiveChain) -> Vec<ChangeId> {
        match self.shards.get(&active.shard_id) {
            Some(shard) => shard.graph().heads(),
            None => self.roots.get(&active.shard_id).map(|root| root.id()).into_iter().collect(),
        }
    }

    fn write_change(
        &mut self,
        secret: &SecretKey,
        active: ActiveChain,
        puts: BTreeMap<String, Value>,
        note: &ChangeNote,
        outcome: &mut IngestOutcome,
    ) -> Result<ChangeId, WriteError> {
        let heads = self.heads_of_shard(&active);
        let root = self.roots.get(&active.shard_id).cloned().ok_or(WriteError::NotMember)?;
        let shard = self.ensure_shard(active.shard_id).ok_or(WriteError::NotMember)?;
        let graph = shard.graph();
        let chain = graph.chain(&active.chain_id);
        let seq = chain.map_or(0, Chain::len) + 1;
        let chain_hash = chain.map_or_else(
            || first_chain_hash(root.group(), active.shard_id, active.chain_id),
            |chain| *chain.hash(),
        );
        let previous = chain.and_then(|chain| graph.entry_in_chain(chain, chain.len())).map(|entry| entry.id);
        let mut deps: Vec<ChangeId> = heads.into_iter().filter(|head| Some(*head) != previous).collect();
        deps.truncate(limits::MAX_DEPS_PER_CHANGE - 1);
        deps.extend(previous);
        deps.sort_unstable();
        let max_dep_op = deps.iter().filter_map(|dep| graph.get(dep)).map(|dep| dep.max_op).max();
        let put_for = |(key, value): (String, Value)| {
            let preds = shard.state().get(&key).iter().map(|visible_value| visible_value.op).collect();
            Put { key, value, preds }
        };
        let delta = Delta {
            shard_id: active.shard_id,
            grant: active.grant,
            incarnation: active.incarnation,
            seq,
            deps,
            start_op: max_dep_op.unwrap_or(0) + 1,
            time: note.time.clamp(0, limits::MAX_TIME_SECONDS),
            message: note.encode(),
            puts: puts.into_iter().map(put_for).collect(),
        };
        let validated = match shard.validate(EncodedChange::new(&root, delta)?) {
            Validation::Valid(validated) => validated,
            Validation::ShardFault(shard_fault) => return Err(shard_fault.into()),
            Validation::Rejected { fault, .. } => return Err(WriteError::Invalid(fault)),
            Validation::Known(_) | Validation::MissingDeps { .. } => return Err(WriteError::MissingDeps),
        };
        let id = validated.id();
        if !self.can_skip_reacceptance(&validated, &active.chain_id) {
            outcome.shards_to_reaccept.insert(active.shard_id);
        }
        let signature =
            chain::sign_chain(secret, self.id, active.shard_id, seq, &next_chain_hash(&chain_hash, id));
        self.insert_accepted(*validated, Some(signature), outcome);
        self.set_end_proof(
            active.shard_id,
            active.chain_id,
            EndProof { ids_ahead: Vec::new(), signature },
            outcome,
        );
        let own_tip = OwnTipRow { version: LAYOUT_VERSION, incarnation: active.incarnation, seq, id };
        outcome.rows.push(Row::put_encoded(
            Table::OwnTips,
            key::own_tip(self.id, active.shard_id, active.grant),
            &own_tip,
        ));
        self.own_tips.insert((active.shard_id, active.grant), own_tip);
        Ok(id)
    }
}
