//! This node's own changes. They pass the same gate as anybody's, and then are signed.

use std::collections::BTreeMap;

use super::{Group, Taken};
use crate::delta::compose::Composed;
use crate::delta::{Delta, DeltaError, Put};
use crate::id::{Actor, ChangeId, EpochId, GrantId, Incarnation, Secret};
use crate::limits;
use crate::record::Role;
use crate::shard::chain::{self, Chain, Cover, first_link, next_link};
use crate::shard::document::Isolated;
use crate::shard::gate::{Fault, Verdict};
use crate::shard::root::ShardName;
use crate::store::{LAYOUT, OwnRow, Row, Table, key};
use crate::value::Value;

/// What goes with a change besides its puts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// Why, in the operator's words.
    pub words: String,
    /// The operator's local user.
    pub user: String,
    /// The command, with its values cut out.
    pub command: String,
    /// Seconds since 1970 by this node's clock.
    pub time: i64,
}

impl Note {
    /// The change's message: the words, an empty line, and trailers as Git has them. What is too long is cut: words
    /// before trailers.
    pub fn message(&self) -> String {
        let trailers: Vec<String> = [(USER, &self.user), (COMMAND, &self.command)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| {
                format!("{name}{}", cut(value, limits::TRAILER_BYTES).replace(['\n', '\r'], " "))
            })
            .collect();
        let trailers = trailers.join("\n");
        let words = cut(&self.words, limits::MESSAGE_BYTES - trailers.len() - PARTING.len());
        let plain = trailers.is_empty() && split(words) == (words, "");
        match (words, plain) {
            ("", _) => trailers,
            (words, true) => words.to_owned(),
            // Words that look like trailers are told from them by trailers of their own, though there be none.
            (words, false) => format!("{words}{PARTING}{trailers}"),
        }
    }

    /// Reads what [`Note::message`] wrote.
    pub fn read(message: &str, time: i64) -> Self {
        let (words, trailers) = split(message);
        let of = |name| trailers.split('\n').find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        Self { words: words.to_owned(), user: of(USER).to_owned(), command: of(COMMAND).to_owned(), time }
    }
}

const USER: &str = "User: ";
const COMMAND: &str = "Command: ";
/// What stands between words and trailers.
const PARTING: &str = "\n\n";

/// Words and trailers of a message. Trailers are its last paragraph, if that is nothing else.
fn split(message: &str) -> (&str, &str) {
    let is_trailer = |line: &str| line.starts_with(USER) || line.starts_with(COMMAND);
    let are_trailers = |text: &str| text.split('\n').all(is_trailer);
    match message.rsplit_once(PARTING) {
        Some((words, trailers)) if trailers.is_empty() || are_trailers(trailers) => (words, trailers),
        None if are_trailers(message) => ("", message),
        _ => (message, ""),
    }
}

/// The beginning of a text, in so many bytes.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// What this node wrote.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// The change that holds the puts; `None` if nothing differed.
    pub id: Option<ChangeId>,
    /// Everything that is new, merges of too many heads included, and what is to be made durable.
    pub taken: Taken,
}

/// Why this node cannot write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorError {
    /// The caller's fault: the role does not allow it.
    #[error("this node is {0} in the group, and that role may not write there")]
    Role(Role),
    /// Nobody's fault: it is not a member (any more).
    #[error("this node is not a member of the group")]
    Member,
    /// The caller's fault: too much at once.
    #[error(transparent)]
    Delta(#[from] DeltaError),
    /// A defect: the shard cannot be written to.
    #[error(transparent)]
    Isolated(#[from] Isolated),
    /// A defect: our own change did not pass the gate.
    #[error("a change of our own did not pass the gate ({0}); nothing was written, please report this")]
    Gate(Fault),
    /// A defect: our own change builds on one that is not here.
    #[error("a change of our own builds on one that is not here; nothing was written, please report this")]
    Lost,
}

/// One life of one grant in one epoch, which writes one chain.
#[derive(Clone, Copy)]
struct Life {
    epoch: EpochId,
    grant: GrantId,
    incarnation: Incarnation,
    actor: Actor,
}

impl Group {
    /// Writes `puts` to a shard. `fresh` is 128 bits of chance, used if a new incarnation has to begin: at the first
    /// change, and at any sign that this node's past here is not what it remembers.
    pub fn write(
        &mut self,
        secret: &Secret,
        shard: ShardName,
        puts: BTreeMap<String, Value>,
        note: &Note,
        fresh: Incarnation,
    ) -> Result<Written, AuthorError> {
        let mut written = Written::default();
        if puts.is_empty() {
            return Ok(written);
        }
        let life = self.life(secret, shard, fresh)?;
        if let Some(isolated) =
            self.shard_mut(life.epoch).and_then(|shard| shard.document().isolated().cloned())
        {
            return Err(isolated.into());
        }
        // More heads than one change may name are first merged by changes that put nothing.
        while self.heads(&life).len() >= limits::DEPS {
            let merge = Note { time: note.time, command: "merge".to_owned(), ..Note::default() };
            self.author(secret, life, BTreeMap::new(), &merge, &mut written.taken)?;
        }
        written.id = Some(self.author(secret, life, puts, note, &mut written.taken)?);
        self.finish(&mut written.taken);
        Ok(written)
    }

    /// The chain this node goes on with, or a new one.
    fn life(&mut self, secret: &Secret, shard: ShardName, fresh: Incarnation) -> Result<Life, AuthorError> {
        let node = secret.node();
        let role = self.members.role(&node).ok_or(AuthorError::Member)?;
        let allows = if shard == ShardName::Desired { Role::writes_desired } else { Role::writes_observed };
        let grant = self.members.grant_for(&node, allows).ok_or(AuthorError::Role(role))?;
        let shard = if shard == ShardName::Desired { shard } else { ShardName::Observed(grant) };
        let epoch = self.by_name.get(&shard).copied().ok_or(AuthorError::Member)?;
        let own = self.own.get(&(epoch, grant));
        let going_on = own.filter(|own| {
            let actor = Actor::of(self.id, epoch, grant, own.incarnation);
            // Where another branch of this chain is known, one more change could be a fork.
            if self.asides.get(&epoch).is_some_and(|aside| aside.has_chain(&actor)) {
                return false;
            }
            let graph = self.shards.get(&epoch).map(crate::shard::Shard::graph);
            let chain = graph.and_then(|graph| graph.chain(&actor));
            let tip = chain.and_then(|chain| graph?.at(chain, chain.len()));
            tip.is_some_and(|tip| tip.seq == own.seq && tip.id == own.id)
        });
        let incarnation = going_on.map_or(fresh, |own| own.incarnation);
        Ok(Life { epoch, grant, incarnation, actor: Actor::of(self.id, epoch, grant, incarnation) })
    }

    fn heads(&self, life: &Life) -> Vec<ChangeId> {
        match self.shards.get(&life.epoch) {
            Some(shard) => shard.graph().heads(),
            None => self.roots.get(&life.epoch).map(|root| root.id()).into_iter().collect(),
        }
    }

    fn author(
        &mut self,
        secret: &Secret,
        life: Life,
        puts: BTreeMap<String, Value>,
        note: &Note,
        taken: &mut Taken,
    ) -> Result<ChangeId, AuthorError> {
        let heads = self.heads(&life);
        let root = self.roots.get(&life.epoch).cloned().ok_or(AuthorError::Member)?;
        let shard = self.shard_mut(life.epoch).ok_or(AuthorError::Member)?;
        let graph = shard.graph();
        let chain = graph.chain(&life.actor);
        let seq = chain.map_or(0, Chain::len) + 1;
        let link =
            chain.map_or_else(|| first_link(root.group(), life.epoch, life.actor), |chain| *chain.link());
        let previous = chain.and_then(|chain| graph.at(chain, chain.len())).map(|entry| entry.id);
        let mut deps: Vec<ChangeId> = heads.into_iter().filter(|head| Some(*head) != previous).collect();
        deps.truncate(limits::DEPS - 1);
        deps.extend(previous);
        deps.sort_unstable();
        let max_op = deps.iter().filter_map(|dep| graph.get(dep)).map(|dep| dep.max_op).max();
        let put = |(key, value): (String, Value)| {
            let preds = shard.state().get(&key).iter().map(|visible| visible.op).collect();
            Put { key, value, preds }
        };
        let delta = Delta {
            epoch: life.epoch,
            grant: life.grant,
            incarnation: life.incarnation,
            seq,
            deps,
            start_op: max_op.unwrap_or(0) + 1,
            time: note.time.clamp(0, limits::MAX_TIME),
            message: note.message(),
            puts: puts.into_iter().map(put).collect(),
        };
        let checked = match shard.examine(Composed::new(&root, delta)?) {
            Verdict::Ready(checked) => checked,
            Verdict::Isolated(isolated) => return Err(isolated.into()),
            Verdict::Rejected { fault, .. } => return Err(AuthorError::Gate(fault)),
            Verdict::Known(_) | Verdict::Waits { .. } => return Err(AuthorError::Lost),
        };
        let id = checked.id();
        if !self.needs_no_settling(&checked, &life.actor) {
            taken.unsettled.insert(life.epoch);
        }
        let signature = chain::sign(secret, self.id, life.epoch, seq, &next_link(&link, id));
        self.let_in(*checked, Some(signature), taken);
        self.set_cover(life.epoch, life.actor, Cover { ahead: Vec::new(), signature }, taken);
        let own = OwnRow { version: LAYOUT, incarnation: life.incarnation, seq, id };
        taken.rows.push(Row::put_layout(Table::Own, key::own(self.id, life.epoch, life.grant), &own));
        self.own.insert((life.epoch, life.grant), own);
        Ok(id)
    }
}
