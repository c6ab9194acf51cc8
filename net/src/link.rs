//! Links: framed streams between two nodes.
//!
//! A member link is one long-lived stream on the pair's one connection; a stranger link is a short visit. Whoever
//! opens a stream waits for one byte of the other side ([`hello`]), so a stream that got lost is noticed and opened
//! again; from then on both send [`frame`]s. Each link has a task of its own ([`pump`]) that reads, writes and tells
//! the daemon, and a bounded [`queue`] of what waits to be sent.

pub(crate) mod frame;
pub(crate) mod hello;
pub(crate) mod link_task;
pub(crate) mod registry;
pub(crate) mod send_queue;
pub(crate) mod stream;
