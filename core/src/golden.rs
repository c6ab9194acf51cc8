//! Golden vectors: the bytes of format version 1, in files under `core/vectors/`.
//!
//! Nodes of every version must read each other's bytes, derive the same ids from them and load their own
//! store again. So the files pin each derivation, record, change, frame and row as the hex of its bytes. The
//! tests make the same objects again, compare the bytes, and decode the pinned bytes.
//!
//! `LARDER_BLESS=1 cargo test -p larder-core vectors` writes the files again. Changing a pinned value means a
//! new format version: see [`golden_file::CHANGED_VALUE_HELP`].

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
