//! What Larder's tests stand on.
//!
//! | room      | holds                                                                         |
//! |-----------|-------------------------------------------------------------------------------|
//! | [`disk`]  | a disk in memory under a real store: crashes, torn writes, full, failing, rotting   |
//! | [`clock`] | clocks of processes that run wrong                                            |
//! | [`lab`]   | a LAN of hosts out of network namespaces: cut, heal, unplug, move             |
//! | [`node`]  | a real daemon in one of its hosts, and the real command that asks it            |
//! | [`villain`] | a peer that tries everything that it must not                                  |
//! | [`poll`]  | looking until something is so                                                 |
//! | [`probe`] | a process that is nothing but a node's network, told by lines, heard by lines |
//!
//! A test that needs hosts asks for a [`lab::Lab`]. Where the system allows none, it says so loudly and
//! passes: everything else still runs.

#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "this crate is tests: a panic is how they say no"
)]

pub mod adversary;
#[allow(clippy::cast_possible_truncation, reason = "it is all in memory, so every place in it fits a usize")]
pub mod disk;
pub mod fake_clock;
pub mod lab;
pub mod node;
pub mod poll;
pub mod probe;
pub mod requirement;
pub mod sim;

pub use sim::rng;
