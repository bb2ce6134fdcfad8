//! Remote read: samples as they are stored, as one message or as a stream of Prometheus' own chunks.
mod bits;
mod chunks;
mod crc32c;
mod histogram_chunk;
pub(crate) mod request;
mod samples;
mod stream;
mod xor;

use std::sync::LazyLock;

use tokio::sync::Semaphore;
use trine_query::promql::{self, Found};
use trine_query::scatter::QueryContext;
use trine_store::index::{MatchOp, Matcher};
use trine_store::part::SampleKind;

use self::request::{ReadQuery, ReadRequest, ResponseType};
use crate::call::{Call, Outcome, decode_off_thread};
use crate::error::ApiError;
use crate::snappy;

/// Samples that one request may read, as Prometheus has it.
const SAMPLES_MAX: u64 = 50_000_000;
/// Requests that are answered at a time; others wait.
const REQUESTS_MAX: usize = 10;
const KINDS: [SampleKind; 3] = [SampleKind::Float, SampleKind::IntHistogram, SampleKind::FloatHistogram];

static GATE: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(REQUESTS_MAX));

/// `POST /api/v1/read`.
pub(super) async fn read(call: Call) -> Outcome {
    let slot = GATE.acquire().await.map_err(|e| ApiError::Internal(format!("remote read gate: {e}")))?;
    let (body, bytes_max) = (call.body.clone(), call.api.config().form_bytes_max);
    let mut held = call.api.budget().take(0)?;
    let request = decode_off_thread(body.len(), move || {
        let message = snappy::decode_block(&body, bytes_max, &mut held)?;
        ReadRequest::decode(&message)
    })
    .await?;
    let response_type = request.response_type()?;
    let ctx = call.context(None);
    let external: Vec<(String, String)> = call.api.config().external_labels.clone().into_iter().collect();
    let mut results = Vec::with_capacity(request.queries.len());
    for query in &request.queries {
        results.push(find(&call, &ctx, query, &external).await?);
    }
    match response_type {
        ResponseType::Samples => samples::respond(&ctx, results, external).await,
        ResponseType::StreamedChunks => stream::respond(&ctx, results, external, slot),
    }
}

/// Labels that every series gets on the way out are not stored: a matcher that asks for one asks for nothing.
fn stored_matchers(query: &ReadQuery, external: &[(String, String)]) -> Vec<Matcher> {
    let is_external = |m: &Matcher| external.iter().any(|(n, v)| *n == m.name && *v == m.value);
    let stored = |m: &Matcher| match m.op {
        MatchOp::Eq if is_external(m) => Matcher::equal(&m.name, ""),
        _ => m.clone(),
    };
    query.matchers.iter().map(stored).collect()
}

async fn find(
    call: &Call,
    ctx: &QueryContext,
    query: &ReadQuery,
    external: &[(String, String)],
) -> Result<Found, ApiError> {
    let sets = [stored_matchers(query, external)];
    let range = query.range();
    if query.series_only {
        let (from_ms, to_ms) = range;
        let answer = promql::series(&call.scatter(), ctx, &sets, from_ms, to_ms, 0).await?;
        return Ok(Found::without_samples(answer));
    }
    let found = promql::records(&call.scatter(), ctx, &sets, range, &KINDS, SAMPLES_MAX).await;
    found.map_err(|error| match error {
        trine_query::Error::Limit { .. } => ApiError::BadRequest(format!("exceeded sample limit ({SAMPLES_MAX})")),
        other => other.into(),
    })
}
