//! Copies of disks: nodes that are rolled back to an earlier state of their disk, and two data directories
//! that run in turn.

use larder_core::node::LinkKind;
use larder_core::wire::member::MemberFrame;

use super::World;

impl World {
    /// The first time, copies a node's disk. The next time, crashes the node and starts it from that copy. If
    /// the rollback is not noticed, as with a virtual machine, the daemon continues as usual.
    pub(in super::super) fn roll_back_disk(&mut self, node: usize, noticed: bool, pause: u64) {
        match self.nodes[node].disk_copy.take() {
            None => self.nodes[node].disk_copy = Some(self.nodes[node].disk.rows.clone()),
            Some(rows) => {
                self.coverage.record(if noticed { "restored" } else { "set-back" });
                self.restart_from_rows(node, rows, noticed, pause);
            }
        }
    }

    /// Crashes the node and continues with the other copy of its data directory. The first call makes the
    /// copy.
    pub(in super::super) fn swap_disk_copy(&mut self, node: usize, pause: u64) {
        let mine = self.nodes[node].disk.rows.clone();
        let other = self.nodes[node].other_disk.replace(mine.clone());
        self.coverage.record("swapped");
        self.restart_from_rows(node, other.unwrap_or(mine), true, pause);
    }

    fn restart_from_rows(
        &mut self,
        node: usize,
        rows: larder_core::store::MemoryStore,
        noticed: bool,
        pause: u64,
    ) {
        if self.nodes[node].core_node.is_none() {
            return;
        }
        self.crash_node(node, pause, 0);
        self.trace.record_event(self.now, &format!("another disk for {node}"));
        let sim_node = &mut self.nodes[node];
        sim_node.disk.rows = rows;
        sim_node.was_copied = true;
        sim_node.copy_is_noticed |= noticed;
        self.forget_lost_writes(node, "set-back-alone");
    }

    /// Sends a frame to all neighbours of a node, without the node's knowledge.
    pub(in super::super) fn send_to_neighbours(&mut self, node: usize, frame: &MemberFrame) {
        for (link, _) in self.network.streams_of(node) {
            let is_member = |stream: &super::super::network::SimStream| stream.kind == LinkKind::Member;
            if self.network.streams.get(&link).is_some_and(is_member) {
                self.send_frame(node, link, frame.encode());
            }
        }
    }
}
