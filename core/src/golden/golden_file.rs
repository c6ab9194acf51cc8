//! One golden file: lines of `name = hex`, with a comment where the bytes are text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use data_encoding::HEXLOWER;

/// The help that a failing golden test prints.
pub(super) const CHANGED_VALUE_HELP: &str = "\
Nodes have written golden values to their disks, to each other, and into ids and signatures. If one changes,
nodes of this version and of older ones no longer understand each other, and older stores cannot be read.
If the change is not intended, correct the code and not the value.
If it is intended, it is a new format version: raise `limits::FORMAT_VERSION` (changes and records), the
protocol version (frames) or the version of the row's layout (store), keep reading the old form, and pin the
new form under new names beside the old.
Bless only new values, and values that no released version ever wrote:
LARDER_BLESS=1 cargo test -p larder-core";

struct GoldenFact {
    name: String,
    bytes: Vec<u8>,
    note: String,
    exact: bool,
}

/// The values of one file, as a test computes them.
pub(super) struct GoldenFile {
    file: &'static str,
    about: &'static str,
    pinned: BTreeMap<String, Vec<u8>>,
    facts: Vec<GoldenFact>,
}

impl GoldenFile {
    /// Opens `core/vectors/<file>.txt`. `about` is its comment header.
    pub(super) fn open(file: &'static str, about: &'static str) -> Self {
        let text = std::fs::read_to_string(path(file)).unwrap_or_default();
        Self { file, about, pinned: parse(&text), facts: Vec::new() }
    }

    /// Adds a value, and returns the pinned bytes for decoding.
    pub(super) fn check(&mut self, name: &str, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        self.add_fact(name, bytes.as_ref(), String::new(), true)
    }

    /// Adds a text value.
    pub(super) fn check_text(&mut self, name: &str, text: &str) -> String {
        let pinned = self.add_fact(name, text.as_bytes(), format!("{text:?}"), true);
        String::from_utf8(pinned).expect("a pinned text is UTF-8")
    }

    /// Adds bytes whose encoding may change, such as compressed ones. The pinned bytes must stay readable.
    pub(super) fn check_readable(&mut self, name: &str, bytes: &[u8]) -> Vec<u8> {
        self.add_fact(name, bytes, String::new(), false)
    }

    fn add_fact(&mut self, name: &str, bytes: &[u8], note: String, exact: bool) -> Vec<u8> {
        assert!(!self.facts.iter().any(|fact| fact.name == name), "{name} is added twice");
        let pinned = self.pinned.get(name).cloned().unwrap_or_else(|| bytes.to_vec());
        let bytes = if exact { bytes.to_vec() } else { pinned.clone() };
        self.facts.push(GoldenFact { name: name.to_owned(), bytes, note, exact });
        pinned
    }

    /// Compares the added values with the pinned ones, or writes the file.
    pub(super) fn finish(self) {
        if std::env::var_os("LARDER_BLESS").is_some() {
            std::fs::write(path(self.file), self.render()).expect("the vectors can be written");
            return;
        }
        let differences = self.differences();
        assert!(
            differences.is_empty(),
            "core/vectors/{}.txt:\n{differences}\n{CHANGED_VALUE_HELP}\n",
            self.file
        );
    }

    fn differences(&self) -> String {
        let mut differences = String::new();
        for fact in &self.facts {
            match self.pinned.get(&fact.name) {
                Some(pinned) if *pinned == fact.bytes || !fact.exact => {}
                Some(pinned) => {
                    let (before, now) = (short_hex(pinned), short_hex(&fact.bytes));
                    let _ = writeln!(differences, "  {} changed\n    was {before}\n    is  {now}", fact.name);
                }
                None => {
                    let _ = writeln!(differences, "  {} is not pinned yet", fact.name);
                }
            }
        }
        for name in self.pinned.keys().filter(|name| !self.facts.iter().any(|fact| fact.name == **name)) {
            let _ = writeln!(differences, "  {name} is pinned, but no test computes it");
        }
        differences
    }

    fn render(&self) -> String {
        let mut text = String::new();
        for line in self.about.lines() {
            let _ = writeln!(text, "{}", format!("# {line}").trim_end());
        }
        text.push_str("# `name = hex`; pinned for ever, see core/src/golden.rs.\n\n");
        for GoldenFact { name, bytes, note, .. } in &self.facts {
            let note = if note.is_empty() { String::new() } else { format!("  # {note}") };
            let line = format!("{name} = {}{note}", HEXLOWER.encode(bytes));
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }
}

fn path(file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "vectors", &format!("{file}.txt")].iter().collect()
}

fn parse(text: &str) -> BTreeMap<String, Vec<u8>> {
    let mut pinned = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, rest) = line.split_once(" =").unwrap_or_else(|| panic!("`{line}` is not `name = hex`"));
        let hex = rest.split('#').next().unwrap_or_default().trim();
        let bytes = HEXLOWER.decode(hex.as_bytes()).unwrap_or_else(|_| panic!("{name} is not hex"));
        assert!(pinned.insert(name.to_owned(), bytes).is_none(), "{name} is pinned twice");
    }
    pinned
}

/// The beginning of the bytes, for a message.
fn short_hex(bytes: &[u8]) -> String {
    let hex = HEXLOWER.encode(bytes);
    match hex.split_at_checked(160) {
        Some((head, _)) => format!("{head}... ({} bytes)", bytes.len()),
        None => hex,
    }
}

#[test]
fn changed_new_and_missing_facts_are_reported_with_help() {
    let mut golden = GoldenFile::open("ids", "");
    golden.pinned = BTreeMap::from([("a".to_owned(), vec![1]), ("gone".to_owned(), vec![])]);
    assert_eq!(golden.check("a", [2]), [1], "check returns the pinned bytes");
    golden.check("new", [3]);
    let report = golden.differences() + CHANGED_VALUE_HELP;
    for part in ["a changed", "was 01", "is  02", "new is not pinned", "gone is pinned", "new format version"]
    {
        assert!(report.contains(part), "{part}: {report}");
    }
}

#[test]
fn rendered_file_parses_back_to_the_same_facts() {
    let mut golden = GoldenFile::open("ids", "two\nlines");
    golden.pinned.clear();
    golden.check("empty", []);
    golden.check_text("text", "a # b = c");
    golden.check_readable("more", &[0, 255]);
    let pinned = parse(&golden.render());
    assert_eq!(pinned["empty"], b"");
    assert_eq!(pinned["text"], b"a # b = c");
    assert_eq!(pinned["more"], [0, 255]);
    assert_eq!(pinned.len(), 3);
}
