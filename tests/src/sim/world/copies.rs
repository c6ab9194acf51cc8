//! Copies: machines that are set back to an earlier state of their disk, and directories of which two run in turn.

use larder_core::machine::LinkKind;
use larder_core::wire::link::Frame;

use super::World;

impl World {
    /// The first time, keeps a copy of a node's disk. The next time, the node dies and starts from that copy; where its
    /// daemon does not notice, as one in a virtual machine, it goes on as if nothing had been.
    pub(in super::super) fn set_back(&mut self, node: usize, noticed: bool, pause: u64) {
        match self.nodes[node].backup.take() {
            None => self.nodes[node].backup = Some(self.nodes[node].disk.rows.clone()),
            Some(rows) => {
                self.marks.reach(if noticed { "restored" } else { "set-back" });
                self.run_from(node, rows, noticed, pause);
            }
        }
    }

    /// The node dies, and the other copy of its directory goes on; there is one from the first time on.
    pub(in super::super) fn swap(&mut self, node: usize, pause: u64) {
        let mine = self.nodes[node].disk.rows.clone();
        let other = self.nodes[node].twin.replace(mine.clone());
        self.marks.reach("swapped");
        self.run_from(node, other.unwrap_or(mine), true, pause);
    }

    fn run_from(&mut self, node: usize, rows: larder_core::store::Memory, noticed: bool, pause: u64) {
        if self.nodes[node].machine.is_none() {
            return;
        }
        self.crash(node, pause, 0);
        self.trace.note(self.now, &format!("another disk for {node}"));
        let of = &mut self.nodes[node];
        of.disk.rows = rows;
        of.copied = true;
        of.reborn |= noticed;
        self.forget_what_is_gone(node, "set-back-alone");
    }

    /// A node says something to all its neighbours that its machine did not.
    pub(in super::super) fn tell_neighbours(&mut self, node: usize, frame: &Frame) {
        for (link, _) in self.wire.of(node) {
            let is_member = |stream: &super::super::wire::Stream| stream.kind == LinkKind::Member;
            if self.wire.streams.get(&link).is_some_and(is_member) {
                self.send(node, link, frame.encode());
            }
        }
    }
}
