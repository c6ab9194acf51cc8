//! The observations of this node's host that wait to be written, and when that is due.

use std::collections::BTreeMap;

use super::input::MonoTime;
use crate::limits;
use crate::resource::ResourceName;
use crate::resource::observed::ObservedState;

/// The observations that are not written yet.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingObservations {
    unwritten: BTreeMap<ResourceName, ObservedState>,
    /// When they are written.
    pub(super) write_due: Option<MonoTime>,
    last_write: Option<MonoTime>,
}

impl PendingObservations {
    pub(super) fn queue(&mut self, observations: Vec<(ResourceName, ObservedState)>, now: MonoTime) {
        self.unwritten.extend(observations);
        if self.unwritten.is_empty() {
            return;
        }
        let earliest = self.last_write.map_or(now, |at| at.plus_ms(limits::OBSERVED_MIN_INTERVAL_MS));
        self.write_due.get_or_insert(now.plus_ms(limits::OBSERVED_DEBOUNCE_MS).max(earliest));
    }

    /// Takes all observations, which are written now.
    pub(super) fn take(&mut self, now: MonoTime) -> BTreeMap<ResourceName, ObservedState> {
        self.write_due = None;
        self.last_write = Some(now);
        std::mem::take(&mut self.unwritten)
    }
}
