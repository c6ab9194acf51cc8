//! Changes single keys of properties files. All other bytes stay unchanged.
//!
//! The grammar is that of `java.util.Properties.load`. Lines end with LF, CR or CRLF. A line whose first
//! visible character is `#` or `!` is a comment. A backslash at the end of a line joins it with the next
//! line, without the white space at its start. A key ends at the first `=`, `:` or white space without a
//! backslash before it. If a key occurs several times, its last value counts. White space alone separates
//! too, so files like `ntp.conf` can be read. New lines use the separator of the last entry.

/// The lines of a properties file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Properties {
    lines: Vec<LogicalLine>,
    /// False if the file has bytes that are not UTF-8. Then only ASCII is written.
    is_utf8: bool,
}

/// A logical line: a line with its continuation lines and its line end.
#[derive(Clone, Debug, PartialEq, Eq)]
enum LogicalLine {
    /// A comment or blank line.
    Unkeyed(Vec<u8>),
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
    /// Parses a file. Any bytes are a properties file.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut parts = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (first_line, remaining) = rest.split_at(logical_line_len(rest));
            parts.push(parse_line(first_line));
            rest = remaining;
        }
        Self { lines: parts, is_utf8: std::str::from_utf8(bytes).is_ok() }
    }

    /// Returns the bytes of the file.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let line_bytes = |part: &LogicalLine| match part {
            LogicalLine::Unkeyed(bytes) | LogicalLine::Entry { bytes, .. } => bytes.clone(),
        };
        self.lines.iter().flat_map(line_bytes).collect()
    }

    /// Sets `key` to a value, in its line if the key exists, else in a new last line.
    pub(super) fn set(&mut self, key: &str, new_value: &str) {
        let utf8 = self.is_utf8;
        let index = self.lines.iter().rposition(|part| part.is_key(key));
        let Some(LogicalLine::Entry { bytes, value, value_start, value_end, key_end, .. }) =
            index.and_then(|index| self.lines.get_mut(index))
        else {
            return self.append(key, new_value);
        };
        if decode_text(value) == new_value {
            return;
        }
        let prefix = |end: usize| bytes.get(..end).unwrap_or_default().to_vec();
        let mut new_bytes = prefix(*value_start);
        if *value_start == *key_end {
            // The line has a key without a separator.
            new_bytes.push(b'=');
        }
        new_bytes.extend(escape_value(new_value, utf8));
        new_bytes.extend(bytes.get(*value_end..).unwrap_or_default());
        if let (Some(index), changed) = (index, parse_line(&new_bytes))
            && let Some(old) = self.lines.get_mut(index)
        {
            *old = changed;
        }
    }

    /// Removes all lines with `key`.
    pub(super) fn remove(&mut self, key: &str) {
        self.lines.retain(|part| !part.is_key(key));
    }

    fn append(&mut self, key: &str, value: &str) {
        let line_end = self.detect_line_end();
        if let Some(last) = self.lines.last_mut() {
            last.terminate(&line_end);
        }
        let last_separator = self.lines.iter().rev().find_map(|part| match part {
            LogicalLine::Entry { bytes, key_end, value_start, .. } => bytes.get(*key_end..*value_start),
            LogicalLine::Unkeyed(_) => None,
        });
        // Use the separator of the last entry, unless it spans a continuation.
        let separator =
            last_separator.filter(|between| !between.is_empty() && !between.contains(&b'\\')).unwrap_or(b"=");
        let mut bytes = escape_key(key, self.is_utf8);
        bytes.extend(separator);
        bytes.extend(escape_value(value, self.is_utf8));
        bytes.extend(&line_end);
        self.lines.push(parse_line(&bytes));
    }

    /// Returns the line end of the first line; LF if there is none.
    fn detect_line_end(&self) -> Vec<u8> {
        let bytes = self.to_bytes();
        match bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            Some(position) if bytes.get(position) == Some(&b'\n') => b"\n".to_vec(),
            Some(position) if bytes.get(position + 1) == Some(&b'\n') => b"\r\n".to_vec(),
            Some(_) => b"\r".to_vec(),
            None => b"\n".to_vec(),
        }
    }
}

impl LogicalLine {
    fn is_key(&self, wanted_key: &str) -> bool {
        matches!(self, Self::Entry { key, .. } if decode_text(key) == wanted_key)
    }

    /// Adds a line end to the last line of a file, if it has none. Removes a backslash before it, because the
    /// backslash would join the line with the next one.
    fn terminate(&mut self, line_end: &[u8]) {
        let is_entry = matches!(self, Self::Entry { .. });
        let (Self::Unkeyed(bytes) | Self::Entry { bytes, .. }) = self;
        let existing_end = loop {
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
            // The part before the backslash may end with a continuation too.
            bytes.pop();
        };
        bytes.extend(if existing_end.is_empty() { line_end } else { &existing_end });
        let reparsed = parse_line(bytes);
        *self = reparsed;
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

/// Returns the length of the line end at `at`; 0 if there is none.
fn line_end_len(bytes: &[u8], at: usize) -> usize {
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => 2,
        (Some(b'\r' | b'\n'), _) => 1,
        _ => 0,
    }
}

/// Returns the length of the first logical line with its end.
fn logical_line_len(bytes: &[u8]) -> usize {
    let first = bytes.iter().find(|byte| !is_space(**byte));
    // Comments and blank lines are never continued.
    let can_continue = !matches!(first, Some(b'#' | b'!' | b'\n' | b'\r') | None);
    let mut offset = 0;
    while let Some(byte) = bytes.get(offset) {
        let end = line_end_len(bytes, offset);
        if end > 0 {
            return offset + end;
        }
        offset += 1;
        if *byte == b'\\' && can_continue {
            offset += line_end_len(bytes, offset).max(usize::from(offset < bytes.len()));
        }
    }
    offset
}

fn parse_line(bytes: &[u8]) -> LogicalLine {
    let indent = bytes.iter().position(|byte| !is_space(*byte)).unwrap_or(bytes.len());
    if matches!(bytes.get(indent), Some(b'#' | b'!' | b'\n' | b'\r') | None) {
        return LogicalLine::Unkeyed(bytes.to_vec());
    }
    let mut reader = LineReader { bytes, offset: indent };
    let mut key = Vec::new();
    while let Some(step) = reader.peek_char() {
        if step.is_unescaped && (is_space(step.byte) || matches!(step.byte, b'=' | b':')) {
            break;
        }
        reader.take_char(&step, &mut key);
    }
    let key_end = reader.offset;
    reader.skip_whitespace();
    if let Some(step) =
        reader.peek_char().filter(|step| step.is_unescaped && matches!(step.byte, b'=' | b':'))
    {
        reader.offset = step.next_offset;
        reader.skip_whitespace();
    }
    let value_start = reader.offset;
    let mut value = Vec::new();
    while let Some(step) = reader.peek_char() {
        reader.take_char(&step, &mut value);
    }
    let value_end = reader.offset;
    LogicalLine::Entry { bytes: bytes.to_vec(), key, value, key_end, value_start, value_end }
}

/// One character of a logical line.
struct LineChar {
    byte: u8,
    /// False if a backslash was before it.
    is_unescaped: bool,
    next_offset: usize,
    /// The UTF-16 code unit of a `\uXXXX` escape.
    utf16_unit: Option<u16>,
}

/// Reads the characters of a logical line, across continuations.
struct LineReader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl LineReader<'_> {
    fn peek_char(&self) -> Option<LineChar> {
        let mut at = self.offset;
        loop {
            if line_end_len(self.bytes, at) > 0 {
                return None;
            }
            let byte = *self.bytes.get(at)?;
            if byte != b'\\' {
                return Some(LineChar { byte, is_unescaped: true, next_offset: at + 1, utf16_unit: None });
            }
            let line_end = line_end_len(self.bytes, at + 1);
            if line_end == 0 {
                return self.peek_escaped(at + 1);
            }
            at += 1 + line_end;
            while self.bytes.get(at).copied().is_some_and(is_space) {
                at += 1;
            }
        }
    }

    fn peek_escaped(&self, at: usize) -> Option<LineChar> {
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
        Some(LineChar { byte, is_unescaped: false, next_offset: next, utf16_unit: unit })
    }

    fn take_char(&mut self, line_char: &LineChar, into: &mut Vec<u8>) {
        self.offset = line_char.next_offset;
        let Some(unit) = line_char.utf16_unit else { return into.push(line_char.byte) };
        let mut units = vec![unit];
        if (0xd800..0xdc00).contains(&unit)
            && let Some(LineChar { utf16_unit: Some(low), next_offset: next, .. }) = self.peek_char()
        {
            units.push(low);
            self.offset = next;
        }
        let mut buffer = [0; 4];
        for c in char::decode_utf16(units) {
            let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
            into.extend(c.encode_utf8(&mut buffer).as_bytes());
        }
    }

    fn skip_whitespace(&mut self) {
        while let Some(step) = self.peek_char().filter(|step| step.is_unescaped && is_space(step.byte)) {
            self.offset = step.next_offset;
        }
    }
}

/// Decodes UTF-8, or else Latin-1, the original encoding of properties files.
fn decode_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

fn escape_value(value: &str, is_utf8: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let leading_len = value.len() - value.trim_start_matches([' ', '\t', '\u{c}']).len();
    for (at, c) in value.char_indices() {
        if c == ' ' && at < leading_len {
            out.push(b'\\');
        }
        escape_char(c, is_utf8, &mut out);
    }
    out
}

fn escape_key(key: &str, is_utf8: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, c) in key.char_indices() {
        if matches!(c, ' ' | '=' | ':') || (at == 0 && matches!(c, '#' | '!')) {
            out.push(b'\\');
        }
        escape_char(c, is_utf8, &mut out);
    }
    out
}

fn escape_char(c: char, is_utf8: bool, out: &mut Vec<u8>) {
    match c {
        '\\' => out.extend(b"\\\\"),
        '\n' => out.extend(b"\\n"),
        '\r' => out.extend(b"\\r"),
        '\t' => out.extend(b"\\t"),
        '\u{c}' => out.extend(b"\\f"),
        c if c.is_ascii() || is_utf8 => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
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

    fn parse_entries(text: &[u8]) -> Vec<(String, String)> {
        entries_of(&Properties::parse(text))
    }

    fn entries_of(file: &Properties) -> Vec<(String, String)> {
        let read = |part: &LogicalLine| match part {
            LogicalLine::Entry { key, value, .. } => {
                Some((super::decode_text(key), super::decode_text(value)))
            }
            LogicalLine::Unkeyed(_) => None,
        };
        file.lines.iter().filter_map(read).collect()
    }

    fn single_entry(key: &str, value: &str) -> Vec<(String, String)> {
        vec![(key.to_owned(), value.to_owned())]
    }

    /// The examples are from the documentation of `java.util.Properties.load`, with edge cases added.
    #[test]
    fn properties_parse_as_java_util_properties_loads_them() {
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
            assert_eq!(parse_entries(text.as_bytes()), single_entry(key, value), "{text:?}");
        }
        assert_eq!(parse_entries(b"# a=b\\\n! c\n\n  \n"), vec![]);
        assert_eq!(parse_entries(b"a=caf\xe9\n"), single_entry("a", "café"));
    }

    #[test]
    fn unchanged_lines_keep_their_bytes() {
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
    fn added_keys_copy_separator_and_encoding_of_the_file() {
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
        assert_eq!(
            parse_entries(&file.to_bytes()),
            [single_entry("a", "b"), single_entry("c", "d")].concat()
        );
    }

    /// Any bytes stay the same after parsing and writing, and a key that was set has its new value.
    #[test]
    fn any_bytes_round_trip_and_any_key_can_be_set() {
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
            let found = parse_entries(&written).into_iter().rfind(|(found, _)| found == key);
            assert_eq!(found, Some((key.to_owned(), value.to_owned())), "{bytes:?} -> {written:?}");
            assert_eq!(parse_entries(&written), entries_of(&file), "{bytes:?} -> {written:?}");
            file.remove(key);
            assert!(!parse_entries(&file.to_bytes()).iter().any(|(found, _)| found == key), "{bytes:?}");
        }
    }
}
