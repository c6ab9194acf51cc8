//! The open links by name: what lets the daemon send without a detour over the driver.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{LinkId, LinkKind};
use crate::link::queue::Queue;

type Links = HashMap<LinkId, (LinkKind, Arc<Queue>)>;

/// Shared by [`Net`](crate::Net) and the links' tasks. Holds a link from just before its `LinkUp` to its `LinkDown`.
#[derive(Clone, Default)]
pub(crate) struct Registry {
    links: Arc<Mutex<Links>>,
}

impl Registry {
    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, link: LinkId, kind: LinkKind, queue: Arc<Queue>) {
        self.links().insert(link, (kind, queue));
    }

    pub(crate) fn remove(&self, link: LinkId) {
        self.links().remove(&link);
    }

    pub(crate) fn get(&self, link: LinkId) -> Option<(LinkKind, Arc<Queue>)> {
        self.links().get(&link).cloned()
    }
}
