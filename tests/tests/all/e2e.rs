//! What a user sees, with real daemons on separate hosts. Each test names what it shows.

mod adversary;
mod backup;
mod cli_errors;
mod damage;
mod document;
mod durability;
mod editor;
mod history;
mod late_introduction;
mod membership;
mod merge;
mod network;
mod node_identity;
mod readme;
mod replacement;
mod resources;
mod rotation;
mod soak;
mod time_travel;
mod watch;

/// The `larder` that was built for these tests.
pub(crate) const LARDER: &str = env!("CARGO_BIN_EXE_larder-under-test");

/// All end-to-end tests.
pub(crate) fn tests() -> Vec<crate::harness::Test> {
    [
        adversary::tests(),
        backup::tests(),
        cli_errors::tests(),
        damage::tests(),
        document::tests(),
        durability::tests(),
        editor::tests(),
        history::tests(),
        late_introduction::tests(),
        membership::tests(),
        merge::tests(),
        network::tests(),
        node_identity::tests(),
        readme::tests(),
        replacement::tests(),
        resources::tests(),
        rotation::tests(),
        soak::tests(),
        time_travel::tests(),
        watch::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
