//! Coverage marks: rare situations that a long run must reach. Without them, a run proves nothing about these
//! situations.

use std::collections::BTreeMap;

/// The number of times that each situation was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<&'static str, u64>);

/// The name and description of every situation.
pub const SITUATIONS: &[(&str, &str)] = &[
    ("crash-lost", "a crash lost a batch that was under way"),
    ("crash-kept", "a crash came after a batch was durable and before anybody was told"),
    ("crash-midway", "a node died between two effects of one input"),
    ("crash-joining", "a node died while it was joining"),
    ("disk-full", "a full disk refused a batch"),
    ("disk-broken", "a broken disk refused a batch"),
    ("damage-saved", "a damaged store was saved in parts, and members had the rest"),
    ("damage-whole", "nothing of a damaged store could be saved"),
    ("damage-alone", "what was acknowledged was lost with the only disk that had it"),
    ("refetched", "a copy that was damaged became equal with a member's"),
    ("declined-refetching", "a write was declined since the copy had been damaged"),
    ("declined-storage", "a write was declined since the store failed"),
    ("clock-back-restart", "a node came back with an earlier clock than it had"),
    ("frozen", "a node stood still for longer than its links lived"),
    ("cut-sides", "two sides were cut from each other"),
    ("cut-one-way", "one direction was cut"),
    ("cut-alone", "one node was cut from all"),
    ("cut-bridge", "one node reached both sides of a cut"),
    ("cut-ring", "each node reached only its neighbours in a ring"),
    ("cut-long", "a cut lasted for more than an hour"),
    ("line-healed", "a group became equal over a line of nodes, not a mesh"),
    ("stream-broke", "a stream broke with a frame under way"),
    ("stream-stuck", "a stream stood still and then went on"),
    ("window-broke", "a stream broke under a window of changes"),
    ("window-more", "what was asked for took more than one window"),
    ("duplicated", "a frame arrived twice"),
    ("reordered", "a frame overtook another"),
    ("replayed", "an old frame came again"),
    ("later-hello", "a node met one that speaks a later version"),
    ("later-frame", "a node was sent a frame of a kind it does not know"),
    ("later-kind", "a kind that this version does not know was written"),
    ("waited", "a change waited for one it builds on"),
    ("records", "records were sent to a neighbour that lacked them"),
    ("line-shown", "members met that did not know each other"),
    ("carried", "a request to join was carried to its issuer"),
    ("late-join", "a node joined while there was trouble"),
    ("joined-again", "a node that was granted and did not know asked once more"),
    ("two-groups", "two nodes shared a link for more than one group"),
    ("paused-behind", "a group went on while one of its members paused"),
    ("backlog", "a node came back with a thousand changes or more"),
    ("snapshot", "a shard was written out whole"),
    ("mark", "a signature was kept for ever"),
    ("conflict", "two values stood against each other"),
    ("conflict-three", "three values or more stood against each other"),
    ("conflict-list", "a list was in conflict"),
    ("edit-remove", "an edit stood against a removal"),
    ("settled-twice", "one conflict was settled on two nodes"),
    ("recreated", "what was removed was made anew"),
    ("declined-conflict", "a write to a conflicted field was declined"),
    ("merged-heads", "a change merged three heads or more"),
    ("reader", "a reader's write was declined"),
    ("removed", "a node saw another one removed"),
    ("left", "a node saw another one leave"),
    ("grant-ended", "a member had a grant that ended, and another that did not"),
    ("held", "a change was held, for the sake of what was built on it"),
    ("removed-author", "a value stood only by the word of a removed member"),
    ("quarantined", "a valid change was in quarantine"),
    ("kept-aside", "a change that lost was kept and passed on"),
    ("evidence", "a change was kept for no more than that a record names it"),
    ("forked", "a chain forked"),
    ("readmitted", "an admin brought changes in that did not count"),
    ("restored", "a node was started from an old copy of its disk"),
    ("set-back", "the same, and its daemon could not notice"),
    ("set-back-alone", "what was acknowledged was on no other disk than the one that was set back"),
    ("swapped", "two copies of one directory ran in turn"),
    ("twin", "a node found changes of its own that it did not remember"),
    ("lied", "a node's keys were used for what no honest node does"),
    ("told-removed", "a node was told that it is no member any more"),
];

impl Coverage {
    /// Counts one occurrence of a situation.
    pub(super) fn record(&mut self, name: &'static str) {
        debug_assert!(SITUATIONS.iter().any(|(known, _)| *known == name), "{name} is no situation");
        *self.0.entry(name).or_default() += 1;
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    /// The number of times that a situation was reached.
    pub fn count(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// The situations that no run reached.
    pub fn unreached(&self) -> Vec<&'static str> {
        SITUATIONS.iter().map(|(name, _)| *name).filter(|name| self.count(name) == 0).collect()
    }
}
