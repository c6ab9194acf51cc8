//! Where nodes are: for each the newest few addresses, and when it was last heard.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use larder_core::id::NodeId;

use crate::limits;
use crate::tally::Tally;

/// Where an address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Beacon or mDNS: the other side hears us the same way.
    Heard,
    /// Told by a member, or remembered from an earlier run.
    Told,
    /// The operator's.
    Static,
    /// A dial to it worked.
    Used,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    socket: SocketAddr,
    origin: Origin,
    at: Instant,
}

#[derive(Debug)]
struct Page {
    entries: Vec<Entry>,
    /// Last heard by discovery.
    heard: Option<Instant>,
    /// Last told to the daemon as `Seen`, and the addresses then.
    told: Option<(Instant, Vec<SocketAddr>)>,
}

/// The address book: members without bound of their own (their number is bounded), others up to
/// [`limits::BOOK_STRANGERS`].
#[derive(Default)]
pub(crate) struct Book {
    pages: BTreeMap<NodeId, Page>,
    members: BTreeSet<NodeId>,
    tally: Tally,
}

impl Book {
    /// An empty one, which counts there whom it had no room for.
    pub(crate) fn new(tally: Tally) -> Self {
        Self { tally, ..Self::default() }
    }

    /// These are never dropped for want of room.
    pub(crate) fn set_members(&mut self, members: BTreeSet<NodeId>) {
        self.members = members;
    }

    /// Notes that `node` may be at `socket`, as the newest. Discovery's word takes the place of older addresses that
    /// it no longer repeats, and of another port on the same machine; what was only told goes behind what
    /// was heard of late.
    pub(crate) fn add(&mut self, node: NodeId, socket: SocketAddr, origin: Origin, now: Instant) {
        self.make_room(node);
        let page = self.pages.entry(node).or_insert(Page { entries: Vec::new(), heard: None, told: None });
        let known = page.entries.iter().position(|e| e.socket == socket);
        let mut entry = Entry { socket, origin, at: now };
        if let Some(known) = known {
            let old = page.entries.remove(known);
            if old.origin == Origin::Static {
                entry.origin = Origin::Static;
            }
        }
        if origin == Origin::Heard {
            page.heard = Some(now);
            page.entries.retain(|e| e.origin == Origin::Static || !outdated(e, &entry));
        }
        let fresh = |e: &Entry| now.saturating_duration_since(e.at) <= limits::ADDRESS_FRESH;
        let hearsay = page.entries.iter().take_while(|e| fresh(e)).count();
        let place = if origin == Origin::Told { hearsay } else { 0 };
        page.entries.insert(place, entry);
        while page.entries.len() > limits::ADDRESSES {
            let last = page.entries.iter().rposition(|e| e.origin != Origin::Static);
            page.entries.remove(last.unwrap_or(page.entries.len() - 1));
        }
    }

    /// `socket` turned out to be somebody else's.
    pub(crate) fn remove(&mut self, node: NodeId, socket: SocketAddr) {
        if let Some(page) = self.pages.get_mut(&node) {
            page.entries.retain(|e| e.socket != socket);
        }
    }

    /// Where to dial `node`, newest first.
    pub(crate) fn addresses(&self, node: NodeId) -> Vec<SocketAddr> {
        self.pages.get(&node).map(|page| page.entries.iter().map(|e| e.socket).collect()).unwrap_or_default()
    }

    /// True if some address of `node` came from elsewhere than discovery, so that `node` may not know ours.
    pub(crate) fn one_sided(&self, node: NodeId) -> bool {
        self.pages.get(&node).is_some_and(|page| page.entries.iter().any(|e| e.origin != Origin::Heard))
    }

    /// True if `node` has not been heard for [`limits::KNOWN`]: a newcomer, who may not have heard of us either.
    pub(crate) fn is_news(&self, node: NodeId, now: Instant) -> bool {
        let heard = self.pages.get(&node).and_then(|page| page.heard);
        heard.is_none_or(|heard| now.saturating_duration_since(heard) > limits::KNOWN)
    }

    /// The nodes that may be at `socket`.
    pub(crate) fn at(&self, socket: SocketAddr) -> impl Iterator<Item = NodeId> {
        self.pages
            .iter()
            .filter(move |(_, page)| page.entries.iter().any(|e| e.socket == socket))
            .map(|(node, _)| *node)
    }

    /// The addresses to tell the daemon in a `Seen`, if it is time for one.
    pub(crate) fn due_to_tell(&mut self, node: NodeId, now: Instant) -> Option<Vec<SocketAddr>> {
        let page = self.pages.get_mut(&node)?;
        let sockets: Vec<_> = page.entries.iter().map(|e| e.socket).collect();
        if let Some((at, last)) = &page.told {
            let changed = sockets.iter().any(|socket| !last.contains(socket));
            let pause = if changed { limits::SEEN_CHANGED } else { limits::SEEN_AGAIN };
            if now.saturating_duration_since(*at) < pause {
                return None;
            }
        }
        page.told = Some((now, sockets.clone()));
        Some(sockets)
    }

    fn make_room(&mut self, node: NodeId) {
        if self.pages.contains_key(&node) || self.pages.len() < limits::BOOK_STRANGERS + self.members.len() {
            return;
        }
        self.tally.note("addresses of strangers", limits::BOOK_STRANGERS);
        let strangers = self.pages.iter().filter(|(node, _)| !self.members.contains(node));
        let oldest = strangers.min_by_key(|(_, page)| page.heard).map(|(node, _)| *node);
        oldest.and_then(|oldest| self.pages.remove(&oldest));
    }
}

/// True if discovery's `new` shows that `old` is left behind.
fn outdated(old: &Entry, new: &Entry) -> bool {
    let same_machine = old.socket.ip() == new.socket.ip();
    let silent = new.at.saturating_duration_since(old.at) > limits::ADDRESS_FRESH;
    same_machine || (old.origin == Origin::Heard && silent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn socket(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], port))
    }

    fn node(seed: u64) -> NodeId {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_be_bytes());
        NodeId(key)
    }

    #[test]
    fn the_newest_comes_first_and_a_new_port_replaces_the_old() {
        let mut book = Book::default();
        let now = Instant::now();
        for host in 1..=6 {
            book.add(node(1), socket(host, 1), Origin::Heard, now);
        }
        assert_eq!(book.addresses(node(1)), [6, 5, 4, 3].map(|host| socket(host, 1)));
        book.add(node(1), socket(4, 2), Origin::Heard, now);
        assert_eq!(book.addresses(node(1)), [socket(4, 2), socket(6, 1), socket(5, 1), socket(3, 1)]);
        book.add(node(1), socket(7, 1), Origin::Heard, now + Duration::from_secs(60));
        assert_eq!(book.addresses(node(1)), [socket(7, 1)], "the others fell silent");
    }

    #[test]
    fn the_operators_address_stays() {
        let mut book = Book::default();
        let now = Instant::now();
        book.add(node(1), socket(1, 1), Origin::Static, now);
        for host in 2..=9 {
            book.add(
                node(1),
                socket(host, 1),
                Origin::Heard,
                now + Duration::from_secs(60 * u64::from(host)),
            );
        }
        book.add(node(1), socket(1, 1), Origin::Heard, now);
        assert!(book.addresses(node(1)).contains(&socket(1, 1)));
        assert!(book.one_sided(node(1)));
    }

    #[test]
    fn strangers_are_bounded_and_members_stay() {
        let mut book = Book::default();
        let now = Instant::now();
        book.set_members([node(0)].into());
        for seed in 0..3000 {
            book.add(node(seed), socket(1, 1), Origin::Heard, now + Duration::from_millis(seed));
        }
        assert_eq!(book.pages.len(), limits::BOOK_STRANGERS + 1);
        assert!(!book.addresses(node(0)).is_empty());
        assert!(book.addresses(node(1)).is_empty(), "the longest unheard went");
    }

    #[test]
    fn seen_is_told_at_once_on_news_and_then_rarely() {
        let mut book = Book::default();
        let now = Instant::now();
        let ms = Duration::from_millis;
        assert!(book.is_news(node(1), now));
        book.add(node(1), socket(1, 1), Origin::Heard, now);
        assert!(!book.is_news(node(1), now));
        assert!(book.due_to_tell(node(1), now).is_some());
        assert!(book.due_to_tell(node(1), now + ms(5000)).is_none());
        book.add(node(1), socket(2, 1), Origin::Heard, now);
        assert!(book.due_to_tell(node(1), now + ms(499)).is_none(), "even news has a rate");
        assert!(book.due_to_tell(node(1), now + ms(500)).is_some());
        assert!(book.due_to_tell(node(1), now + ms(10_500)).is_some());
        assert!(book.is_news(node(1), now + ms(60_001)));
    }
}
