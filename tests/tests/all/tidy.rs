//! Rules about the sources that the compiler does not check.

mod commands;
mod declarations;
mod imports;
mod production;
mod purity;
mod text;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) fn tests() -> Vec<crate::harness::Test> {
    [
        commands::tests(),
        declarations::tests(),
        imports::tests(),
        purity::tests(),
        text::tests(),
        words::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace above this crate").to_path_buf()
}

/// Lists all files of the project by their path from its root, without built and downloaded files.
fn project_files() -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    let mut folders = vec![workspace_root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let entry = entry.expect("a readable entry");
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let kind = entry.file_type().expect("a file type");
            if ["target", ".git", "corpus", "artifacts", "coverage"].contains(&name.as_str()) {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let short = path
                    .strip_prefix(workspace_root())
                    .expect("below the root")
                    .to_string_lossy()
                    .into_owned();
                files.push((short, path));
            }
        }
    }
    files.sort();
    files
}

/// Reads all Rust sources.
fn rust_sources() -> Vec<(String, String)> {
    let rust = project_files().into_iter().filter(|(short, _)| short.ends_with(".rs"));
    let read = |path: &Path| std::fs::read_to_string(path).expect("a readable source");
    let sources: Vec<_> = rust.map(|(short, path)| (short, read(&path))).collect();
    assert!(sources.len() > 50, "the sources are found");
    sources
}

/// The directory of the crate to which a path belongs.
fn crate_of(path: &str) -> &str {
    path.split('/').next().unwrap_or_default()
}

fn assert_none(wrong: &[String], what: &str) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}

/// The violations that a check still allows in a crate, as (check, crate, number). Lower the numbers, never
/// raise them.
const ALLOWED_UNTIL_FIXED: &[(&str, &str, usize)] = &[];

/// Fails if `check` found more violations in a crate than are allowed. `found` is keyed by the crate's name.
fn assert_within_allowance(check: &str, found: &BTreeMap<&str, Vec<String>>, advice: &str) {
    let mut wrong = Vec::new();
    for (crate_name, violations) in found {
        let entry = ALLOWED_UNTIL_FIXED.iter().find(|(name, owner, _)| *name == check && owner == crate_name);
        let allowed = entry.map_or(0, |(_, _, number)| *number);
        if violations.len() > allowed {
            wrong.push(format!("{} in {crate_name}, allowed {allowed}:", violations.len()));
            wrong.extend(violations.iter().map(|violation| format!("  {violation}")));
        }
    }
    assert_none(&wrong, &format!("{advice} ({check})"));
}
