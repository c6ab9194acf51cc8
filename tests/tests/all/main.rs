//! All integration tests, in one binary. Every further binary would link the whole product again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::cast_possible_truncation, clippy::missing_docs_in_private_items, reason = "tests")]

#[macro_use]
mod harness;

mod acceptance;
mod e2e;
mod golden;
mod net;
mod recovery;
mod sim;
mod store;
mod tidy;

fn main() -> std::process::ExitCode {
    let modules = [
        acceptance::tests(),
        e2e::tests(),
        golden::tests(),
        net::tests(),
        recovery::tests(),
        sim::tests(),
        store::tests(),
        tidy::tests(),
    ];
    harness::run(modules.into_iter().flatten().collect())
}
