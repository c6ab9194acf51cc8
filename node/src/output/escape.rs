//! Escapes text that other nodes or files supply, so that it cannot control a terminal.

use std::fmt::Write as _;

/// Escapes control characters and characters that change the direction of writing.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let is_direction_mark =
            matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || is_direction_mark {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Escapes a line as [`escape`] does, but keeps tabs.
pub fn escape_line(text: &str) -> String {
    text.split('\t').map(escape).collect::<Vec<_>>().join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escape("a\u{1b}[31m\r\n\u{202e}b\u{7}é"), "a\\u{1b}[31m\\r\\n\\u{202e}b\\u{7}é");
    }
}
