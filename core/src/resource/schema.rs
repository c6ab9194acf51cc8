//! The schemas of this version: the kinds of resources, their fields, and the values that these may hold.

use super::field::FieldPath;
use super::list_item::{self, ListItem};
use super::literal::Literal;
use super::name::ResourceName;
use super::selector::Selector;
use crate::limits;
use crate::value::{Value, ValueError};

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// A text.
    Text,
    /// A text or bytes.
    Content,
    /// Three or four octal digits, as a text.
    Mode,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A selector.
    Selector,
    /// Any value, or a list of values.
    Any,
}

/// The part of a resource that a conflict in one field stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictScope {
    /// The whole resource, because its fields belong together.
    Resource,
    /// The field alone.
    Field,
}

/// The schema of one kind of resource.
#[derive(Debug)]
pub struct ResourceSchema {
    /// The name of the kind.
    pub name: &'static str,
    /// A short description of the kind.
    pub summary: &'static str,
    /// The fields without which a resource cannot be applied.
    pub required: &'static [&'static str],
    /// The paths and types of all fields.
    pub fields: &'static [(&'static str, FieldType)],
    /// The tables: prefixes of paths, with the type of the fields below.
    pub tables: &'static [(&'static str, FieldType)],
    /// The part of a resource that a conflict in one of its fields stops.
    pub conflict_scope: ConflictScope,
}

/// The fields that every kind has.
pub const COMMON_FIELDS: &[(&str, FieldType)] = &[
    ("ensure", FieldType::Choice(&["present", "absent"])),
    ("on_conflict", FieldType::Choice(&["hold", "winner"])),
    ("select", FieldType::Selector),
];

/// The schemas of all kinds, by name.
pub const SCHEMAS: &[ResourceSchema] = &[
    ResourceSchema {
        name: "config",
        summary: "keys merged one by one into a configuration file; comments and foreign keys survive",
        required: &["path"],
        fields: &[("path", FieldType::Text), ("format", FieldType::Choice(&["properties"]))],
        tables: &[("keys", FieldType::Any)],
        conflict_scope: ConflictScope::Field,
    },
    ResourceSchema {
        name: "file",
        summary: "a whole file, replaced atomically",
        required: &["path", "content"],
        fields: &[("path", FieldType::Text), ("content", FieldType::Content), ("mode", FieldType::Mode)],
        tables: &[],
        conflict_scope: ConflictScope::Resource,
    },
];

/// The schema of the kind, if this version knows it.
pub fn find_schema(name: &str) -> Option<&'static ResourceSchema> {
    SCHEMAS.iter().find(|schema| schema.name == name)
}

/// The reason why a field or value does not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The kind is unknown.
    #[error("unknown kind `{0}`; this version knows {known}; --allow-unknown accepts it for newer nodes",
        known = names())]
    UnknownKind(String),
    /// The kind has no such field.
    #[error(
        "{resource} has no field `{field}`; {kind} has {fields}; --allow-unknown accepts it for newer nodes"
    )]
    UnknownField {
        /// The resource.
        resource: ResourceName,
        /// The unknown field.
        field: String,
        /// The resource's kind.
        kind: String,
        /// The fields that the kind has.
        fields: String,
    },
    /// The value has the wrong type.
    #[error("`{field}` of {resource} must be {expected}, not {found}")]
    WrongType {
        /// The resource.
        resource: ResourceName,
        /// The field.
        field: String,
        /// The expected type.
        expected: String,
        /// The given value.
        found: String,
    },
    /// The key of the field is too long for the document.
    #[error(
        "a key has at most {max} bytes with its resource, and this one has {1}; choose a shorter name: `{0}`",
        max = limits::MAX_KEY_BYTES
    )]
    KeyTooLong(String, usize),
    /// A value or a list item is too long for the document, or no number that it may hold.
    #[error("`{field}` of {resource}: {error}")]
    InvalidValue {
        /// The resource.
        resource: ResourceName,
        /// The field.
        field: String,
        /// The reason.
        error: ValueError,
    },
}

fn names() -> String {
    SCHEMAS.iter().map(|schema| schema.name).collect::<Vec<_>>().join(", ")
}

impl ResourceSchema {
    /// The type of a field, or `None` if the kind has no such field.
    pub fn field_type(&self, field: &FieldPath) -> Option<FieldType> {
        let find_in = |table: &[(&str, FieldType)]| {
            table.iter().find(|(name, _)| *name == field.first()).map(|(_, field_type)| *field_type)
        };
        match field.segments() {
            [_] => find_in(COMMON_FIELDS).or_else(|| find_in(self.fields)),
            [overlay, select, ..] if overlay == "overlay" => {
                select.parse::<Selector>().ok()?;
                let inner = field.rest()?.rest()?;
                (!COMMON_FIELDS.iter().any(|(name, _)| *name == inner.first()))
                    .then(|| self.field_type(&inner))
                    .flatten()
            }
            _ => find_in(self.tables),
        }
    }

    fn field_names(&self) -> String {
        let fields = self.fields.iter().chain(COMMON_FIELDS).map(|(name, _)| (*name).to_owned());
        let tables = self.tables.iter().map(|(name, _)| format!("{name}.*"));
        fields.chain(tables).chain(["overlay.\"SELECT\".*".to_owned()]).collect::<Vec<_>>().join(", ")
    }
}

/// The type of a field, or the reason why there is none. With `allow_unknown`, an unknown field may hold any
/// value.
pub fn field_type_of(
    resource: &ResourceName,
    field: &FieldPath,
    allow_unknown: bool,
) -> Result<FieldType, SchemaError> {
    let Some(schema) = find_schema(resource.kind()) else {
        return if allow_unknown {
            Ok(FieldType::Any)
        } else {
            Err(SchemaError::UnknownKind(resource.kind().to_owned()))
        };
    };
    match schema.field_type(field) {
        Some(field_type) => Ok(field_type),
        None if allow_unknown => Ok(FieldType::Any),
        None => Err(SchemaError::UnknownField {
            resource: resource.clone(),
            field: field.to_string(),
            kind: schema.name.to_owned(),
            fields: schema.field_names(),
        }),
    }
}

/// Checks that the value fits the field.
pub fn check_value(
    resource: &ResourceName,
    field: &FieldPath,
    value: &Literal,
    allow_unknown: bool,
) -> Result<(), SchemaError> {
    let field_type = field_type_of(resource, field, allow_unknown)?;
    check_length(resource, field, value)?;
    let wrong_type = |expected: String| SchemaError::WrongType {
        resource: resource.clone(),
        field: field.to_string(),
        expected,
        found: describe_found(value),
    };
    match (field_type, value) {
        (FieldType::Any, _) | (FieldType::Text | FieldType::Content, Literal::Scalar(Value::Str(_))) => {
            Ok(())
        }
        (FieldType::Content, Literal::Scalar(Value::Bytes(_))) => Ok(()),
        (FieldType::Mode, Literal::Scalar(Value::Str(text))) if is_octal_mode(text) => Ok(()),
        (FieldType::Choice(choices), Literal::Scalar(Value::Str(text)))
            if choices.contains(&text.as_str()) =>
        {
            Ok(())
        }
        (FieldType::Selector, Literal::Scalar(Value::Str(text))) => match text.parse::<Selector>() {
            Ok(_) => Ok(()),
            Err(error) => Err(wrong_type(format!("a label expression ({error})"))),
        },
        (FieldType::Text | FieldType::Selector, _) => Err(wrong_type("text".to_owned())),
        (FieldType::Content, _) => Err(wrong_type("text or bytes".to_owned())),
        (FieldType::Mode, _) => Err(wrong_type("three or four octal digits as text, as \"0644\"".to_owned())),
        (FieldType::Choice(choices), _) => Err(wrong_type(format!("one of {}", choices.join(", ")))),
    }
}

/// Checks the lengths of the keys and values that the document gets.
fn check_length(resource: &ResourceName, field: &FieldPath, value: &Literal) -> Result<(), SchemaError> {
    let path = field.to_string();
    let (key, stored): (String, Vec<Value>) = match value {
        Literal::Scalar(value) => (resource.field_key(&path), vec![value.clone()]),
        Literal::List(values) => {
            let encode = |value: &Value| ListItem { rank: i64::MAX, value: value.clone() }.encode();
            let key = resource.field_key(&list_item::item_field(&path, &Value::Null, 0));
            (key, values.iter().map(encode).collect())
        }
    };
    if key.len() > limits::MAX_KEY_BYTES {
        return Err(SchemaError::KeyTooLong(path, key.len()));
    }
    let error = stored.iter().find_map(|value| value.check().err());
    error.map_or(Ok(()), |error| {
        Err(SchemaError::InvalidValue { resource: resource.clone(), field: path, error })
    })
}

fn is_octal_mode(text: &str) -> bool {
    (3..=4).contains(&text.len()) && text.chars().all(|c| ('0'..='7').contains(&c))
}

fn describe_found(value: &Literal) -> String {
    match value {
        Literal::List(_) => "a list".to_owned(),
        Literal::Scalar(Value::Str(text)) if text.len() <= 40 => format!("\"{text}\""),
        Literal::Scalar(value) => value.type_name().to_owned(),
    }
}
