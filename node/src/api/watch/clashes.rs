//! Conflicts that appear and go while somebody watches.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::id::Digest;
use larder_core::machine::Machine;
use larder_core::record::Members;
use larder_core::resource::ResourceName;
use larder_core::resource::claim::{claims, unsettled};
use larder_core::resource::conflict::{Conflict, ConflictKind, conflicts_of};
use larder_core::resource::view::ResourceView;
use larder_core::shard::Shard;

use crate::limits;
use crate::view::Event;

/// Where there is a conflict: a field of a resource, and what sort it is.
type Spot = (ResourceName, String, ConflictKind);

/// The conflicts that there were when somebody looked last, and where there may be others since.
#[derive(Clone, Debug, Default)]
pub(super) struct Clashes {
    known: BTreeMap<Spot, Digest>,
    touched: BTreeSet<ResourceName>,
    /// True if there may be others anywhere.
    all: bool,
}

fn at(conflict: &Conflict) -> (Spot, Digest) {
    ((conflict.resource.clone(), conflict.field.clone(), conflict.kind), conflict.id)
}

impl Clashes {
    /// Those that there are now.
    pub(super) fn of(desired: &Shard, members: &Members) -> Self {
        Self { known: unsettled(desired, members).iter().map(at).collect(), ..Self::default() }
    }

    /// Notes what an event may have brought about.
    pub(super) fn note(&mut self, event: &Event) {
        match (event.kind.as_str(), event.op.as_str()) {
            ("change", "accepted") if !event.touches.is_empty() => {
                let names = event.touches.iter().filter_map(|touch| touch.resource.parse().ok());
                self.touched.extend(names);
            }
            // Who counts and what was taken back decides what is held, anywhere.
            ("change" | "member", _) => self.all = true,
            _ => {}
        }
        if self.touched.len() > limits::WATCH_TOUCHED {
            self.all = true;
        }
        if self.all {
            self.touched.clear();
        }
    }

    /// True if there may be others.
    pub(super) fn is_due(&self) -> bool {
        self.all || !self.touched.is_empty()
    }

    /// Looks again. Where not everything is durable, what is seen may vanish: nothing is said then, and it is still due.
    pub(super) fn look(&mut self, machine: &Machine, desired: &Shard, members: &Members) -> Vec<Event> {
        if !machine.is_durable() {
            return Vec::new();
        }
        let touched = std::mem::take(&mut self.touched);
        let now: BTreeMap<Spot, Digest> = match std::mem::take(&mut self.all) {
            true => unsettled(desired, members).iter().map(at).collect(),
            false => {
                let views = touched.iter().filter_map(|name| ResourceView::read(desired.state(), name));
                let now = views.flat_map(|view| conflicts_of(desired, &view)).map(|one| at(&one));
                // What several resources claim is between any of them.
                let claims = claims(desired, members);
                let is_same =
                    |(name, _, kind): &Spot| *kind != ConflictKind::Claim && !touched.contains(name);
                let others = self.known.iter().filter(|(spot, _)| is_same(spot));
                now.chain(claims.iter().map(at)).chain(others.map(|(spot, id)| (spot.clone(), *id))).collect()
            }
        };
        let before = std::mem::replace(&mut self.known, now);
        let new = self.known.iter().filter_map(|(spot, id)| match before.get(spot) {
            None => Some(told(spot, "appeared")),
            Some(old) if old != id => Some(told(spot, "changed")),
            Some(_) => None,
        });
        let gone = before.keys().filter(|spot| !self.known.contains_key(*spot));
        new.chain(gone.map(|spot| told(spot, "settled"))).collect()
    }
}

fn told((resource, field, _): &Spot, op: &str) -> Event {
    Event {
        kind: "conflict".to_owned(),
        op: op.to_owned(),
        resource: Some(resource.to_string()),
        field: Some(field.clone()),
        ..Event::default()
    }
}
