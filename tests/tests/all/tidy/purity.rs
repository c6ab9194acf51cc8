//! Checks that `core` is a pure function of its inputs: the names that it may use and the crates that it may
//! depend on.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::ToTokens as _;
use syn::visit::Visit as _;

use super::imports::NamedPaths;
use super::production::{modules, parse};
use super::words::add_identifiers;
use super::{assert_none, workspace_root};

tests! {
    core_uses_no_io_time_randomness_or_unordered_iteration,
    core_depends_only_on_allowed_crates,
    std_modules_are_found_in_every_spelling,
}

/// The crates that `core` may depend on.
const CORE_DEPENDENCIES: [&str; 10] = [
    "automerge",
    "blake3",
    "data-encoding",
    "ed25519-dalek",
    "postcard",
    "serde",
    "similar",
    "thiserror",
    "toml_edit",
    "zstd",
];
/// Modules of `std` that depend on the host.
const FORBIDDEN_STD_MODULES: [&str; 7] = ["fs", "net", "thread", "env", "process", "io", "os"];
/// The names that would bring time, randomness, unordered iteration or a runtime into `core`.
const FORBIDDEN_CORE_NAMES: [&str; 9] =
    ["Instant", "SystemTime", "HashMap", "HashSet", "tokio", "libp2p", "rand", "getrandom", "OsRng"];

/// The modules of `std` that `file` names.
fn std_modules(file: &syn::File) -> BTreeSet<String> {
    let mut named = NamedPaths::default();
    named.visit_file(file);
    let below_std = named.0.into_iter().filter(|path| path.first().is_some_and(|first| first == "std"));
    below_std.filter_map(|path| path.into_iter().nth(1)).collect()
}

fn core_uses_no_io_time_randomness_or_unordered_iteration() {
    let mut wrong = Vec::new();
    for module in modules("core") {
        let std_modules = std_modules(&module.file);
        let forbidden = FORBIDDEN_STD_MODULES.iter().filter(|name| std_modules.contains(**name));
        wrong.extend(forbidden.map(|name| format!("{}: std::{name}", module.file_path)));
        let mut identifiers = BTreeSet::new();
        add_identifiers(module.file.to_token_stream(), &mut identifiers);
        let forbidden = FORBIDDEN_CORE_NAMES.iter().filter(|name| identifiers.contains(**name));
        wrong.extend(forbidden.map(|name| format!("{}: {name}", module.file_path)));
    }
    assert_none(&wrong, "core uses no I/O, time, randomness or unordered iteration; pass it in by an input");
}

fn core_depends_only_on_allowed_crates() {
    let path = workspace_root().join("core/Cargo.toml");
    let manifest = std::fs::read_to_string(path).expect("core has a manifest");
    let (mut section, mut wrong, mut used) = (String::new(), Vec::new(), Vec::new());
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            section = line.to_owned();
            let other = section.contains("dependencies") && section != "[dependencies]";
            wrong.extend(other.then(|| section.clone()));
        } else if section == "[dependencies]" {
            used.push(line.split(['.', '=', ' ']).next().unwrap_or_default().to_owned());
        }
    }
    assert!(used.iter().any(|name| name == "automerge"), "the dependencies are read: {used:?}");
    wrong.extend(used.into_iter().filter(|name| !CORE_DEPENDENCIES.contains(&name.as_str())));
    assert_none(&wrong, "core may not depend on this");
}

fn std_modules_are_found_in_every_spelling() {
    let file = |code: &str| parse(code).expect("it is Rust");
    for code in
        ["use std::fs;", "use std::{fmt, fs::File};", "use ::std::{io, fs};", "fn f() { std::fs::read(1); }"]
    {
        assert!(std_modules(&file(code)).contains("fs"), "{code}");
    }
    assert!(!std_modules(&file("// std::fs\nuse std::fmt; const FS: &str = \"std::fs\";")).contains("fs"));
    let mut found = BTreeSet::new();
    add_identifiers(
        "let a = \"rand\"; /* tokio */ brand('\"')".parse::<TokenStream>().expect("tokens"),
        &mut found,
    );
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "brand", "let"]);
}
