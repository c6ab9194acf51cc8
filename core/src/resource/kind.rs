//! The kinds of resources that this version understands, and what their fields may hold.

use super::field::FieldPath;
use super::literal::Literal;
use super::name::ResourceName;
use super::select::Select;
use crate::value::Value;

/// What a field may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Text.
    Text,
    /// Text or bytes.
    Content,
    /// Three or four octal digits, as text.
    Mode,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A label expression.
    Select,
    /// Any value, or a list of them.
    Any,
}

/// What a conflict in one field stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// The whole resource: its fields make sense only together.
    Resource,
    /// That field alone.
    Field,
}

/// One kind of resource.
#[derive(Debug)]
pub struct Kind {
    /// What it is called.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// Fields without which it cannot be applied.
    pub required: &'static [&'static str],
    /// Its fields.
    pub fields: &'static [(&'static str, Shape)],
    /// Its tables: what may stand below these names.
    pub tables: &'static [(&'static str, Shape)],
    /// What a conflict in one of its fields stops.
    pub holds: Holds,
}

/// Fields that every kind has.
pub const COMMON: &[(&str, Shape)] = &[
    ("ensure", Shape::Choice(&["present", "absent"])),
    ("on_conflict", Shape::Choice(&["hold", "winner"])),
    ("select", Shape::Select),
];

/// Every kind, by name.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "config",
        about: "keys merged one by one into a configuration file; comments and foreign keys survive",
        required: &["path"],
        fields: &[("path", Shape::Text), ("format", Shape::Choice(&["properties"]))],
        tables: &[("keys", Shape::Any)],
        holds: Holds::Field,
    },
    Kind {
        name: "file",
        about: "a whole file, replaced atomically",
        required: &["path", "content"],
        fields: &[("path", Shape::Text), ("content", Shape::Content), ("mode", Shape::Mode)],
        tables: &[],
        holds: Holds::Resource,
    },
];

/// The kind called `name`, if this version understands it.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// Why a field or value does not fit its kind. The fault is the caller's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// No such kind here.
    #[error("unknown kind `{0}`; this version understands {known}; --allow-unknown records it for newer nodes", known = names())]
    Kind(String),
    /// No such field.
    #[error(
        "{resource} has no field `{field}`; {kind} has {fields}; --allow-unknown records it for newer nodes"
    )]
    Field {
        /// The resource.
        resource: ResourceName,
        /// What was asked for.
        field: String,
        /// Its kind.
        kind: String,
        /// What there is.
        fields: String,
    },
    /// A value of the wrong sort.
    #[error("`{field}` of {resource} must be {expected}, not {found}")]
    Value {
        /// The resource.
        resource: ResourceName,
        /// The field.
        field: String,
        /// What it must be.
        expected: String,
        /// What it was given.
        found: String,
    },
}

fn names() -> String {
    KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ")
}

impl Kind {
    /// The shape of one of its fields; `None` if there is no such field.
    pub fn shape(&self, field: &FieldPath) -> Option<Shape> {
        let flat = |table: &[(&str, Shape)]| {
            table.iter().find(|(name, _)| *name == field.first()).map(|(_, shape)| *shape)
        };
        match field.segments() {
            [_] => flat(COMMON).or_else(|| flat(self.fields)),
            [overlay, select, ..] if overlay == "overlay" => {
                select.parse::<Select>().ok()?;
                let inner = field.rest()?.rest()?;
                (!COMMON.iter().any(|(name, _)| *name == inner.first())).then(|| self.shape(&inner)).flatten()
            }
            _ => flat(self.tables),
        }
    }

    fn field_names(&self) -> String {
        let fields = self.fields.iter().chain(COMMON).map(|(name, _)| (*name).to_owned());
        let tables = self.tables.iter().map(|(name, _)| format!("{name}.*"));
        fields.chain(tables).chain(["overlay.\"SELECT\".*".to_owned()]).collect::<Vec<_>>().join(", ")
    }
}

/// The shape of a field, or why there is none. With `lenient`, what is not known may hold anything.
pub fn shape_of(resource: &ResourceName, field: &FieldPath, lenient: bool) -> Result<Shape, SchemaError> {
    let Some(kind) = kind(resource.kind()) else {
        return if lenient { Ok(Shape::Any) } else { Err(SchemaError::Kind(resource.kind().to_owned())) };
    };
    match kind.shape(field) {
        Some(shape) => Ok(shape),
        None if lenient => Ok(Shape::Any),
        None => Err(SchemaError::Field {
            resource: resource.clone(),
            field: field.to_string(),
            kind: kind.name.to_owned(),
            fields: kind.field_names(),
        }),
    }
}

/// Checks that `value` may stand in a field.
pub fn check(
    resource: &ResourceName,
    field: &FieldPath,
    value: &Literal,
    lenient: bool,
) -> Result<(), SchemaError> {
    let shape = shape_of(resource, field, lenient)?;
    let wrong = |expected: String| SchemaError::Value {
        resource: resource.clone(),
        field: field.to_string(),
        expected,
        found: describe(value),
    };
    match (shape, value) {
        (Shape::Any, _) | (Shape::Text | Shape::Content, Literal::Scalar(Value::Str(_))) => Ok(()),
        (Shape::Content, Literal::Scalar(Value::Bytes(_))) => Ok(()),
        (Shape::Mode, Literal::Scalar(Value::Str(text))) if is_mode(text) => Ok(()),
        (Shape::Choice(words), Literal::Scalar(Value::Str(text))) if words.contains(&text.as_str()) => Ok(()),
        (Shape::Select, Literal::Scalar(Value::Str(text))) => match text.parse::<Select>() {
            Ok(_) => Ok(()),
            Err(error) => Err(wrong(format!("a label expression ({error})"))),
        },
        (Shape::Text | Shape::Select, _) => Err(wrong("text".to_owned())),
        (Shape::Content, _) => Err(wrong("text or bytes".to_owned())),
        (Shape::Mode, _) => Err(wrong("three or four octal digits as text, as \"0644\"".to_owned())),
        (Shape::Choice(words), _) => Err(wrong(format!("one of {}", words.join(", ")))),
    }
}

fn is_mode(text: &str) -> bool {
    (3..=4).contains(&text.len()) && text.chars().all(|c| ('0'..='7').contains(&c))
}

fn describe(value: &Literal) -> String {
    match value {
        Literal::List(_) => "a list".to_owned(),
        Literal::Scalar(Value::Str(text)) if text.len() <= 40 => format!("\"{text}\""),
        Literal::Scalar(value) => value.type_name().to_owned(),
    }
}
