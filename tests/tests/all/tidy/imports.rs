//! Refuses circular imports between the modules of a crate. A module is a file.
//!
//! A module depends on another if it names an item of it. An item that a parent re-exports belongs to the
//! child that declares it. A child may use its ancestors freely, because a reader sees parent and child as
//! one unit.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Item, UseTree};

use super::assert_within_allowance;
use super::production::{CRATES, Module, modules, parse};

tests! {
    modules_do_not_import_each_other_in_a_circle,
    an_import_circle_is_found,
}

type ModulePath = Vec<String>;

/// The paths that a module names, each as a list of its parts.
#[derive(Default)]
pub(super) struct NamedPaths(pub(super) Vec<Vec<String>>);

impl NamedPaths {
    fn add_use(&mut self, prefix: &[String], tree: &UseTree) {
        let extended = |name: String| prefix.iter().cloned().chain([name]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => self.add_use(&extended(path.ident.to_string()), &path.tree),
            UseTree::Name(name) => self.0.push(extended(name.ident.to_string())),
            UseTree::Rename(name) => self.0.push(extended(name.ident.to_string())),
            UseTree::Glob(_) => self.0.push(prefix.to_vec()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_use(prefix, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for NamedPaths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_use(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }
}

/// The modules of a crate and their re-exports.
struct CrateMap {
    /// The re-exports of each module: the full path by the last name.
    re_exports: BTreeMap<ModulePath, BTreeMap<String, Vec<String>>>,
}

impl CrateMap {
    fn new(modules: &[Module]) -> Self {
        let re_exports = modules.iter().map(|module| {
            let mut paths = BTreeMap::new();
            for item in &module.file.items {
                if let Item::Use(item) = item {
                    let mut named = NamedPaths::default();
                    named.add_use(&[], &item.tree);
                    paths.extend(named.0.into_iter().filter_map(|path| Some((path.last()?.clone(), path))));
                }
            }
            (module.module_path.clone(), paths)
        });
        Self { re_exports: re_exports.collect() }
    }

    /// The module in which the item at `path` is declared, as named in module `from`.
    fn owner(&self, from: &ModulePath, path: &[String], depth: usize) -> Option<ModulePath> {
        let (mut at, rest) = self.start(from, path)?;
        for (index, part) in rest.iter().enumerate() {
            let child: ModulePath = at.iter().cloned().chain([part.clone()]).collect();
            if self.re_exports.contains_key(&child) {
                at = child;
                continue;
            }
            let is_last_module = index + 1 >= rest.len() || depth < 8;
            return match self.re_exports[&at].get(part) {
                Some(target) if is_last_module && depth < 8 && target.as_slice() != path => {
                    self.owner(&at, target, depth + 1).or(Some(at))
                }
                _ => Some(at),
            };
        }
        Some(at)
    }

    fn start<'a>(&self, from: &ModulePath, path: &'a [String]) -> Option<(ModulePath, &'a [String])> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some((Vec::new(), rest)),
            "self" => Some((from.clone(), rest)),
            "super" => {
                let mut at = from.clone();
                at.pop()?;
                let skipped = rest.iter().take_while(|part| *part == "super").count();
                at.truncate(at.len().checked_sub(skipped)?);
                Some((at, &rest[skipped..]))
            }
            name => {
                let child: ModulePath = from.iter().cloned().chain([name.to_owned()]).collect();
                self.re_exports.contains_key(&child).then(|| (from.clone(), path))
            }
        }
    }
}

fn dependencies(modules: &[Module]) -> BTreeMap<ModulePath, BTreeSet<ModulePath>> {
    let map = CrateMap::new(modules);
    let of_module = |module: &Module| {
        let mut named = NamedPaths::default();
        named.visit_file(&module.file);
        let from = &module.module_path;
        let owners = named.0.iter().filter_map(|path| map.owner(from, path, 0));
        owners.filter(|to| !from.starts_with(to)).collect()
    };
    modules.iter().map(|module| (module.module_path.clone(), of_module(module))).collect()
}

/// The sets of modules that reach each other, largest first.
fn circles(dependencies: &BTreeMap<ModulePath, BTreeSet<ModulePath>>) -> Vec<Vec<String>> {
    let reach = |from: &ModulePath| {
        let (mut found, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(at) = open.pop() {
            for next in dependencies.get(at).into_iter().flatten() {
                if found.insert(next) {
                    open.push(next);
                }
            }
        }
        found
    };
    let reached: BTreeMap<&ModulePath, BTreeSet<&ModulePath>> =
        dependencies.keys().map(|module| (module, reach(module))).collect();
    let mut circles = BTreeSet::new();
    for (module, reachable) in &reached {
        let circle: Vec<String> = reachable
            .iter()
            .filter(|other| reached.get(*other).is_some_and(|back| back.contains(module)))
            .map(|other| other.join("::"))
            .collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

fn modules_do_not_import_each_other_in_a_circle() {
    let find_in = |name| (name, circles(&dependencies(&modules(name))).concat());
    let advice = "these modules need each other; move what they share into a module of its own";
    assert_within_allowance("circles", &CRATES.map(find_in).into(), advice);
}

fn an_import_circle_is_found() {
    let module = |path: &[&str], text: &str| Module {
        file_path: path.join("/"),
        module_path: path.iter().map(|part| (*part).to_owned()).collect(),
        file: parse(text).expect("it is Rust"),
    };
    let modules = [
        module(&[], "mod a; mod b; mod c;"),
        module(&["a"], "mod inner; pub use inner::Thing; use crate::c::C;"),
        module(&["a", "inner"], "use super::Other; use crate::b::B; pub struct Thing;"),
        module(&["b"], "use crate::a::Thing; pub struct B;"),
        module(&["c"], "pub struct C;"),
    ];
    assert_eq!(circles(&dependencies(&modules)), [["a::inner", "b"]]);
}
