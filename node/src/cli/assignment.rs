//! The `FIELD=VALUE` arguments of `set`.

use larder_core::resource::edit::FieldEdit;
use larder_core::resource::field::{FieldPath, FieldPathError};
use larder_core::resource::literal::{self, Literal};
use larder_core::value::Value;

use crate::data_dir::read_bytes;
use crate::error::CliError;

/// Parses `F=TEXT`, `F:=LITERAL`, `F+=TEXT` or `F-=TEXT`. `@FILE` as the value reads it from a file.
pub fn parse_assignment(argument: &str) -> Result<(FieldPath, FieldEdit), CliError> {
    let syntax_error = || {
        CliError::usage(format!("`{}` is not a field with a value", redact_value(argument))).with_hint(
            "write keys.url=TEXT, keys.port:=8080, keys.list+=ITEM, keys.list-=ITEM or content=@FILE",
        )
    };
    let equals_at = find_equals(argument).ok_or_else(syntax_error)?;
    let (left, right) = argument.split_at_checked(equals_at).ok_or_else(syntax_error)?;
    let value = right.strip_prefix('=').unwrap_or_default();
    let (field, sign) = match left.chars().last() {
        Some(sign @ (':' | '+' | '-')) => (left.strip_suffix(sign).unwrap_or(left), sign),
        _ => (left, '='),
    };
    if field.trim().is_empty() {
        return Err(syntax_error());
    }
    let change = match sign {
        ':' => FieldEdit::Assign(parse_literal_or_file(value)?),
        '+' => FieldEdit::Add(read_value(value)?),
        '-' => FieldEdit::Remove(read_value(value)?),
        _ => FieldEdit::Assign(Literal::Scalar(read_value(value)?)),
    };
    Ok((parse_field(field.trim())?, change))
}

/// Reads the path of a field.
pub(super) fn parse_field(text: &str) -> Result<FieldPath, CliError> {
    text.parse().map_err(|error: FieldPathError| CliError::usage(error.to_string()))
}

/// Parses a TOML literal, or the literal in a file.
fn parse_literal_or_file(text: &str) -> Result<Literal, CliError> {
    let text = match read_value(text)? {
        Value::Str(text) => text,
        _ => return Err(CliError::usage("the file is not UTF-8 text")),
    };
    literal::parse(&text).map_err(|error| CliError::usage(error.to_string()))
}

/// The text, or the contents of the file that `@FILE` names.
pub(super) fn read_value(text: &str) -> Result<Value, CliError> {
    let Some(path) = text.strip_prefix('@') else { return Ok(Value::from(text)) };
    let bytes = std::fs::File::open(path).and_then(read_bytes);
    let bytes = bytes.map_err(|error| CliError::usage(format!("cannot read {path}: {error}")))?;
    let value = String::from_utf8(bytes).map_or_else(|error| Value::Bytes(error.into_bytes()), Value::Str);
    value.check().map_err(|error| CliError::usage(format!("{path}: {error}")))?;
    Ok(value)
}

/// The position of the first `=` outside quotes.
fn find_equals(text: &str) -> Option<usize> {
    let mut open_quote = None;
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match (open_quote, c) {
            _ if is_escaped => is_escaped = false,
            (Some('"'), '\\') => is_escaped = true,
            (Some(open), _) if c == open => open_quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => open_quote = Some(c),
            (None, '=') => return Some(at),
            (None, _) => {}
        }
    }
    None
}

/// The argument as the history keeps it: with its field, without its value.
pub(super) fn redact_value(argument: &str) -> String {
    match find_equals(argument).and_then(|at| argument.get(..=at)) {
        Some(field) => format!("{field}..."),
        None => "...".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_to_strings(text: &str) -> (String, String) {
        let field = parse_assignment(text).unwrap();
        (field.0.to_string(), format!("{:?}", field.1))
    }

    #[test]
    fn every_assignment_form_is_parsed() {
        for (text, field, change) in [
            ("keys.url=a=b", "keys.url", r#"Assign(Scalar(Str("a=b")))"#),
            ("mode=0600", "mode", r#"Assign(Scalar(Str("0600")))"#),
            ("keys.port:=8080", "keys.port", "Assign(Scalar(Int(8080)))"),
            ("keys.l:=[1, 2]", "keys.l", "Assign(List([Int(1), Int(2)]))"),
            ("keys.l+=x", "keys.l", r#"Add(Str("x"))"#),
            ("keys.l-=x", "keys.l", r#"Remove(Str("x"))"#),
            (r#"overlay."role=plc".mode=1"#, r#"overlay."role=plc".mode"#, r#"Assign(Scalar(Str("1")))"#),
            ("keys.e=", "keys.e", r#"Assign(Scalar(Str("")))"#),
        ] {
            assert_eq!(parse_to_strings(text), (field.to_owned(), change.to_owned()), "{text}");
        }
        for text in ["", "keys.url", "=x", ":=1", "keys.x:=abc", "a=@/no/such/file", "a=@/dev/zero"] {
            assert_eq!(parse_assignment(text).unwrap_err().exit, crate::error::ExitKind::Usage, "{text}");
        }
    }

    #[test]
    fn history_keeps_the_field_without_its_value() {
        assert_eq!(redact_value("keys.password=secret"), "keys.password=...");
        assert_eq!(redact_value("keys.n:=5"), "keys.n:=...");
        assert_eq!(redact_value("secret"), "...");
    }
}
