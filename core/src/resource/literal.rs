//! Values as TOML literals: the form in which people write typed values, and in which list items are stored.

pub mod plain;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::value::{Value, ValueError};

/// The error of parsing a literal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LiteralError {
    /// The text is not TOML.
    #[error("`{0}` is not a TOML value: {1}")]
    Syntax(String, String),
    /// The text is TOML of a type that no field has.
    #[error("{0} cannot be the value of a field")]
    UnsupportedType(&'static str),
    /// No document may hold the value.
    #[error(transparent)]
    InvalidValue(#[from] ValueError),
}

/// The value of a field: a single value or a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Literal {
    /// A single value.
    Scalar(Value),
    /// A list.
    List(Vec<Value>),
}

/// Parses a TOML value: a string, integer, float, boolean, `{ base64 = "..." }`, or an array of these.
pub fn parse(text: &str) -> Result<Literal, LiteralError> {
    let value: toml_edit::Value = text.trim().parse().map_err(|error: toml_edit::TomlError| {
        LiteralError::Syntax(text.to_owned(), error.message().to_owned())
    })?;
    from_toml(&value)
}

/// Converts a parsed TOML value.
pub fn from_toml(value: &toml_edit::Value) -> Result<Literal, LiteralError> {
    match value {
        toml_edit::Value::Array(array) => {
            array.iter().map(scalar_from_toml).collect::<Result<Vec<_>, _>>().map(Literal::List)
        }
        scalar => scalar_from_toml(scalar).map(Literal::Scalar),
    }
}

fn scalar_from_toml(value: &toml_edit::Value) -> Result<Value, LiteralError> {
    let value = match value {
        toml_edit::Value::String(text) => Value::Str(text.value().clone()),
        toml_edit::Value::Integer(int) => Value::Int(*int.value()),
        toml_edit::Value::Float(float) => Value::Float(*float.value()),
        toml_edit::Value::Boolean(bool) => Value::Bool(*bool.value()),
        toml_edit::Value::Datetime(_) => {
            return Err(LiteralError::UnsupportedType("a date (write it as text)"));
        }
        toml_edit::Value::Array(_) => return Err(LiteralError::UnsupportedType("a list in a list")),
        toml_edit::Value::InlineTable(table) => bytes_from_table(table)?,
    };
    value.check()?;
    Ok(value)
}

fn bytes_from_table(table: &toml_edit::InlineTable) -> Result<Value, LiteralError> {
    match (table.len(), table.get("base64").and_then(toml_edit::Value::as_str)) {
        (1, Some(text)) => BASE64
            .decode(text.as_bytes())
            .map(Value::Bytes)
            .map_err(|_| LiteralError::UnsupportedType("a broken base64 text")),
        _ => Err(LiteralError::UnsupportedType("a table")),
    }
}

/// Formats a value as TOML in its canonical form.
pub fn format_scalar(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(bool) => bool.to_string(),
        Value::Int(int) => int.to_string(),
        Value::Float(float) => format_float(*float),
        Value::Str(text) => quote(text),
        Value::Bytes(bytes) => format!("{{ base64 = \"{}\" }}", BASE64.encode(bytes)),
    }
}

/// Formats a list as TOML in its canonical form.
pub fn format_list(values: &[Value]) -> String {
    format!("[{}]", values.iter().map(format_scalar).collect::<Vec<_>>().join(", "))
}

fn format_float(float: f64) -> String {
    let text = format!("{float:?}");
    if text.contains('.') || text.contains('e') { text } else { format!("{text}.0") }
}

/// Formats a text as a TOML basic string.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatted_values_parse_back_unchanged() {
        for value in [
            Value::Bool(true),
            Value::Int(-5),
            Value::Float(1.0),
            Value::Float(1e300),
            Value::Float(0.1),
            Value::Str("a \"b\" \\ \n\t\u{1}é".into()),
            Value::Str(String::new()),
            Value::Bytes(vec![]),
            Value::Bytes((0..=255).collect()),
        ] {
            assert_eq!(parse(&format_scalar(&value)), Ok(Literal::Scalar(value)));
        }
    }

    #[test]
    fn values_that_no_field_can_hold_are_rejected() {
        for text in ["2020-01-01", "[[1]]", "{a=1}", "nan", "-0.0", "inf", "abc", ""] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
