//! How nodes start, die and stand still, and what their disks do.

use larder_core::machine::{Config, Input, Machine};

use super::super::check::{Held, Invariant};
use super::links::NOTICE;
use super::{Event, World};

impl World {
    /// Starts a node from what its disk holds.
    pub(in super::super) fn boot(&mut self, node: usize) {
        if self.nodes[node].machine.is_some() {
            return;
        }
        let config = Config {
            secret: self.nodes[node].secret.clone(),
            seed: self.storage.seed(),
            software: "sim".to_owned(),
            host: format!("host-{node}"),
            reborn: std::mem::take(&mut self.nodes[node].reborn),
        };
        let of = &mut self.nodes[node];
        of.started = self.now;
        let now = of.now(self.now);
        if now.wall < of.latest {
            self.marks.reach("clock-back-restart");
        }
        let (machine, effects) = match Machine::open(config, now, &of.disk.rows) {
            Ok(opened) => opened,
            Err(error) => {
                return self.violate(Invariant::Sound, format!("node {node} does not start: {error}"));
            }
        };
        of.machine = Some(machine);
        of.boot += 1;
        of.wake = u64::MAX;
        of.syncing = false;
        of.judged = Held::default();
        self.trace.note(self.now, &format!("boot {node}"));
        self.remembers(node);
        self.carry_out(node, effects);
        self.schedule(node);
    }

    /// Everything that was acknowledged by a node is there when it starts.
    fn remembers(&mut self, node: usize) {
        let Some(machine) = self.nodes[node].machine.as_ref() else { return };
        let mine = self.acknowledged.iter().filter(|(_, by)| by.node == node && !by.forgotten);
        let lost = mine.filter(|(change, by)| {
            let desired = machine.group(&by.group).and_then(|of| Some((&of.group, of.group.desired()?)));
            !desired.is_some_and(|(of, desired)| of.knows(&desired.root().epoch(), change))
        });
        let lost: Vec<_> = lost.map(|(change, _)| change.short()).collect();
        if !lost.is_empty() {
            let words = format!("node {node} came back without {} that it acknowledged", lost.join(" "));
            self.violate(Invariant::Durable, words);
        }
    }

    /// Kills a node. Of the batches under way, as many of the oldest as `kept` (of as many as there are, and one) says
    /// had reached the disk. It starts again after `pause`.
    pub(in super::super) fn crash(&mut self, node: usize, pause: u64, kept: u64) {
        let Some(machine) = self.nodes[node].machine.take() else { return };
        if machine.joins().next().is_some() {
            self.marks.reach("crash-joining");
        }
        let of = &mut self.nodes[node];
        of.dies = None;
        of.frozen = 0;
        of.disk.failing = None;
        let kept = usize::try_from(kept % (of.disk.pending() as u64 + 1)).unwrap_or(0);
        let lost = of.disk.crash(kept);
        of.members.clear();
        of.boot += 1;
        if lost > 0 {
            self.marks.reach("crash-lost");
        }
        if kept > 0 {
            self.marks.reach("crash-kept");
        }
        self.waiting.retain(|_, by| by.node != node);
        self.trace.note(self.now, &format!("crash {node}, {kept} batches kept, {lost} lost"));
        self.leave_links(node);
        self.after(pause, Event::Boot { node });
    }

    /// Kills a node after so many more effects.
    pub(in super::super) fn die(&mut self, node: usize, effects: u32, pause: u64) {
        if self.nodes[node].machine.is_some() {
            self.nodes[node].dies = Some((effects, pause));
        }
    }

    /// The other ends of a node's links find out; its own are gone.
    fn leave_links(&mut self, node: usize) {
        for (link, other) in self.wire.of(node) {
            if let Some(side) = self.wire.side(link, node).map(|(side, _)| side)
                && let Some(stream) = self.wire.streams.get_mut(&link)
            {
                stream.alive[side] = false;
            }
            let delay = self.network.between(1, NOTICE.1);
            self.after(delay, Event::Break { link, node: other });
        }
    }

    /// A node stands still, and goes on as if nothing had been. What it is linked with notices after a while.
    pub(in super::super) fn freeze(&mut self, node: usize, pause: u64) {
        if !self.nodes[node].is_up(self.now) {
            return;
        }
        self.nodes[node].frozen = self.now + pause;
        self.trace.note(self.now, &format!("freeze {node} for {pause}"));
        if pause <= NOTICE.1 {
            return;
        }
        self.marks.reach("frozen");
        for (link, other) in self.wire.of(node) {
            for end in [node, other] {
                let delay = self.network.between(NOTICE.0, NOTICE.1);
                self.after(delay, Event::Break { link, node: end });
            }
        }
    }

    /// The disk takes no more for a while; after that, the daemon opens its store anew.
    pub(in super::super) fn fail_disk(&mut self, node: usize, full: bool, pause: u64) {
        let why = if full { "no space left on device" } else { "input/output error" };
        self.nodes[node].disk.failing = Some((self.now + pause, why));
        self.trace.note(self.now, &format!("disk of {node}: {why}"));
    }

    pub(super) fn start_sync(&mut self, node: usize) {
        if !self.nodes[node].syncing {
            self.nodes[node].syncing = true;
            let delay = self.storage.between(50, self.faults.commit.max(50));
            let boot = self.nodes[node].boot;
            self.after(delay, Event::Sync { node, boot });
        }
    }

    pub(super) fn synced(&mut self, node: usize, boot: u64) {
        if self.nodes[node].boot != boot {
            return;
        }
        self.nodes[node].syncing = false;
        let pending = self.nodes[node].disk.pending();
        if let Some((until, why)) = self.nodes[node].disk.failing
            && pending > 0
            && until > self.now
        {
            self.marks.reach(if why.starts_with("no space") { "disk-full" } else { "disk-broken" });
            let kept = self.storage.index(pending + 1);
            self.nodes[node].disk.crash(kept);
            self.after(until.saturating_sub(self.now).max(1), Event::Reopen { node, boot });
            return self.input(node, Input::StoreFailed { why: why.to_owned() });
        }
        let count = usize::try_from(self.storage.between(1, pending as u64)).unwrap_or(1);
        if let Some(token) = self.nodes[node].disk.sync(count) {
            self.input(node, Input::Stored { token });
        }
        if self.nodes[node].disk.pending() > 0 && self.nodes[node].boot == boot {
            self.start_sync(node);
        }
    }

    /// The disk works again: the store, and so the machine, is opened anew.
    pub(super) fn reopen(&mut self, node: usize, boot: u64) {
        if self.nodes[node].boot == boot {
            self.crash(node, 1, 0);
        }
    }
}
