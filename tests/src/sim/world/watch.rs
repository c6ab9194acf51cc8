//! What must hold of every single effect, and which rare situations an effect shows.

use larder_core::delta::Delta;
use larder_core::group::AuthorError;
use larder_core::id::{GroupId, NodeId};
use larder_core::machine::{Answer, Declined, Effect, LinkId, LinkKind, Notice};
use larder_core::resource::draft::EditError;
use larder_core::store::{Row, Rows, Table, key};
use larder_core::wire::link::{Frame, Push};

use super::super::check::Invariant;
use super::{Waiting, World};

impl World {
    /// Looks at an effect before it is carried out.
    pub(super) fn watch(&mut self, node: usize, effect: &Effect) {
        match effect {
            Effect::Send { link, bytes } => self.watch_frame(node, *link, bytes),
            Effect::Store { rows, .. } => self.watch_rows(node, rows),
            Effect::Notice(notice) => self.watch_notice(node, notice),
            _ => {}
        }
    }

    fn watch_notice(&mut self, node: usize, notice: &Notice) {
        match notice {
            Notice::Fault { peer, what } if !self.faults.unruly() => {
                self.violate(Invariant::Blame, format!("node {node} blames {}: {what}", peer.short()));
            }
            Notice::Isolated { what, .. } => {
                self.violate(Invariant::Sound, format!("node {node} isolated a shard: {what}"));
            }
            Notice::Refetched { .. } => self.marks.reach("refetched"),
            Notice::Twin { .. } if self.nodes[node].damaged => {}
            Notice::Twin { .. } | Notice::Reborn { .. } => {
                self.violate(Invariant::Sound, format!("node {node} takes itself for a copy: {notice:?}"));
            }
            _ => {}
        }
    }

    fn watch_rows(&mut self, node: usize, rows: &[Row]) {
        for row in rows {
            match row.table {
                Table::Snapshots => self.marks.reach("snapshot"),
                Table::Marks => self.marks.reach("mark"),
                Table::Changes => self.watch_change(row.value.as_deref().unwrap_or_default()),
                _ => {}
            }
            let group = row.key.get(..16).and_then(GroupId::from_slice);
            if let Some(group) = group.filter(|group| !self.invited.contains_key(group))
                && self.founding == Some(node)
            {
                self.invited.entry(group).or_default().insert(node);
            }
            let of_group = !matches!(row.table, Table::Meta | Table::Addresses);
            if of_group && !group.is_some_and(|group| self.is_invited(&group, node)) {
                let table = row.table.name();
                self.violate(
                    Invariant::Members,
                    format!("node {node} stores {table} of a group it is not in"),
                );
            }
        }
    }

    fn watch_change(&mut self, bytes: &[u8]) {
        if Delta::decode(bytes).is_ok_and(|delta| delta.deps.len() > 2) {
            self.marks.reach("merged-heads");
        }
    }

    fn is_invited(&self, group: &GroupId, node: usize) -> bool {
        self.invited.get(group).is_some_and(|nodes| nodes.contains(&node))
    }

    fn watch_frame(&mut self, node: usize, link: LinkId, bytes: &[u8]) {
        let Some((_, to)) = self.wire.side(link, node) else { return };
        let kind = self.wire.streams.get(&link).map(|stream| stream.kind);
        if kind != Some(LinkKind::Member) {
            self.noise += 1;
            return;
        }
        let frame = match Frame::decode(bytes) {
            Ok(frame) => frame,
            Err(error) => return self.violate(Invariant::Sound, format!("node {node} sends {error}")),
        };
        if let Some(group) = group_of(&frame).filter(|group| !self.is_invited(group, to)) {
            let words = format!("node {node} sends {frame:?} of {} that {to} is not in", group.short());
            self.violate(Invariant::Members, words);
        }
        match &frame {
            Frame::Presence(_) | Frame::Ping(_) | Frame::Pong(_) | Frame::Hello(_) => return,
            Frame::Records(_) => self.marks.reach("records"),
            Frame::Line(_) => self.marks.reach("line-shown"),
            Frame::Carry(_) => self.marks.reach("carried"),
            Frame::Window(window) if window.more => self.marks.reach("window-more"),
            Frame::Push(push) => self.watch_push(node, push),
            _ => {}
        }
        self.noise += 1;
    }

    /// What a neighbour is told of is on the disk.
    fn watch_push(&mut self, node: usize, push: &Push) {
        for change in &push.changes {
            let Ok(delta) = Delta::decode(&change.delta) else { continue };
            let chain = key::seq(push.group, push.epoch, delta.actor(push.group), delta.seq);
            let Ok(rows) = self.nodes[node].disk.rows.rows(Table::Changes, &chain);
            if !rows.iter().any(|(_, stored)| *stored == change.delta) {
                let words =
                    format!("node {node} pushes change {} of a chain before it is durable", delta.seq);
                self.violate(Invariant::Durable, words);
            }
        }
    }

    /// Looks at an answer before its caller hears it.
    pub(super) fn watch_answer(&mut self, waiting: Option<&Waiting>, answer: &Result<Answer, Declined>) {
        match answer {
            Err(Declined::Refetching) => self.marks.reach("declined-refetching"),
            Err(Declined::Storage(_)) => self.marks.reach("declined-storage"),
            Err(Declined::Edit(EditError::Conflicted(..))) => self.marks.reach("declined-conflict"),
            Err(Declined::Author(AuthorError::Role(_))) => self.marks.reach("reader"),
            Err(Declined::Author(
                error @ (AuthorError::Gate(_) | AuthorError::Lost | AuthorError::Isolated(_)),
            )) => {
                self.violate(Invariant::Sound, error.to_string());
            }
            _ => {}
        }
        let (Some(waiting), Ok(Answer::Written(Some(change)))) = (waiting, answer) else { return };
        let node = &self.nodes[waiting.node];
        let desired =
            node.machine.as_ref().and_then(|machine| machine.group(&waiting.group)?.group.desired());
        let Some(entry) = desired.and_then(|desired| desired.graph().get(change)) else {
            let words = format!("node {} does not show what it acknowledged", waiting.node);
            return self.violate(Invariant::OwnWrites, words);
        };
        let (Some(desired), seq, id) = (desired, entry.seq, entry.id) else { return };
        let Some(chain) = desired.graph().chain_of(entry) else { return };
        let row = key::change(waiting.group, desired.root().epoch(), chain.actor, seq, id);
        let Ok(stored) = node.disk.rows.rows(Table::Changes, &row);
        if stored.is_empty() {
            let words = format!("node {} acknowledged {} before it was durable", waiting.node, id.short());
            self.violate(Invariant::Durable, words);
        }
    }

    /// Which node has that key.
    pub(in super::super) fn node_of(&self, id: &NodeId) -> Option<usize> {
        self.nodes.iter().position(|node| node.secret.node() == *id)
    }
}

/// The group that a frame speaks of.
fn group_of(frame: &Frame) -> Option<GroupId> {
    match frame {
        Frame::Digest(body) => Some(body.group),
        Frame::Have(body) => Some(body.group),
        Frame::Records(body) | Frame::Line(body) => Some(body.group),
        Frame::Positions(body) => Some(body.group),
        Frame::Want(body) => Some(body.group),
        Frame::Window(body) => Some(body.group),
        Frame::Push(body) => Some(body.group),
        Frame::Presence(body) => Some(body.group),
        Frame::Bye(group) | Frame::WhoAreYou(group) => Some(*group),
        Frame::Carry(body) => Some(body.group),
        Frame::Carried(body) => Some(body.group),
        Frame::Hello(_) | Frame::Ping(_) | Frame::Pong(_) | Frame::Unknown(_) => None,
    }
}
