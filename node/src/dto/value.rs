//! Times and field values in JSON.

use jiff::Timestamp;
use larder_core::resource::literal::{Literal, plain};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

/// A time in seconds since 1970; in JSON a text in RFC 3339, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JsonTime(pub i64);

impl Serialize for JsonTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Timestamp::from_second(self.0) {
            Ok(time) => serializer.serialize_str(&time.to_string()),
            // The clock of a host may be out of the range of the calendar.
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

/// The value of a field: in JSON a string, number, boolean or list; bytes are `{"base64": "..."}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonValue(#[serde(with = "plain")] pub Literal);

#[cfg(test)]
mod tests {
    use larder_core::value::Value;

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
