//! Refuses identifiers with words that the glossary replaced: puns, and words with several meanings.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};

use super::{assert_within_allowance, crate_of, rust_sources};

tests! {
    no_identifier_contains_a_banned_word,
    identifiers_are_split_into_words,
}

/// The words that no identifier may contain, each with the words to use.
const BANNED: [(&str, &str); 32] = [
    ("air", "say what it is: a socket, a beacon"),
    ("argue", "send_full_membership"),
    ("aside", "unaccepted"),
    ("asking", "pairing"),
    ("beside", "unaccepted"),
    ("chance", "rng"),
    ("cx", "ctx"),
    ("dice", "rng"),
    ("dismiss", "close, drop"),
    ("door", "listener"),
    ("fold", "membership; `Iterator::fold` is allowed"),
    ("front", "header, heads; `VecDeque`'s methods are allowed"),
    ("heard", "received, last_heard"),
    ("house", "say what it is"),
    ("hush", "quiet, silent"),
    ("keeper", "reconciler"),
    ("mended", "repaired"),
    ("news", "event"),
    ("of", "state, group: name the object"),
    ("place", "data_dir, position"),
    ("reborn", "store_was_copied"),
    ("room", "capacity, module"),
    ("rope", "stream"),
    ("seeking", "pairing, searching"),
    ("spot", "position, target_file"),
    ("standing", "membership_status, effective_grant"),
    ("told", "sent, notified"),
    ("twin", "duplicate_key"),
    ("villain", "adversary"),
    ("weight", "size_estimate"),
    ("window", "batch"),
    ("bounds", "limits"),
];
/// The identifiers of the standard library and of dependencies that contain such a word.
const FOREIGN: [&str; 12] = [
    "fold",
    "try_fold",
    "front",
    "front_mut",
    "pop_front",
    "push_front",
    "last_heard",
    "windows",
    "trait_",
    "block_in_place",
    "set_receive_window_size",
    "set_max_connection_receive_window",
];

/// Splits an identifier into its words, in lower case.
fn words(identifier: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in identifier.chars() {
        if c == '_' || (c.is_uppercase() && was_lower) {
            words.push(String::new());
        }
        was_lower = c.is_lowercase() || c.is_ascii_digit();
        if c != '_' {
            words.last_mut().expect("there is always one").extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Adds the identifiers of some code to `found`.
pub(super) fn add_identifiers(tokens: TokenStream, found: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(name) => drop(found.insert(name.to_string())),
            TokenTree::Group(group) => add_identifiers(group.stream(), found),
            _ => {}
        }
    }
}

/// The reason why an identifier is refused.
fn objection(identifier: &str) -> Option<String> {
    if FOREIGN.contains(&identifier) {
        return None;
    }
    if identifier.ends_with('_') && identifier.len() > 1 {
        return Some("a name does not end with an underscore".to_owned());
    }
    // Only the whole identifier `of` is refused. Within a longer name it is an ordinary preposition.
    let is_used = |word: &str| match word {
        "of" => identifier == "of",
        word => words(identifier).iter().any(|part| part == word),
    };
    let banned = BANNED.iter().find(|(word, _)| is_used(word));
    banned.map(|(word, better)| format!("`{word}`: {better}"))
}

fn no_identifier_contains_a_banned_word() {
    let mut wrong: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let sources = rust_sources();
    for (path, text) in &sources {
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut found = BTreeSet::new();
        add_identifiers(tokens, &mut found);
        let objections =
            found.iter().filter_map(|name| Some(format!("{path}: {name}: {}", objection(name)?)));
        wrong.entry(crate_of(path)).or_default().extend(objections);
    }
    assert_within_allowance("words", &wrong, "docs/glossary.md has the term to use");
}

fn identifiers_are_split_into_words() {
    assert_eq!(words("ReplaceTwinOf_x2"), ["replace", "twin", "of", "x2"]);
    assert!(objection("was_told").is_some() && objection("read_").is_some() && objection("of").is_some());
    assert!(
        objection("replace").is_none()
            && objection("last_heard").is_none()
            && objection("end_of_chain").is_none()
    );
}
