//! The open links by id. The daemon sends frames through it without the driver.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{LinkId, LinkKind};
use crate::link::send_queue::SendQueue;

type LinkMap = HashMap<LinkId, (LinkKind, Arc<SendQueue>)>;

/// Shared by [`NetHandle`](crate::NetHandle) and the link tasks. Holds a link from just before its `LinkUp`
/// until its `LinkDown`.
#[derive(Clone, Default)]
pub(crate) struct LinkRegistry {
    links: Arc<Mutex<LinkMap>>,
}

impl LinkRegistry {
    fn lock_links(&self) -> MutexGuard<'_, LinkMap> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, link: LinkId, kind: LinkKind, queue: Arc<SendQueue>) {
        self.lock_links().insert(link, (kind, queue));
    }

    pub(crate) fn remove(&self, link: LinkId) {
        self.lock_links().remove(&link);
    }

    pub(crate) fn get(&self, link: LinkId) -> Option<(LinkKind, Arc<SendQueue>)> {
        self.lock_links().get(&link).cloned()
    }
}
