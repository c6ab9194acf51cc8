//! Who is there: members of a group, and strangers on the LAN.

use std::collections::{BTreeMap, BTreeSet};

use super::input::Moment;
use super::standing::{EndedBy, Standing};
use super::{Machine, Membership};
use crate::id::NodeId;
use crate::record::Role;
use crate::resource::observed::{Condition, Observed};
use crate::resource::view::NodeLabels;
use crate::value::Value;

/// A node that was heard of on the LAN.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Where it listens.
    pub addresses: Vec<String>,
    /// When it was heard of last.
    pub at: Moment,
    /// The same, in seconds since 1970.
    pub wall: i64,
}

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeState {
    /// This node, or a member that can be heard.
    Up,
    /// A member that cannot.
    Away,
    /// It was a member, and left.
    Left,
    /// It was a member, and was removed.
    Removed,
    /// Not a member: it asks to be let in.
    Pending,
    /// Not a member: seen on the LAN.
    Seen,
}

impl NodeState {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Away => "away",
            Self::Left => "left",
            Self::Removed => "removed",
            Self::Pending => "pending",
            Self::Seen => "seen",
        }
    }
}

/// One node, as `nodes` shows it.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Who.
    pub id: NodeId,
    /// What it is called.
    pub alias: Option<String>,
    /// True if another member is called the same.
    pub alias_twice: bool,
    /// True of this node itself.
    pub is_self: bool,
    /// Its role; `None` of a stranger.
    pub role: Option<Role>,
    /// How it stands.
    pub state: NodeState,
    /// When it was heard last, in seconds since 1970; `None` if not since this daemon started.
    pub heard: Option<i64>,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its software.
    pub software: String,
    /// Its host name.
    pub host: String,
    /// How many changes it lacks, as far as is known.
    pub behind: Option<u64>,
    /// How many resources failed there.
    pub failed: u64,
    /// True if its history forked: its data directory was copied, or set back.
    pub forked: bool,
    /// Who ended its membership, when and why.
    pub ended: Option<EndedBy>,
}

impl Machine {
    /// The members of a group, this node first, then by alias and id; after them those that were members and are not
    /// forgotten.
    pub fn members(&self, of: &Membership) -> Vec<NodeView> {
        let members = of.group.members();
        let remembered = |key: &NodeId| {
            *key == self.me || members.ended_of(key).any(|standing| !members.is_forgotten(&standing.grant))
        };
        let former = members.former().into_iter().filter(remembered);
        let mut views: Vec<NodeView> = members.keys().chain(former).map(|key| self.member(of, key)).collect();
        let mut called: BTreeMap<String, usize> = BTreeMap::new();
        for alias in views.iter().filter(|view| view.ended.is_none()).filter_map(|view| view.alias.clone()) {
            *called.entry(alias).or_default() += 1;
        }
        for view in &mut views {
            let alias = view.alias.as_ref().filter(|_| view.ended.is_none());
            view.alias_twice = alias.is_some_and(|alias| called.get(alias) > Some(&1));
        }
        views.sort_by_key(|view| {
            (!view.is_self, view.ended.is_some(), view.alias.is_none(), view.alias.clone(), view.id)
        });
        views
    }

    fn member(&self, of: &Membership, id: NodeId) -> NodeView {
        let is_self = id == self.me;
        let labels =
            of.group.desired().map(|desired| NodeLabels::read(desired.state(), of.group.members(), &id));
        let labels = labels.unwrap_or_default();
        let heard = of.heard.get(&id);
        let presence = heard.and_then(|heard| heard.presence.as_ref());
        let session = of.sessions.values().find(|session| session.peer == id);
        let (members, standing) = (of.group.members(), Standing::of(of.group.members(), &id));
        let up = is_self || session.is_some() || heard.is_some_and(|heard| heard.up);
        let about = &self.about;
        let told = |text: fn(&crate::wire::presence::Presence) -> &String, own: &String| {
            if is_self { own.clone() } else { presence.map(text).cloned().unwrap_or_default() }
        };
        NodeView {
            id,
            alias: labels.alias,
            alias_twice: false,
            is_self,
            role: members.role(&id),
            state: match (standing, up) {
                (Standing::Left, _) => NodeState::Left,
                (Standing::Removed | Standing::Dissolved, _) => NodeState::Removed,
                (_, true) => NodeState::Up,
                (_, false) => NodeState::Away,
            },
            heard: if is_self { Some(self.now.wall) } else { heard.map(|heard| heard.wall) },
            addresses: if is_self {
                about.addresses.clone()
            } else {
                presence.map(|presence| presence.addresses.clone()).unwrap_or_default()
            },
            labels: labels.labels,
            software: told(|presence| &presence.software, &about.software),
            host: told(|presence| &presence.host, &about.host),
            behind: match (is_self, session) {
                (true, _) => Some(0),
                (_, Some(session)) => Some(session.missing_there(&of.group)),
                _ => presence.map(|presence| of.group.changes().saturating_sub(presence.changes)),
            },
            failed: failures(of, &id),
            forked: of.group.is_forked(&id),
            ended: (standing != Standing::Member).then(|| EndedBy::of(&of.group, &id)).flatten(),
        }
    }

    /// Nodes on the LAN that are members of no group of this node.
    pub fn strangers(&self) -> Vec<NodeView> {
        let asks: BTreeSet<NodeId> = self.asks().map(|(joiner, _, _)| joiner).collect();
        let strangers = self.seen.iter().filter(|(peer, _)| !self.admitted.contains(*peer));
        strangers
            .map(|(peer, seen)| NodeView {
                id: *peer,
                alias: None,
                alias_twice: false,
                is_self: false,
                role: None,
                state: if asks.contains(peer) { NodeState::Pending } else { NodeState::Seen },
                heard: Some(seen.wall),
                addresses: seen.addresses.clone(),
                labels: BTreeMap::new(),
                software: String::new(),
                host: String::new(),
                behind: None,
                failed: 0,
                forked: false,
                ended: None,
            })
            .collect()
    }

    /// This node, where it is in no group.
    pub fn myself(&self) -> NodeView {
        NodeView {
            id: self.me,
            alias: None,
            alias_twice: false,
            is_self: true,
            role: None,
            state: NodeState::Up,
            heard: Some(self.now.wall),
            addresses: self.about.addresses.clone(),
            labels: BTreeMap::new(),
            software: self.about.software.clone(),
            host: self.about.host.clone(),
            behind: None,
            failed: 0,
            forked: false,
            ended: None,
        }
    }
}

fn failures(of: &Membership, node: &NodeId) -> u64 {
    let Some(shard) = of.group.observed_by(node) else { return 0 };
    let failed =
        |value: &Value| Observed::decode(value).is_some_and(|seen| seen.condition == Condition::Failed);
    shard
        .state()
        .iter()
        .filter(|(_, visible)| visible.last().is_some_and(|winner| failed(&winner.value)))
        .count() as u64
}
