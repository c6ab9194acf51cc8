//! Selectors: label expressions that select the nodes to which a resource applies.
//!
//! ```text
//! expression = all { "|" all }            any of them
//! all        = one { ("&" | ",") one }    all of them
//! one        = "!" one | "(" expression ")" | "*" | word [ test ]
//! test       = ( "=" | "!=" ) word | "in" "(" word { "," word } ")"
//! word       = letters, digits and _ . / @ + : -   or a text in double quotes
//! ```
//!
//! A single word is true if the label exists. `node=ID` selects a node by its alias, or by a prefix of its id
//! with at least seven characters.

use std::collections::BTreeSet;
use std::ops::Range;
use std::str::FromStr;

/// The longest expression, in bytes.
const MAX_EXPRESSION_BYTES: usize = 1024;
/// The deepest nesting of an expression.
const MAX_NESTING: usize = 32;

/// The properties of a node that a selector is matched against.
pub trait SelectableNode {
    /// The value of a label.
    fn label(&self, key: &str) -> Option<String>;
    /// True if `text` is the node's alias or a long enough prefix of its id.
    fn has_name(&self, text: &str) -> bool;
}

/// A parsed label expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Every node.
    All,
    /// Nodes that have the label.
    Exists(String),
    /// Nodes whose label has one of these values.
    OneOf(String, Vec<String>),
    /// Nodes that the inner selector does not select.
    Not(Box<Selector>),
    /// Nodes that all inner selectors select.
    And(Vec<Selector>),
    /// Nodes that at least one inner selector selects.
    Or(Vec<Selector>),
}

/// The error of parsing a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at character {at}")]
pub struct SelectorError {
    what: String,
    at: usize,
}

impl Selector {
    /// True if the node is selected.
    pub fn matches(&self, labels: &dyn SelectableNode) -> bool {
        match self {
            Self::All => true,
            Self::Exists(key) => labels.label(key).is_some(),
            Self::OneOf(key, values) if key == "node" => values.iter().any(|value| labels.has_name(value)),
            Self::OneOf(key, values) => labels.label(key).is_some_and(|label| values.contains(&label)),
            Self::Not(inner) => !inner.matches(labels),
            Self::And(all) => all.iter().all(|one| one.matches(labels)),
            Self::Or(any) => any.iter().any(|one| one.matches(labels)),
        }
    }

    /// The labels that the selector reads.
    pub fn label_keys(&self) -> BTreeSet<&str> {
        match self {
            Self::All => BTreeSet::new(),
            Self::Exists(key) | Self::OneOf(key, _) => BTreeSet::from([key.as_str()]),
            Self::Not(inner) => inner.label_keys(),
            Self::And(parts) | Self::Or(parts) => parts.iter().flat_map(Self::label_keys).collect(),
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_EXPRESSION_BYTES {
            return Err(SelectorError { what: "too long".to_owned(), at: MAX_EXPRESSION_BYTES });
        }
        SelectorParser::new(text).parse_all()
    }
}

/// The expression with `new_name` in place of each node name for which `is_meant` is true, and otherwise
/// unchanged. `None` if there is no such name, or the text cannot be parsed.
pub fn replace_node_name(text: &str, is_meant: impl Fn(&str) -> bool, new_name: &str) -> Option<String> {
    let mut parser = SelectorParser::new(text);
    parser.parse_all().ok()?;
    let ranges: Vec<Range<usize>> =
        parser.node_words.into_iter().filter(|(_, word)| is_meant(word)).map(|(range, _)| range).collect();
    let mut chars = parser.chars;
    // Replace from the end, so that earlier ranges stay valid.
    for range in ranges.iter().rev() {
        chars.splice(range.clone(), new_name.chars());
    }
    (!ranges.is_empty()).then(|| chars.into_iter().collect())
}

struct SelectorParser {
    chars: Vec<char>,
    position: usize,
    /// The node names, with their ranges in `chars`.
    node_words: Vec<(Range<usize>, String)>,
}

impl SelectorParser {
    fn new(text: &str) -> Self {
        Self { chars: text.chars().collect(), position: 0, node_words: Vec::new() }
    }

    fn parse_all(&mut self) -> Result<Selector, SelectorError> {
        let selector = self.parse_or(0)?;
        match self.peek() {
            None => Ok(selector),
            Some(c) => Err(self.error(&format!("unexpected `{c}`"))),
        }
    }

    fn error(&self, reason: &str) -> SelectorError {
        SelectorError { what: reason.to_owned(), at: self.position + 1 }
    }

    fn peek(&mut self) -> Option<char> {
        while self.chars.get(self.position).is_some_and(|c| c.is_whitespace()) {
            self.position += 1;
        }
        self.chars.get(self.position).copied()
    }

    fn eat(&mut self, expected: char) -> bool {
        let matches = self.peek() == Some(expected);
        self.position += usize::from(matches);
        matches
    }

    fn parse_or(&mut self, depth: usize) -> Result<Selector, SelectorError> {
        if depth > MAX_NESTING {
            return Err(self.error("nested too deep"));
        }
        let mut parts = vec![self.parse_and(depth)?];
        while self.eat('|') {
            parts.push(self.parse_and(depth)?);
        }
        Ok(single_or(parts, Selector::Or))
    }

    fn parse_and(&mut self, depth: usize) -> Result<Selector, SelectorError> {
        let mut parts = vec![self.parse_term(depth)?];
        while self.eat('&') || self.eat(',') {
            parts.push(self.parse_term(depth)?);
        }
        Ok(single_or(parts, Selector::And))
    }

    fn parse_term(&mut self, depth: usize) -> Result<Selector, SelectorError> {
        if self.eat('!') {
            if depth > MAX_NESTING {
                return Err(self.error("nested too deep"));
            }
            return Ok(Selector::Not(Box::new(self.parse_term(depth + 1)?)));
        }
        if self.eat('(') {
            let inner = self.parse_or(depth + 1)?;
            return if self.eat(')') { Ok(inner) } else { Err(self.error("expected `)`")) };
        }
        if self.eat('*') {
            return Ok(Selector::All);
        }
        let key = self.parse_word()?;
        if self.eat('=') {
            let value = self.parse_value(&key)?;
            return Ok(Selector::OneOf(key, vec![value]));
        }
        if self.peek() == Some('!') && self.chars.get(self.position + 1) == Some(&'=') {
            self.position += 2;
            let value = self.parse_value(&key)?;
            return Ok(Selector::Not(Box::new(Selector::OneOf(key, vec![value]))));
        }
        let start = self.position;
        if self.parse_word().is_ok_and(|word| word == "in") {
            return self.parse_value_list(key);
        }
        self.position = start;
        Ok(Selector::Exists(key))
    }

    fn parse_value_list(&mut self, key: String) -> Result<Selector, SelectorError> {
        if !self.eat('(') {
            return Err(self.error("expected `(` after `in`"));
        }
        let mut values = vec![self.parse_value(&key)?];
        while self.eat(',') {
            values.push(self.parse_value(&key)?);
        }
        if self.eat(')') { Ok(Selector::OneOf(key, values)) } else { Err(self.error("expected `)`")) }
    }

    /// Parses the value with which a label is compared.
    fn parse_value(&mut self, key: &str) -> Result<String, SelectorError> {
        self.peek();
        let start = self.position;
        let word = self.parse_word()?;
        if key == "node" {
            self.node_words.push((start..self.position, word.clone()));
        }
        Ok(word)
    }

    fn parse_word(&mut self) -> Result<String, SelectorError> {
        if self.eat('"') {
            let rest: String = self.chars.iter().skip(self.position).collect();
            let Some((word, _)) = rest.split_once('"') else {
                return Err(self.error("the text has no closing quote"));
            };
            self.position += word.chars().count() + 1;
            return Ok(word.to_owned());
        }
        self.peek();
        let word: String = self
            .chars
            .iter()
            .skip(self.position)
            .take_while(|c| c.is_alphanumeric() || "_./@+:-".contains(**c))
            .collect();
        if word.is_empty() {
            return Err(self.error("expected a label"));
        }
        self.position += word.chars().count();
        Ok(word)
    }
}

fn single_or(mut parts: Vec<Selector>, combine: fn(Vec<Selector>) -> Selector) -> Selector {
    match (parts.len(), parts.pop()) {
        (1, Some(one)) => one,
        (_, last) => combine(parts.into_iter().chain(last).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct TestLabels(&'static [(&'static str, &'static str)]);

    impl SelectableNode for TestLabels {
        fn label(&self, key: &str) -> Option<String> {
            self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned())
        }
        fn has_name(&self, text: &str) -> bool {
            text == "press-1"
        }
    }

    #[test]
    fn selectors_match_the_expected_nodes() {
        let node = TestLabels(&[("role", "plc"), ("site", "north"), ("spare", "")]);
        for (text, expected) in [
            ("*", true),
            ("role=plc", true),
            ("role = plc", true),
            ("role!=plc", false),
            ("role=plc & site=south", false),
            ("role=plc, site=north", true),
            ("role=hmi | site=north", true),
            ("role=hmi | role=plc & site=south", false),
            ("(role=hmi | role=plc) & site=north", true),
            ("!spare", false),
            ("spare", true),
            ("!missing", true),
            ("site in (south, north)", true),
            ("site in (south)", false),
            ("site=\"north\"", true),
            ("in=x", false),
            ("node=press-1", true),
            ("node=press-2", false),
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().matches(&node), expected, "{text}");
        }
    }

    #[test]
    fn node_name_is_replaced_only_in_node_terms() {
        let is_meant = |word: &str| word == "abcdef1";
        for (text, renamed) in [
            ("node=abcdef1", Some("node=new")),
            ("role=abcdef1 | !( node =\"abcdef1\")", Some("role=abcdef1 | !( node =new)")),
            ("node in (a, abcdef1,abcdef1) & node!=abcdef1", Some("node in (a, new,new) & node!=new")),
            ("node=abcdef2", None),
            ("abcdef1", None),
            ("node=abcdef1 &", None),
        ] {
            assert_eq!(replace_node_name(text, is_meant, "new").as_deref(), renamed, "{text}");
        }
    }

    #[test]
    fn parse_errors_report_their_position() {
        for (text, position) in
            [("", 1), ("role=", 6), ("(role=plc", 10), ("role=plc x", 10), ("a in b", 6), ("a & ", 5)]
        {
            assert_eq!(text.parse::<Selector>().unwrap_err().at, position, "{text}");
        }
        assert!("(".repeat(100).parse::<Selector>().is_err());
        assert!("!".repeat(1000).parse::<Selector>().is_err());
    }

    #[test]
    fn selector_lists_every_label_key_it_reads() {
        let select: Selector = "role=plc & !(site in (a,b)) | spare".parse().unwrap();
        assert_eq!(select.label_keys(), BTreeSet::from(["role", "site", "spare"]));
    }
}
