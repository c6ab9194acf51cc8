//! The parsed production code of a crate: the module tree below `lib.rs`, without code that is compiled for
//! tests only.

use std::path::{Path, PathBuf};

use syn::{Attribute, File, Item};

use super::workspace_root;

/// The crates whose production code is checked.
pub(super) const CRATES: [&str; 3] = ["core", "net", "node"];

/// A source file of a crate.
pub(super) struct Module {
    /// The path from the root of the project.
    pub(super) file_path: String,
    /// The names of the modules from the crate's root down to this one; empty for `lib.rs`.
    pub(super) module_path: Vec<String>,
    /// The parsed code of the file.
    pub(super) file: File,
}

/// Parses all production modules of a crate.
pub(super) fn modules(crate_name: &str) -> Vec<Module> {
    let mut modules = Vec::new();
    let source_dir = workspace_root().join(crate_name).join("src");
    read_module(&source_dir.join("lib.rs"), &source_dir, Vec::new(), &mut modules);
    assert!(modules.len() > 10, "{crate_name} has modules");
    modules
}

/// Reads the module in `path`. Its submodules are in `dir`.
fn read_module(path: &Path, dir: &Path, module_path: Vec<String>, modules: &mut Vec<Module>) {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut file = parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    remove_test_items(&mut file.items);
    let children: Vec<String> = file
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Mod(module) if module.content.is_none() => Some(module.ident.to_string()),
            _ => None,
        })
        .collect();
    let file_path =
        path.strip_prefix(workspace_root()).expect("below the root").to_string_lossy().into_owned();
    modules.push(Module { file_path, module_path: module_path.clone(), file });
    for child in children {
        let child_dir = dir.join(&child);
        let candidates: [PathBuf; 2] = [dir.join(format!("{child}.rs")), child_dir.join("mod.rs")];
        let child_path = candidates.iter().find(|path| path.exists()).expect("a module has a file");
        let module_path = module_path.iter().cloned().chain([child]).collect();
        read_module(child_path, &child_dir, module_path, modules);
    }
}

pub(super) fn parse(text: &str) -> syn::Result<File> {
    syn::parse_file(text)
}

fn remove_test_items(items: &mut Vec<Item>) {
    items.retain(|item| !attributes(item).iter().any(is_test_only));
    for item in items {
        if let Item::Mod(module) = item
            && let Some((_, items)) = &mut module.content
        {
            remove_test_items(items);
        }
    }
}

fn is_test_only(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
