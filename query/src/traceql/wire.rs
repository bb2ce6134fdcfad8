//! Between the engine's types and the messages of [`super::fragment`].
use std::sync::Arc;

use trine_store::model::attrs::decode_attrs;
use trine_store::model::{Attr, AttrsBuilder, Scope, Value};

use super::fragment::{
    Frame, MetricsMessage, ServiceMessage, SetMessage, SpanHitMessage, SpanMessage, TraceMessage, ValueMessage,
};
use crate::error::{Error, Result};
use crate::traceql::model::{
    SearchMetrics, ServiceStats, SpanHit, SpanRow, SpanSetHit, SpanStream, TagType, TagValue, TraceHit,
};

/// Types by their number on the wire.
pub(crate) const TAG_TYPES: [TagType; 6] =
    [TagType::String, TagType::Int, TagType::Float, TagType::Bool, TagType::Duration, TagType::Keyword];

fn corrupt(reason: impl std::fmt::Display) -> Error {
    Error::Corrupt { what: "TraceQL message", reason: reason.to_string() }
}

fn encode_attrs(attrs: &[Attr]) -> Vec<u8> {
    let mut builder = AttrsBuilder::default();
    for attr in attrs {
        builder.push(attr.scope, &attr.key, &attr.value);
    }
    builder.build().as_bytes().to_vec()
}

fn encode_pairs(pairs: &[(String, Value)]) -> Vec<u8> {
    let mut builder = AttrsBuilder::default();
    for (key, value) in pairs {
        builder.push(Scope::Record, key, value);
    }
    builder.build().as_bytes().to_vec()
}

fn decode_pairs(bytes: &[u8]) -> Result<Vec<(String, Value)>> {
    Ok(decode_attrs(bytes).map_err(corrupt)?.into_iter().map(|a| (a.key, a.value)).collect())
}

/// Adds a span to a frame, its stream once.
pub(crate) fn push_span(frame: &mut Frame, row: &SpanRow) {
    let key = row.stream.key.as_bytes();
    let stream = frame.streams.iter().rposition(|s| s == key).unwrap_or_else(|| {
        frame.streams.push(key.to_vec());
        frame.streams.len() - 1
    });
    frame.spans.push(SpanMessage { stream: stream as u32, time_ns: row.time_ns, attrs: encode_attrs(&row.attrs) });
}

/// The spans of a frame.
pub(crate) fn spans(frame: &Frame) -> Result<Vec<SpanRow>> {
    let streams: Vec<Arc<SpanStream>> =
        frame.streams.iter().map(|key| SpanStream::decode(key).map(Arc::new)).collect::<Result<_>>()?;
    let span = |m: &SpanMessage| {
        let stream = streams.get(m.stream as usize).ok_or_else(|| corrupt("span without stream"))?.clone();
        Ok(SpanRow { stream, time_ns: m.time_ns, attrs: decode_attrs(&m.attrs).map_err(corrupt)? })
    };
    frame.spans.iter().map(span).collect()
}

pub(crate) fn encode_trace(hit: &TraceHit) -> TraceMessage {
    let span = |s: &SpanHit| SpanHitMessage {
        id: s.span_id.clone(),
        name: s.name.clone(),
        start_ns: s.start_ns,
        duration_ns: s.duration_ns,
        attrs: encode_pairs(&s.attrs),
    };
    let set = |s: &SpanSetHit| SetMessage {
        spans: s.spans.iter().map(span).collect(),
        matched: s.matched,
        attrs: encode_pairs(&s.attrs),
    };
    let service = |(name, s): (&String, &ServiceStats)| ServiceMessage {
        name: name.clone(),
        span_count: s.span_count,
        error_count: s.error_count,
    };
    TraceMessage {
        id: hit.trace_id.to_vec(),
        root_service: hit.root_service.clone(),
        root_name: hit.root_name.clone(),
        start_ns: hit.start_ns,
        duration_ms: hit.duration_ms,
        sets: hit.span_sets.iter().map(set).collect(),
        services: hit.service_stats.iter().map(service).collect(),
    }
}

pub(crate) fn decode_trace(message: TraceMessage) -> Result<TraceHit> {
    let span = |m: SpanHitMessage| {
        let attrs = decode_pairs(&m.attrs)?;
        Ok(SpanHit { span_id: m.id, name: m.name, start_ns: m.start_ns, duration_ns: m.duration_ns, attrs })
    };
    let set = |m: SetMessage| {
        let spans = m.spans.into_iter().map(span).collect::<Result<_>>()?;
        Ok(SpanSetHit { spans, matched: m.matched, attrs: decode_pairs(&m.attrs)? })
    };
    let stats = |m: ServiceMessage| (m.name, ServiceStats { span_count: m.span_count, error_count: m.error_count });
    Ok(TraceHit {
        trace_id: message.id.try_into().map_err(|_| corrupt("trace id of another length"))?,
        root_service: message.root_service,
        root_name: message.root_name,
        start_ns: message.start_ns,
        duration_ms: message.duration_ms,
        span_sets: message.sets.into_iter().map(set).collect::<Result<_>>()?,
        service_stats: message.services.into_iter().map(stats).collect(),
    })
}

pub(crate) fn encode_value(value: &TagValue) -> ValueMessage {
    let tag_type = TAG_TYPES.iter().position(|t| *t == value.tag_type).unwrap_or_default();
    ValueMessage { tag_type: tag_type as u32, value: value.value.clone() }
}

pub(crate) fn decode_value(message: ValueMessage) -> Result<TagValue> {
    let tag_type = TAG_TYPES.get(message.tag_type as usize).ok_or_else(|| corrupt("unknown value type"))?;
    Ok(TagValue { tag_type: *tag_type, value: message.value })
}

pub(crate) fn encode_metrics(metrics: SearchMetrics, truncated: bool) -> MetricsMessage {
    MetricsMessage {
        inspected_traces: metrics.inspected_traces,
        inspected_spans: metrics.inspected_spans,
        inspected_bytes: metrics.inspected_bytes,
        truncated,
    }
}

pub(crate) fn decode_metrics(message: MetricsMessage) -> SearchMetrics {
    SearchMetrics {
        inspected_traces: message.inspected_traces,
        inspected_spans: message.inspected_spans,
        inspected_bytes: message.inspected_bytes,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::traceql::fragment::{Request, VERSION};

    fn pairs() -> impl Strategy<Value = Vec<(String, Value)>> {
        let value = prop_oneof![
            any::<String>().prop_map(Value::Str),
            any::<i64>().prop_map(Value::Int),
            any::<f64>().prop_map(Value::Double),
            vec(any::<bool>().prop_map(Value::Bool), 0..3).prop_map(Value::Array),
        ];
        vec((any::<String>(), value), 0..3)
    }

    fn hit() -> impl Strategy<Value = TraceHit> {
        let span = (any::<Vec<u8>>(), any::<String>(), any::<i64>(), any::<u64>(), pairs()).prop_map(
            |(span_id, name, start_ns, duration_ns, attrs)| SpanHit { span_id, name, start_ns, duration_ns, attrs },
        );
        let set = (vec(span, 0..3), any::<u32>(), pairs()).prop_map(|(spans, matched, attrs)| SpanSetHit {
            spans,
            matched,
            attrs,
        });
        let stats = any::<(u32, u32)>().prop_map(|(span_count, error_count)| ServiceStats { span_count, error_count });
        let services = btree_map(any::<String>(), stats, 0..3);
        (any::<[u8; 16]>(), any::<(String, String, i64, u64)>(), vec(set, 0..3), services).prop_map(
            |(trace_id, (root_service, root_name, start_ns, duration_ms), span_sets, service_stats)| TraceHit {
                trace_id,
                root_service,
                root_name,
                start_ns,
                duration_ms,
                span_sets,
                service_stats,
            },
        )
    }

    proptest! {
        #[test]
        fn hits_come_back(hit in hit()) {
            let frame = Frame { version: VERSION, traces: vec![encode_trace(&hit)], ..Frame::default() };
            let back = Frame::read(&frame.encode_to_vec()).unwrap();
            prop_assert_eq!(decode_trace(back.traces[0].clone()).unwrap(), hit);
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _unchecked = Request::read(&bytes);
            if let Ok(frame) = Frame::read(&bytes) {
                let _unchecked = spans(&frame);
            }
        }
    }

    #[test]
    fn another_version_is_refused() {
        let frame = Frame { version: VERSION + 1, ..Frame::default() };
        assert!(matches!(Frame::read(&frame.encode_to_vec()), Err(Error::Corrupt { .. })));
        assert!(matches!(Request::read(&[]), Err(Error::Corrupt { .. })));
    }
}
