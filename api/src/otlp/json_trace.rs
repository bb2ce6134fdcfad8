//! ExportTraceServiceRequest in OTLP/JSON.
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use super::json::{Object, Result, parse, resource, scope};

/// Decodes a body.
pub(crate) fn decode(body: &[u8]) -> Result<ExportTraceServiceRequest> {
    let value = parse(body)?;
    let resource_spans = Object::of(&value, "")?.list("resourceSpans", |o| {
        Ok(ResourceSpans {
            resource: o.message("resource", resource)?,
            scope_spans: o.list("scopeSpans", scope_spans)?,
            schema_url: o.string("schemaUrl")?,
        })
    })?;
    Ok(ExportTraceServiceRequest { resource_spans })
}

fn scope_spans(o: Object<'_>) -> Result<ScopeSpans> {
    Ok(ScopeSpans {
        scope: o.message("scope", scope)?,
        spans: o.list("spans", span)?,
        schema_url: o.string("schemaUrl")?,
    })
}

fn span(o: Object<'_>) -> Result<Span> {
    Ok(Span {
        trace_id: o.id("traceId", 16)?,
        span_id: o.id("spanId", 8)?,
        trace_state: o.string("traceState")?,
        parent_span_id: o.id("parentSpanId", 8)?,
        flags: o.unsigned32("flags")?,
        name: o.string("name")?,
        kind: o.enumeration("kind", |n| SpanKind::from_str_name(n).map(|k| k as i32))?,
        start_time_unix_nano: o.unsigned("startTimeUnixNano")?,
        end_time_unix_nano: o.unsigned("endTimeUnixNano")?,
        attributes: o.attributes("attributes")?,
        dropped_attributes_count: o.unsigned32("droppedAttributesCount")?,
        events: o.list("events", event)?,
        dropped_events_count: o.unsigned32("droppedEventsCount")?,
        links: o.list("links", link)?,
        dropped_links_count: o.unsigned32("droppedLinksCount")?,
        status: o.message("status", status)?,
    })
}

fn event(o: Object<'_>) -> Result<Event> {
    Ok(Event {
        time_unix_nano: o.unsigned("timeUnixNano")?,
        name: o.string("name")?,
        attributes: o.attributes("attributes")?,
        dropped_attributes_count: o.unsigned32("droppedAttributesCount")?,
    })
}

fn link(o: Object<'_>) -> Result<Link> {
    Ok(Link {
        trace_id: o.id("traceId", 16)?,
        span_id: o.id("spanId", 8)?,
        trace_state: o.string("traceState")?,
        attributes: o.attributes("attributes")?,
        dropped_attributes_count: o.unsigned32("droppedAttributesCount")?,
        flags: o.unsigned32("flags")?,
    })
}

fn status(o: Object<'_>) -> Result<Status> {
    Ok(Status {
        message: o.string("message")?,
        code: o.enumeration("code", |n| StatusCode::from_str_name(n).map(|c| c as i32))?,
    })
}
