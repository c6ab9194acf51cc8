//! Checks that every command which a text names exists.

use std::collections::BTreeMap;
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

/// True if the program has the command, even if its help does not list it.
fn has_command(words: &[&str]) -> bool {
    // `larder help COMMAND` prints the help itself.
    let option = if words.first() == Some(&"help") { None } else { Some("--help") };
    let ran = Command::new(LARDER).args(words).args(option).output().expect("the binary runs");
    ran.status.success()
}

fn commands_that_texts_name_exist() {
    assert!(has_command(&["quarantine", "list"]) && has_command(&["completions", "bash"]));
    assert!(!has_command(&["quarantine", "logs"]) && !has_command(&["logs"]));
    let mut checked: BTreeMap<Vec<String>, bool> = BTreeMap::new();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    let is_text = |short: &str| [".rs", ".md"].iter().any(|ending| short.ends_with(ending));
    let files = project_files().into_iter();
    for (short, path) in files.filter(|(short, _)| is_text(short) && !short.ends_with("tidy/commands.rs")) {
        let text = std::fs::read_to_string(path).expect("a readable text");
        for words in named_commands(&text) {
            seen += 1;
            let key = words.iter().map(ToString::to_string).collect();
            if !*checked.entry(key).or_insert_with(|| has_command(&words)) {
                wrong.push(format!("{short}: larder {}", words.join(" ")));
            }
        }
    }
    assert!(seen > 100, "{seen} commands are found");
    assert_none(&wrong, "no such command");
}
