//! Finding nodes: mDNS, beacon, the operator's addresses and remembered ones, all at the same time.
//!
//! libp2p-mdns alone finds a peer in 5 ms but leaves 3-4 % of pairs apart when many hosts start together, and says
//! nothing when a partition heals; so Larder sends a [`beacon`] of its own. mDNS stays as a second source.

pub(crate) mod address_book;
pub(crate) mod beacon;
pub(crate) mod beacon_schedule;
pub(crate) mod beacon_socket;
pub(crate) mod link_state;
pub(crate) mod mdns;
pub(crate) mod static_peers;
