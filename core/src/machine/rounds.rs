//! Whom a node that asks to be let in visits, and when: at first often, since a join should take seconds, and then as
//! rarely as members take visits of one stranger.

use std::collections::{BTreeMap, BTreeSet};

use super::Machine;
use super::effect::Effect;
use super::input::Moment;
use crate::id::NodeId;
use crate::limits;

/// When each node was visited last, and how often so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Rounds(BTreeMap<NodeId, (Moment, u32)>);

impl Rounds {
    /// True if it is time to visit that node, which counts as done then.
    fn begin(&mut self, peer: NodeId, now: Moment) -> bool {
        let (last, times) = self.0.get(&peer).copied().unwrap_or((now, 0));
        let pause = if times <= limits::REVISITS_SOON { limits::REVISIT_MS } else { limits::REVISIT_LATE_MS };
        let is_due = times == 0 || now.ms_since(last) >= pause;
        if is_due {
            self.0.insert(peer, (now, times.saturating_add(1)));
        }
        is_due
    }

    /// Begins anew: somebody asks for something else.
    pub(super) fn restart(&mut self) {
        self.0.clear();
    }
}

impl Machine {
    /// Visits every node that was seen and whose turn it is, while this node asks to be let in somewhere.
    pub(super) fn ask_around(&mut self) {
        self.stop_seeking_in_time();
        let joins = self.joins.values().any(|joining| !joining.granted);
        let seeks = self.seeking.as_ref().is_some_and(|seeking| seeking.entered.is_none());
        if !joins && !seeks {
            return self.rounds.restart();
        }
        let visited: BTreeSet<NodeId> =
            self.visits.values().filter(|visit| visit.opened).map(|visit| visit.peer).collect();
        // Members of one's own groups can let in by a code; to the others there is nothing to ask of them.
        let wanted = |peer: &&NodeId| joins || !self.admitted.contains(*peer);
        let wanted: Vec<NodeId> = self.seen.keys().filter(wanted).copied().collect();
        for peer in wanted {
            if !visited.contains(&peer) && self.rounds.begin(peer, self.now.mono) {
                self.outbox.push(Effect::Visit { peer });
            }
        }
        if self.rounds.0.len() > limits::SEEN {
            self.rounds.0.retain(|peer, _| self.seen.contains_key(peer));
        }
    }
}
