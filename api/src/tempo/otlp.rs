//! Spans as they are stored, back in OTLP's shape.
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use trine_query::traceql::{SpanRow, SpanStream};
use trine_store::model::events::{decode_events, decode_links};
use trine_store::model::{Attr, Scope, Value, intrinsic};

use crate::error::ApiError;

/// A value in OTLP's form.
pub(super) fn any_of(value: &Value) -> AnyValue {
    let value = match value {
        Value::Str(s) => Any::StringValue(s.clone()),
        Value::Bool(b) => Any::BoolValue(*b),
        Value::Int(i) => Any::IntValue(*i),
        Value::Double(d) => Any::DoubleValue(*d),
        Value::Bytes(b) => Any::BytesValue(b.clone()),
        Value::Array(items) => Any::ArrayValue(ArrayValue { values: items.iter().map(any_of).collect() }),
        Value::Map(pairs) => {
            Any::KvlistValue(KeyValueList { values: pairs.iter().map(|(k, v)| pair_of(k, v)).collect() })
        }
        Value::Empty => return AnyValue { value: None },
    };
    AnyValue { value: Some(value) }
}

/// A key and its value.
pub(super) fn pair_of(key: &str, value: &Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any_of(value)), ..KeyValue::default() }
}

fn pairs(attrs: &[Attr], scope: Scope) -> Vec<KeyValue> {
    attrs.iter().filter(|a| a.scope == scope).map(|a| pair_of(&a.key, &a.value)).collect()
}

fn text(value: Option<&Value>) -> String {
    if let Some(Value::Str(s)) = value { s.clone() } else { String::new() }
}

fn number(value: Option<&Value>) -> i64 {
    if let Some(Value::Int(i)) = value { *i } else { 0 }
}

fn count(value: Option<&Value>) -> u32 {
    u32::try_from(number(value)).unwrap_or(0)
}

/// Spans grouped by resource and scope, each group where its first span is. Resource, scope and status are always present,
/// since readers dereference them.
pub(super) fn resource_spans(spans: &[SpanRow]) -> Result<Vec<ResourceSpans>, ApiError> {
    let mut out: Vec<(Vec<&Attr>, ResourceSpans, Vec<&SpanStream>)> = Vec::new();
    for span in spans {
        let resource: Vec<&Attr> = span.stream.attrs.iter().filter(|a| is_resource(a)).collect();
        let at = match out.iter().position(|(r, ..)| *r == resource) {
            Some(at) => at,
            None => {
                let group = new_resource(&span.stream);
                out.push((resource, group, Vec::new()));
                out.len() - 1
            }
        };
        let (_, group, streams) = &mut out[at];
        let scope = match streams.iter().position(|s| s.key == span.stream.key) {
            Some(scope) => scope,
            None => {
                streams.push(&span.stream);
                group.scope_spans.push(new_scope(&span.stream));
                streams.len() - 1
            }
        };
        group.scope_spans[scope].spans.push(span_of(span)?);
    }
    Ok(out.into_iter().map(|(_, group, _)| group).collect())
}

fn is_resource(attr: &Attr) -> bool {
    const INTRINSICS: [&str; 2] = [intrinsic::RESOURCE_SCHEMA_URL, intrinsic::RESOURCE_DROPPED_ATTRIBUTES_COUNT];
    attr.scope == Scope::Resource || (attr.scope == Scope::Intrinsic && INTRINSICS.contains(&attr.key.as_str()))
}

fn new_resource(stream: &SpanStream) -> ResourceSpans {
    let own = |key| stream.get(Scope::Intrinsic, key);
    ResourceSpans {
        resource: Some(Resource {
            attributes: pairs(&stream.attrs, Scope::Resource),
            dropped_attributes_count: count(own(intrinsic::RESOURCE_DROPPED_ATTRIBUTES_COUNT)),
            ..Resource::default()
        }),
        scope_spans: Vec::new(),
        schema_url: text(own(intrinsic::RESOURCE_SCHEMA_URL)),
    }
}

fn new_scope(stream: &SpanStream) -> ScopeSpans {
    let own = |key| stream.get(Scope::Intrinsic, key);
    ScopeSpans {
        scope: Some(InstrumentationScope {
            name: text(own(intrinsic::SCOPE_NAME)),
            version: text(own(intrinsic::SCOPE_VERSION)),
            attributes: pairs(&stream.attrs, Scope::Instrumentation),
            dropped_attributes_count: count(own(intrinsic::SCOPE_DROPPED_ATTRIBUTES_COUNT)),
        }),
        spans: Vec::new(),
        schema_url: text(own(intrinsic::SCOPE_SCHEMA_URL)),
    }
}

fn span_of(row: &SpanRow) -> Result<Span, ApiError> {
    let own = |key| row.intrinsic(key);
    let start = row.time_ns as u64;
    Ok(Span {
        trace_id: row.trace_id().to_vec(),
        span_id: row.span_id().to_vec(),
        trace_state: text(own(intrinsic::TRACE_STATE)),
        parent_span_id: row.parent_span_id().to_vec(),
        flags: count(own(intrinsic::FLAGS)),
        name: row.name().to_owned(),
        kind: i32::try_from(row.kind()).unwrap_or(0),
        start_time_unix_nano: start,
        end_time_unix_nano: start.wrapping_add(number(own(intrinsic::DURATION_NS)) as u64),
        attributes: pairs(&row.attrs, Scope::Record),
        dropped_attributes_count: count(own(intrinsic::DROPPED_ATTRIBUTES_COUNT)),
        events: events_of(row.id(intrinsic::EVENTS))?,
        dropped_events_count: count(own(intrinsic::DROPPED_EVENTS_COUNT)),
        links: links_of(row.id(intrinsic::LINKS))?,
        dropped_links_count: count(own(intrinsic::DROPPED_LINKS_COUNT)),
        status: Some(Status {
            message: text(own(intrinsic::STATUS_MESSAGE)),
            code: i32::try_from(row.status_code()).unwrap_or(0),
        }),
    })
}

fn corrupt(error: trine_store::codec::Error) -> ApiError {
    ApiError::Internal(format!("corrupt span: {error}"))
}

fn events_of(bytes: &[u8]) -> Result<Vec<Event>, ApiError> {
    let event = |e: trine_store::model::events::Event| Event {
        time_unix_nano: e.time_ns as u64,
        name: e.name,
        attributes: pairs(&e.attrs, Scope::Event),
        dropped_attributes_count: e.dropped_attributes_count,
    };
    Ok(decode_events(bytes).map_err(corrupt)?.into_iter().map(event).collect())
}

fn links_of(bytes: &[u8]) -> Result<Vec<Link>, ApiError> {
    let link = |l: trine_store::model::events::Link| Link {
        attributes: pairs(&l.attrs, Scope::Link),
        trace_id: l.trace_id,
        span_id: l.span_id,
        trace_state: l.trace_state,
        dropped_attributes_count: l.dropped_attributes_count,
        flags: l.flags,
    };
    Ok(decode_links(bytes).map_err(corrupt)?.into_iter().map(link).collect())
}
