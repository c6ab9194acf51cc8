//! Larder's pure heart.
#![cfg_attr(test, allow(clippy::cast_possible_truncation))]

pub mod accept;
pub mod delta;
pub mod group;
pub mod id;
pub mod limits;
pub mod machine;
pub mod record;
pub mod resource;
pub mod shard;
pub mod store;
pub mod value;
#[cfg(test)]
mod vectors;
pub mod wire;
