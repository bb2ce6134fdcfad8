//! Remote write 1.0 and 2.0: `/api/v1/write` (204) and Mimir's `/api/v1/push` (200).
use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use trine_store::model::{Labels, Signal, Slot};
use trine_store::part::PartRef;
use trine_store::shard::PartOutcome;

use super::decode::{Context, Decoded, WriteLimits, decode};
use super::{decode_v2, replica};
use crate::backend::{Election, ReplicaClaim, ShardPart};
use crate::budget::Held;
use crate::call::{Call, Outcome, decode_off_thread};
use crate::error::{ApiError, Family};
use crate::number::float_text;
use crate::state::Api;
use crate::{reply, snappy};

const FAMILY: Family = Family::RemoteWrite;

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
    let attempt = call.header("retry-attempt").parse().unwrap_or(0);
    let now_ns = call.api.now_ns();
    let outcome = match check_media_type(&call, flavor)? {
        Version::V1 => store_v1(call, flavor).await,
        Version::V2 => store_v2(call, flavor).await,
    };
    match outcome {
        Err(error) if flavor == Flavor::Mimir => Ok(with_retry_after(error.respond(FAMILY), attempt, now_ns)),
        outcome => outcome,
    }
}

/// Mimir's pause: six seconds, doubled with each attempt, up to half more or less, never beyond 96 s. `jitter` spreads it.
fn with_retry_after(mut response: Response, attempt: u32, jitter: i64) -> Response {
    const SECONDS: f64 = 6.0;
    const SECONDS_MAX: f64 = 96.0;
    let status = response.status();
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        let doubled = SECONDS * f64::from(1u32 << attempt.saturating_sub(1).min(5));
        let spread = 0.5 + jitter.rem_euclid(1000) as f64 / 1000.0;
        let seconds = (doubled.min(SECONDS_MAX) * spread).clamp(SECONDS, SECONDS_MAX);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds as u64));
    }
    response
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

/// A request on its way to its decoder.
enum Body {
    Compressed(Bytes),
    Message(Bytes),
}

impl Body {
    fn len(&self) -> usize {
        match self {
            Self::Compressed(bytes) | Self::Message(bytes) => bytes.len(),
        }
    }

    /// Decompresses it, if it still is to be, and reads it.
    fn read<R>(
        &self,
        api: &Api,
        held: &mut Held,
        read: impl FnOnce(&[u8], &mut Held) -> Result<R, ApiError>,
    ) -> Result<R, ApiError> {
        let bytes_max = api.config().remote_write_decoded_bytes_max;
        match self {
            Self::Compressed(bytes) => api.buffers().with_block(bytes, bytes_max, held, read),
            Self::Message(bytes) => read(bytes, held),
        }
    }
}

/// What a replica's election says of a request.
enum Admitted {
    /// To be stored under these limits.
    Yes(Body, WriteLimits, Held),
    /// Another replica's samples are stored.
    No(Response),
}

/// Asks which replica of a pair counts, where the request names one. Only then the message is looked into beforehand.
async fn admit(api: &Api, tenant: &str, body: Bytes, mut held: Held, version: Version) -> Result<Admitted, ApiError> {
    let limits = WriteLimits::of_tenant(api, tenant);
    let ha = api.config().ha.clone();
    if !ha.concerns(tenant) {
        return Ok(Admitted::Yes(Body::Compressed(body), limits, held));
    }
    let bytes_max = api.config().remote_write_decoded_bytes_max;
    let names = ha.clone();
    let (message, pair, held) = decode_off_thread(body.len(), move || {
        let message = snappy::decode_block(&body, bytes_max, &mut held)?;
        // As when it is decoded: a slice for each symbol.
        held.grow(if version == Version::V2 { 8 * message.len() } else { 0 })?;
        let pair = replica::of(&message, version == Version::V2, &names.cluster_label, &names.replica_label)?;
        Ok((message, pair, held))
    })
    .await?;
    let Some((cluster, replica)) = pair else { return Ok(Admitted::Yes(Body::Message(message), limits, held)) };
    let claim = ReplicaClaim {
        tenant: tenant.to_owned(),
        cluster,
        replica,
        now_ms: limits.now_ms,
        failover_ms: ha.failover_ms,
        renew_ms: ha.renew_ms,
    };
    match api.backend().elect(&claim).await? {
        Election::Elected => {
            let limits = WriteLimits { replica_label: Some(ha.replica_label.into()), ..limits };
            Ok(Admitted::Yes(Body::Message(message), limits, held))
        }
        Election::Other(elected) => {
            let text =
                format!("replicas did not match, rejecting sample: replica={}, elected={elected}\n", claim.replica);
            Ok(Admitted::No(reply::text(StatusCode::ACCEPTED, text)))
        }
        Election::TooMany(most) => Err(ApiError::BadRequest(format!(
            "the write request has been rejected because the maximum number of high-availability (HA) clusters has been reached (limit: {most}) (err-mimir-tenant-too-many-ha-clusters)"
        ))),
    }
}

/// 2.0 tells with every answer how much of the request was written.
async fn store_v2(call: Call, flavor: Flavor) -> Outcome {
    let Call { api, tenant, body, held, .. } = call;
    let (body, limits, mut held) = match admit(&api, &tenant, body, held, Version::V2).await? {
        Admitted::Yes(body, limits, held) => (body, limits, held),
        Admitted::No(response) => return Ok(with_counts(response, [0; 3])),
    };
    let (decoder_api, owner) = (api.clone(), Arc::clone(&tenant));
    let decoded = decode_off_thread(body.len(), move || {
        let decoded = body.read(&decoder_api, &mut held, |message, held| {
            // Symbols are a slice each, which may be more than their bytes.
            held.grow(8 * message.len())?;
            let shard_of = |slot: Slot| decoder_api.shard_of(slot);
            decode_v2::decode(&tenant, message, &limits, &shard_of, held)
        })?;
        Ok((decoded, held))
    })
    .await;
    let (decoded, held) = match decoded {
        Ok(decoded) => decoded,
        Err(error) => return Ok(with_counts(error.respond(FAMILY), [0; 3])),
    };
    api.reject(&owner, Signal::Metrics, "invalid", decoded.rejected);
    let outcomes = match api.write(decoded.parts.clone()).await {
        Ok(outcomes) => outcomes,
        Err(error) => return Ok(with_counts(error.respond(FAMILY), [0; 3])),
    };
    drop(held);
    let conflicts = Conflicts::of(&decoded.parts, &outcomes);
    let mut texts = decoded.texts;
    texts.extend(conflict_texts(&decoded.parts, &outcomes));
    let response = if texts.is_empty() && decoded.rejected == 0 && conflicts.refused == 0 {
        reply::empty(success(flavor))
    } else {
        ApiError::Rejected(texts.join("\n")).respond(FAMILY)
    };
    // Conflicts are not told apart by kind; histograms come after samples.
    let conflicts = conflicts.refused + conflicts.demoted;
    let samples = decoded.samples.saturating_sub(conflicts);
    let histograms = decoded.histograms.saturating_sub(conflicts.saturating_sub(decoded.samples));
    Ok(with_counts(response, [samples, histograms, decoded.exemplars]))
}

fn success(flavor: Flavor) -> StatusCode {
    if flavor == Flavor::Mimir { StatusCode::OK } else { StatusCode::NO_CONTENT }
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
    let Call { api, tenant, body, held, .. } = call;
    let (body, limits, mut held) = match admit(&api, &tenant, body, held, Version::V1).await? {
        Admitted::Yes(body, limits, held) => (body, limits, held),
        Admitted::No(response) => return Ok(response),
    };
    let (decoder_api, decoder_tenant) = (api.clone(), Arc::clone(&tenant));
    let (decoded, held) = decode_off_thread(body.len(), move || {
        let shard_of = |slot: Slot| decoder_api.shard_of(slot);
        let cache = decoder_api.series_cache();
        let context = Context { tenant: &decoder_tenant, limits: &limits, shard_of: &shard_of, cache };
        let decoded = body.read(&decoder_api, &mut held, |message, held| decode(context, message, held))?;
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
    let named = &decoded.named;
    // The first series, and how many samples it and others lost for this reason.
    let of = |series: &Option<String>, samples: u64| {
        let series = series.as_deref().unwrap_or("{}");
        let others = if samples > 1 { format!(", {samples} samples in all") } else { String::new() };
        format!("for series {series}{others}")
    };
    if decoded.too_new > 0 {
        let of = of(&named.too_new, decoded.too_new);
        say(format!("out of bounds: timestamp is too far in the future {of}"), "too-far-in-future");
    }
    if decoded.too_old > 0 {
        say(format!("too old sample {}", of(&named.too_old, decoded.too_old)), "sample-timestamp-too-old");
    }
    if decoded.too_large > 0 {
        say(format!("label set too large {}", of(&named.too_large, decoded.too_large)), "label-value-too-long");
    }
    if let Some(fault) = decoded.histogram_fault {
        let of = of(&named.bad_histograms, decoded.bad_histograms);
        say(format!("invalid native histogram: {fault} {of}"), "invalid-native-histogram");
    }
    for text in conflict_texts(&decoded.parts, outcomes) {
        say(text, "sample-duplicate-timestamp");
    }
    if texts.is_empty() {
        return Ok::<Response, _>(reply::empty(success(flavor)));
    }
    let conflicts = Conflicts::of(&decoded.parts, outcomes).refused;
    let rejected = conflicts + decoded.too_new + decoded.too_old + decoded.too_large + decoded.bad_histograms;
    texts.push(format!("{rejected} of {} samples rejected, the others are stored", decoded.samples));
    Err(ApiError::Rejected(texts.join("\n")))
}

/// Samples that were not kept since there was another value of their time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conflicts {
    /// The client's fault.
    pub(crate) refused: u64,
    /// Of sources that are one series since a label was demoted.
    pub(crate) demoted: u64,
}

impl Conflicts {
    pub(crate) fn of(parts: &[ShardPart], outcomes: &[PartOutcome]) -> Self {
        let mut conflicts = Self::default();
        for (part, outcome) in parts.iter().zip(outcomes) {
            let count = if part.demoted { &mut conflicts.demoted } else { &mut conflicts.refused };
            *count += u64::from(outcome.conflicts_count);
        }
        conflicts
    }
}

/// Prometheus' words for each conflict that the shards named and that is the client's fault, with the series.
pub(crate) fn conflict_texts(parts: &[ShardPart], outcomes: &[PartOutcome]) -> Vec<String> {
    let mut texts = Vec::new();
    for (part, outcome) in parts.iter().zip(outcomes).filter(|(p, o)| !p.demoted && !o.conflicts.is_empty()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mimirs_pauses_grow_and_spread() {
        let pause = |status: StatusCode, attempt, jitter| {
            let response = with_retry_after(reply::empty(status), attempt, jitter);
            response.headers().get(RETRY_AFTER).map(|v| v.to_str().unwrap().parse::<u64>().unwrap())
        };
        for (status, attempt, jitter, expected) in [
            (StatusCode::TOO_MANY_REQUESTS, 0, 500, Some(6)),
            (StatusCode::SERVICE_UNAVAILABLE, 2, 0, Some(6)),
            (StatusCode::SERVICE_UNAVAILABLE, 3, 500, Some(24)),
            (StatusCode::SERVICE_UNAVAILABLE, 3, 999, Some(35)),
            (StatusCode::INTERNAL_SERVER_ERROR, 99, 999, Some(96)),
            (StatusCode::BAD_REQUEST, 1, 500, None),
        ] {
            assert_eq!(pause(status, attempt, jitter), expected, "{status} {attempt}");
        }
    }
}
