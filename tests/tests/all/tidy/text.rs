//! Checks of the sources as text: sizes, paths, and the names that documents quote.

use std::collections::BTreeMap;
use std::path::Path;

use proc_macro2::TokenStream;

use super::{assert_none, assert_within_allowance, crate_of, project_files, rust_sources};

tests! {
    no_source_exceeds_the_line_limit,
    no_source_line_exceeds_the_column_limit,
    tests_that_documents_name_exist,
    every_ignored_test_gives_a_reason,
    no_test_of_this_binary_is_left_to_libtest,
    no_module_has_a_vague_name,
    no_file_contains_a_host_specific_path,
    every_crate_root_has_a_doc_comment,
}

/// The largest number of lines of a source file.
const MAX_LINES: usize = 700;
/// The largest number of characters of a source line, comments included.
const MAX_COLUMNS: usize = 110;
/// The module names that say nothing about the content.
const VAGUE_NAMES: [&str; 9] =
    ["utils", "util", "common", "manager", "managers", "helper", "helpers", "misc", "shared"];

fn no_source_exceeds_the_line_limit() {
    let lengths = rust_sources().into_iter().map(|(path, text)| (path, text.lines().count()));
    let wrong: Vec<_> = lengths
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert_none(&wrong, "split these by idea; 500 lines are aimed at");
}

fn no_source_line_exceeds_the_column_limit() {
    let sources = rust_sources();
    let mut wrong: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, text) in &sources {
        let long = text.lines().enumerate().filter(|(_, line)| line.chars().count() > MAX_COLUMNS);
        wrong
            .entry(crate_of(path))
            .or_default()
            .extend(long.map(|(index, _)| format!("{path}:{}", index + 1)));
    }
    let advice = "break these lines; `rustfmt` breaks neither comments nor texts";
    assert_within_allowance("columns", &wrong, advice);
}

/// The words between backticks that have the form of a test name.
fn quoted_test_names(text: &str) -> impl Iterator<Item = &str> {
    let is_word =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_name = move |name: &&str| name.split('_').count() > 3 && name.split('_').all(is_word);
    text.split('`').skip(1).step_by(2).filter(is_name)
}

/// Documents name the tests that prove their statements. Each of these tests must exist.
fn tests_that_documents_name_exist() {
    assert_eq!(quoted_test_names("`a_b_c_d` a_b_c_d `a_b` `A_b_c_d` `x`").collect::<Vec<_>>(), ["a_b_c_d"]);
    let sources = rust_sources();
    let exists = |name: &str| sources.iter().any(|(_, text)| text.contains(&format!("fn {name}(")));
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (short_path, path) in project_files().into_iter().filter(|(path, _)| path.ends_with(".md")) {
        let text = std::fs::read_to_string(&path).expect("a readable document");
        for name in quoted_test_names(&text) {
            seen += 1;
            if !exists(name) {
                wrong.push(format!("{short_path}: {name}"));
            }
        }
    }
    assert!(seen > 50, "{seen} names are found");
    assert_none(&wrong, "documents name tests that do not exist");
}

fn every_ignored_test_gives_a_reason() {
    let without_reason = concat!("#[ign", "ore]");
    let wrong: Vec<_> = rust_sources()
        .into_iter()
        .filter(|(_, text)| text.contains(without_reason))
        .map(|(path, _)| path)
        .collect();
    assert_none(&wrong, "an ignored test gives the reason and the command that runs it");
}

/// This binary has its own harness, so the compiler silently drops a function with libtest's attribute.
fn no_test_of_this_binary_is_left_to_libtest() {
    let attribute = concat!("#[te", "st]");
    let own = rust_sources().into_iter().filter(|(path, _)| path.starts_with("tests/tests/"));
    let wrong: Vec<_> = own.filter(|(_, text)| text.contains(attribute)).map(|(path, _)| path).collect();
    assert_none(&wrong, "list these tests in `tests!` in place of the attribute");
}

/// The names of the modules that `text` declares.
fn declared_modules(text: &str) -> Vec<String> {
    let tokens: Vec<String> = text
        .parse::<TokenStream>()
        .expect("Rust tokens")
        .into_iter()
        .map(|token| token.to_string())
        .collect();
    tokens.windows(2).filter(|pair| pair[0] == "mod").map(|pair| pair[1].clone()).collect()
}

fn no_module_has_a_vague_name() {
    let mut wrong = Vec::new();
    for (path, text) in rust_sources() {
        let mut names = declared_modules(&text);
        let parts = Path::new(path.trim_end_matches(".rs")).components();
        names.extend(parts.map(|part| part.as_os_str().to_string_lossy().into_owned()));
        names.retain(|name| VAGUE_NAMES.contains(&name.as_str()));
        wrong.extend(names.into_iter().map(|name| format!("{path}: {name}")));
    }
    assert_none(&wrong, "name a module by what it holds");
}

fn no_file_contains_a_host_specific_path() {
    let host_paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut wrong = Vec::new();
    let mut read = 0;
    for (short_path, path) in project_files() {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        read += 1;
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| host_paths.iter().any(|host_path| line.contains(host_path)));
        wrong.extend(lines.map(|(index, line)| format!("{short_path}:{}: {}", index + 1, line.trim())));
    }
    assert!(read > 80, "the files are read");
    assert_none(&wrong, "these paths exist on one host only");
}

fn every_crate_root_has_a_doc_comment() {
    let root_files = ["src/lib.rs", "src/main.rs"];
    let roots: Vec<_> = rust_sources()
        .into_iter()
        .filter(|(path, _)| root_files.iter().any(|root_file| path.ends_with(root_file)))
        .collect();
    assert!(roots.len() >= 4, "the crates are found");
    let wrong: Vec<_> =
        roots.into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| path).collect();
    assert_none(&wrong, "a crate begins with a sentence about its purpose");
}
