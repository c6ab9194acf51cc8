//! End-to-end tests of what users see, with real daemons on separate hosts.

mod adversary;
mod backup;
mod cli_errors;
mod damage;
mod document;
mod durability;
mod editor;
mod fields;
mod files;
mod history;
mod large_group;
mod late_introduction;
mod membership;
mod merge;
mod names;
mod network;
mod node_identity;
mod readme;
mod replacement;
mod resources;
mod rotation;
mod soak;
mod surroundings;
mod time_travel;
mod watch;

/// The path of the `larder` that was built for these tests.
pub(crate) const LARDER: &str = env!("CARGO_BIN_EXE_larder-under-test");

pub(crate) fn tests() -> Vec<crate::harness::Test> {
    [
        adversary::tests(),
        backup::tests(),
        cli_errors::tests(),
        damage::tests(),
        document::tests(),
        durability::tests(),
        editor::tests(),
        fields::tests(),
        files::tests(),
        history::tests(),
        large_group::tests(),
        late_introduction::tests(),
        membership::tests(),
        merge::tests(),
        names::tests(),
        network::tests(),
        node_identity::tests(),
        readme::tests(),
        replacement::tests(),
        resources::tests(),
        rotation::tests(),
        soak::tests(),
        surroundings::tests(),
        time_travel::tests(),
        watch::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
