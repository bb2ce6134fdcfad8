//! Spans of an OTLP request into parts: each to its trace's shard, the stream being resource and scope.
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::{Event as OtlpEvent, Link as OtlpLink};
use trine_store::model::events::{Event, Link, encode_events, encode_links};
use trine_store::model::signal::key_hash;
use trine_store::model::{Attr, Attrs, AttrsBuilder, Scope, Signal, Value, intrinsic, slot_of_trace};

use super::value::{cut, to_model};
use crate::backend::ShardPart;
use crate::budget::Held;
use crate::error::ApiError;
use crate::parts::{RowsSplit, ShardOf, StreamKey};

/// Largest resource and scope of a span, encoded: a definition must fit into a log entry.
const STREAM_BYTES_MAX: usize = 64 << 10;

/// Largest span, encoded: it must fit into one log entry, beside its stream.
const SPAN_BYTES_MAX: usize = 768 << 10;

/// Turns a request into parts. `Err` when any id is wrong: the whole batch is refused, as the contract has it.
pub(crate) fn decode(
    tenant: &str,
    request: ExportTraceServiceRequest,
    bytes_max: usize,
    shard_of: ShardOf<'_>,
    held: &mut Held,
) -> Result<Vec<ShardPart>, ApiError> {
    let mut split = RowsSplit::new(Signal::Traces, tenant, shard_of, 0, held);
    let mut number = 0;
    for resource_spans in request.resource_spans {
        let mut head = AttrsBuilder::default();
        push_resource(&mut head, resource_spans.resource.unwrap_or_default(), &resource_spans.schema_url, bytes_max);
        let head = head.build().to_vec();
        for scope_spans in resource_spans.scope_spans {
            let mut key = AttrsBuilder::default();
            for attr in &head {
                key.push(attr.scope, &attr.key, &attr.value);
            }
            push_scope(&mut key, scope_spans.scope.unwrap_or_default(), &scope_spans.schema_url, bytes_max);
            let key: Attrs = key.build();
            if key.as_bytes().len() > STREAM_BYTES_MAX {
                return Err(ApiError::BadRequest(format!(
                    "resource and scope attributes take {} bytes, limit {STREAM_BYTES_MAX}",
                    key.as_bytes().len()
                )));
            }
            let stream = StreamKey { number, key: key.as_bytes(), hash: key_hash(tenant, key.as_bytes()) };
            number += 1;
            for span in scope_spans.spans {
                add_span(tenant, span, stream, bytes_max, &mut split)?;
            }
        }
    }
    split.finish()
}

fn push_count(key: &mut AttrsBuilder, name: &str, count: u32) {
    if count != 0 {
        key.push(Scope::Intrinsic, name, &Value::Int(i64::from(count)));
    }
}

fn push_text(key: &mut AttrsBuilder, name: &str, text: &str) {
    if !text.is_empty() {
        key.push_str(Scope::Intrinsic, name, text);
    }
}

fn push_resource(key: &mut AttrsBuilder, resource: Resource, schema_url: &str, bytes_max: usize) {
    for kv in resource.attributes {
        key.push(Scope::Resource, &cut(kv.key, bytes_max), &to_model(kv.value, bytes_max));
    }
    push_count(key, intrinsic::RESOURCE_DROPPED_ATTRIBUTES_COUNT, resource.dropped_attributes_count);
    push_text(key, intrinsic::RESOURCE_SCHEMA_URL, schema_url);
}

fn push_scope(key: &mut AttrsBuilder, scope: InstrumentationScope, schema_url: &str, bytes_max: usize) {
    push_text(key, intrinsic::SCOPE_NAME, &cut(scope.name, bytes_max));
    push_text(key, intrinsic::SCOPE_VERSION, &cut(scope.version, bytes_max));
    for kv in scope.attributes {
        key.push(Scope::Instrumentation, &cut(kv.key, bytes_max), &to_model(kv.value, bytes_max));
    }
    push_count(key, intrinsic::SCOPE_DROPPED_ATTRIBUTES_COUNT, scope.dropped_attributes_count);
    push_text(key, intrinsic::SCOPE_SCHEMA_URL, schema_url);
}

fn check_ids(span: &Span) -> Result<[u8; 16], ApiError> {
    let trace_id: [u8; 16] = span.trace_id.as_slice().try_into().map_err(|_| {
        ApiError::BadRequest(format!("trace ids must be 128 bit, received {} bits", span.trace_id.len() * 8))
    })?;
    if span.span_id.len() != 8 || span.span_id.iter().all(|b| *b == 0) {
        return Err(ApiError::BadRequest(format!(
            "span ids must be 64 bit and not all zero, received {} bits",
            span.span_id.len() * 8
        )));
    }
    Ok(trace_id)
}

fn add_span(
    tenant: &str,
    span: Span,
    stream: StreamKey<'_>,
    bytes_max: usize,
    split: &mut RowsSplit<'_>,
) -> Result<(), ApiError> {
    let trace_id = check_ids(&span)?;
    let start_ns = span.start_time_unix_nano as i64;
    let duration_ns = span.end_time_unix_nano.wrapping_sub(span.start_time_unix_nano) as i64;
    let mut own: Vec<(&str, Value)> =
        vec![(intrinsic::TRACE_ID, Value::Bytes(span.trace_id)), (intrinsic::SPAN_ID, Value::Bytes(span.span_id))];
    if span.parent_span_id.iter().any(|b| *b != 0) {
        own.push((intrinsic::PARENT_SPAN_ID, Value::Bytes(span.parent_span_id)));
    }
    let status = span.status.unwrap_or_default();
    let texts = [
        (intrinsic::NAME, span.name),
        (intrinsic::TRACE_STATE, span.trace_state),
        (intrinsic::STATUS_MESSAGE, status.message),
    ];
    own.extend(texts.into_iter().filter(|(_, t)| !t.is_empty()).map(|(n, t)| (n, Value::Str(cut(t, bytes_max)))));
    let numbers = [
        (intrinsic::KIND, i64::from(span.kind)),
        (intrinsic::DURATION_NS, duration_ns),
        (intrinsic::STATUS_CODE, i64::from(status.code)),
        (intrinsic::FLAGS, i64::from(span.flags)),
        (intrinsic::DROPPED_ATTRIBUTES_COUNT, i64::from(span.dropped_attributes_count)),
        (intrinsic::DROPPED_EVENTS_COUNT, i64::from(span.dropped_events_count)),
        (intrinsic::DROPPED_LINKS_COUNT, i64::from(span.dropped_links_count)),
    ];
    own.extend(numbers.into_iter().filter(|(_, n)| *n != 0).map(|(name, n)| (name, Value::Int(n))));
    if !span.events.is_empty() {
        let events: Vec<Event> = span.events.into_iter().map(|e| event(e, bytes_max)).collect();
        own.push((intrinsic::EVENTS, Value::Bytes(encode_events(&events))));
    }
    if !span.links.is_empty() {
        let links: Vec<Link> = span.links.into_iter().map(|l| link(l, bytes_max)).collect();
        own.push((intrinsic::LINKS, Value::Bytes(encode_links(&links))));
    }
    let attrs = attrs(span.attributes, Scope::Record, bytes_max);
    let columns = own
        .iter()
        .map(|(name, value)| (Scope::Intrinsic, *name, value))
        .chain(attrs.iter().map(|a| (a.scope, a.key.as_str(), &a.value)));
    let took = split.row(slot_of_trace(tenant, &trace_id), stream, start_ns, &[], columns);
    if took > SPAN_BYTES_MAX {
        let ids = own.iter().filter_map(|(_, v)| if let Value::Bytes(b) = v { Some(hex::encode(b)) } else { None });
        let [trace, span] = [0, 1].map(|n| ids.clone().nth(n).unwrap_or_default());
        let text = format!("span {span} of trace {trace} takes {took} bytes, limit {SPAN_BYTES_MAX}");
        return Err(ApiError::BadRequest(text));
    }
    Ok(())
}

fn attrs(pairs: Vec<KeyValue>, scope: Scope, bytes_max: usize) -> Vec<Attr> {
    let attr = |kv: KeyValue| Attr { scope, key: cut(kv.key, bytes_max), value: to_model(kv.value, bytes_max) };
    pairs.into_iter().map(attr).collect()
}

fn event(e: OtlpEvent, bytes_max: usize) -> Event {
    Event {
        time_ns: e.time_unix_nano as i64,
        name: cut(e.name, bytes_max),
        dropped_attributes_count: e.dropped_attributes_count,
        attrs: attrs(e.attributes, Scope::Event, bytes_max),
    }
}

fn link(l: OtlpLink, bytes_max: usize) -> Link {
    Link {
        trace_id: l.trace_id,
        span_id: l.span_id,
        trace_state: cut(l.trace_state, bytes_max),
        flags: l.flags,
        dropped_attributes_count: l.dropped_attributes_count,
        attrs: attrs(l.attributes, Scope::Link, bytes_max),
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
    use trine_store::model::Slot;
    use trine_store::part::{PartRef, RowsBody};

    use super::*;
    use crate::otlp::json_trace;

    fn run(json: &str) -> Result<Vec<ShardPart>, ApiError> {
        decode(
            "t",
            json_trace::decode(json.as_bytes())?,
            2048,
            &|s: Slot| u32::from(s.0) % 4,
            &mut crate::budget::Budget::new(64 << 20).take(0).unwrap(),
        )
    }

    fn spans(span: &str) -> String {
        format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"a"}}}}]}},"scope_spans":[{{"scope":{{"name":"s","version":"1"}},"spans":[{span}]}}]}}],"unknown":[1]}}"#
        )
    }

    #[test]
    fn a_span_with_everything_comes_through() {
        let span = r#"{"traceId":"5bc8fbbcbde5c0994164d8399f767c45","spanId":"a62332553fc1ea36","parent_span_id":"f17fd374c6a53877",
            "name":"price","kind":"SPAN_KIND_SERVER","startTimeUnixNano":"10","endTimeUnixNano":15,"status":{"code":2,"message":"m"},
            "attributes":[{"key":"n","value":{"intValue":"3"}},{"key":"l","value":{"arrayValue":{"values":[{"boolValue":true}]}}}],
            "events":[{"timeUnixNano":"12","name":"e"}],"links":[{"traceId":"5bc8fbbcbde5c0994164d8399f767c45","spanId":"a62332553fc1ea36"}],"flags":256}"#;
        let parts = run(&spans(span)).unwrap();
        assert_eq!(parts.len(), 1);
        let part = PartRef::decode(&parts[0].part).unwrap();
        let key = Attrs::decode(part.defs[0].key).unwrap();
        assert_eq!(key.get(Scope::Resource, "service.name"), Some(Value::Str("a".into())));
        assert_eq!(key.get(Scope::Intrinsic, intrinsic::SCOPE_VERSION), Some(Value::Str("1".into())));
        let mut body = RowsBody::new(part.body, 1).unwrap();
        let row = body.next_row().unwrap().unwrap();
        let attrs = row.attrs(&body.shapes[0]).unwrap();
        let get = |key: &str| attrs.iter().find(|a| a.key == key).map(|a| a.value.clone());
        assert_eq!(row.time_ns, 10);
        assert_eq!(get(intrinsic::DURATION_NS), Some(Value::Int(5)));
        assert_eq!(get(intrinsic::KIND), Some(Value::Int(2)));
        assert_eq!(get("n"), Some(Value::Int(3)));
        assert_eq!(get("l"), Some(Value::Array(vec![Value::Bool(true)])));
        assert!(get(intrinsic::EVENTS).is_some() && get(intrinsic::LINKS).is_some());
    }

    #[test]
    fn wrong_ids_refuse_the_batch() {
        for (span, text) in [
            (r#"{"spanId":"a62332553fc1ea36"}"#, "trace ids must be 128 bit, received 0 bits"),
            (
                r#"{"traceId":"5bc8fbbcbde5c0994164d8399f767c45","spanId":"0000000000000000"}"#,
                "span ids must be 64 bit and not all zero, received 64 bits",
            ),
            (
                r#"{"traceId":"W8j7vL3lwJlBZNg5n3Z8RQ==","spanId":"a62332553fc1ea36"}"#,
                "invalid JSON: field \"traceId\" is not a hex id",
            ),
            (
                r#"{"traceId":"5bc8","spanId":"a62332553fc1ea36"}"#,
                "invalid JSON: field \"traceId\" is not a hex id of 32 digits",
            ),
        ] {
            assert_eq!(run(&spans(span)).unwrap_err().to_string(), text, "{span}");
        }
        assert!(run("{}").unwrap().is_empty());
        assert!(run("[]").is_err());
    }

    #[test]
    fn recorded_requests_come_through() {
        let shared = std::env::var("TRINE_SHARED").unwrap_or_else(|_| "../../shared".to_owned());
        let Ok(text) = std::fs::read_to_string(format!("{shared}/data/otlp/shop.jsonl")) else { return };
        let mut count = 0;
        for line in text.lines() {
            for part in run(line).unwrap() {
                let part = PartRef::decode(&part.part).unwrap();
                RowsBody::check(part.body, part.defs.len() as u32).unwrap();
                count += part.facts_count;
            }
        }
        assert_eq!(count, 2937);
    }

    #[test]
    fn a_span_that_no_log_entry_can_hold_refuses_the_batch_by_name() {
        let span = |id: u8, attributes: usize| Span {
            trace_id: vec![id; 16],
            span_id: vec![id; 8],
            attributes: (0..attributes).map(|i| KeyValue { key: format!("k{i:09}"), ..KeyValue::default() }).collect(),
            ..Span::default()
        };
        let scope = ScopeSpans { spans: vec![span(1, 1), span(2, 100_000), span(3, 1)], ..ScopeSpans::default() };
        let resource_spans = vec![ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() }];
        let mut held = crate::budget::Budget::new(64 << 20).take(0).unwrap();
        let request = ExportTraceServiceRequest { resource_spans };
        let error = decode("t", request, 2048, &|_: Slot| 0, &mut held).unwrap_err().to_string();
        let said = format!("span {} of trace {} takes ", "02".repeat(8), "02".repeat(16));
        assert!(error.starts_with(&said) && error.ends_with("limit 786432"), "{error}");
    }
}
