//! Values as plain JSON: a string, number, boolean or list; bytes are `{"base64": "..."}`. It serves
//! `#[serde(with = "plain")]`. On disk and on the wire, values have the derived form instead.

use std::fmt;

use data_encoding::BASE64;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Literal;
use crate::value::Value;

struct PlainRef<'a>(&'a Value);

impl Serialize for PlainRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(bool) => serializer.serialize_bool(*bool),
            Value::Int(int) => serializer.serialize_i64(*int),
            Value::Float(float) => serializer.serialize_f64(*float),
            Value::Str(text) => serializer.serialize_str(text),
            Value::Bytes(bytes) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &BASE64.encode(bytes))?;
                map.end()
            }
        }
    }
}

/// Writes a literal as plain JSON.
pub fn serialize<S: Serializer>(literal: &Literal, serializer: S) -> Result<S::Ok, S::Error> {
    match literal {
        Literal::Scalar(value) => PlainRef(value).serialize(serializer),
        Literal::List(values) => serializer.collect_seq(values.iter().map(PlainRef)),
    }
}

/// Reads a literal from plain JSON. Null, and a value that no field can hold, are errors.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Literal, D::Error> {
    deserializer.deserialize_any(LiteralVisitor)
}

struct PlainValue(Value);

impl<'de> Deserialize<'de> for PlainValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer).map(Self)
    }
}

struct LiteralVisitor;

fn checked<E: serde::de::Error>(value: Value) -> Result<Literal, E> {
    value.check().map_err(E::custom)?;
    Ok(Literal::Scalar(value))
}

impl<'de> Visitor<'de> for LiteralVisitor {
    type Value = Literal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, number, boolean, list of these, or {\"base64\": \"...\"}")
    }

    fn visit_bool<E: serde::de::Error>(self, bool: bool) -> Result<Literal, E> {
        checked(Value::Bool(bool))
    }

    fn visit_i64<E: serde::de::Error>(self, int: i64) -> Result<Literal, E> {
        checked(Value::Int(int))
    }

    fn visit_u64<E: serde::de::Error>(self, int: u64) -> Result<Literal, E> {
        #[allow(clippy::cast_precision_loss)]
        checked(i64::try_from(int).map_or(Value::Float(int as f64), Value::Int))
    }

    fn visit_f64<E: serde::de::Error>(self, float: f64) -> Result<Literal, E> {
        checked(Value::Float(float))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Literal, E> {
        checked(Value::Str(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Literal, A::Error> {
        let mut values = Vec::new();
        while let Some(PlainValue(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Literal::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Literal, A::Error> {
        let no_bytes = || A::Error::custom("an object other than {\"base64\": \"...\"}");
        let entry = map.next_entry::<String, String>()?.filter(|(key, _)| key == "base64");
        let (_, text) = entry.ok_or_else(no_bytes)?;
        if map.next_key::<String>()?.is_some() {
            return Err(no_bytes());
        }
        checked(Value::Bytes(BASE64.decode(text.as_bytes()).map_err(|_| no_bytes())?))
    }
}

/// The same for a single value.
pub mod scalar {
    use serde::de::Error as _;
    use serde::{Deserializer, Serialize, Serializer};

    use super::{Literal, PlainRef, Value};

    /// Writes a value as plain JSON.
    pub fn serialize<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
        PlainRef(value).serialize(serializer)
    }

    /// Reads a value from plain JSON. A list is an error.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        match super::deserialize(deserializer)? {
            Literal::Scalar(value) => Ok(value),
            Literal::List(_) => Err(D::Error::custom("a list where one value belongs")),
        }
    }
}
