//! Attribute values between OTLP and the model, and their text form.
use base64::Engine;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use trine_store::model::Value;
use trine_store::model::value::VALUE_DEPTH_MAX;

use crate::json::push_json_str;
use crate::number::push_float;

/// Cuts `text` at `bytes_max`, at a character's border.
pub(super) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let mut end = bytes_max;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

/// The model's value; strings are cut at `bytes_max`, and what nests deeper than the model keeps becomes its JSON text.
pub(super) fn to_model(value: Option<AnyValue>, bytes_max: usize) -> Value {
    convert(value, bytes_max, 0)
}

fn convert(value: Option<AnyValue>, bytes_max: usize, depth: usize) -> Value {
    let Some(value) = value.and_then(|v| v.value) else { return Value::Empty };
    match value {
        Any::StringValue(s) => Value::Str(cut(s, bytes_max)),
        Any::BoolValue(b) => Value::Bool(b),
        Any::IntValue(i) => Value::Int(i),
        Any::DoubleValue(d) => Value::Double(d),
        Any::BytesValue(mut b) => {
            b.truncate(bytes_max);
            Value::Bytes(b)
        }
        Any::ArrayValue(_) | Any::KvlistValue(_) if depth + 1 >= VALUE_DEPTH_MAX => {
            Value::Str(cut(text_of(&AnyValue { value: Some(value) }), bytes_max))
        }
        Any::ArrayValue(a) => {
            Value::Array(a.values.into_iter().map(|v| convert(Some(v), bytes_max, depth + 1)).collect())
        }
        Any::KvlistValue(m) => {
            let pair = |kv: KeyValue| (cut(kv.key, bytes_max), convert(kv.value, bytes_max, depth + 1));
            Value::Map(m.values.into_iter().map(pair).collect())
        }
        Any::StringValueStrindex(_) => Value::Empty,
    }
}

/// The value as a string: strings as they are, arrays and maps as JSON.
pub(super) fn text_of(value: &AnyValue) -> String {
    match &value.value {
        Some(Any::StringValue(s)) => s.clone(),
        Some(Any::BytesValue(b)) => base64::engine::general_purpose::STANDARD.encode(b),
        _ => {
            let mut out = String::new();
            push_json(&mut out, value);
            out
        }
    }
}

fn push_json(out: &mut String, value: &AnyValue) {
    match &value.value {
        None | Some(Any::StringValueStrindex(_)) => out.push_str(if out.is_empty() { "" } else { "null" }),
        Some(Any::StringValue(s)) => push_json_str(out, s),
        Some(Any::BoolValue(b)) => out.push_str(if *b { "true" } else { "false" }),
        Some(Any::IntValue(i)) => out.push_str(&i.to_string()),
        Some(Any::DoubleValue(d)) => push_float(out, *d),
        Some(Any::BytesValue(b)) => push_json_str(out, &base64::engine::general_purpose::STANDARD.encode(b)),
        Some(Any::ArrayValue(a)) => crate::json::push_json_list(out, &a.values, push_json),
        Some(Any::KvlistValue(m)) => {
            out.push('{');
            for (i, kv) in m.values.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                push_json_str(out, &kv.key);
                out.push(':');
                match &kv.value {
                    Some(v) => push_json(out, v),
                    None => out.push_str("null"),
                }
            }
            out.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::ArrayValue;

    use super::*;

    #[test]
    fn deep_values_become_text_and_long_ones_are_cut() {
        let mut value = AnyValue { value: Some(Any::IntValue(1)) };
        for _ in 0..40 {
            value = AnyValue { value: Some(Any::ArrayValue(ArrayValue { values: vec![value] })) };
        }
        let model = to_model(Some(value), 100);
        let mut bytes = Vec::new();
        model.encode(&mut bytes);
        let mut reader = trine_store::codec::Reader::new(&bytes);
        assert_eq!(Value::decode(&mut reader, model.value_type()).unwrap(), model);
        assert_eq!(cut("aé".to_owned(), 2), "a");
    }
}
