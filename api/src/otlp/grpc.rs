//! OTLP over gRPC: one unary message a call, read under the same budget as a body over HTTP.
//!
//! A generated service would buffer and decode a message before anyone could ask the budget, and a message of many tiny ones
//! decodes to far more than its bytes. Framing: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;

use super::{bytes_max, store, weigh};
use crate::body::decode_content;
use crate::budget::Held;
use crate::call::{Call, Outcome, ingest};
use crate::error::{ApiError, Family};
use crate::reply;
use crate::state::Api;

/// Flag and length ahead of a message.
const PREFIX_BYTES: usize = 5;
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const ACCEPTED_ENCODINGS: &str = "identity,deflate,gzip,zstd";

/// Adds the export services to a router.
pub(crate) fn services(router: Router, api: &Api) -> Router {
    let export = Router::new()
        .route(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            ingest(|_| Family::Grpc, "otlp_traces_grpc", bytes_max, traces),
        )
        .route(
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            ingest(|_| Family::Grpc, "otlp_logs_grpc", bytes_max, logs),
        )
        .route(
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            ingest(|_| Family::Grpc, "otlp_metrics_grpc", bytes_max, metrics),
        );
    router.merge(export.with_state(api.clone()))
}

async fn traces(call: Call) -> Outcome {
    let (api, tenant, message, held) = accept(call)?;
    let request: ExportTraceServiceRequest = decode(&message)?;
    store::traces(&api, tenant, request, message.len(), held).await?;
    answer(&ExportTraceServiceResponse { partial_success: Some(ExportTracePartialSuccess::default()) })
}

async fn logs(call: Call) -> Outcome {
    let (api, tenant, message, held) = accept(call)?;
    let request: ExportLogsServiceRequest = decode(&message)?;
    store::logs(&api, tenant, request, message.len(), held).await?;
    answer(&ExportLogsServiceResponse { partial_success: None })
}

async fn metrics(call: Call) -> Outcome {
    let (api, tenant, message, held) = accept(call)?;
    let request: ExportMetricsServiceRequest = decode(&message)?;
    let partial = store::metrics(&api, tenant, request, message.len(), held).await?;
    let partial_success = (partial.rejected > 0).then_some(ExportMetricsPartialSuccess {
        rejected_data_points: partial.rejected,
        error_message: partial.message,
    });
    answer(&ExportMetricsServiceResponse { partial_success })
}

/// The call's one message, with the budget for its decoded form taken.
fn accept(call: Call) -> Result<(Api, std::sync::Arc<str>, Bytes, Held), ApiError> {
    let Call { api, tenant, headers, body, mut held, .. } = call;
    let message = message_of(&headers, body, api.config().otlp_bytes_max, &mut held)?;
    held.grow(weigh::protobuf_bytes(&message)?)?;
    Ok((api, tenant, message, held))
}

/// Takes the frame off a body with a single message, and its compression.
fn message_of(headers: &HeaderMap, mut body: Bytes, bytes_max: usize, held: &mut Held) -> Result<Bytes, ApiError> {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let content_type = header("content-type").split(';').next().unwrap_or_default().trim();
    if !matches!(content_type, "application/grpc" | "application/grpc+proto") {
        return Err(ApiError::UnsupportedMedia(format!("content type {content_type:?} is not application/grpc")));
    }
    let Some((&[flag, a, b, c, d], _)) = body.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(ApiError::BadRequest(format!(
            "grpc: a message begins with {PREFIX_BYTES} bytes, got {}",
            body.len()
        )));
    };
    let said = u32::from_be_bytes([a, b, c, d]) as usize;
    let message = body.split_off(PREFIX_BYTES);
    if said != message.len() {
        let text = format!("grpc: one message of {said} bytes was announced, {} bytes came", message.len());
        return Err(ApiError::BadRequest(text));
    }
    match (flag, header("grpc-encoding")) {
        (0, _) => Ok(message),
        (1, encoding @ ("gzip" | "deflate" | "zstd")) => {
            decode_content(encoding, message, bytes_max, held).unwrap_or_else(|| Err(unknown(encoding)))
        }
        (1, encoding) => Err(unknown(encoding)),
        (flag, _) => Err(ApiError::BadRequest(format!("grpc: unknown compressed-flag {flag}"))),
    }
}

fn unknown(encoding: &str) -> ApiError {
    ApiError::Unimplemented(format!("grpc-encoding {encoding:?} is not supported, supported: {ACCEPTED_ENCODINGS}"))
}

fn decode<M: Message + Default>(message: &[u8]) -> Result<M, ApiError> {
    M::decode(message).map_err(|e| ApiError::BadRequest(format!("proto: {e}")))
}

/// A framed message, and status 0 in the trailers.
fn answer<M: Message>(message: &M) -> Outcome {
    let len = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + len);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(len).map_err(|_| ApiError::Internal(format!("an answer of {len} bytes")))?);
    message.encode(&mut frame).map_err(|e| ApiError::Internal(format!("encode the answer: {e}")))?;
    let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
    let body = Full::new(frame.freeze()).with_trailers(async move { Some(Ok(trailers)) });
    let mut response: Response = reply::empty(StatusCode::OK).map(|_| Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
        .headers_mut()
        .insert(HeaderName::from_static("grpc-accept-encoding"), HeaderValue::from_static(ACCEPTED_ENCODINGS));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;

    fn read(content_type: &'static str, encoding: &'static str, body: &[u8]) -> Result<Bytes, ApiError> {
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (HeaderName::from_static("grpc-encoding"), HeaderValue::from_static(encoding)),
        ]);
        let mut held = Budget::new(1 << 20).take(0).unwrap();
        message_of(&headers, Bytes::copy_from_slice(body), 1 << 16, &mut held)
    }

    fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
        [&[flag][..], &(message.len() as u32).to_be_bytes(), message].concat()
    }

    #[test]
    fn a_message_is_taken_out_of_its_frame() {
        let zipped = zstd::encode_all(&b"hello"[..], 1).unwrap();
        for (content_type, encoding, body) in [
            ("application/grpc", "identity", frame(0, b"hello")),
            ("application/grpc+proto", "zstd", frame(0, b"hello")),
            ("application/grpc; charset=x", "zstd", frame(1, &zipped)),
        ] {
            assert_eq!(read(content_type, encoding, &body).unwrap(), &b"hello"[..]);
        }
    }

    #[test]
    fn a_wrong_frame_is_named() {
        let bomb = zstd::encode_all(&vec![0; 1 << 17][..], 1).unwrap();
        for (content_type, encoding, body, said) in [
            ("application/json", "", frame(0, b""), "is not application/grpc"),
            ("application/grpc", "", b"\0\0\0".to_vec(), "begins with 5 bytes, got 3"),
            ("application/grpc", "", b"\0\xff\xff\xff\xffx".to_vec(), "4294967295 bytes was announced, 1 bytes came"),
            ("application/grpc", "", [frame(0, b"a"), frame(0, b"b")].concat(), "one message of 1 bytes"),
            ("application/grpc", "br", frame(1, b"a"), "\"br\" is not supported"),
            ("application/grpc", "gzip", frame(1, b"a"), "decompress"),
            ("application/grpc", "gzip", frame(7, b"a"), "compressed-flag 7"),
            ("application/grpc", "zstd", frame(1, &bomb), "too large"),
        ] {
            let error = read(content_type, encoding, &body).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
