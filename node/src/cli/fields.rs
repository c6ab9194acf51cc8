//! `FIELD=VALUE` and its kin, as `set` takes them.

use larder_core::resource::literal::{self, Literal};
use larder_core::value::Value;

use crate::api::writes::{Field, FieldChange};
use crate::failure::Failure;
use crate::place::bytes_of;
use crate::view::Plain;

/// Reads one argument: `F=TEXT`, `F:=LITERAL`, `F+=TEXT`, `F-=TEXT`; a value that begins with `@` is read from a file.
pub fn parse(argument: &str) -> Result<Field, Failure> {
    let bad = || {
        Failure::usage(format!("`{}` is not a field with a value", cut(argument)))
            .hint("as keys.url=TEXT, keys.port:=8080, keys.list+=ITEM, keys.list-=ITEM, content=@FILE")
    };
    let at = assignment(argument).ok_or_else(bad)?;
    let (left, right) = argument.split_at_checked(at).ok_or_else(bad)?;
    let value = right.strip_prefix('=').unwrap_or_default();
    let (field, sign) = match left.chars().last() {
        Some(sign @ (':' | '+' | '-')) => (left.strip_suffix(sign).unwrap_or(left), sign),
        _ => (left, '='),
    };
    if field.trim().is_empty() {
        return Err(bad());
    }
    let text = || read(value).map(|value| Plain(Literal::Scalar(value)));
    let change = match sign {
        ':' => FieldChange::Assign(parse_literal(value)?),
        '+' => FieldChange::Add(text()?),
        '-' => FieldChange::Take(text()?),
        _ => FieldChange::Assign(text()?),
    };
    Ok(Field { field: field.trim().to_owned(), change })
}

/// A TOML literal, or a file that holds one.
fn parse_literal(text: &str) -> Result<Plain, Failure> {
    let text = match read(text)? {
        Value::Str(text) => text,
        _ => return Err(Failure::usage("the file is not text")),
    };
    literal::parse(&text).map(Plain).map_err(|error| Failure::usage(error.to_string()))
}

/// A text, or the contents of the file that it names.
pub(super) fn read(text: &str) -> Result<Value, Failure> {
    let Some(path) = text.strip_prefix('@') else { return Ok(Value::from(text)) };
    let bytes = std::fs::File::open(path).and_then(bytes_of);
    let bytes = bytes.map_err(|error| Failure::usage(format!("cannot read {path}: {error}")))?;
    Ok(String::from_utf8(bytes).map_or_else(|error| Value::Bytes(error.into_bytes()), Value::Str))
}

/// Where the first `=` outside quotes is.
fn assignment(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '=') => return Some(at),
            (None, _) => {}
        }
    }
    None
}

/// The argument as history keeps it: the field, and not its value.
pub(super) fn cut(argument: &str) -> String {
    match assignment(argument).and_then(|at| argument.get(..=at)) {
        Some(field) => format!("{field}..."),
        None => "...".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String) {
        let field = parse(text).unwrap();
        (field.field, format!("{:?}", field.change))
    }

    #[test]
    fn every_form_is_read() {
        for (text, field, change) in [
            ("keys.url=a=b", "keys.url", r#"Assign(Plain(Scalar(Str("a=b"))))"#),
            ("mode=0600", "mode", r#"Assign(Plain(Scalar(Str("0600"))))"#),
            ("keys.port:=8080", "keys.port", "Assign(Plain(Scalar(Int(8080))))"),
            ("keys.l:=[1, 2]", "keys.l", "Assign(Plain(List([Int(1), Int(2)])))"),
            ("keys.l+=x", "keys.l", r#"Add(Plain(Scalar(Str("x"))))"#),
            ("keys.l-=x", "keys.l", r#"Take(Plain(Scalar(Str("x"))))"#),
            (
                r#"overlay."role=plc".mode=1"#,
                r#"overlay."role=plc".mode"#,
                r#"Assign(Plain(Scalar(Str("1"))))"#,
            ),
            ("keys.e=", "keys.e", r#"Assign(Plain(Scalar(Str(""))))"#),
        ] {
            assert_eq!(parsed(text), (field.to_owned(), change.to_owned()), "{text}");
        }
        for text in ["", "keys.url", "=x", ":=1", "keys.x:=abc", "a=@/no/such/file", "a=@/dev/zero"] {
            assert_eq!(parse(text).unwrap_err().exit, crate::failure::Exit::Usage, "{text}");
        }
    }

    #[test]
    fn history_keeps_no_value() {
        assert_eq!(cut("keys.password=secret"), "keys.password=...");
        assert_eq!(cut("keys.n:=5"), "keys.n:=...");
        assert_eq!(cut("secret"), "...");
    }
}
