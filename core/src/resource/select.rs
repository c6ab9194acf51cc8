//! Label expressions: which nodes a resource is for.
//!
//! ```text
//! expression = all { "|" all }            any of them
//! all        = one { ("&" | ",") one }    all of them
//! one        = "!" one | "(" expression ")" | "*" | word [ ("=" | "!=") word | "in" "(" word { "," word } ")" ]
//! word       = letters, digits and _ . / @ + : -   or a text in double quotes
//! ```
//!
//! A lone word asks whether the label exists. `node=ID` asks for a node by its alias or a prefix of its id, of at
//! least seven characters.

use std::collections::BTreeSet;
use std::ops::Range;
use std::str::FromStr;

/// Longest expression, in bytes.
const EXPRESSION_BYTES: usize = 1024;
/// Deepest nesting.
const DEPTH: usize = 32;

/// What a node offers to be selected by.
pub trait Labels {
    /// The value of a label.
    fn label(&self, key: &str) -> Option<String>;
    /// True if `text` is the node's alias or a long enough prefix of its id.
    fn is_called(&self, text: &str) -> bool;
}

/// A parsed label expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    /// Every node.
    All,
    /// The label exists.
    Has(String),
    /// The label has one of these values.
    Is(String, Vec<String>),
    /// Not this.
    Not(Box<Select>),
    /// All of these.
    And(Vec<Select>),
    /// Any of these.
    Or(Vec<Select>),
}

/// A text that is no label expression. The fault is the caller's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at character {at}")]
pub struct SelectError {
    what: String,
    at: usize,
}

impl Select {
    /// True if a node with these labels is meant.
    pub fn matches(&self, labels: &dyn Labels) -> bool {
        match self {
            Self::All => true,
            Self::Has(key) => labels.label(key).is_some(),
            Self::Is(key, values) if key == "node" => values.iter().any(|value| labels.is_called(value)),
            Self::Is(key, values) => labels.label(key).is_some_and(|label| values.contains(&label)),
            Self::Not(inner) => !inner.matches(labels),
            Self::And(all) => all.iter().all(|one| one.matches(labels)),
            Self::Or(any) => any.iter().any(|one| one.matches(labels)),
        }
    }

    /// The labels that the answer depends on.
    pub fn keys(&self) -> BTreeSet<&str> {
        match self {
            Self::All => BTreeSet::new(),
            Self::Has(key) | Self::Is(key, _) => BTreeSet::from([key.as_str()]),
            Self::Not(inner) => inner.keys(),
            Self::And(parts) | Self::Or(parts) => parts.iter().flat_map(Self::keys).collect(),
        }
    }
}

impl FromStr for Select {
    type Err = SelectError;

    fn from_str(text: &str) -> Result<Self, SelectError> {
        if text.len() > EXPRESSION_BYTES {
            return Err(SelectError { what: "too long".to_owned(), at: EXPRESSION_BYTES });
        }
        Parser::new(text).whole()
    }
}

/// The expression with `to` in place of each word that names a node (`node=WORD`) and is `meant`, and all else as it
/// was written; `None` if there is no such word, or the text is no expression.
pub fn rename_node(text: &str, meant: impl Fn(&str) -> bool, to: &str) -> Option<String> {
    let mut parser = Parser::new(text);
    parser.whole().ok()?;
    let places: Vec<Range<usize>> =
        parser.nodes.into_iter().filter(|(_, word)| meant(word)).map(|(place, _)| place).collect();
    let mut rest = parser.chars;
    // From the end, so that the places before stay true.
    for place in places.iter().rev() {
        rest.splice(place.clone(), to.chars());
    }
    (!places.is_empty()).then(|| rest.into_iter().collect())
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    /// The words that name nodes, and where they stand.
    nodes: Vec<(Range<usize>, String)>,
}

impl Parser {
    fn new(text: &str) -> Self {
        Self { chars: text.chars().collect(), at: 0, nodes: Vec::new() }
    }

    fn whole(&mut self) -> Result<Select, SelectError> {
        let select = self.any(0)?;
        match self.peek() {
            None => Ok(select),
            Some(c) => Err(self.error(&format!("unexpected `{c}`"))),
        }
    }

    fn error(&self, what: &str) -> SelectError {
        SelectError { what: what.to_owned(), at: self.at + 1 }
    }

    fn peek(&mut self) -> Option<char> {
        while self.chars.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
        self.chars.get(self.at).copied()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn any(&mut self, depth: usize) -> Result<Select, SelectError> {
        if depth > DEPTH {
            return Err(self.error("nested too deep"));
        }
        let mut parts = vec![self.all(depth)?];
        while self.take('|') {
            parts.push(self.all(depth)?);
        }
        Ok(one_or(parts, Select::Or))
    }

    fn all(&mut self, depth: usize) -> Result<Select, SelectError> {
        let mut parts = vec![self.one(depth)?];
        while self.take('&') || self.take(',') {
            parts.push(self.one(depth)?);
        }
        Ok(one_or(parts, Select::And))
    }

    fn one(&mut self, depth: usize) -> Result<Select, SelectError> {
        if self.take('!') {
            if depth > DEPTH {
                return Err(self.error("nested too deep"));
            }
            return Ok(Select::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.take('(') {
            let inner = self.any(depth + 1)?;
            return if self.take(')') { Ok(inner) } else { Err(self.error("expected `)`")) };
        }
        if self.take('*') {
            return Ok(Select::All);
        }
        let key = self.word()?;
        if self.take('=') {
            let value = self.value(&key)?;
            return Ok(Select::Is(key, vec![value]));
        }
        if self.peek() == Some('!') && self.chars.get(self.at + 1) == Some(&'=') {
            self.at += 2;
            let value = self.value(&key)?;
            return Ok(Select::Not(Box::new(Select::Is(key, vec![value]))));
        }
        let before = self.at;
        if self.word().is_ok_and(|word| word == "in") {
            return self.values(key);
        }
        self.at = before;
        Ok(Select::Has(key))
    }

    fn values(&mut self, key: String) -> Result<Select, SelectError> {
        if !self.take('(') {
            return Err(self.error("expected `(` after `in`"));
        }
        let mut values = vec![self.value(&key)?];
        while self.take(',') {
            values.push(self.value(&key)?);
        }
        if self.take(')') { Ok(Select::Is(key, values)) } else { Err(self.error("expected `)`")) }
    }

    /// A word that a label is compared with.
    fn value(&mut self, key: &str) -> Result<String, SelectError> {
        self.peek();
        let begins = self.at;
        let word = self.word()?;
        if key == "node" {
            self.nodes.push((begins..self.at, word.clone()));
        }
        Ok(word)
    }

    fn word(&mut self) -> Result<String, SelectError> {
        if self.take('"') {
            let rest: String = self.chars.iter().skip(self.at).collect();
            let Some((word, _)) = rest.split_once('"') else {
                return Err(self.error("a text without its end"));
            };
            self.at += word.chars().count() + 1;
            return Ok(word.to_owned());
        }
        self.peek();
        let word: String = self
            .chars
            .iter()
            .skip(self.at)
            .take_while(|c| c.is_alphanumeric() || "_./@+:-".contains(**c))
            .collect();
        if word.is_empty() {
            return Err(self.error("expected a label"));
        }
        self.at += word.chars().count();
        Ok(word)
    }
}

fn one_or(mut parts: Vec<Select>, many: fn(Vec<Select>) -> Select) -> Select {
    match (parts.len(), parts.pop()) {
        (1, Some(one)) => one,
        (_, last) => many(parts.into_iter().chain(last).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Node(&'static [(&'static str, &'static str)]);

    impl Labels for Node {
        fn label(&self, key: &str) -> Option<String> {
            self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned())
        }
        fn is_called(&self, text: &str) -> bool {
            text == "press-1"
        }
    }

    #[test]
    fn expressions_say_who_is_meant() {
        let node = Node(&[("role", "plc"), ("site", "north"), ("spare", "")]);
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
            assert_eq!(text.parse::<Select>().unwrap().matches(&node), expected, "{text}");
        }
    }

    #[test]
    fn a_node_is_renamed_where_it_is_named() {
        let meant = |word: &str| word == "abcdef1";
        for (text, renamed) in [
            ("node=abcdef1", Some("node=new")),
            ("role=abcdef1 | !( node =\"abcdef1\")", Some("role=abcdef1 | !( node =new)")),
            ("node in (a, abcdef1,abcdef1) & node!=abcdef1", Some("node in (a, new,new) & node!=new")),
            ("node=abcdef2", None),
            ("abcdef1", None),
            ("node=abcdef1 &", None),
        ] {
            assert_eq!(rename_node(text, meant, "new").as_deref(), renamed, "{text}");
        }
    }

    #[test]
    fn mistakes_are_placed() {
        for (text, at) in
            [("", 1), ("role=", 6), ("(role=plc", 10), ("role=plc x", 10), ("a in b", 6), ("a & ", 5)]
        {
            assert_eq!(text.parse::<Select>().unwrap_err().at, at, "{text}");
        }
        assert!("(".repeat(100).parse::<Select>().is_err());
        assert!("!".repeat(1000).parse::<Select>().is_err());
    }

    #[test]
    fn the_keys_of_an_expression_are_known() {
        let select: Select = "role=plc & !(site in (a,b)) | spare".parse().unwrap();
        assert_eq!(select.keys(), BTreeSet::from(["role", "site", "spare"]));
    }
}
