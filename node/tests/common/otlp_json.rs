//! Decoded protobuf spans as OTLP/JSON, to compare them with what was sent.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use serde_json::{Value, json};

/// `resourceSpans` with hex ids and numbers for enums.
pub(crate) fn json_of(batches: &[ResourceSpans]) -> Value {
    let scoped = |batch: &ResourceSpans| -> Value {
        let scoped = batch.scope_spans.iter().map(|s| {
            let spans: Vec<Value> = s.spans.iter().map(span).collect();
            json!({"scope": s.scope.as_ref().map(scope), "spans": spans, "schemaUrl": s.schema_url})
        });
        scoped.collect()
    };
    let batches = batches.iter().map(
        |b| json!({"resource": b.resource.as_ref().map(resource), "scopeSpans": scoped(b), "schemaUrl": b.schema_url}),
    );
    batches.collect()
}

fn resource(of: &Resource) -> Value {
    json!({"attributes": attributes(&of.attributes), "droppedAttributesCount": of.dropped_attributes_count})
}

fn scope(of: &InstrumentationScope) -> Value {
    json!({"name": of.name, "version": of.version, "attributes": attributes(&of.attributes),
        "droppedAttributesCount": of.dropped_attributes_count})
}

fn span(of: &Span) -> Value {
    let events = of.events.iter().map(|e| {
        json!({"timeUnixNano": e.time_unix_nano.to_string(), "name": e.name, "attributes": attributes(&e.attributes),
            "droppedAttributesCount": e.dropped_attributes_count})
    });
    let links = of.links.iter().map(|l| {
        json!({"traceId": hex(&l.trace_id), "spanId": hex(&l.span_id), "traceState": l.trace_state, "flags": l.flags,
            "attributes": attributes(&l.attributes), "droppedAttributesCount": l.dropped_attributes_count})
    });
    json!({
        "traceId": hex(&of.trace_id),
        "spanId": hex(&of.span_id),
        "parentSpanId": hex(&of.parent_span_id),
        "traceState": of.trace_state,
        "flags": of.flags,
        "name": of.name,
        "kind": of.kind,
        "startTimeUnixNano": of.start_time_unix_nano.to_string(),
        "endTimeUnixNano": of.end_time_unix_nano.to_string(),
        "attributes": attributes(&of.attributes),
        "droppedAttributesCount": of.dropped_attributes_count,
        "events": events.collect::<Vec<_>>(),
        "droppedEventsCount": of.dropped_events_count,
        "links": links.collect::<Vec<_>>(),
        "droppedLinksCount": of.dropped_links_count,
        "status": of.status.as_ref().map(|s| json!({"code": s.code, "message": s.message})),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn attributes(of: &[KeyValue]) -> Value {
    of.iter().map(|pair| json!({"key": pair.key, "value": pair.value.as_ref().map(any_value)})).collect()
}

fn any_value(of: &AnyValue) -> Value {
    match &of.value {
        None => json!({}),
        Some(Any::StringValue(s)) => json!({"stringValue": s}),
        Some(Any::BoolValue(b)) => json!({"boolValue": b}),
        Some(Any::IntValue(i)) => json!({"intValue": i.to_string()}),
        Some(Any::DoubleValue(d)) => json!({"doubleValue": double(*d)}),
        Some(Any::BytesValue(b)) => json!({"bytesValue": STANDARD.encode(b)}),
        Some(Any::ArrayValue(a)) => {
            json!({"arrayValue": {"values": a.values.iter().map(any_value).collect::<Vec<_>>()}})
        }
        Some(Any::KvlistValue(m)) => json!({"kvlistValue": {"values": attributes(&m.values)}}),
        Some(other) => panic!("a value of a type that spans do not have: {other:?}"),
    }
}

fn double(value: f64) -> Value {
    match value {
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        v if v.is_nan() => json!("NaN"),
        v => json!(v),
    }
}
