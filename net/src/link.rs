//! Links and guest streams: framed streams between two nodes.
//!
//! A link is one long-lived stream on the one connection of a pair. A guest stream is short. The opener of a
//! stream waits for one byte of the other side ([`hello`]), so it notices a lost stream and opens another.
//! After that both sides send [`frame`]s. Each stream has its own task ([`link_task`]), which reads, writes
//! and reports to the daemon, and a bounded [`send_queue`]. The [`link_table`] knows the link of each peer.

pub(crate) mod frame;
pub(crate) mod hello;
pub(crate) mod link_table;
pub(crate) mod link_task;
pub(crate) mod link_tasks;
pub(crate) mod registry;
pub(crate) mod send_queue;
pub(crate) mod stream;
