//! Changes single keys of properties files. All other bytes stay unchanged.
//!
//! The grammar is that of `java.util.Properties.load`. Lines end with LF, CR or CRLF. A line whose first
//! visible character is `#` or `!` is a comment. A backslash at the end of a line joins it with the next
//! line, without the white space at its start. A key ends at the first `=`, `:` or white space without a
//! backslash before it. If a key occurs several times, its last value counts. White space alone separates
//! too, so files like `ntp.conf` can be read. New lines use the separator of the last entry.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The bytes with which a UTF-8 file may begin. They are no part of the first key.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The lines of a properties file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Properties {
    has_byte_order_mark: bool,
    lines: Vec<LogicalLine>,
    /// The lines of each key, by their numbers.
    lines_by_key: BTreeMap<String, Vec<usize>>,
    line_end: &'static [u8],
    /// True if text that is not ASCII is written as UTF-8. Otherwise it is escaped: readers of Latin-1 and of
    /// UTF-8 both understand escapes.
    writes_utf8: bool,
}

/// A logical line: a line with its continuation lines and its line end.
#[derive(Clone, Debug, PartialEq, Eq)]
enum LogicalLine {
    /// A comment or blank line; empty if a key was removed here.
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

/// The last line of a file before and after it got a line end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ExtendedLine {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Properties {
    /// Parses a file. Any bytes are a properties file.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let text = bytes.strip_prefix(BYTE_ORDER_MARK);
        let mut lines = Vec::new();
        let mut lines_by_key: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut rest = text.unwrap_or(bytes);
        while !rest.is_empty() {
            let (first_line, remaining) = rest.split_at(logical_line_len(rest));
            let line = parse_line(first_line);
            if let LogicalLine::Entry { key, .. } = &line {
                lines_by_key.entry(decode_text(key)).or_default().push(lines.len());
            }
            lines.push(line);
            rest = remaining;
        }
        Self {
            has_byte_order_mark: text.is_some(),
            lines,
            lines_by_key,
            line_end: first_line_end(bytes),
            writes_utf8: std::str::from_utf8(bytes).is_ok() && !bytes.is_ascii(),
        }
    }

    /// Returns the bytes of the file.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mark = if self.has_byte_order_mark { BYTE_ORDER_MARK } else { &[] };
        mark.iter().chain(self.lines.iter().flat_map(LogicalLine::bytes)).copied().collect()
    }

    /// Returns the number of lines with `key`.
    pub(super) fn count(&self, key: &str) -> usize {
        self.lines_by_key.get(key).map_or(0, Vec::len)
    }

    /// Returns the value of `key`. If the key stands on several lines, the last one counts.
    pub(super) fn value(&self, key: &str) -> Option<String> {
        self.lines.get(self.last_line_of(key)?)?.value()
    }

    /// Returns the bytes of the line with `key`.
    pub(super) fn line(&self, key: &str) -> Option<&[u8]> {
        self.lines.get(self.last_line_of(key)?).map(|line| line.bytes().as_slice())
    }

    fn last_line_of(&self, key: &str) -> Option<usize> {
        self.lines_by_key.get(key)?.last().copied()
    }

    /// Sets `key` to a value, in its line if the key exists, else in a new last line. Returns the line that
    /// got a line end for this.
    pub(super) fn set(&mut self, key: &str, new_value: &str) -> Option<ExtendedLine> {
        let writes_utf8 = self.writes_utf8;
        let index = self.last_line_of(key);
        let Some(line) = index.and_then(|index| self.lines.get_mut(index)) else {
            return self.append(key, new_value);
        };
        let LogicalLine::Entry { bytes, value, value_start, value_end, key_end, .. } = line else {
            return None;
        };
        if decode_text(value) == new_value {
            return None;
        }
        let mut new_bytes = bytes.get(..*value_start).unwrap_or_default().to_vec();
        if *value_start == *key_end {
            // The line has a key without a separator.
            new_bytes.push(b'=');
        }
        new_bytes.extend(escape_value(new_value, writes_utf8));
        new_bytes.extend(bytes.get(*value_end..).unwrap_or_default());
        *line = parse_line(&new_bytes);
        None
    }

    /// Puts `original` in place of the last line with `key` that has one of these values; `None` removes the
    /// line. Other lines stay. Returns the original, if it needed a line end.
    pub(super) fn restore(
        &mut self,
        key: &str,
        values: &[String],
        original: Option<&[u8]>,
    ) -> Option<ExtendedLine> {
        let has_own_value = |index: &usize| {
            self.lines.get(*index).and_then(LogicalLine::value).is_some_and(|value| values.contains(&value))
        };
        let indexes = self.lines_by_key.get(key).map(Vec::as_slice).unwrap_or_default();
        let index = indexes.iter().rposition(has_own_value)?;
        let line_index = *indexes.get(index)?;
        let is_last = line_index + 1 == self.lines.len();
        let line_end = self.line_end;
        let line = self.lines.get_mut(line_index)?;
        *line = parse_line(original.unwrap_or_default());
        if original.is_none() {
            self.lines_by_key.get_mut(key)?.remove(index);
            // So that the last element is the last line of the file.
            while self.lines.pop_if(|line| line.bytes().is_empty()).is_some() {}
            return None;
        }
        if is_last { None } else { line.extend(line_end) }
    }

    /// Takes the added line end from the last line of the file, if it still has it.
    pub(super) fn shorten(&mut self, extended: &ExtendedLine) {
        if let Some(line) = self.lines.last_mut().filter(|line| *line.bytes() == extended.after) {
            *line = parse_line(&extended.before);
        }
    }

    fn append(&mut self, key: &str, value: &str) -> Option<ExtendedLine> {
        let line_end = self.line_end;
        let extended = self.lines.last_mut().and_then(|line| line.extend(line_end));
        let last_separator = self.lines.iter().rev().find_map(|part| match part {
            LogicalLine::Entry { bytes, key_end, value_start, .. } => bytes.get(*key_end..*value_start),
            LogicalLine::Unkeyed(_) => None,
        });
        // Use the separator of the last entry, unless it spans a continuation.
        let separator =
            last_separator.filter(|between| !between.is_empty() && !between.contains(&b'\\')).unwrap_or(b"=");
        let mut bytes = escape_key(key, self.writes_utf8);
        bytes.extend(separator);
        bytes.extend(escape_value(value, self.writes_utf8));
        bytes.extend(line_end);
        self.lines_by_key.entry(key.to_owned()).or_default().push(self.lines.len());
        self.lines.push(parse_line(&bytes));
        extended
    }
}

/// Returns the line end of the first line; LF if there is none.
fn first_line_end(bytes: &[u8]) -> &'static [u8] {
    match bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        Some(position) if bytes.get(position) == Some(&b'\n') => b"\n",
        Some(position) if bytes.get(position + 1) == Some(&b'\n') => b"\r\n",
        Some(_) => b"\r",
        None => b"\n",
    }
}

impl LogicalLine {
    fn bytes(&self) -> &Vec<u8> {
        let (Self::Unkeyed(bytes) | Self::Entry { bytes, .. }) = self;
        bytes
    }

    fn value(&self) -> Option<String> {
        match self {
            Self::Entry { value, .. } => Some(decode_text(value)),
            Self::Unkeyed(_) => None,
        }
    }

    /// Gives the line a line end. Returns the line before and after, if it had none.
    fn extend(&mut self, line_end: &[u8]) -> Option<ExtendedLine> {
        let before = self.bytes().clone();
        self.terminate(line_end);
        let after = self.bytes().clone();
        (before != after).then_some(ExtendedLine { before, after })
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

fn escape_value(value: &str, writes_utf8: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let leading_len = value.len() - value.trim_start_matches([' ', '\t', '\u{c}']).len();
    for (at, c) in value.char_indices() {
        if c == ' ' && at < leading_len {
            out.push(b'\\');
        }
        escape_char(c, writes_utf8, &mut out);
    }
    out
}

fn escape_key(key: &str, writes_utf8: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, c) in key.char_indices() {
        if matches!(c, ' ' | '=' | ':') || (at == 0 && matches!(c, '#' | '!')) {
            out.push(b'\\');
        }
        escape_char(c, writes_utf8, &mut out);
    }
    out
}

fn escape_char(c: char, writes_utf8: bool, out: &mut Vec<u8>) {
    match c {
        '\\' => out.extend(b"\\\\"),
        '\n' => out.extend(b"\\n"),
        '\r' => out.extend(b"\\r"),
        '\t' => out.extend(b"\\t"),
        '\u{c}' => out.extend(b"\\f"),
        c if c.is_ascii() || writes_utf8 => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        c => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend(format!("\\u{unit:04X}").as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests;
