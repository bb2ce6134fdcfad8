//! proto3 JSON of OTLP messages as Tempo writes it: defaults left out, base64 ids, enums by name, 64-bit numbers as strings.
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use crate::json::{push_json_list, push_json_str};

/// Writes one object; fields that are at their default are left out.
pub(super) struct Message<'o> {
    out: &'o mut String,
    any: bool,
}

impl<'o> Message<'o> {
    /// Opens an object.
    pub(super) fn open(out: &'o mut String) -> Self {
        out.push('{');
        Self { out, any: false }
    }

    /// Closes it.
    pub(super) fn close(self) {
        self.out.push('}');
    }

    /// Writes a field's name and gives the place for its value.
    pub(super) fn field(&mut self, name: &str) -> &mut String {
        if self.any {
            self.out.push(',');
        }
        self.any = true;
        push_json_str(self.out, name);
        self.out.push(':');
        self.out
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            push_json_str(self.field(name), text);
        }
    }

    pub(super) fn bytes(&mut self, name: &str, bytes: &[u8]) {
        self.text(name, &STANDARD.encode(bytes));
    }

    /// A 64-bit number: a string.
    pub(super) fn long(&mut self, name: &str, n: u64) {
        if n != 0 {
            let written = write!(self.field(name), "\"{n}\"");
            debug_assert!(written.is_ok(), "writing to a string cannot fail");
        }
    }

    /// A 32-bit number.
    pub(super) fn int(&mut self, name: &str, n: u64) {
        if n != 0 {
            let written = write!(self.field(name), "{n}");
            debug_assert!(written.is_ok(), "writing to a string cannot fail");
        }
    }

    pub(super) fn list<T>(&mut self, name: &str, items: &[T], push: impl Fn(&mut String, &T)) {
        if !items.is_empty() {
            push_json_list(self.field(name), items, push);
        }
    }
}

/// A KeyValue.
pub(super) fn push_pair(out: &mut String, pair: &KeyValue) {
    let mut m = Message::open(out);
    m.text("key", &pair.key);
    if let Some(value) = &pair.value {
        push_any(m.field("value"), value);
    }
    m.close();
}

fn push_any(out: &mut String, value: &AnyValue) {
    let mut m = Message::open(out);
    match &value.value {
        Some(Any::StringValue(s)) => push_json_str(m.field("stringValue"), s),
        Some(Any::BoolValue(b)) => m.field("boolValue").push_str(if *b { "true" } else { "false" }),
        Some(Any::IntValue(i)) => push_json_str(m.field("intValue"), &i.to_string()),
        Some(Any::DoubleValue(d)) => push_double(m.field("doubleValue"), *d),
        Some(Any::BytesValue(b)) => push_json_str(m.field("bytesValue"), &STANDARD.encode(b)),
        Some(Any::ArrayValue(a)) => {
            let mut inner = Message::open(m.field("arrayValue"));
            inner.list("values", &a.values, push_any);
            inner.close();
        }
        Some(Any::KvlistValue(l)) => {
            let mut inner = Message::open(m.field("kvlistValue"));
            inner.list("values", &l.values, push_pair);
            inner.close();
        }
        Some(Any::StringValueStrindex(_)) | None => {}
    }
    m.close();
}

fn push_double(out: &mut String, v: f64) {
    match v {
        v if v.is_nan() => out.push_str("\"NaN\""),
        v if v == f64::INFINITY => out.push_str("\"Infinity\""),
        v if v == f64::NEG_INFINITY => out.push_str("\"-Infinity\""),
        v => crate::number::push_float(out, v),
    }
}

/// A list of ResourceSpans under its name, left out when empty.
pub(super) fn push_resource_spans(m: &mut Message<'_>, name: &str, groups: &[ResourceSpans]) {
    m.list(name, groups, |out, group| {
        let mut m = Message::open(out);
        push_resource(m.field("resource"), group.resource.as_ref());
        m.list("scopeSpans", &group.scope_spans, push_scope_spans);
        m.text("schemaUrl", &group.schema_url);
        m.close();
    });
}

fn push_resource(out: &mut String, resource: Option<&Resource>) {
    let mut m = Message::open(out);
    if let Some(r) = resource {
        m.list("attributes", &r.attributes, push_pair);
        m.int("droppedAttributesCount", u64::from(r.dropped_attributes_count));
    }
    m.close();
}

fn push_scope_spans(out: &mut String, group: &ScopeSpans) {
    let mut m = Message::open(out);
    push_scope(m.field("scope"), group.scope.as_ref());
    m.list("spans", &group.spans, push_span);
    m.text("schemaUrl", &group.schema_url);
    m.close();
}

fn push_scope(out: &mut String, scope: Option<&InstrumentationScope>) {
    let mut m = Message::open(out);
    if let Some(s) = scope {
        m.text("name", &s.name);
        m.text("version", &s.version);
        m.list("attributes", &s.attributes, push_pair);
        m.int("droppedAttributesCount", u64::from(s.dropped_attributes_count));
    }
    m.close();
}

fn push_span(out: &mut String, span: &Span) {
    let mut m = Message::open(out);
    m.bytes("traceId", &span.trace_id);
    m.bytes("spanId", &span.span_id);
    m.text("traceState", &span.trace_state);
    m.bytes("parentSpanId", &span.parent_span_id);
    m.int("flags", u64::from(span.flags));
    m.text("name", &span.name);
    if span.kind != 0 {
        push_enum(m.field("kind"), SpanKind::try_from(span.kind).ok().map(|k| k.as_str_name()), span.kind);
    }
    m.long("startTimeUnixNano", span.start_time_unix_nano);
    m.long("endTimeUnixNano", span.end_time_unix_nano);
    m.list("attributes", &span.attributes, push_pair);
    m.int("droppedAttributesCount", u64::from(span.dropped_attributes_count));
    m.list("events", &span.events, push_event);
    m.int("droppedEventsCount", u64::from(span.dropped_events_count));
    m.list("links", &span.links, push_link);
    m.int("droppedLinksCount", u64::from(span.dropped_links_count));
    push_status(m.field("status"), span.status.as_ref());
    m.close();
}

fn push_enum(out: &mut String, name: Option<&str>, number: i32) {
    match name {
        Some(name) => push_json_str(out, name),
        None => out.push_str(&number.to_string()),
    }
}

fn push_event(out: &mut String, event: &Event) {
    let mut m = Message::open(out);
    m.long("timeUnixNano", event.time_unix_nano);
    m.text("name", &event.name);
    m.list("attributes", &event.attributes, push_pair);
    m.int("droppedAttributesCount", u64::from(event.dropped_attributes_count));
    m.close();
}

fn push_link(out: &mut String, link: &Link) {
    let mut m = Message::open(out);
    m.bytes("traceId", &link.trace_id);
    m.bytes("spanId", &link.span_id);
    m.text("traceState", &link.trace_state);
    m.list("attributes", &link.attributes, push_pair);
    m.int("droppedAttributesCount", u64::from(link.dropped_attributes_count));
    m.int("flags", u64::from(link.flags));
    m.close();
}

fn push_status(out: &mut String, status: Option<&Status>) {
    let mut m = Message::open(out);
    if let Some(s) = status {
        m.text("message", &s.message);
        if s.code != 0 {
            push_enum(m.field("code"), StatusCode::try_from(s.code).ok().map(|c| c.as_str_name()), s.code);
        }
    }
    m.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_span() {
        let mut out = String::new();
        push_span(
            &mut out,
            &Span {
                trace_id: vec![0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
                span_id: vec![1, 2, 3, 4, 5, 6, 7, 8],
                flags: 256,
                name: "x".into(),
                kind: 2,
                start_time_unix_nano: 1_700_000_000_000_000_000,
                events: vec![Event { time_unix_nano: 5, name: "e".into(), ..Event::default() }],
                status: Some(Status { message: "m".into(), code: 2 }),
                ..Span::default()
            },
        );
        assert_eq!(
            out,
            r#"{"traceId":"AAAAAAAAAAABAgMEBQYHCA==","spanId":"AQIDBAUGBwg=","flags":256,"name":"x","kind":"SPAN_KIND_SERVER","startTimeUnixNano":"1700000000000000000","events":[{"timeUnixNano":"5","name":"e"}],"status":{"message":"m","code":"STATUS_CODE_ERROR"}}"#
        );
        let mut out = String::new();
        push_span(&mut out, &Span::default());
        assert_eq!(out, r#"{"status":{}}"#);
        let mut out = String::new();
        push_pair(
            &mut out,
            &KeyValue {
                key: "k".into(),
                value: Some(AnyValue { value: Some(Any::IntValue(0)) }),
                ..KeyValue::default()
            },
        );
        assert_eq!(out, r#"{"key":"k","value":{"intValue":"0"}}"#);
    }
}
