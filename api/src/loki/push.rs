//! `POST /loki/api/v1/push` and its first version.
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use trine_store::model::{Signal, Slot};

use super::entries::{Collector, Entries, EntryLimits};
use super::push_decode::{decode_json, decode_legacy_json, decode_protobuf};
use crate::body::decode_all;
use crate::budget::Held;
use crate::call::{Call, Outcome, decode_off_thread};
use crate::error::ApiError;
use crate::state::Api;
use crate::{reply, snappy};

/// How often a request is decoded again because the slots of its entries were not settled: once, unless its newest entry was
/// refused as too new at first.
const SETTLE_TRIES: u32 = 3;

/// Form of a push body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
    LegacyJson,
}

/// `/loki/api/v1/push`.
pub(super) async fn push(call: Call) -> Outcome {
    store(call, Form::Json).await
}

/// `/api/prom/push`.
pub(super) async fn push_legacy(call: Call) -> Outcome {
    store(call, Form::LegacyJson).await
}

fn form_of(content_type: &str, json: Form) -> Result<Form, ApiError> {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    // RFC 9110 §5.6.2.
    let is_token =
        |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if !media_type.split_once('/').is_some_and(|(a, b)| is_token(a) && is_token(b)) {
        let reason = match media_type.split_once('/') {
            _ if media_type.is_empty() => "no media type",
            None => "expected slash after first token",
            Some(_) => "expected token after slash",
        };
        return Err(ApiError::BadRequest(format!("mime: {reason}")));
    }
    Ok(if media_type.eq_ignore_ascii_case("application/json") { json } else { Form::Protobuf })
}

async fn store(call: Call, json: Form) -> Outcome {
    let form = form_of(call.header("content-type"), json)?;
    let encoding = call.header("content-encoding").to_owned();
    let Call { api, tenant, body, mut held, .. } = call;
    let mut tries = 0;
    let (entries, held) = loop {
        let push =
            Push { api: api.clone(), tenant: tenant.clone(), body: body.clone(), form, encoding: encoding.clone() };
        let (entries, kept) = decode_off_thread(body.len(), move || push.decode(held)).await?;
        let Some(time_ns) = entries.unsettled_ns else { break (entries, kept) };
        tries += 1;
        if tries > SETTLE_TRIES {
            return Err(not_settled(time_ns));
        }
        api.settle(time_ns).await?;
        held = kept;
    };
    if entries.streams == 0 {
        return Err(ApiError::Unprocessable("error at least one valid stream is required for ingestion".to_owned()));
    }
    write(&api, &tenant, entries).await?;
    drop(held);
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// Writes what is good; `Err` names what was not.
pub(crate) async fn write(api: &Api, tenant: &str, entries: Entries) -> Result<(), ApiError> {
    for (reason, count) in &entries.rejected_by {
        api.reject(tenant, Signal::Logs, reason, *count);
    }
    let Entries { parts, rejected, mut texts, .. } = entries;
    api.write(parts).await?;
    if rejected == 0 {
        return Ok(());
    }
    texts.push(format!("{rejected} of {} entries rejected, the others are stored", entries.entries.max(rejected)));
    Err(ApiError::Rejected(texts.join("\n")))
}

/// A request that is being decoded.
struct Push {
    api: Api,
    tenant: Arc<str>,
    body: Bytes,
    form: Form,
    encoding: String,
}

impl Push {
    fn decode(self, mut held: Held) -> Result<(Entries, Held), ApiError> {
        let Self { api, tenant, body, form, encoding } = self;
        let limits = EntryLimits::of_tenant(&api, &tenant);
        let body = decompress(&encoding, body, form, &api, &mut held)?;
        let shard_of = |slot: Slot| api.shard_of(slot);
        let mut collector = Collector::new(&tenant, &limits, &shard_of, &mut held);
        match form {
            Form::Protobuf => decode_protobuf(&body, &mut collector)?,
            Form::Json => decode_json(&body, &mut collector)?,
            Form::LegacyJson => decode_legacy_json(&body, &mut collector)?,
        }
        let entries = collector.finish()?;
        Ok((entries, held))
    }
}

/// What a client hears whose entries have no settled slot although that was asked for.
pub(crate) fn not_settled(time_ns: i64) -> ApiError {
    let reason = format!("the place of log entries at {time_ns} ns is not settled yet, try again");
    ApiError::Unavailable { reason, retry_after_s: 1 }
}

fn decompress(encoding: &str, body: Bytes, form: Form, api: &Api, held: &mut Held) -> Result<Bytes, ApiError> {
    let bytes_max = api.config().loki_push_decoded_bytes_max;
    let body = match encoding {
        "" | "snappy" => body,
        "gzip" => decode_all(flate2::read::MultiGzDecoder::new(&*body), bytes_max, held)?,
        "deflate" => decode_all(flate2::read::DeflateDecoder::new(&*body), bytes_max, held)?,
        other => return Err(ApiError::BadRequest(format!("Content-Encoding {other:?} not supported"))),
    };
    if form == Form::Protobuf { snappy::decode_block(&body, bytes_max, held) } else { Ok(body) }
}
