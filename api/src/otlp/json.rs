//! OTLP/JSON as the collector reads it: hex ids, 64-bit numbers as strings or numbers, enums as numbers or names, keys in
//! camelCase or snake_case, unknown keys skipped.
use base64::Engine;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// Decoding fails with what was wrong, worded for a client.
pub(super) type Result<T> = std::result::Result<T, ApiError>;

/// A JSON object that is read as a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object<'a>(&'a Map<String, Value>);

fn bad(key: &str, wanted: &str) -> ApiError {
    ApiError::BadRequest(format!("invalid JSON: field {key:?} is not {wanted}"))
}

fn snake_of(camel: &str) -> String {
    let mut out = String::with_capacity(camel.len() + 4);
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Parses a whole body, which must be an object.
pub(super) fn parse(body: &[u8]) -> Result<Value> {
    let value: Value = serde_json::from_slice(body).map_err(|e| ApiError::BadRequest(format!("invalid JSON: {e}")))?;
    if value.is_object() { Ok(value) } else { Err(ApiError::BadRequest("invalid JSON: not an object".to_owned())) }
}

impl<'a> Object<'a> {
    pub(super) fn of(value: &'a Value, key: &str) -> Result<Self> {
        value.as_object().map(Self).ok_or_else(|| bad(key, "an object"))
    }

    /// A field by its camelCase name; null counts as absent.
    pub(super) fn get(self, camel: &str) -> Option<&'a Value> {
        self.0.get(camel).or_else(|| self.0.get(&snake_of(camel))).filter(|v| !v.is_null())
    }

    pub(super) fn string(self, key: &str) -> Result<String> {
        self.get(key).map_or(Ok(String::new()), |v| v.as_str().map(str::to_owned).ok_or_else(|| bad(key, "a string")))
    }

    pub(super) fn unsigned(self, key: &str) -> Result<u64> {
        self.get(key).map_or(Ok(0), |v| unsigned_of(v).ok_or_else(|| bad(key, "an unsigned integer")))
    }

    pub(super) fn unsigned32(self, key: &str) -> Result<u32> {
        u32::try_from(self.unsigned(key)?).map_err(|_| bad(key, "a 32-bit unsigned integer"))
    }

    pub(super) fn signed(self, key: &str) -> Result<i64> {
        self.get(key).map_or(Ok(0), |v| signed_of(v).ok_or_else(|| bad(key, "an integer")))
    }

    pub(super) fn double(self, key: &str) -> Result<Option<f64>> {
        self.get(key).map(|v| double_of(v).ok_or_else(|| bad(key, "a number"))).transpose()
    }

    pub(super) fn boolean(self, key: &str) -> Result<bool> {
        self.get(key).map_or(Ok(false), |v| v.as_bool().ok_or_else(|| bad(key, "a boolean")))
    }

    /// An enum as number or name.
    pub(super) fn enumeration(self, key: &str, by_name: impl Fn(&str) -> Option<i32>) -> Result<i32> {
        let Some(value) = self.get(key) else { return Ok(0) };
        let number = match value {
            Value::String(name) => by_name(name).or_else(|| name.parse().ok()),
            _ => value.as_i64().and_then(|n| i32::try_from(n).ok()),
        };
        number.ok_or_else(|| bad(key, "a known enum value"))
    }

    /// An id in hex of exactly `bytes` bytes, or none.
    pub(super) fn id(self, key: &str, bytes: usize) -> Result<Vec<u8>> {
        let text = self.string(key)?;
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let id = hex::decode(&text).map_err(|_| bad(key, "a hex id"))?;
        if id.len() == bytes { Ok(id) } else { Err(bad(key, &format!("a hex id of {} digits", 2 * bytes))) }
    }

    pub(super) fn list<T>(self, key: &str, read: impl Fn(Object<'a>) -> Result<T>) -> Result<Vec<T>> {
        self.values(key)?.iter().map(|v| read(Object::of(v, key)?)).collect()
    }

    /// The elements of an array field; none when absent.
    pub(super) fn values(self, key: &str) -> Result<&'a [Value]> {
        self.get(key).map_or(Ok(&[][..]), |v| v.as_array().map(Vec::as_slice).ok_or_else(|| bad(key, "an array")))
    }

    pub(super) fn message<T>(self, key: &str, read: impl Fn(Object<'a>) -> Result<T>) -> Result<Option<T>> {
        self.get(key).map(|v| read(Object::of(v, key)?)).transpose()
    }

    pub(super) fn attributes(self, key: &str) -> Result<Vec<KeyValue>> {
        self.list(key, key_value)
    }
}

/// A u64 as string or number.
pub(super) fn unsigned_of(value: &Value) -> Option<u64> {
    match value {
        Value::String(s) => s.parse().ok(),
        _ => value
            .as_u64()
            .or_else(|| value.as_f64().filter(|f| f.fract() == 0.0 && (0.0..1.8e19).contains(f)).map(|f| f as u64)),
    }
}

fn signed_of(value: &Value) -> Option<i64> {
    match value {
        Value::String(s) => s.parse().ok(),
        _ => value.as_i64().or_else(|| value.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e18).map(|f| f as i64)),
    }
}

/// A double as number, or as string with the names of the infinities.
pub(super) fn double_of(value: &Value) -> Option<f64> {
    match value {
        Value::String(s) => match s.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            other => other.parse().ok(),
        },
        _ => value.as_f64(),
    }
}

fn key_value(o: Object<'_>) -> Result<KeyValue> {
    Ok(KeyValue { key: o.string("key")?, value: o.message("value", any_value)?, ..KeyValue::default() })
}

/// An AnyValue. Nesting is bounded by the JSON parser's own limit.
pub(super) fn any_value(o: Object<'_>) -> Result<AnyValue> {
    let value = if o.get("stringValue").is_some() {
        Some(Any::StringValue(o.string("stringValue")?))
    } else if o.get("intValue").is_some() {
        Some(Any::IntValue(o.signed("intValue")?))
    } else if o.get("boolValue").is_some() {
        Some(Any::BoolValue(o.boolean("boolValue")?))
    } else if let Some(d) = o.double("doubleValue")? {
        Some(Any::DoubleValue(d))
    } else if let Some(array) = o.message("arrayValue", |a| Ok(ArrayValue { values: a.list("values", any_value)? }))? {
        Some(Any::ArrayValue(array))
    } else if let Some(map) = o.message("kvlistValue", |m| Ok(KeyValueList { values: m.attributes("values")? }))? {
        Some(Any::KvlistValue(map))
    } else if o.get("bytesValue").is_some() {
        let text = o.string("bytesValue")?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(&text).map_err(|_| bad("bytesValue", "base64"))?;
        Some(Any::BytesValue(bytes))
    } else {
        None
    };
    Ok(AnyValue { value })
}

/// A resource.
pub(super) fn resource(o: Object<'_>) -> Result<Resource> {
    Ok(Resource {
        attributes: o.attributes("attributes")?,
        dropped_attributes_count: o.unsigned32("droppedAttributesCount")?,
        ..Resource::default()
    })
}

/// An instrumentation scope.
pub(super) fn scope(o: Object<'_>) -> Result<InstrumentationScope> {
    Ok(InstrumentationScope {
        name: o.string("name")?,
        version: o.string("version")?,
        attributes: o.attributes("attributes")?,
        dropped_attributes_count: o.unsigned32("droppedAttributesCount")?,
    })
}
