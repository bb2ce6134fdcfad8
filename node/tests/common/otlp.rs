//! Spans in one form, whichever encoding they came in, so that what was sent and what is answered compare as values.
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// Spans of one trace by span id (hex) and kind. Each says everything of itself, its scope and its resource; ids are
/// hex, 64-bit numbers strings, enums numbers, attributes sorted, and defaults are left out.
pub(crate) type Spans = BTreeMap<(String, i64), Value>;

/// How ids are written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ids {
    /// OTLP/JSON.
    Hex,
    /// Protobuf's JSON.
    Base64,
}

/// The spans of `resourceSpans`, by trace id (hex). Panics on a field that it does not know, so that none is skipped.
pub(crate) fn spans_of(resource_spans: &Value, ids: Ids) -> BTreeMap<String, Spans> {
    let mut traces: BTreeMap<String, Spans> = BTreeMap::new();
    for batch in items(resource_spans) {
        let resource = message(&batch["resource"], ids);
        for scoped in items(&batch["scopeSpans"]) {
            let scope = message(&scoped["scope"], ids);
            for span in items(&scoped["spans"]) {
                let mut whole = message(span, ids);
                let text = |key: &str| whole.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                let (trace_id, span_id) = (text("traceId"), text("spanId"));
                let kind = whole.get("kind").and_then(Value::as_i64).unwrap_or(0);
                whole.insert("resource".into(), Value::Object(resource.clone()));
                whole.insert("scope".into(), Value::Object(scope.clone()));
                for (name, of) in [("resourceSchemaUrl", batch), ("scopeSchemaUrl", scoped)] {
                    if let Some(url) = of["schemaUrl"].as_str().filter(|u| !u.is_empty()) {
                        whole.insert(name.into(), url.into());
                    }
                }
                whole.sort_keys();
                let before = traces.entry(trace_id).or_default().insert((span_id.clone(), kind), Value::Object(whole));
                assert!(before.is_none(), "span {span_id} is there twice");
            }
        }
    }
    traces
}

fn items(array: &Value) -> &[Value] {
    array.as_array().map_or(&[], Vec::as_slice)
}

/// A span, event, link, status, scope or resource in the common form.
fn message(from: &Value, ids: Ids) -> Map<String, Value> {
    let empty = Map::new();
    let mut into = Map::new();
    for (key, value) in from.as_object().unwrap_or(&empty) {
        let value = match key.as_str() {
            "traceId" | "spanId" | "parentSpanId" => Value::String(id(value, ids)),
            "startTimeUnixNano" | "endTimeUnixNano" | "timeUnixNano" => Value::String(integer(value)),
            "name" | "version" | "traceState" | "message" => value.clone(),
            "flags" | "droppedAttributesCount" | "droppedEventsCount" | "droppedLinksCount" => value.clone(),
            "kind" => json!(number_of(value, &KINDS)),
            "code" => json!(number_of(value, &CODES)),
            "attributes" => attributes(value),
            "events" | "links" => items(value).iter().map(|m| Value::Object(message(m, ids))).collect(),
            "status" => Value::Object(message(value, ids)),
            other => panic!("a message has the unknown field {other}: {from}"),
        };
        if !is_default(&value) {
            into.insert(key.clone(), value);
        }
    }
    into.sort_keys();
    into
}

const KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
const CODES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

fn number_of(value: &Value, names: &[&str]) -> i64 {
    let named = || names.iter().position(|n| Some(*n) == value.as_str()).and_then(|i| i64::try_from(i).ok());
    value.as_i64().or_else(named).unwrap_or_else(|| panic!("{value} is none of {names:?}"))
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(s) => s.is_empty() || s == "0",
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        Value::Bool(_) => false,
    }
}

fn id(value: &Value, ids: Ids) -> String {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is not an id"));
    match ids {
        Ids::Hex => text.to_ascii_lowercase(),
        Ids::Base64 => {
            let bytes = STANDARD.decode(text).unwrap_or_else(|e| panic!("{text} is not base64: {e}"));
            bytes.iter().map(|b| format!("{b:02x}")).collect()
        }
    }
}

fn integer(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// A list of key and value as an object, sorted by key. Values keep their type.
fn attributes(list: &Value) -> Value {
    let mut sorted = BTreeMap::new();
    for pair in items(list) {
        let key = pair["key"].as_str().unwrap_or_else(|| panic!("{pair} has no key")).to_owned();
        let before = sorted.insert(key, any_value(&pair["value"]));
        assert!(before.is_none(), "{pair} is there twice");
    }
    sorted.into_iter().collect::<Map<_, _>>().into()
}

fn any_value(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|o| o.iter().next()) else { return json!({}) };
    match kind.as_str() {
        "stringValue" | "boolValue" | "bytesValue" => json!({ kind: inner }),
        "intValue" => json!({ kind: integer(inner) }),
        "doubleValue" => json!({ kind: inner.as_f64().map_or_else(|| inner.clone(), |f| json!(f)) }),
        "arrayValue" => json!({ kind: items(&inner["values"]).iter().map(any_value).collect::<Vec<_>>() }),
        "kvlistValue" => json!({ kind: attributes(&inner["values"]) }),
        other => panic!("a value of the unknown type {other}: {value}"),
    }
}
