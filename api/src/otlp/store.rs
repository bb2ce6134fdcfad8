//! Storing decoded OTLP requests; the same for HTTP and gRPC.
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use trine_store::model::{Signal, Slot};

use super::{logs, metrics, trace};
use crate::budget::Held;
use crate::call::decode_off_thread;
use crate::error::ApiError;
use crate::loki::entries::EntryLimits;
use crate::prom::decode::WriteLimits;
use crate::prom::{Conflicts, conflict_texts};
use crate::state::Api;

/// What was refused softly: nothing, or data points with their reasons.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    pub(crate) rejected: i64,
    pub(crate) message: String,
}

/// Stores spans. `bytes_len` is the encoded size, to choose where to decode; `held` is what the request holds of the budget.
pub(crate) async fn traces(
    api: &Api,
    tenant: Arc<str>,
    request: ExportTraceServiceRequest,
    bytes_len: usize,
    mut held: Held,
) -> Result<(), ApiError> {
    let (decoder, owner) = (api.clone(), Arc::clone(&tenant));
    let spans = spans_of(&request);
    let decoded = decode_off_thread(bytes_len, move || {
        let shard_of = |slot: Slot| decoder.shard_of(slot);
        let bytes_max = decoder.config().span_attribute_bytes_max;
        let parts = trace::decode(&tenant, request, bytes_max, &shard_of, &mut held)?;
        Ok((parts, held))
    })
    .await;
    // One bad span refuses them all.
    let (parts, held) = decoded.inspect_err(|_| api.reject(&owner, Signal::Traces, "invalid", spans))?;
    api.write(parts).await?;
    drop(held);
    Ok(())
}

fn spans_of(request: &ExportTraceServiceRequest) -> u64 {
    let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
    scopes.map(|scope| scope.spans.len() as u64).sum()
}

/// Stores log records.
pub(crate) async fn logs(
    api: &Api,
    tenant: Arc<str>,
    request: ExportLogsServiceRequest,
    bytes_len: usize,
    mut held: Held,
) -> Result<(), ApiError> {
    let (decoder, owner) = (api.clone(), Arc::clone(&tenant));
    let limits = |api: &Api| EntryLimits::of_tenant(api, &owner);
    if let Some(time_ns) = limits(api).unsettled(logs::times_ns(&request)) {
        api.settle(time_ns).await?;
    }
    let limits = limits(api);
    let (entries, held) = decode_off_thread(bytes_len, move || {
        let shard_of = |slot: Slot| decoder.shard_of(slot);
        let entries = logs::decode(&tenant, request, &limits, &shard_of, &mut held)?;
        Ok((entries, held))
    })
    .await?;
    if let Some(time_ns) = entries.unsettled_ns {
        return Err(crate::loki::push::not_settled(time_ns));
    }
    let written = crate::loki::push::write(api, &owner, entries).await;
    drop(held);
    written
}

/// Stores data points.
pub(crate) async fn metrics(
    api: &Api,
    tenant: Arc<str>,
    request: ExportMetricsServiceRequest,
    bytes_len: usize,
    mut held: Held,
) -> Result<Partial, ApiError> {
    let (decoder, owner) = (api.clone(), Arc::clone(&tenant));
    let limits = WriteLimits::of_tenant(api, &owner);
    let (points, held) = decode_off_thread(bytes_len, move || {
        let shard_of = |slot: Slot| decoder.shard_of(slot);
        let rules = metrics::Rules { config: &decoder.config().otlp, deltas: decoder.deltas() };
        let points = metrics::decode(&tenant, &request, &limits, &rules, &shard_of, &mut held)?;
        Ok((points, held))
    })
    .await?;
    for (reason, n) in [
        ("too_far_in_future", points.too_new),
        ("too_old", points.too_old),
        ("series_too_large", points.too_large),
        ("unsupported", points.unsupported),
    ] {
        api.reject(&owner, Signal::Metrics, reason, n);
    }
    let outcomes = api.write(points.parts.clone()).await?;
    drop(held);
    let conflicts = Conflicts::of(&points.parts, &outcomes);
    let mut texts = conflict_texts(&points.parts, &outcomes);
    for (n, text) in [
        (points.too_new, "out of bounds: timestamp is too far in the future"),
        (points.too_old, "too old sample"),
        (points.too_large, "label set too large"),
    ] {
        if n > 0 {
            texts.push(text.to_owned());
        }
    }
    if !texts.is_empty() {
        texts.extend(points.reasons);
        let rejected = conflicts.refused + points.too_new + points.too_old + points.too_large;
        texts.push(format!("{rejected} of {} samples rejected, the others are stored", points.samples));
        return Err(ApiError::Rejected(texts.join("\n")));
    }
    let mut reasons = points.reasons;
    if conflicts.demoted > 0 {
        reasons.push(format!(
            "{} samples are of the same time as one of another source, from which a demoted label told theirs apart",
            conflicts.demoted
        ));
    }
    Ok(Partial { rejected: (points.unsupported + conflicts.demoted) as i64, message: reasons.join("; ") })
}
