//! The sources as text: what a compiler lets pass and this project does not.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Longest source file, in lines. 500 are aimed at.
const MAX_LINES: usize = 700;
/// What `core` may be built from.
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
/// Modules of `std` that know of a machine.
const FORBIDDEN_STD_MODULES: [&str; 7] = ["fs", "net", "thread", "env", "process", "io", "os"];
/// Names by which time, chance, order or a runtime would come into `core`.
const FORBIDDEN_CORE_NAMES: [&str; 9] =
    ["Instant", "SystemTime", "HashMap", "HashSet", "tokio", "libp2p", "rand", "getrandom", "OsRng"];
/// Names that say nothing.
const VAGUE_NAMES: [&str; 9] =
    ["utils", "util", "common", "manager", "managers", "helper", "helpers", "misc", "shared"];

fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace above this crate").to_path_buf()
}

/// All files of the project, by path from its root. What is built or fetched is none of it.
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

/// All Rust sources, with their text.
fn rust_sources() -> Vec<(String, String)> {
    let rust = project_files().into_iter().filter(|(short, _)| short.ends_with(".rs"));
    let read = |path: &Path| std::fs::read_to_string(path).expect("a readable source");
    let sources: Vec<_> = rust.map(|(short, path)| (short, read(&path))).collect();
    assert!(sources.len() > 50, "the sources are found");
    sources
}

fn assert_none(wrong: &[String], what: &str) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}

/// A source without comments, and with nothing in its strings.
fn strip_comments_and_strings(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => {
                out.push_str("\"\"");
                string_len(rest)
            }
            'r' if rest.starts_with("r#\"") => rest[3..].find("\"#").map_or(rest.len(), |end| end + 5),
            '\'' if rest.starts_with("'\"'") => 3,
            '\'' if rest.starts_with("'\\") => 2 + rest[2..].chars().next().map_or(0, char::len_utf8),
            c => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[skip..];
    }
    out
}

/// The length of the string that begins here.
fn string_len(text: &str) -> usize {
    let mut escaped = true;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return at + 1,
            '\\' if !escaped => escaped = true,
            _ => escaped = false,
        }
    }
    text.len()
}

/// Code without what is there for tests only, and the modules in files of their own that are.
fn without_tests(code: &str) -> (String, Vec<String>) {
    let (mut kept, mut modules) = (String::new(), Vec::new());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            let _ = writeln!(kept, "{line}");
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let item = lines.find(|line| !line.trim_start().starts_with("#[")).unwrap_or_default();
        if item.trim_end().ends_with(';') {
            let name = item.trim().trim_end_matches(';').rsplit(' ').next().unwrap_or_default();
            modules.extend(item.contains("mod ").then(|| name.to_owned()));
            continue;
        }
        let end = format!("{indent}}}");
        lines.find(|line| *line == end);
    }
    (kept, modules)
}

/// The sources of `core` that are no tests, as code.
fn core_sources() -> Vec<(String, String)> {
    let of_core = rust_sources().into_iter().filter(|(short, _)| short.starts_with("core/src/"));
    let mut kept = Vec::new();
    let mut tests: BTreeSet<String> = BTreeSet::new();
    for (short, text) in of_core {
        let (code, modules) = without_tests(&strip_comments_and_strings(&text));
        let stem = short.trim_end_matches(".rs");
        let module_dir = if stem.ends_with("/lib") { "core/src" } else { stem };
        tests.extend(modules.iter().map(|module| format!("{module_dir}/{module}")));
        kept.push((short, code));
    }
    kept.retain(|(short, _)| {
        let stem = short.trim_end_matches(".rs");
        !tests.iter().any(|test| stem == test || short.starts_with(&format!("{test}/")))
    });
    assert!(kept.len() > 30 && kept.len() < rust_sources().len(), "core is found");
    kept
}

/// The identifiers of some code.
fn identifiers(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Modules of `std` that code names, as `std::fs` or within `std::{..}`.
fn std_modules_used(code: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("std::") {
        let rest = &code[at + "std::".len()..];
        let named = if rest.starts_with('{') { rest.split(';').next().unwrap_or(rest) } else { rest };
        let count = if rest.starts_with('{') { usize::MAX } else { 1 };
        found.extend(identifiers(named).take(count));
    }
    found
}

#[test]
fn core_uses_no_io_time_randomness_or_unordered_iteration() {
    let mut wrong = Vec::new();
    for (short, code) in core_sources() {
        let std = std_modules_used(&code);
        wrong.extend(
            FORBIDDEN_STD_MODULES
                .iter()
                .filter(|name| std.contains(*name))
                .map(|name| format!("{short}: std::{name}")),
        );
        let words: BTreeSet<&str> = identifiers(&code).collect();
        wrong.extend(
            FORBIDDEN_CORE_NAMES
                .iter()
                .filter(|name| words.contains(*name))
                .map(|name| format!("{short}: {name}")),
        );
    }
    assert_none(&wrong, "core knows no machine, time, chance or unordered iteration; tell it by an input");
}

#[test]
fn core_depends_only_on_allowed_crates() {
    let manifest =
        std::fs::read_to_string(workspace_root().join("core/Cargo.toml")).expect("core has a manifest");
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

#[test]
fn no_source_exceeds_the_line_limit() {
    let long = rust_sources().into_iter().map(|(short, text)| (short, text.lines().count()));
    let wrong: Vec<_> = long
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(short, lines)| format!("{short}: {lines} lines"))
        .collect();
    assert_none(&wrong, "split these by idea; at most 700 lines, 500 aimed at");
}

/// The words between backticks that read like names of tests.
fn quoted_test_names(text: &str) -> impl Iterator<Item = &str> {
    let is_word =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_name = move |name: &&str| name.split('_').count() > 3 && name.split('_').all(is_word);
    text.split('`').skip(1).step_by(2).filter(is_name)
}

/// Documents say which test shows what they promise: each of these must be there.
#[test]
fn tests_that_documents_name_exist() {
    assert_eq!(quoted_test_names("`a_b_c_d` a_b_c_d `a_b` `A_b_c_d` `x`").collect::<Vec<_>>(), ["a_b_c_d"]);
    let sources = rust_sources();
    let exists = |name: &str| sources.iter().any(|(_, text)| text.contains(&format!("fn {name}(")));
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (short, path) in project_files().into_iter().filter(|(short, _)| short.ends_with(".md")) {
        let text = std::fs::read_to_string(&path).expect("a readable document");
        for name in quoted_test_names(&text) {
            seen += 1;
            if !exists(name) {
                wrong.push(format!("{short}: {name}"));
            }
        }
    }
    assert!(seen > 50, "{seen} names are found");
    assert_none(&wrong, "documents name tests that are not there");
}

#[test]
fn every_ignored_test_gives_a_reason() {
    let bare = concat!("#[ign", "ore]");
    let wrong: Vec<_> =
        rust_sources().into_iter().filter(|(_, text)| text.contains(bare)).map(|(short, _)| short).collect();
    assert_none(&wrong, "an ignored test says why, and how to run it");
}

#[test]
fn no_module_has_a_vague_name() {
    let mut wrong = Vec::new();
    for (short, text) in rust_sources() {
        let vague = Path::new(short.trim_end_matches(".rs")).components();
        let vague = vague.filter(|part| VAGUE_NAMES.iter().any(|name| part.as_os_str() == *name));
        wrong.extend(vague.map(|_| short.clone()));
        let code = strip_comments_and_strings(&text);
        let modules =
            code.lines().filter_map(|line| line.trim_start().rsplit_once("mod ").map(|(_, name)| name));
        let modules =
            modules.filter_map(|name| identifiers(name).next()).filter(|name| VAGUE_NAMES.contains(name));
        wrong.extend(modules.map(|name| format!("{short}: mod {name}")));
    }
    assert_none(&wrong, "name it by what it is in the domain");
}

#[test]
fn no_file_contains_a_host_specific_path() {
    let host_paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut wrong = Vec::new();
    let mut read = 0;
    for (short, path) in project_files() {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        read += 1;
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| host_paths.iter().any(|host_path| line.contains(host_path)));
        wrong.extend(lines.map(|(at, line)| format!("{short}:{}: {}", at + 1, line.trim())));
    }
    assert!(read > 80, "the files are read");
    assert_none(&wrong, "these hold on one machine only");
}

#[test]
fn every_crate_root_has_a_doc_comment() {
    let root_files = ["src/lib.rs", "src/main.rs"];
    let roots: Vec<_> = rust_sources()
        .into_iter()
        .filter(|(short, _)| root_files.iter().any(|front| short.ends_with(front)))
        .collect();
    assert!(roots.len() >= 4, "the crates are found");
    let wrong: Vec<_> =
        roots.into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(short, _)| short).collect();
    assert_none(&wrong, "a crate begins with a word on what it is");
}

/// The checks must be able to fail.
mod checks_of_the_checks {
    use super::{identifiers, std_modules_used, strip_comments_and_strings, without_tests};

    #[test]
    fn comments_and_strings_are_stripped() {
        let text = "let a = \"std::fs \\\" // no\"; // HashMap\n/* tokio */ let q = '\"'; r#\"rand\"#; 'a: b /// Instant";
        let code = strip_comments_and_strings(text);
        assert_eq!(identifiers(&code).collect::<Vec<_>>(), ["let", "a", "let", "q", "a", "b"]);
        assert_eq!(identifiers("brand rand_x operand").filter(|word| *word == "rand").count(), 0);
    }

    #[test]
    fn std_modules_are_found_in_every_spelling() {
        for code in ["use std::fs;", "std::fs::read(x)", "use std::{fmt, fs::File};", "use ::std::{io, fs};"]
        {
            assert!(std_modules_used(code).contains("fs"), "{code}");
        }
        assert!(!std_modules_used("use std::fmt; let fs = 1;").contains("fs"));
    }

    #[test]
    fn test_modules_are_left_out() {
        let text = "use a;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\n#[allow(x)]\nmod inner {\n    use b;\n}\nuse c;\n";
        let (kept, modules) = without_tests(text);
        assert_eq!(identifiers(&kept).collect::<Vec<_>>(), ["use", "a", "use", "c"]);
        assert_eq!(modules, ["tests"]);
    }
}
