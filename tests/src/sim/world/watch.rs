//! What must hold of every single effect, and which rare situations an effect shows.

use std::collections::BTreeSet;

use larder_core::delta::compose::Composed;
use larder_core::delta::{Delta, columns};
use larder_core::group::{AuthorError, Beside, Why};
use larder_core::id::{ChangeId, GroupId, NodeId};
use larder_core::machine::{Answer, Declined, Effect, LinkId, LinkKind, Membership, Notice};
use larder_core::resource::edit::EditError;
use larder_core::shard::root::{Root, ShardName};
use larder_core::store::{AsideRow, Row, Rows, Table, key, layout};
use larder_core::wire::link::{Frame, Push, Window};
use larder_core::wire::visit::VisitFrame;

use super::super::check::Invariant;
use super::{Waiting, World};

/// What waits for a disk while its node hears of a removal may still go out for so long.
const LATE: u64 = 30_000_000;

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
            Notice::Fault { peer, .. } if self.node_of(peer).is_none_or(|peer| self.nodes[peer].liar) => {}
            Notice::Fault { peer, what } if !self.faults.unruly() => {
                self.violate(Invariant::Blame, format!("node {node} blames {}: {what}", peer.short()));
            }
            Notice::Isolated { what, .. } => {
                self.violate(Invariant::Sound, format!("node {node} isolated a shard: {what}"));
            }
            Notice::Refetched { .. } => self.marks.reach("refetched"),
            Notice::Twin { .. } if self.nodes[node].damaged => {}
            Notice::Twin { .. } | Notice::Reborn { .. }
                if self.nodes[node].copied || self.nodes[node].liar => {}
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
            if matches!(VisitFrame::decode(bytes), Ok(VisitFrame::Removed(_))) {
                self.marks.reach("told-removed");
            }
            // A code whose issuer is gone is tried for ever.
            self.noise += u64::from(!self.churns);
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
        self.watch_outsider(node, to, &frame);
        match &frame {
            Frame::Presence(_) | Frame::Ping(_) | Frame::Pong(_) | Frame::Hello(_) => return,
            Frame::Records(_) => self.marks.reach("records"),
            Frame::Line(_) => self.marks.reach("line-shown"),
            Frame::Carry(_) | Frame::Carried(_) if self.churns => return self.marks.reach("carried"),
            Frame::Carry(_) => self.marks.reach("carried"),
            Frame::Window(window) => {
                if window.more {
                    self.marks.reach("window-more");
                }
                self.watch_window(node, window);
            }
            Frame::Push(push) => self.watch_push(node, push),
            _ => {}
        }
        self.noise += 1;
    }

    /// Who is known to be no member gets nothing but records. What was on its way when that became known may still come.
    fn watch_outsider(&mut self, node: usize, to: usize, frame: &Frame) {
        let serves =
            !matches!(frame, Frame::Records(_) | Frame::Line(_) | Frame::WhoAreYou(_) | Frame::Bye(_));
        let Some(group) = group_of(frame).filter(|_| serves && self.churns) else { return };
        let members = |of: &Membership| of.group.members().contains(&self.nodes[to].secret.node());
        let machine = self.nodes[node].machine.as_ref();
        if machine.and_then(|machine| machine.group(&group)).is_none_or(members) {
            self.outsiders.remove(&(node, to, group));
            return;
        }
        let since = *self.outsiders.entry((node, to, group)).or_insert(self.now);
        if self.now - since > LATE {
            let words = format!("node {node} sends {frame:?} to {to}, which it knows to be no member");
            self.violate(Invariant::Outside, words);
        }
    }

    /// Notes what went into quarantine.
    pub(super) fn note_quarantine(&mut self, node: usize) {
        let Some(machine) = self.nodes[node].machine.as_ref().filter(|_| self.churns) else { return };
        let asides = machine.groups().flat_map(|of| of.group.asides()).flat_map(|(_, aside)| aside.iter());
        let mut ids: BTreeSet<ChangeId> = BTreeSet::new();
        ids.extend(asides.filter(|beside| !beside.kept).map(Beside::id));
        let is_evidence = |of: &Membership| {
            let all = of.group.asides().flat_map(|(epoch, aside)| aside.iter().map(move |one| (epoch, one)));
            let mut kept = all.filter(|(_, one)| one.kept && of.group.members().named().contains(&one.id()));
            kept.any(|(epoch, one)| matches!(of.group.why(epoch, one), Why::Ended(_)))
        };
        if machine.groups().any(is_evidence) {
            self.marks.reach("evidence");
        }
        self.quarantined.retain(|(of, id), _| *of != node || ids.contains(id));
        for id in ids {
            self.quarantined.entry((node, id)).or_insert(self.now);
        }
    }

    /// What is in quarantine goes nowhere, but for what waited for a disk before it came there.
    fn watch_quarantine(&mut self, node: usize, ids: &[ChangeId]) {
        let since = |id: &ChangeId| self.quarantined.get(&(node, *id)).copied();
        let stays = |id: &&ChangeId| since(id).is_some_and(|since| self.now - since > LATE / 6);
        if let Some(id) = ids.iter().find(stays) {
            let words = format!("node {node} passes {} on, which is in its quarantine", id.short());
            self.violate(Invariant::Outside, words);
        }
    }

    fn watch_window(&mut self, node: usize, window: &Window) {
        let quarantines = |of: &Membership| of.group.aside(&window.epoch).is_some();
        let machine = self.nodes[node].machine.as_ref();
        if !machine.and_then(|machine| machine.group(&window.group)).is_some_and(quarantines) {
            return;
        }
        let root = Root::derive(window.group, ShardName::Desired);
        if root.epoch() == window.epoch
            && let Ok(read) = columns::decode(&root, &window.columns)
        {
            let ids: Vec<ChangeId> = read.changes.iter().map(Composed::id).collect();
            self.watch_quarantine(node, &ids);
        }
    }

    /// What a neighbour is told of is on the disk.
    fn watch_push(&mut self, node: usize, push: &Push) {
        for change in &push.changes {
            let Ok(delta) = Delta::decode(&change.delta) else { continue };
            if self.churns {
                let root = Root::derive(push.group, ShardName::Desired);
                if let Ok(composed) = Composed::new(&root, delta.clone()) {
                    self.watch_quarantine(node, &[composed.id()]);
                }
            }
            let chain = key::seq(push.group, push.epoch, delta.actor(push.group), delta.seq);
            let Ok(rows) = self.nodes[node].disk.rows.rows(Table::Changes, &chain);
            let Ok(aside) = self.nodes[node].disk.rows.rows(Table::Aside, &chain);
            let beside =
                |stored: &[u8]| layout::<AsideRow>(stored).is_some_and(|row| row.delta == change.delta);
            let durable = rows.iter().any(|(_, stored)| *stored == change.delta)
                || aside.iter().any(|(_, stored)| beside(stored));
            if !durable {
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
            let of = node.machine.as_ref().and_then(|machine| machine.group(&waiting.group));
            let aside =
                of.zip(desired).is_some_and(|(of, desired)| of.group.knows(&desired.root().epoch(), change));
            if aside && self.churns {
                // While it was on its way to the disk, it stopped counting.
                return;
            }
            let words = format!("node {} does not show what it acknowledged", waiting.node);
            return self.violate(Invariant::OwnWrites, words);
        };
        let (Some(desired), seq, id) = (desired, entry.seq, entry.id) else { return };
        let Some(chain) = desired.graph().chain_of(entry) else { return };
        let row = key::change(waiting.group, desired.root().epoch(), chain.actor, seq, id);
        let Ok(stored) = node.disk.rows.rows(Table::Changes, &row);
        // Meanwhile it may have been laid aside, and be on its way back.
        let Ok(aside) = node.disk.rows.rows(Table::Aside, &row);
        if stored.is_empty() && aside.is_empty() {
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
