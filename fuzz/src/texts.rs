//! Texts that people write: manifests, settings, arguments. What is read is written so that it is read as the same.

use larder::cli::{Cli, fields};
use larder::settings::Settings;
use larder_core::resource::draft::{draw_up, preview};
use larder_core::resource::literal::{self, Literal};
use larder_core::resource::manifest;
use larder_core::resource::select::Select;
use larder_core::resource::view::resources;
use larder_core::resource::{FieldPath, ResourceName};
use larder_core::shard::Shard;
use larder_core::shard::state::State;

use crate::scene::SCENE;

/// A manifest: what it makes of an empty group is written as a manifest that makes the same.
pub fn manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    words(text);
    for lenient in [false, true] {
        let Some(state) = applied(text, lenient) else { continue };
        let written = manifest::write(resources(&state).iter());
        let again = applied(&written, true).unwrap_or_else(|| panic!("{text:?} became {written:?}"));
        assert_eq!(shown(&again), shown(&state), "{text:?} became {written:?}");
    }
}

/// The state that a manifest makes of an empty group; `None` if it cannot be.
fn applied(text: &str, lenient: bool) -> Option<State> {
    let entries = manifest::parse(text, lenient).ok()?;
    let edits: Vec<_> = entries.into_iter().map(|entry| entry.into_edit(false)).collect();
    let shard = Shard::new(SCENE.root.clone());
    let puts = draw_up(&shard, &edits, lenient).ok()?;
    Some(preview(shard.state(), &puts))
}

fn shown(state: &State) -> Vec<(String, Vec<(String, Literal)>)> {
    let fields = |view: &larder_core::resource::view::ResourceView<'_>| {
        view.values().into_iter().map(|(field, value)| (field.to_owned(), value)).collect::<Vec<_>>()
    };
    let there = |view: &&larder_core::resource::view::ResourceView<'_>| {
        view.name.is_managed() && !view.is_removed() && !view.values().is_empty()
    };
    resources(state).iter().filter(there).map(|view| (view.name.to_string(), fields(view))).collect()
}

/// What stands in a manifest, by itself.
fn words(text: &str) {
    if let Ok(path) = text.parse::<FieldPath>() {
        assert_eq!(path.to_string().parse::<FieldPath>(), Ok(path));
    }
    if let Ok(name) = text.parse::<ResourceName>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(select) = text.parse::<Select>() {
        assert!(select.keys().iter().map(|key| key.len()).sum::<usize>() <= text.len());
    }
    if let Ok(read) = literal::parse(text) {
        let written = match &read {
            Literal::Scalar(value) => literal::write(value),
            Literal::List(values) => literal::write_list(values),
        };
        assert_eq!(literal::parse(&written), Ok(read));
    }
}

/// A settings file.
pub fn settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(failure) = Settings::parse(text, "larder.toml") {
        assert!(failure.text.starts_with("larder.toml:"), "a mistake has a place: {failure}");
    }
}

/// Arguments of the command, one a line.
pub fn args(data: &[u8]) {
    use clap::Parser as _;
    let Ok(text) = std::str::from_utf8(data) else { return };
    let args: Vec<&str> = text.split('\n').collect();
    if let Err(error) = Cli::try_parse_from(["larder"].iter().chain(&args)) {
        assert!(!error.to_string().is_empty(), "a mistake is told");
    }
    // A value that names a file is read from it, and what is there is none of ours.
    for field in args.iter().filter(|arg| !arg.contains('@')) {
        let _ = fields::parse(field);
    }
    let _ = (larder::time::parse_duration(text), larder::time::parse_moment(text));
}
