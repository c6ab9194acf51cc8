//! Texts that people write: manifests, settings and arguments. A parsed text must be written so that it
//! parses to the same value.

use larder::cli::{Cli, assignment};
use larder::settings::Settings;
use larder_core::resource::edit_transaction::{plan_edits, preview_state};
use larder_core::resource::literal::{self, Literal};
use larder_core::resource::manifest;
use larder_core::resource::selector::Selector;
use larder_core::resource::view::resources;
use larder_core::resource::{FieldPath, ResourceName};
use larder_core::shard::Shard;
use larder_core::shard::state::VisibleState;

use crate::fixture::FIXTURE;

/// Applies a manifest to an empty group, writes the state as a manifest, and checks that this gives the same
/// state.
pub fn fuzz_manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    check_tokens(text);
    for lenient in [false, true] {
        let Some(state) = state_of_manifest(text, lenient) else { continue };
        let written = manifest::write(resources(&state).iter());
        let again =
            state_of_manifest(&written, true).unwrap_or_else(|| panic!("{text:?} became {written:?}"));
        assert_eq!(visible_fields(&again), visible_fields(&state), "{text:?} became {written:?}");
    }
}

/// The state after applying a manifest to an empty group; `None` if the manifest is invalid.
fn state_of_manifest(text: &str, lenient: bool) -> Option<VisibleState> {
    let entries = manifest::parse(text, lenient).ok()?;
    let edits: Vec<_> = entries.into_iter().map(|entry| entry.into_edit(false)).collect();
    let shard = Shard::new(FIXTURE.root.clone());
    let puts = plan_edits(&shard, &edits, lenient).ok()?;
    Some(preview_state(shard.state(), &puts))
}

fn visible_fields(state: &VisibleState) -> Vec<(String, Vec<(String, Literal)>)> {
    let fields = |view: &larder_core::resource::view::ResourceView<'_>| {
        view.set_values().into_iter().map(|(field, value)| (field.to_owned(), value)).collect::<Vec<_>>()
    };
    let is_present = |view: &&larder_core::resource::view::ResourceView<'_>| {
        view.name.is_managed() && !view.is_removed() && !view.set_values().is_empty()
    };
    resources(state).iter().filter(is_present).map(|view| (view.name.to_string(), fields(view))).collect()
}

/// Parses the text as each single element of a manifest.
fn check_tokens(text: &str) {
    if let Ok(path) = text.parse::<FieldPath>() {
        assert_eq!(path.to_string().parse::<FieldPath>(), Ok(path));
    }
    if let Ok(name) = text.parse::<ResourceName>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(select) = text.parse::<Selector>() {
        assert!(select.label_keys().iter().map(|key| key.len()).sum::<usize>() <= text.len());
    }
    if let Ok(read) = literal::parse(text) {
        let written = match &read {
            Literal::Scalar(value) => literal::format_scalar(value),
            Literal::List(values) => literal::format_list(values),
        };
        assert_eq!(literal::parse(&written), Ok(read));
    }
}

/// Parses a settings file.
pub fn fuzz_settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(failure) = Settings::parse(text, "larder.toml") {
        assert!(failure.text.starts_with("larder.toml:"), "a mistake has a place: {failure}");
    }
}

/// Parses command-line arguments, one on each line.
pub fn fuzz_args(data: &[u8]) {
    use clap::Parser as _;
    let Ok(text) = std::str::from_utf8(data) else { return };
    let args: Vec<&str> = text.split('\n').collect();
    if let Err(error) = Cli::try_parse_from(["larder"].iter().chain(&args)) {
        assert!(!error.to_string().is_empty(), "a mistake is told");
    }
    // A value with `@` names a file to read. The fuzzer must not read files of the host.
    for field in args.iter().filter(|arg| !arg.contains('@')) {
        let _ = assignment::parse_assignment(field);
    }
    let _ = (larder::time::parse_duration(text), larder::time::parse_time(text));
}
