//! How nodes start, crash and freeze, and how their disks behave.

use larder_core::node::{Input, Node, NodeConfig};

use super::super::invariants::Invariant;
use super::super::node_checks::CheckedState;
use super::links::CUT_NOTICE_US;
use super::{World, WorldEvent};

impl World {
    /// Starts a node from its disk.
    pub(in super::super) fn boot_node(&mut self, node: usize) {
        if self.nodes[node].core_node.is_some() {
            return;
        }
        let config = NodeConfig {
            secret: self.nodes[node].secret.clone(),
            rng_seed: self.storage_rng.next_seed(),
            software: "sim".to_owned(),
            host_name: format!("host-{node}"),
            store_was_copied: std::mem::take(&mut self.nodes[node].copy_is_noticed),
        };
        let sim_node = &mut self.nodes[node];
        sim_node.started_at = self.now;
        let now = sim_node.clocks_at(self.now);
        if now.unix_secs < sim_node.latest_wall {
            self.coverage.record("clock-back-restart");
        }
        let (core_node, effects) = match Node::open(config, now, &sim_node.disk.rows) {
            Ok(opened) => opened,
            Err(error) => {
                return self
                    .record_violation(Invariant::Sound, format!("node {node} does not start: {error}"));
            }
        };
        sim_node.core_node = Some(core_node);
        sim_node.boot_count += 1;
        sim_node.next_tick = u64::MAX;
        sim_node.is_syncing = false;
        sim_node.checked = CheckedState::default();
        self.trace.record_event(self.now, &format!("boot {node}"));
        self.check_acknowledged_present(node);
        self.apply_effects(node, effects);
        self.schedule_tick(node);
    }

    /// Checks that a node has every write that it acknowledged when it starts.
    fn check_acknowledged_present(&mut self, node: usize) {
        let Some(core_node) = self.nodes[node].core_node.as_ref() else { return };
        let mine =
            self.acknowledged_writes.iter().filter(|(_, write)| write.node == node && !write.is_forgotten);
        let lost = mine.filter(|(change, write)| {
            let desired =
                core_node.group(&write.group).and_then(|state| Some((&state.group, state.group.desired()?)));
            !desired.is_some_and(|(group, desired)| {
                group.shard_states().has_change(&desired.root().shard_id(), change)
            })
        });
        let lost: Vec<_> = lost.map(|(change, _)| change.short()).collect();
        if !lost.is_empty() {
            let detail = format!("node {node} came back without {} that it acknowledged", lost.join(" "));
            self.record_violation(Invariant::Durable, detail);
        }
    }

    /// Crashes a node. `kept`, modulo the number of possible counts, says how many of the oldest pending
    /// batches became durable. The node restarts after `pause`.
    pub(in super::super) fn crash_node(&mut self, node: usize, pause: u64, kept: u64) {
        let Some(core_node) = self.nodes[node].core_node.take() else { return };
        if core_node.pending_joins().next().is_some() {
            self.coverage.record("crash-joining");
        }
        let sim_node = &mut self.nodes[node];
        sim_node.dies_after = None;
        sim_node.frozen_until = 0;
        sim_node.disk_fails_until = None;
        let kept = usize::try_from(kept % (sim_node.disk.pending_count() as u64 + 1)).unwrap_or(0);
        let lost = sim_node.disk.crash(kept);
        sim_node.linked_members.clear();
        sim_node.boot_count += 1;
        if lost > 0 {
            self.coverage.record("crash-lost");
        }
        if kept > 0 {
            self.coverage.record("crash-kept");
        }
        self.pending_writes.retain(|_, write| write.node != node);
        self.trace.record_event(self.now, &format!("crash {node}, {kept} batches kept, {lost} lost"));
        self.notify_link_peers(node);
        self.schedule_event(pause, WorldEvent::Boot { node });
    }

    /// Crashes a node after a number of effects.
    pub(in super::super) fn crash_after_effects(&mut self, node: usize, effects: u32, pause: u64) {
        if self.nodes[node].core_node.is_some() {
            self.nodes[node].dies_after = Some((effects, pause));
        }
    }

    /// Closes the node's own ends of its links, and lets the other ends notice this later.
    fn notify_link_peers(&mut self, node: usize) {
        for (link, other) in self.network.streams_of(node) {
            if let Some(side) = self.network.end_of(link, node).map(|(side, _)| side)
                && let Some(stream) = self.network.streams.get_mut(&link)
            {
                stream.alive[side] = false;
            }
            let delay = self.network_rng.between(1, CUT_NOTICE_US.1);
            self.schedule_event(delay, WorldEvent::Break { link, node: other });
        }
    }

    /// Freezes a node; afterwards it continues as if no time had passed. After a long freeze, its links
    /// break.
    pub(in super::super) fn freeze_node(&mut self, node: usize, pause: u64) {
        if !self.nodes[node].is_up(self.now) {
            return;
        }
        self.nodes[node].frozen_until = self.now + pause;
        self.trace.record_event(self.now, &format!("freeze {node} for {pause}"));
        if pause <= CUT_NOTICE_US.1 {
            return;
        }
        self.coverage.record("frozen");
        for (link, other) in self.network.streams_of(node) {
            for end in [node, other] {
                let delay = self.network_rng.between(CUT_NOTICE_US.0, CUT_NOTICE_US.1);
                self.schedule_event(delay, WorldEvent::Break { link, node: end });
            }
        }
    }

    /// Makes every commit fail for a while. Afterwards the daemon opens its store again.
    pub(in super::super) fn start_disk_failure(&mut self, node: usize, full: bool, pause: u64) {
        let why = if full { "no space left on device" } else { "input/output error" };
        self.nodes[node].disk_fails_until = Some((self.now + pause, why));
        self.trace.record_event(self.now, &format!("disk of {node}: {why}"));
    }

    pub(super) fn schedule_disk_sync(&mut self, node: usize) {
        if !self.nodes[node].is_syncing {
            self.nodes[node].is_syncing = true;
            let delay = self.storage_rng.between(50, self.faults.commit.max(50));
            let boot = self.nodes[node].boot_count;
            self.schedule_event(delay, WorldEvent::Sync { node, boot });
        }
    }

    pub(super) fn on_disk_sync(&mut self, node: usize, boot: u64) {
        if self.nodes[node].boot_count != boot {
            return;
        }
        self.nodes[node].is_syncing = false;
        let pending = self.nodes[node].disk.pending_count();
        if let Some((until, why)) = self.nodes[node].disk_fails_until
            && pending > 0
            && until > self.now
        {
            self.coverage.record(if why.starts_with("no space") { "disk-full" } else { "disk-broken" });
            let kept = self.storage_rng.index(pending + 1);
            self.nodes[node].disk.crash(kept);
            self.schedule_event(until.saturating_sub(self.now).max(1), WorldEvent::Reopen { node, boot });
            return self.deliver_input(node, Input::StoreFailed { reason: why.to_owned() });
        }
        let count = usize::try_from(self.storage_rng.between(1, pending as u64)).unwrap_or(1);
        if let Some(batch_id) = self.nodes[node].disk.sync(count) {
            self.deliver_input(node, Input::Stored { batch_id });
        }
        if self.nodes[node].disk.pending_count() > 0 && self.nodes[node].boot_count == boot {
            self.schedule_disk_sync(node);
        }
    }

    /// Opens the store again after the disk works, with a new core node.
    pub(super) fn reopen_store(&mut self, node: usize, boot: u64) {
        if self.nodes[node].boot_count == boot {
            self.crash_node(node, 1, 0);
        }
    }
}
