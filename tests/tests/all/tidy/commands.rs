//! Checks that every command which a text names exists.

use std::collections::BTreeSet;
use std::process::Command;

use super::{assert_none, project_files};
use crate::e2e::LARDER;

tests! {
    commands_that_texts_name_exist,
    commands_are_found_in_texts,
}

/// Finds the commands in back-quotes, such as `larder log --all`: the words up to the first that is no word
/// of a command. A line of a Rust string may end with a backslash.
fn named_commands(text: &str) -> Vec<Vec<&str>> {
    let is_word = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
    };
    let quoted = text.split("`larder ").skip(1).filter_map(|rest| rest.split('`').next());
    let words = quoted.map(|quoted| quoted.split([' ', '\n', '\\']).filter(|word| !word.is_empty()));
    words.map(|words| words.take_while(is_word).collect()).collect()
}

fn commands_are_found_in_texts() {
    let text =
        "see `larder log --all`, or `larder quarantine \\\n   list`; larder x, `larderx`, `larder GROUP`";
    assert_eq!(named_commands(text), [vec!["log"], vec!["quarantine", "list"], vec![]]);
}

/// Returns the names of all manual pages, such as `larder-quarantine-list`.
fn page_names() -> BTreeSet<String> {
    let folder = std::env::temp_dir().join(format!("larder-pages-{}", std::process::id()));
    let ran = Command::new(LARDER).arg("man").arg(&folder).status().expect("the binary runs");
    assert!(ran.success());
    let entries = std::fs::read_dir(&folder).expect("the pages");
    let names = entries.map(|entry| entry.expect("a page").file_name().to_string_lossy().into_owned());
    let pages = names.filter_map(|name| name.strip_suffix(".1").map(str::to_owned)).collect();
    std::fs::remove_dir_all(folder).expect("the pages can be removed");
    pages
}

fn commands_that_texts_name_exist() {
    let pages = page_names();
    assert!(pages.len() > 40, "{pages:?}");
    let has_subcommands = |name: &str| pages.iter().any(|page| page.starts_with(&format!("larder-{name}-")));
    let exists = |words: &[&str]| match words {
        [] | ["help", ..] => true,
        [command, subcommand, ..] if has_subcommands(command) => {
            pages.contains(&format!("larder-{command}-{subcommand}"))
        }
        [command, ..] => pages.contains(&format!("larder-{command}")),
    };
    let (mut wrong, mut seen) = (Vec::new(), 0);
    let is_text = |short: &str| [".rs", ".md"].iter().any(|ending| short.ends_with(ending));
    let files = project_files().into_iter();
    for (short, path) in files.filter(|(short, _)| is_text(short) && !short.ends_with("tidy/commands.rs")) {
        let text = std::fs::read_to_string(path).expect("a readable text");
        for words in named_commands(&text) {
            seen += 1;
            if !exists(&words) {
                wrong.push(format!("{short}: larder {}", words.join(" ")));
            }
        }
    }
    assert!(seen > 100, "{seen} commands are found");
    assert_none(&wrong, "no such command");
}
