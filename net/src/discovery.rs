//! Discovery: mDNS, the beacon, static peers and the address book, all used together.
//!
//! libp2p-mdns alone finds a peer in 5 ms, but it leaves 3-4 % of pairs apart when many hosts start together,
//! and sends nothing when a partition heals. Larder therefore sends its own [`beacon`] too.

pub(crate) mod address_book;
pub(crate) mod beacon;
pub(crate) mod beacon_schedule;
pub(crate) mod beacon_socket;
pub(crate) mod link_state;
pub(crate) mod mdns;
pub(crate) mod static_peers;
