//! `/api/search` and the messages of a search answer.
use prost::Message as _;
use trine_query::memory::Charge;
use trine_query::scatter::{Completeness, QueryContext};
use trine_query::traceql::{self, SearchAnswer, SpanHit, SpanSetHit, TraceHit};
use trine_store::model::Value;

use super::accept::{Accept, accept_of};
use super::json::{Message, push_pair};
use super::otlp::pair_of;
use super::{params, pb};
use crate::call::{Call, Outcome};
use crate::error::ApiError;
use crate::reply;

/// `/api/search`.
pub(super) async fn search(call: Call) -> Outcome {
    let request = params::search(&call.params, call.api.config(), call.api.now_ns())?;
    let ctx = call.context(None);
    let answer = traceql::search(&call.scatter(), &ctx, &request).await?;
    let _rendering = rendering(&ctx, answer.held.as_deref())?;
    let response = response_of(&answer);
    let reply = match accept_of(&call.headers) {
        Accept::Protobuf => reply::charged(&ctx.memory, "application/protobuf", response.encode_to_vec())?,
        Accept::Json => reply::charged(&ctx.memory, "application/json", json_of(&response))?,
    };
    Ok(reply::complete(reply, &answer.completeness))
}

/// What an answer's message and its text weigh while they are made, in weights of the answer.
const RENDERING_FACTOR: u64 = 2;

/// A charge for the time in which an answer of that weight is put into its protocol's form.
pub(super) fn rendering(ctx: &QueryContext, answer: Option<&Charge>) -> Result<Charge, ApiError> {
    let bytes = answer.map_or(0, Charge::bytes);
    Ok(ctx.memory.charge(RENDERING_FACTOR * bytes).map_err(trine_query::Error::from)?)
}

/// A search answer as its message. Jobs are shards, so a missing one shows in the progress.
pub(super) fn response_of(answer: &SearchAnswer) -> pb::SearchResponse {
    let m = &answer.metrics;
    let (done, total) = jobs_of(&answer.completeness);
    let metrics = pb::SearchMetrics {
        inspected_traces: u32::try_from(m.inspected_traces).unwrap_or(u32::MAX),
        inspected_bytes: m.inspected_bytes,
        completed_jobs: done,
        total_jobs: total,
        inspected_spans: m.inspected_spans,
        ..pb::SearchMetrics::default()
    };
    pb::SearchResponse { traces: answer.traces.iter().map(trace_of).collect(), metrics: Some(metrics) }
}

/// Shards that answered, and all.
pub(super) fn jobs_of(completeness: &Completeness) -> (u32, u32) {
    (completeness.whole() as u32, completeness.shards.len() as u32)
}

fn trace_of(hit: &TraceHit) -> pb::TraceSearchMetadata {
    let id = hex::encode(hit.trace_id);
    let trimmed = id.trim_start_matches('0');
    let span_sets: Vec<pb::SpanSet> = hit.span_sets.iter().filter(|s| !s.spans.is_empty()).map(span_set_of).collect();
    let stats = |(name, s): (&String, &traceql::ServiceStats)| {
        (name.clone(), pb::ServiceStats { span_count: s.span_count, error_count: s.error_count })
    };
    pb::TraceSearchMetadata {
        trace_id: if trimmed.is_empty() { "0".to_owned() } else { trimmed.to_owned() },
        root_service_name: hit.root_service.clone(),
        root_trace_name: hit.root_name.clone(),
        start_time_unix_nano: hit.start_ns as u64,
        duration_ms: u32::try_from(hit.duration_ms).unwrap_or(u32::MAX),
        span_set: span_sets.first().cloned(),
        span_sets,
        service_stats: hit.service_stats.iter().map(stats).collect(),
    }
}

fn pairs_of(attrs: &[(String, Value)]) -> Vec<opentelemetry_proto::tonic::common::v1::KeyValue> {
    attrs.iter().map(|(key, value)| pair_of(key, value)).collect()
}

fn span_set_of(set: &SpanSetHit) -> pb::SpanSet {
    let span = |s: &SpanHit| pb::Span {
        span_id: hex::encode(&s.span_id),
        name: s.name.clone(),
        start_time_unix_nano: s.start_ns as u64,
        duration_nanos: s.duration_ns,
        attributes: pairs_of(&s.attrs),
    };
    pb::SpanSet { spans: set.spans.iter().map(span).collect(), matched: set.matched, attributes: pairs_of(&set.attrs) }
}

/// The answer as JSON; `traces` is there even when it is empty.
pub(super) fn json_of(response: &pb::SearchResponse) -> String {
    let mut out = String::new();
    let mut m = Message::open(&mut out);
    crate::json::push_json_list(m.field("traces"), &response.traces, push_trace);
    push_metrics(m.field("metrics"), &response.metrics.unwrap_or_default());
    m.close();
    out
}

fn push_metrics(out: &mut String, metrics: &pb::SearchMetrics) {
    let mut m = Message::open(out);
    m.int("inspectedTraces", u64::from(metrics.inspected_traces));
    m.long("inspectedBytes", metrics.inspected_bytes);
    m.int("totalBlocks", u64::from(metrics.total_blocks));
    m.int("completedJobs", u64::from(metrics.completed_jobs));
    m.int("totalJobs", u64::from(metrics.total_jobs));
    m.long("totalBlockBytes", metrics.total_block_bytes);
    m.long("inspectedSpans", metrics.inspected_spans);
    m.close();
}

fn push_trace(out: &mut String, trace: &pb::TraceSearchMetadata) {
    let mut m = Message::open(out);
    m.text("traceID", &trace.trace_id);
    m.text("rootServiceName", &trace.root_service_name);
    m.text("rootTraceName", &trace.root_trace_name);
    m.long("startTimeUnixNano", trace.start_time_unix_nano);
    m.int("durationMs", u64::from(trace.duration_ms));
    if let Some(set) = &trace.span_set {
        push_span_set(m.field("spanSet"), set);
    }
    m.list("spanSets", &trace.span_sets, push_span_set);
    if !trace.service_stats.is_empty() {
        let mut stats = Message::open(m.field("serviceStats"));
        for (service, s) in &trace.service_stats {
            let mut one = Message::open(stats.field(service));
            one.int("spanCount", u64::from(s.span_count));
            one.int("errorCount", u64::from(s.error_count));
            one.close();
        }
        stats.close();
    }
    m.close();
}

fn push_span_set(out: &mut String, set: &pb::SpanSet) {
    let mut m = Message::open(out);
    m.list("spans", &set.spans, |out, span| {
        let mut m = Message::open(out);
        m.text("spanID", &span.span_id);
        m.text("name", &span.name);
        m.long("startTimeUnixNano", span.start_time_unix_nano);
        m.long("durationNanos", span.duration_nanos);
        m.list("attributes", &span.attributes, push_pair);
        m.close();
    });
    m.int("matched", u64::from(set.matched));
    m.list("attributes", &set.attributes, push_pair);
    m.close();
}

#[cfg(test)]
mod tests {
    use trine_query::traceql::SearchMetrics;

    use super::*;

    #[test]
    fn the_contracts_answer() {
        let mut trace_id = [0; 16];
        trace_id[15] = 0x1f;
        let set = SpanSetHit {
            spans: vec![SpanHit {
                span_id: vec![0, 0, 0, 0, 0, 0, 1, 2],
                name: "n".into(),
                start_ns: 4,
                duration_ns: 9,
                attrs: vec![("k".into(), Value::Int(3))],
            }],
            matched: 5,
            attrs: vec![("by(resource.service.name)".into(), Value::Str("a".into()))],
        };
        let hit = TraceHit {
            trace_id,
            root_service: "a".into(),
            root_name: "b".into(),
            start_ns: 12,
            duration_ms: 3,
            span_sets: vec![set],
            service_stats: [("a".to_owned(), traceql::ServiceStats { span_count: 1, error_count: 1 })].into(),
        };
        let metrics = SearchMetrics { inspected_traces: 1, inspected_spans: 3, inspected_bytes: 9 };
        let answer = SearchAnswer { traces: vec![hit], metrics, ..SearchAnswer::default() };
        let set = r#"{"spans":[{"spanID":"0000000000000102","name":"n","startTimeUnixNano":"4","durationNanos":"9","attributes":[{"key":"k","value":{"intValue":"3"}}]}],"matched":5,"attributes":[{"key":"by(resource.service.name)","value":{"stringValue":"a"}}]}"#;
        assert_eq!(
            json_of(&response_of(&answer)),
            format!(
                r#"{{"traces":[{{"traceID":"1f","rootServiceName":"a","rootTraceName":"b","startTimeUnixNano":"12","durationMs":3,"spanSet":{set},"spanSets":[{set}],"serviceStats":{{"a":{{"spanCount":1,"errorCount":1}}}}}}],"metrics":{{"inspectedTraces":1,"inspectedBytes":"9","inspectedSpans":"3"}}}}"#
            )
        );
        assert_eq!(json_of(&response_of(&SearchAnswer::default())), r#"{"traces":[],"metrics":{}}"#);
    }
}
