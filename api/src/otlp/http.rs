//! OTLP over HTTP: traces, logs and metrics, in protobuf and JSON.
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse};
use prost::Message;

use super::{json_logs, json_metrics, json_trace, store, weigh};
use crate::body::decode_content;
use crate::budget::Held;
use crate::call::{Call, Outcome};
use crate::error::{ApiError, Family};
use crate::json::push_json_str;
use crate::reply;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Errors come in the request's encoding.
pub(super) fn family_of(headers: &HeaderMap) -> Family {
    Family::Otlp { json: media_type(headers) == JSON }
}

/// Undoes the content encoding and reserves what the decoded message will take.
fn decompress(call: &Call, held: &mut Held, allowed: &[&str]) -> Result<Bytes, ApiError> {
    let encoding = call.header("content-encoding");
    let unknown = || ApiError::BadRequest(format!("unsupported Content-Encoding: {encoding}"));
    if !allowed.is_empty() && !allowed.contains(&encoding) {
        return Err(unknown());
    }
    decode_content(encoding, call.body.clone(), call.api.config().otlp_bytes_max, held).ok_or_else(unknown)?
}

fn decode<M: Message + Default>(
    json: bool,
    body: &[u8],
    from_json: fn(&[u8]) -> Result<M, ApiError>,
    held: &mut Held,
) -> Result<M, ApiError> {
    held.grow(if json { weigh::json_bytes(body) } else { weigh::protobuf_bytes(body)? })?;
    if json {
        return from_json(body);
    }
    M::decode(body).map_err(|e| ApiError::BadRequest(format!("proto: {e}")))
}

/// Splits off the budget, so that the body can be borrowed while it grows.
fn take_held(call: &mut Call) -> Result<Held, ApiError> {
    let empty = call.api.budget().take(0)?;
    Ok(std::mem::replace(&mut call.held, empty))
}

/// `POST /v1/traces`.
pub(super) async fn traces(mut call: Call) -> Outcome {
    let json = match media_type(&call.headers) {
        JSON => true,
        PROTOBUF => false,
        _ => {
            let text = "415 unsupported media type, supported: [application/json, application/x-protobuf]";
            return Ok(reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
    };
    let mut held = take_held(&mut call)?;
    let body = decompress(&call, &mut held, &[])?;
    let request = decode(json, &body, json_trace::decode, &mut held)?;
    store::traces(&call.api, call.tenant, request, body.len(), held).await?;
    // Present but empty: nothing is ever reported as partially rejected.
    Ok(if json {
        reply::json("{\"partialSuccess\":{}}".to_owned())
    } else {
        reply::with_type(StatusCode::OK, PROTOBUF, &b"\x0a\x00"[..])
    })
}

/// `POST /otlp/v1/logs`: Loki's rules, 204.
pub(super) async fn loki_logs(call: Call) -> Outcome {
    let json = match call.header("content-type") {
        JSON => true,
        PROTOBUF => false,
        other => return Err(ApiError::BadRequest(format!("content type: {other} is not supported"))),
    };
    store_logs(call, json).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /v1/logs`: the collector's rules, 200.
pub(super) async fn logs(call: Call) -> Outcome {
    let json = match media_type(&call.headers) {
        JSON => true,
        PROTOBUF => false,
        _ => {
            let text = "415 unsupported media type, supported: [application/json, application/x-protobuf]";
            return Ok(reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
    };
    store_logs(call, json).await?;
    Ok(if json {
        reply::json("{\"partialSuccess\":{}}".to_owned())
    } else {
        reply::with_type(StatusCode::OK, PROTOBUF, &b"\x0a\x00"[..])
    })
}

async fn store_logs(mut call: Call, json: bool) -> Result<(), ApiError> {
    let mut held = take_held(&mut call)?;
    let body = decompress(&call, &mut held, &["", "gzip", "zstd", "lz4"])?;
    let request = decode(json, &body, json_logs::decode, &mut held)?;
    store::logs(&call.api, call.tenant, request, body.len(), held).await
}

/// `POST /otlp/v1/metrics` and its aliases, as Mimir answers.
pub(super) async fn metrics(mut call: Call) -> Outcome {
    let json = match media_type(&call.headers) {
        JSON => true,
        PROTOBUF => false,
        other => {
            return Err(ApiError::UnsupportedMedia(format!(
                "unsupported content type: {other}, supported: [{JSON}, {PROTOBUF}]"
            )));
        }
    };
    if !matches!(call.header("content-encoding"), "" | "gzip" | "lz4" | "zstd" | "snappy") {
        let text = format!(
            "unsupported compression: {}. Only \"gzip\", \"lz4\", \"zstd\", or no compression supported",
            call.header("content-encoding")
        );
        return Err(ApiError::UnsupportedMedia(text));
    }
    let mut held = take_held(&mut call)?;
    let body = decompress(&call, &mut held, &[])?;
    let request = decode(json, &body, json_metrics::decode, &mut held)?;
    let partial = store::metrics(&call.api, call.tenant, request, body.len(), held).await?;
    Ok(metrics_reply(json, partial))
}

fn metrics_reply(json: bool, partial: store::Partial) -> axum::response::Response {
    let refused = partial.rejected > 0;
    if json {
        let mut body = String::from("{");
        if refused {
            body.push_str(&format!(
                "\"partialSuccess\":{{\"rejectedDataPoints\":\"{}\",\"errorMessage\":",
                partial.rejected
            ));
            push_json_str(&mut body, &partial.message);
            body.push('}');
        }
        body.push('}');
        return reply::json(body);
    }
    let partial_success = refused.then_some(ExportMetricsPartialSuccess {
        rejected_data_points: partial.rejected,
        error_message: partial.message,
    });
    reply::with_type(StatusCode::OK, PROTOBUF, ExportMetricsServiceResponse { partial_success }.encode_to_vec())
}
