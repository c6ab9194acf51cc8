//! Times and values, as JSON has them.

use data_encoding::BASE64;
use jiff::Timestamp;
use larder_core::resource::literal::Literal;
use larder_core::value::Value;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

/// Seconds since 1970: in JSON, RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JsonTime(pub i64);

impl Serialize for JsonTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Timestamp::from_second(self.0) {
            Ok(time) => serializer.serialize_str(&time.to_string()),
            // What no calendar has, a clock may still have said.
            Err(_) => serializer.serialize_i64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for JsonTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer)? {
            Json::String(text) => {
                text.parse::<Timestamp>().map(|time| Self(time.as_second())).map_err(D::Error::custom)
            }
            Json::Number(number) => number.as_i64().map(Self).ok_or_else(|| D::Error::custom("not a time")),
            _ => Err(D::Error::custom("not a time")),
        }
    }
}

/// A field's value: in JSON the plain string, number, boolean or list; bytes are `{"base64": "..."}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonValue(pub Literal);

impl JsonValue {
    /// As JSON.
    pub fn to_json(&self) -> Json {
        match &self.0 {
            Literal::Scalar(value) => scalar_to_json(value),
            Literal::List(values) => values.iter().map(scalar_to_json).collect(),
        }
    }

    /// From JSON; `None` if no field can hold that.
    pub fn from_json(json: &Json) -> Option<Self> {
        match json {
            Json::Array(items) => {
                items.iter().map(scalar_from_json).collect::<Option<_>>().map(Literal::List).map(Self)
            }
            scalar => scalar_from_json(scalar).map(Literal::Scalar).map(Self),
        }
    }
}

fn scalar_to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(bool) => Json::from(*bool),
        Value::Int(int) => Json::from(*int),
        Value::Float(float) => Json::from(*float),
        Value::Str(text) => Json::from(text.as_str()),
        Value::Bytes(bytes) => serde_json::json!({ "base64": BASE64.encode(bytes) }),
    }
}

fn scalar_from_json(json: &Json) -> Option<Value> {
    let value = match json {
        Json::Bool(bool) => Value::Bool(*bool),
        Json::Number(number) => {
            number.as_i64().map(Value::Int).or_else(|| number.as_f64().map(Value::Float))?
        }
        Json::String(text) => Value::Str(text.clone()),
        Json::Object(object) if object.len() == 1 => {
            Value::Bytes(BASE64.decode(object.get("base64")?.as_str()?.as_bytes()).ok()?)
        }
        _ => return None,
    };
    value.is_valid().then_some(value)
}

impl Serialize for JsonValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JsonValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::deserialize(deserializer)?;
        Self::from_json(&json).ok_or_else(|| D::Error::custom("a value that no field can hold"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_values_keep_type_and_bits() {
        for value in [
            Value::Bool(true),
            Value::Int(i64::MIN),
            Value::Float(1.0),
            Value::Float(1e300),
            Value::Str("a\"\u{1}é".into()),
            Value::Bytes(vec![0, 255]),
        ] {
            for literal in [Literal::Scalar(value.clone()), Literal::List(vec![value.clone(), value])] {
                let text = serde_json::to_string(&JsonValue(literal.clone())).unwrap();
                assert_eq!(serde_json::from_str::<JsonValue>(&text).unwrap().0, literal, "{text}");
            }
        }
        for text in ["null", "[null]", "[[1]]", "{}", "{\"base64\":\"?\"}", "{\"a\":1}"] {
            assert!(serde_json::from_str::<JsonValue>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_serialize_as_rfc_3339() {
        let text = serde_json::to_string(&JsonTime(1_700_000_000)).unwrap();
        assert_eq!(text, "\"2023-11-14T22:13:20Z\"");
        assert_eq!(serde_json::from_str::<JsonTime>(&text).unwrap(), JsonTime(1_700_000_000));
        let far = serde_json::to_string(&JsonTime(1 << 53)).unwrap();
        assert_eq!(serde_json::from_str::<JsonTime>(&far).unwrap(), JsonTime(1 << 53));
    }
}
