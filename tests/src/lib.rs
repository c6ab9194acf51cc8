//! The parts that Larder's tests share.
//!
//! | module          | contents                                                                             |
//! |-----------------|--------------------------------------------------------------------------------------|
//! | [`disk`]        | a faulty disk in memory for a real store: crashes, torn writes, errors, damage       |
//! | [`fake_clock`]  | wrong wall clocks for real processes                                                 |
//! | [`lab`]         | hosts made of network namespaces on one LAN: partition, heal, unplug, change address |
//! | [`node`]        | a real daemon on such a host, and the real command line                              |
//! | [`adversary`]   | a hostile peer that tries every attack                                               |
//! | [`poll`]        | waiting for a condition                                                              |
//! | [`probe`]       | a process with only the network of a node, controlled by lines of text               |
//! | [`requirement`] | what a test needs of its host, and how a test that lacks it is reported              |
//! | [`sim`]         | the deterministic simulator                                                          |

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

pub use larder_core::test_support::rng;
