//! Golden vectors: what format version 1 says, byte by byte, in files under `core/vectors/`.
//!
//! Nodes of every version must read each other's bytes, derive the same ids from them and find their own store again.
//! So every derivation, record, change, frame and row is pinned here once, as the hex of the bytes that it has had since
//! version 1. A test makes the same things anew and compares; it also reads the pinned bytes back.
//!
//! `LARDER_BLESS=1 cargo test -p larder-core vectors` writes the files anew. A change of a pinned value is a new format
//! version and nothing less: see [`golden_file::CHANGED_VALUE_HELP`].

mod batches;
mod changes;
pub(crate) mod fixture;
mod frames;
mod golden_file;
mod guest_frames;
mod ids;
mod keys;
mod records;
mod rows;
