//! Properties files, changed key by key. What is not changed stays to the byte.
//!
//! The grammar is that of `java.util.Properties.load`: lines end with LF, CR or CRLF; a line whose first visible
//! character is `#` or `!` is a comment; a backslash before the end of a line joins it with the next, whose leading
//! white space is dropped; a key ends at the first `=`, `:` or white space that no backslash stands before; of several
//! equal keys the last counts. White space alone separates too, so files like `ntp.conf` can be read, and what is added
//! to them is written as their last line is.

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Properties {
    parts: Vec<Part>,
    /// False if the file holds bytes that are not UTF-8: then what is written is ASCII.
    utf8: bool,
}

/// A logical line with its end.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// A comment or blank line.
    Other(Vec<u8>),
    /// A key with its value.
    Entry {
        bytes: Vec<u8>,
        key: Vec<u8>,
        value: Vec<u8>,
        key_end: usize,
        value_start: usize,
        value_end: usize,
    },
}

impl Properties {
    /// Reads a file. There is nothing that cannot be read.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut parts = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (line, after) = rest.split_at(logical_line(rest));
            parts.push(part(line));
            rest = after;
        }
        Self { parts, utf8: std::str::from_utf8(bytes).is_ok() }
    }

    /// The file's bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let bytes = |part: &Part| match part {
            Part::Other(bytes) | Part::Entry { bytes, .. } => bytes.clone(),
        };
        self.parts.iter().flat_map(bytes).collect()
    }

    /// Gives `key` this value: in its place, or at the end.
    pub(super) fn set(&mut self, key: &str, wanted: &str) {
        let utf8 = self.utf8;
        let place = self.parts.iter().rposition(|part| part.is_key(key));
        let Some(Part::Entry { bytes, value, value_start, value_end, key_end, .. }) =
            place.and_then(|place| self.parts.get_mut(place))
        else {
            return self.append(key, wanted);
        };
        if text(value) == wanted {
            return;
        }
        let split = |at: usize| bytes.get(..at).unwrap_or_default().to_vec();
        let mut new = split(*value_start);
        if *value_start == *key_end {
            // The key stood alone.
            new.push(b'=');
        }
        new.extend(escape_value(wanted, utf8));
        new.extend(bytes.get(*value_end..).unwrap_or_default());
        if let (Some(place), changed) = (place, part(&new))
            && let Some(old) = self.parts.get_mut(place)
        {
            *old = changed;
        }
    }

    /// Takes `key` out, wherever it stands.
    pub(super) fn remove(&mut self, key: &str) {
        self.parts.retain(|part| !part.is_key(key));
    }

    fn append(&mut self, key: &str, value: &str) {
        let end = self.line_end();
        if let Some(last) = self.parts.last_mut() {
            last.finish(&end);
        }
        let last = self.parts.iter().rev().find_map(|part| match part {
            Part::Entry { bytes, key_end, value_start, .. } => bytes.get(*key_end..*value_start),
            Part::Other(_) => None,
        });
        // Between key and value, what the last entry has there; across a line's end it would be no separator.
        let between = last.filter(|between| !between.is_empty() && !between.contains(&b'\\')).unwrap_or(b"=");
        let mut bytes = escape_key(key, self.utf8);
        bytes.extend(between);
        bytes.extend(escape_value(value, self.utf8));
        bytes.extend(&end);
        self.parts.push(part(&bytes));
    }

    /// How lines end here.
    fn line_end(&self) -> Vec<u8> {
        let bytes = self.to_bytes();
        match bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            Some(at) if bytes.get(at) == Some(&b'\n') => b"\n".to_vec(),
            Some(at) if bytes.get(at + 1) == Some(&b'\n') => b"\r\n".to_vec(),
            Some(_) => b"\r".to_vec(),
            None => b"\n".to_vec(),
        }
    }
}

impl Part {
    fn is_key(&self, wanted: &str) -> bool {
        matches!(self, Self::Entry { key, .. } if text(key) == wanted)
    }

    /// Gives the last line of a file an end, if it has none. A backslash before that, which joined the line with
    /// nothing until now, would join it with what is to come: it goes.
    fn finish(&mut self, end: &[u8]) {
        let is_entry = matches!(self, Self::Entry { .. });
        let (Self::Other(bytes) | Self::Entry { bytes, .. }) = self;
        let own = loop {
            let length = match bytes.as_slice() {
                [.., b'\r', b'\n'] => 2,
                [.., b'\r' | b'\n'] => 1,
                _ => 0,
            };
            let own = bytes.split_off(bytes.len() - length);
            let slashes = bytes.iter().rev().take_while(|byte| **byte == b'\\').count();
            if !is_entry || slashes % 2 == 0 {
                break own;
            }
            // What stands before it may have been joined with it in turn.
            bytes.pop();
        };
        bytes.extend(if own.is_empty() { end } else { &own });
        let finished = part(bytes);
        *self = finished;
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

/// How long the line end at `at` is; 0 if there is none.
fn end_at(bytes: &[u8], at: usize) -> usize {
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => 2,
        (Some(b'\r' | b'\n'), _) => 1,
        _ => 0,
    }
}

/// How many bytes the first logical line takes, with its end.
fn logical_line(bytes: &[u8]) -> usize {
    let first = bytes.iter().find(|byte| !is_space(**byte));
    // Comments and blank lines are never continued.
    let continues = !matches!(first, Some(b'#' | b'!' | b'\n' | b'\r') | None);
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let end = end_at(bytes, at);
        if end > 0 {
            return at + end;
        }
        at += 1;
        if *byte == b'\\' && continues {
            at += end_at(bytes, at).max(usize::from(at < bytes.len()));
        }
    }
    at
}

fn part(bytes: &[u8]) -> Part {
    let lead = bytes.iter().position(|byte| !is_space(*byte)).unwrap_or(bytes.len());
    if matches!(bytes.get(lead), Some(b'#' | b'!' | b'\n' | b'\r') | None) {
        return Part::Other(bytes.to_vec());
    }
    let mut walk = Walk { bytes, at: lead };
    let mut key = Vec::new();
    while let Some(step) = walk.peek() {
        if step.plain && (is_space(step.byte) || matches!(step.byte, b'=' | b':')) {
            break;
        }
        walk.take(&step, &mut key);
    }
    let key_end = walk.at;
    walk.skip_space();
    if let Some(step) = walk.peek().filter(|step| step.plain && matches!(step.byte, b'=' | b':')) {
        walk.at = step.next;
        walk.skip_space();
    }
    let value_start = walk.at;
    let mut value = Vec::new();
    while let Some(step) = walk.peek() {
        walk.take(&step, &mut value);
    }
    let value_end = walk.at;
    Part::Entry { bytes: bytes.to_vec(), key, value, key_end, value_start, value_end }
}

/// One character of a logical line.
struct Step {
    byte: u8,
    /// False if a backslash stood before it.
    plain: bool,
    next: usize,
    /// The character that `\uXXXX` stands for, in UTF-16.
    unit: Option<u16>,
}

/// Reads a logical line, its continuations joined.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn peek(&self) -> Option<Step> {
        let mut at = self.at;
        loop {
            if end_at(self.bytes, at) > 0 {
                return None;
            }
            let byte = *self.bytes.get(at)?;
            if byte != b'\\' {
                return Some(Step { byte, plain: true, next: at + 1, unit: None });
            }
            let joint = end_at(self.bytes, at + 1);
            if joint == 0 {
                return self.escaped(at + 1);
            }
            at += 1 + joint;
            while self.bytes.get(at).copied().is_some_and(is_space) {
                at += 1;
            }
        }
    }

    fn escaped(&self, at: usize) -> Option<Step> {
        let byte = *self.bytes.get(at)?;
        let digits = self.bytes.get(at + 1..at + 5).filter(|_| byte == b'u');
        let unit = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let next = if unit.is_some() { at + 5 } else { at + 1 };
        let byte = match byte {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'f' => 0x0c,
            other => other,
        };
        Some(Step { byte, plain: false, next, unit })
    }

    fn take(&mut self, step: &Step, into: &mut Vec<u8>) {
        self.at = step.next;
        let Some(unit) = step.unit else { return into.push(step.byte) };
        let mut units = vec![unit];
        if (0xd800..0xdc00).contains(&unit)
            && let Some(Step { unit: Some(low), next, .. }) = self.peek()
        {
            units.push(low);
            self.at = next;
        }
        let mut buffer = [0; 4];
        for c in char::decode_utf16(units) {
            let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
            into.extend(c.encode_utf8(&mut buffer).as_bytes());
        }
    }

    fn skip_space(&mut self) {
        while let Some(step) = self.peek().filter(|step| step.plain && is_space(step.byte)) {
            self.at = step.next;
        }
    }
}

/// Text in UTF-8, or else in Latin-1, which properties files were first written in.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

fn escape_value(value: &str, utf8: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let lead = value.len() - value.trim_start_matches([' ', '\t', '\u{c}']).len();
    for (at, c) in value.char_indices() {
        if c == ' ' && at < lead {
            out.push(b'\\');
        }
        escape(c, utf8, &mut out);
    }
    out
}

fn escape_key(key: &str, utf8: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, c) in key.char_indices() {
        if matches!(c, ' ' | '=' | ':') || (at == 0 && matches!(c, '#' | '!')) {
            out.push(b'\\');
        }
        escape(c, utf8, &mut out);
    }
    out
}

fn escape(c: char, utf8: bool, out: &mut Vec<u8>) {
    match c {
        '\\' => out.extend(b"\\\\"),
        '\n' => out.extend(b"\\n"),
        '\r' => out.extend(b"\\r"),
        '\t' => out.extend(b"\\t"),
        '\u{c}' => out.extend(b"\\f"),
        c if c.is_ascii() || utf8 => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        c => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend(format!("\\u{unit:04X}").as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &[u8]) -> Vec<(String, String)> {
        entries(&Properties::parse(text))
    }

    fn entries(file: &Properties) -> Vec<(String, String)> {
        let read = |part: &Part| match part {
            Part::Entry { key, value, .. } => Some((super::text(key), super::text(value))),
            Part::Other(_) => None,
        };
        file.parts.iter().filter_map(read).collect()
    }

    fn pair(key: &str, value: &str) -> Vec<(String, String)> {
        vec![(key.to_owned(), value.to_owned())]
    }

    /// The examples of the documentation of `java.util.Properties.load`, and the corners around them.
    #[test]
    fn the_grammar_is_that_of_java() {
        for (text, key, value) in [
            ("Truth = Beauty", "Truth", "Beauty"),
            (" Truth:Beauty", "Truth", "Beauty"),
            ("Truth                    :Beauty", "Truth", "Beauty"),
            (
                "fruits    apple, banana, pear, \\\n          cantaloupe, \\\n   kiwi",
                "fruits",
                "apple, banana, pear, cantaloupe, kiwi",
            ),
            ("cheeses", "cheeses", ""),
            ("\\:\\= = x", ":=", "x"),
            ("a\\ b=c", "a b", "c"),
            ("a==b", "a", "=b"),
            ("a : = b", "a", "= b"),
            ("a=b  ", "a", "b  "),
            ("a=\\u00e9\\ud83d\\ude00", "a", "é\u{1f600}"),
            ("a=\\q\\\\", "a", "q\\"),
            ("a=1\\\r\n  2", "a", "12"),
            ("\tserver ntp.example iburst", "server", "ntp.example iburst"),
            ("a=#b", "a", "#b"),
            ("a=b\\", "a", "b"),
        ] {
            assert_eq!(values(text.as_bytes()), pair(key, value), "{text:?}");
        }
        assert_eq!(values(b"# a=b\\\n! c\n\n  \n"), vec![]);
        assert_eq!(values(b"a=caf\xe9\n"), pair("a", "café"));
    }

    #[test]
    fn only_what_changes_is_written() {
        let text = "# head\r\n\r\na = 1\r\n! note\r\nb:\\\r\n  2\r\na=3\r\nd";
        let mut file = Properties::parse(text.as_bytes());
        file.set("a", "3");
        file.set("b", "2");
        assert_eq!(file.to_bytes(), text.as_bytes());
        file.set("a", "4");
        file.set("new key", " x\n");
        file.set("d", "5");
        let expected = "# head\r\n\r\na = 1\r\n! note\r\nb:\\\r\n  2\r\na=4\r\nd=5\r\nnew\\ key=\\ x\\n\r\n";
        assert_eq!(String::from_utf8(file.to_bytes()).unwrap(), expected);
        file.remove("a");
        file.remove("new key");
        assert_eq!(
            String::from_utf8(file.to_bytes()).unwrap(),
            "# head\r\n\r\n! note\r\nb:\\\r\n  2\r\nd=5\r\n"
        );
    }

    #[test]
    fn what_is_added_is_written_as_the_rest_is() {
        let mut file = Properties::parse(b"driftfile /var/ntp\nserver a");
        file.set("restrict", "default");
        assert_eq!(file.to_bytes(), b"driftfile /var/ntp\nserver a\nrestrict default\n");
        let mut file = Properties::parse(b"a=caf\xe9\n");
        file.set("b", "é");
        assert_eq!(file.to_bytes(), b"a=caf\xe9\nb=\\u00E9\n");
        let mut file = Properties::parse(b"");
        file.set("b", "é");
        assert_eq!(file.to_bytes(), "b=é\n".as_bytes());
        let mut file = Properties::parse(b"a=b\\");
        file.set("c", "d");
        assert_eq!(values(&file.to_bytes()), [pair("a", "b"), pair("c", "d")].concat());
    }

    /// Whatever the bytes: read and written they are the same, and a key that is set is read back, once and for all.
    #[test]
    fn any_bytes_come_back_and_any_key_can_be_set() {
        let pieces: [&[u8]; 17] = [
            b"a", b"b", b"=", b":", b" ", b"\t", b"\\", b"\n", b"\r", b"\r\n", b"#", b"!", b"\\u0041",
            b"\\u12", b"\xe9", b"\x0c", b"\\\n",
        ];
        let mut seed: u32 = 1;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as usize % below
        };
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..next(14)).flat_map(|_| pieces[next(pieces.len())].to_vec()).collect();
            let mut file = Properties::parse(&bytes);
            assert_eq!(file.to_bytes(), bytes);
            let key = ["a", "b", "a b", "#k", "é", "k\n"][next(6)];
            let value = ["", " x ", "y\\", "\u{1f600}é", "1\n2", "#"][next(6)];
            file.set(key, value);
            let written = file.to_bytes();
            let found = values(&written).into_iter().rfind(|(found, _)| found == key);
            assert_eq!(found, Some((key.to_owned(), value.to_owned())), "{bytes:?} -> {written:?}");
            assert_eq!(values(&written), entries(&file), "{bytes:?} -> {written:?}");
            file.remove(key);
            assert!(!values(&file.to_bytes()).iter().any(|(found, _)| found == key), "{bytes:?}");
        }
    }
}
