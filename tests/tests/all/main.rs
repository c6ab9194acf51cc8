//! All integration tests, in one binary: each more would link everything once again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::cast_possible_truncation, clippy::missing_docs_in_private_items, reason = "tests")]

mod acceptance;
mod e2e;
mod golden;
mod net;
mod recovery;
mod sim;
mod store;
mod tidy;
