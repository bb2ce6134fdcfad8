//! Remote write 1.0 and 2.0: `/api/v1/write` (204) and Mimir's `/api/v1/push` (200).
use std::sync::Arc;

use axum::response::Response;
use http::{HeaderValue, StatusCode};
use trine_store::model::{Labels, Signal, Slot};
use trine_store::part::PartRef;
use trine_store::shard::PartOutcome;

use super::decode::{Decoded, WriteLimits, decode};
use super::decode_v2;
use crate::backend::ShardPart;
use crate::call::{Call, Outcome, decode_off_thread};
use crate::error::{ApiError, Family};
use crate::number::float_text;
use crate::state::Api;
use crate::{reply, snappy};

/// Which of the two paths was asked; they differ in the success status and in what they enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flavor {
    Prometheus,
    Mimir,
}

/// Message that a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// `POST /api/v1/write`.
pub(super) async fn write(call: Call) -> Outcome {
    store(call, Flavor::Prometheus).await
}

/// `POST /api/v1/push`.
pub(super) async fn push(call: Call) -> Outcome {
    store(call, Flavor::Mimir).await
}

async fn store(call: Call, flavor: Flavor) -> Outcome {
    match check_media_type(&call, flavor)? {
        Version::V1 => store_v1(call, flavor).await,
        Version::V2 => store_v2(call).await,
    }
}

fn check_media_type(call: &Call, flavor: Flavor) -> Result<Version, ApiError> {
    let content_type = call.header("content-type");
    let mut pieces = content_type.split(';').map(str::trim);
    let media_type = pieces.next().unwrap_or_default().to_ascii_lowercase();
    let proto = pieces.find_map(|p| p.strip_prefix("proto=")).unwrap_or("prometheus.WriteRequest");
    let protobuf = media_type == "application/x-protobuf";
    let version = match proto {
        "io.prometheus.write.v2.Request" if protobuf => Some(Version::V2),
        "prometheus.WriteRequest" if protobuf || content_type.is_empty() => Some(Version::V1),
        _ if !protobuf && flavor == Flavor::Mimir => Some(Version::V1),
        _ => None,
    };
    let Some(version) = version else {
        return Err(ApiError::UnsupportedMedia(format!(
            "expected application/x-protobuf with a known proto as content-type, got {content_type:?}"
        )));
    };
    match call.header("content-encoding") {
        "" | "snappy" => Ok(version),
        other => Err(ApiError::UnsupportedMedia(format!(
            "{other} encoding (compression) is not accepted by this server; only snappy is acceptable"
        ))),
    }
}

fn limits_of(api: &Api) -> WriteLimits {
    let config = api.config();
    WriteLimits {
        now_ms: api.now_ms(),
        future_ms_max: config.future_ms_max,
        retention_ms: config.retention_ms,
        series_bytes_max: config.series_bytes_max,
    }
}

/// 2.0 tells with every answer how much of the request was written.
async fn store_v2(call: Call) -> Outcome {
    let Call { api, tenant, body, mut held, .. } = call;
    let (limits, decoder_api, owner) = (limits_of(&api), api.clone(), Arc::clone(&tenant));
    let decoded_bytes_max = api.config().remote_write_decoded_bytes_max;
    let (decoded, held) = decode_off_thread(body.len(), move || {
        let message = snappy::decode_block(&body, decoded_bytes_max, &mut held)?;
        // Symbols are a slice each, which may be more than their bytes.
        held.grow(8 * message.len())?;
        let shard_of = |slot: Slot| decoder_api.shard_of(slot);
        let decoded = decode_v2::decode(&tenant, &message, &limits, &shard_of, &mut held)?;
        Ok((decoded, held))
    })
    .await?;
    api.reject(&owner, Signal::Metrics, "invalid", decoded.rejected);
    let outcomes = match api.write(decoded.parts.clone()).await {
        Ok(outcomes) => outcomes,
        Err(error) => return Ok(with_counts(error.respond(Family::RemoteWrite), [0; 3])),
    };
    drop(held);
    let conflicts: u64 = outcomes.iter().map(|o| u64::from(o.conflicts_count)).sum();
    let mut texts = decoded.texts;
    texts.extend(conflict_texts(&decoded.parts, &outcomes));
    let response = if texts.is_empty() && decoded.rejected == 0 && conflicts == 0 {
        reply::empty(StatusCode::NO_CONTENT)
    } else {
        ApiError::Rejected(texts.join("\n")).respond(Family::RemoteWrite)
    };
    let samples = decoded.samples.saturating_sub(conflicts);
    Ok(with_counts(response, [samples, decoded.histograms, decoded.exemplars]))
}

fn with_counts(mut response: Response, counts: [u64; 3]) -> Response {
    const NAMES: [&str; 3] = [
        "x-prometheus-remote-write-samples-written",
        "x-prometheus-remote-write-histograms-written",
        "x-prometheus-remote-write-exemplars-written",
    ];
    for (name, count) in NAMES.into_iter().zip(counts) {
        response.headers_mut().insert(name, HeaderValue::from(count));
    }
    response
}

async fn store_v1(call: Call, flavor: Flavor) -> Outcome {
    let Call { api, tenant, body, mut held, .. } = call;
    let limits = limits_of(&api);
    let decoded_bytes_max = api.config().remote_write_decoded_bytes_max;
    let (decoder_api, decoder_tenant) = (api.clone(), Arc::clone(&tenant));
    let (decoded, held) = decode_off_thread(body.len(), move || {
        let message = snappy::decode_block(&body, decoded_bytes_max, &mut held)?;
        let shard_of = |slot: Slot| decoder_api.shard_of(slot);
        let decoded = decode(&decoder_tenant, &message, &limits, &shard_of, &mut held)?;
        Ok((decoded, held))
    })
    .await?;
    count(&api, &tenant, &decoded);
    let outcomes = api.write(decoded.parts.clone()).await?;
    drop(held);
    answer(flavor, &decoded, &outcomes)
}

fn count(api: &Api, tenant: &str, decoded: &Decoded) {
    let reject = |reason, facts| api.reject(tenant, Signal::Metrics, reason, facts);
    reject("invalid_series", decoded.skipped_samples);
    reject("too_far_in_future", decoded.too_new);
    reject("too_old", decoded.too_old);
    reject("series_too_large", decoded.too_large);
    reject("invalid_histogram", decoded.bad_histograms);
}

fn answer(flavor: Flavor, decoded: &Decoded, outcomes: &[PartOutcome]) -> Outcome {
    let mut texts: Vec<String> = Vec::new();
    let mut say = |text: String, id: &str| {
        texts.push(if flavor == Flavor::Mimir { format!("{text} (err-mimir-{id})") } else { text });
    };
    if decoded.too_new > 0 {
        say("out of bounds: timestamp is too far in the future".to_owned(), "too-far-in-future");
    }
    if decoded.too_old > 0 {
        say("too old sample".to_owned(), "sample-timestamp-too-old");
    }
    if decoded.too_large > 0 {
        say("label set too large".to_owned(), "label-value-too-long");
    }
    if let Some(fault) = decoded.histogram_fault {
        say(format!("invalid native histogram: {fault}"), "invalid-native-histogram");
    }
    for text in conflict_texts(&decoded.parts, outcomes) {
        say(text, "sample-duplicate-timestamp");
    }
    if texts.is_empty() {
        let status = if flavor == Flavor::Mimir { StatusCode::OK } else { StatusCode::NO_CONTENT };
        return Ok::<Response, _>(reply::empty(status));
    }
    let conflicts: u64 = outcomes.iter().map(|o| u64::from(o.conflicts_count)).sum();
    let rejected = conflicts + decoded.too_new + decoded.too_old + decoded.too_large + decoded.bad_histograms;
    texts.push(format!("{rejected} of {} samples rejected, the others are stored", decoded.samples));
    Err(ApiError::Rejected(texts.join("\n")))
}

/// Prometheus' words for each conflict that the shards named, with the series.
pub(crate) fn conflict_texts(parts: &[ShardPart], outcomes: &[PartOutcome]) -> Vec<String> {
    let mut texts = Vec::new();
    for (part, outcome) in parts.iter().zip(outcomes).filter(|(_, o)| !o.conflicts.is_empty()) {
        let Ok(part) = PartRef::decode(&part.part) else { continue };
        for c in outcome.conflicts.iter().take(PartOutcome::CONFLICTS_MAX - texts.len().min(PartOutcome::CONFLICTS_MAX))
        {
            let series = part.defs.get(c.series as usize).and_then(|d| Labels::decode(d.key).ok());
            texts.push(format!(
                "duplicate sample for timestamp {}; overrides not allowed: existing {}, new value {} for series {}",
                c.time_ms,
                float_text(f64::from_bits(c.existing_bits)),
                float_text(f64::from_bits(c.new_bits)),
                series.unwrap_or_else(Labels::empty),
            ));
        }
    }
    texts
}
