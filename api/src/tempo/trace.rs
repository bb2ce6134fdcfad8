//! Trace by id, in both versions.
use http::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, TracesData};
use trine_query::scatter::QueryContext;
use trine_query::traceql::{self, TraceAnswer};

use super::accept::{Accept, accept_of};
use super::json::{Message, push_resource_spans};
use super::otlp::resource_spans;
use super::params;
use super::search::rendering;
use crate::call::{Call, Outcome};
use crate::error::ApiError;
use crate::reply;

/// Status of an answer that misses something.
const PARTIAL: i32 = 1;

/// tempopb.TraceByIDResponse.
#[derive(Clone, PartialEq, prost::Message)]
struct TraceByIdResponse {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
    #[prost(message, optional, tag = "2")]
    metrics: Option<TraceByIdMetrics>,
    #[prost(int32, tag = "3")]
    status: i32,
    #[prost(string, tag = "4")]
    message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TraceByIdMetrics {
    #[prost(uint64, tag = "1")]
    inspected_bytes: u64,
}

async fn find(call: &Call, ctx: &QueryContext) -> Result<TraceAnswer, ApiError> {
    let id = params::trace_id(call.path("id"))?;
    let second = |name: &str| -> Result<Option<u32>, ApiError> {
        let wrong = |text: &str| ApiError::BadRequest(format!("invalid {name}: {text:?}"));
        call.params.get(name).map(|t| t.parse().map_err(|_| wrong(t))).transpose()
    };
    // A hint of which blocks to read; only its form is checked.
    if let (Some(start), Some(end)) = (second("start")?, second("end")?)
        && end <= start
    {
        let text = format!("http parameter start must be before end. received start={start} end={end}");
        return Err(ApiError::BadRequest(text));
    }
    Ok(traceql::trace_by_id(&call.scatter(), ctx, id).await?)
}

/// `/api/traces/{id}`: 404 with an empty body when there is none.
pub(super) async fn v1(call: Call) -> Outcome {
    let ctx = call.context(None);
    let answer = find(&call, &ctx).await?;
    let missing = answer.completeness.warnings();
    if answer.spans.is_empty() {
        // Without all shards nobody can say that there is no such trace.
        return match missing.first() {
            Some(reason) => Err(ApiError::Unavailable { reason: reason.clone(), retry_after_s: 1 }),
            None => Ok(reply::complete(reply::empty(StatusCode::NOT_FOUND), &answer.completeness)),
        };
    }
    let _rendering = rendering(&ctx, answer.held.as_deref())?;
    let groups = resource_spans(&answer.spans)?;
    let reply = match accept_of(&call.headers) {
        Accept::Protobuf => protobuf(&ctx, &TracesData { resource_spans: groups })?,
        Accept::Json => reply::charged(&ctx.memory, "application/json", json_v1(&groups))?,
    };
    Ok(reply::complete(reply, &answer.completeness))
}

/// `/api/v2/traces/{id}`: the trace is there but empty when there is none.
pub(super) async fn v2(call: Call) -> Outcome {
    let ctx = call.context(None);
    let answer = find(&call, &ctx).await?;
    let _rendering = rendering(&ctx, answer.held.as_deref())?;
    let groups = resource_spans(&answer.spans)?;
    let message = answer.completeness.warnings().join("; ");
    let reply = match accept_of(&call.headers) {
        Accept::Protobuf => {
            let message = TraceByIdResponse {
                trace: Some(TracesData { resource_spans: groups }),
                metrics: Some(TraceByIdMetrics { inspected_bytes: answer.metrics.inspected_bytes }),
                status: if message.is_empty() { 0 } else { PARTIAL },
                message,
            };
            protobuf(&ctx, &message)?
        }
        Accept::Json => {
            let text = json_v2(&groups, answer.metrics.inspected_bytes, &message);
            reply::charged(&ctx.memory, "application/json", text)?
        }
    };
    Ok(reply::complete(reply, &answer.completeness))
}

fn protobuf(ctx: &QueryContext, message: &impl prost::Message) -> Outcome {
    reply::charged(&ctx.memory, "application/protobuf", message.encode_to_vec())
}

fn json_v1(groups: &[ResourceSpans]) -> String {
    let mut out = String::new();
    let mut m = Message::open(&mut out);
    push_resource_spans(&mut m, "batches", groups);
    m.close();
    out
}

fn json_v2(groups: &[ResourceSpans], inspected_bytes: u64, message: &str) -> String {
    let mut out = String::new();
    let mut m = Message::open(&mut out);
    let mut trace = Message::open(m.field("trace"));
    push_resource_spans(&mut trace, "resourceSpans", groups);
    trace.close();
    let mut metrics = Message::open(m.field("metrics"));
    metrics.long("inspectedBytes", inspected_bytes);
    metrics.close();
    if !message.is_empty() {
        m.text("status", "PARTIAL");
        m.text("message", message);
    }
    m.close();
    out
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn nothing_found_is_present_but_empty() {
        assert_eq!(json_v2(&[], 0, ""), r#"{"trace":{},"metrics":{}}"#);
        assert_eq!(
            json_v2(&[], 7, "m"),
            r#"{"trace":{},"metrics":{"inspectedBytes":"7"},"status":"PARTIAL","message":"m"}"#
        );
        let empty = TraceByIdResponse {
            trace: Some(TracesData::default()),
            metrics: Some(TraceByIdMetrics::default()),
            ..TraceByIdResponse::default()
        };
        assert_eq!(empty.encode_to_vec(), [0x0a, 0, 0x12, 0]);
    }
}
