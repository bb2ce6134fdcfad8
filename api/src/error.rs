//! What can go wrong with a request, and the only place that maps it to a status, in each protocol's words.
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use prost::Message;
use trine_query::memory::Exceeded;

use crate::backend::WriteError;
use crate::failures;
use crate::json::push_json_str;

/// Seconds after which a refused client may come back, where the cause does not say.
const RETRY_AFTER_S: u64 = 5;

/// A failed request, in facts. [`Family`] words it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    #[error("no org id")]
    NoTenant,
    #[error("{0}")]
    BadTenant(String),
    /// A parameter, a query text or a body is not what the contract allows.
    #[error("{0}")]
    BadRequest(String),
    /// Valid form, but the query cannot be evaluated.
    #[error("{0}")]
    Execution(String),
    /// A bound on a query's cost was reached.
    #[error("{0}")]
    Limit(String),
    /// The query holds as much memory as one query may.
    #[error(transparent)]
    QueryMemory(Exceeded),
    /// The node has too much to do with other queries; the same one may pass later.
    #[error("{reason}")]
    Overloaded { reason: String },
    /// Some facts were refused by content; the others are stored.
    #[error("{0}")]
    Rejected(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    UnsupportedMedia(String),
    #[error("{0}")]
    Unimplemented(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    Unprocessable(String),
    /// A budget of this node or shard is exhausted.
    #[error("too many requests in flight, try again later")]
    Busy { retry_after_s: u64 },
    /// Not stored, or not known to be; the same request may succeed later.
    #[error("{reason}")]
    Unavailable { reason: String, retry_after_s: u64 },
    /// This node does not serve yet.
    #[error("Service Unavailable")]
    NotReady { reason: String },
    #[error("query timed out")]
    Timeout,
    #[error("query was canceled")]
    Canceled,
    #[error("{0}")]
    Internal(String),
    /// A part of the API that is turned off.
    #[error("{0}")]
    Disabled(&'static str),
}

/// Longest text of an answer: what came is quoted in it, and may be megabytes.
const TEXT_BYTES_MAX: usize = 8 << 10;

fn shorten(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let dropped = text.len() - text.floor_char_boundary(TEXT_BYTES_MAX);
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push_str(&format!("… ({dropped} bytes more)"));
    }
    text
}

fn seconds_of(d: Duration) -> u64 {
    d.as_secs() + u64::from(d.subsec_nanos() > 0)
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Busy { retry_after } => Self::Busy { retry_after_s: seconds_of(retry_after) },
            WriteError::Unavailable { reason, retry_after } => {
                Self::Unavailable { reason, retry_after_s: seconds_of(retry_after) }
            }
            WriteError::TooLarge => Self::TooLarge(error.to_string()),
            WriteError::Invalid(reason) => Self::BadRequest(reason),
            WriteError::Internal(reason) => Self::Internal(reason),
        }
    }
}

impl From<trine_query::Error> for ApiError {
    fn from(error: trine_query::Error) -> Self {
        use trine_query::Error as Q;
        match error {
            Q::Parse { message } => Self::BadRequest(message),
            Q::Execution { message } => Self::Execution(message),
            Q::Unsupported { .. } => Self::Execution(error.to_string()),
            Q::Limit { message } => Self::Limit(message),
            Q::Memory(exceeded @ Exceeded::Query { .. }) => Self::QueryMemory(exceeded),
            Q::Memory(Exceeded::Node { .. }) => Self::Overloaded { reason: error.to_string() },
            Q::Overloaded { reason } => Self::Overloaded { reason },
            Q::Timeout => Self::Timeout,
            Q::Canceled => Self::Canceled,
            Q::ShardMissing(_) | Q::NoShard { .. } => {
                Self::Unavailable { reason: error.to_string(), retry_after_s: RETRY_AFTER_S }
            }
            Q::Corrupt { .. } | Q::Io(_) => Self::Internal(error.to_string()),
        }
    }
}

/// Which protocol's words an error is put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// JSON envelope with `errorType`.
    Prometheus,
    /// Plain text with remote write's statuses.
    RemoteWrite,
    /// Plain text, `nosniff`.
    Loki,
    /// Plain text.
    Tempo,
    /// google.rpc.Status in the request's encoding.
    Otlp { json: bool },
    /// google.rpc.Status in protobuf with only a message, whatever the request was.
    LokiOtlp,
    /// `{"error": …}`.
    Admin,
    /// Status and message in the trailers.
    Grpc,
}

impl ApiError {
    /// HTTP status in a family's convention.
    pub fn status(&self, family: Family) -> StatusCode {
        let canceled = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
        match self {
            Self::NoTenant if matches!(family, Family::Otlp { .. }) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoTenant => StatusCode::UNAUTHORIZED,
            Self::BadTenant(_) | Self::BadRequest(_) | Self::Rejected(_) => StatusCode::BAD_REQUEST,
            Self::Execution(_) | Self::Limit(_) | Self::QueryMemory(_) => match family {
                Family::Prometheus => StatusCode::UNPROCESSABLE_ENTITY,
                _ => StatusCode::BAD_REQUEST,
            },
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::UnsupportedMedia(_) if family == Family::LokiOtlp => StatusCode::BAD_REQUEST,
            Self::UnsupportedMedia(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unimplemented(_) => StatusCode::NOT_IMPLEMENTED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded { .. } => match family {
                Family::Prometheus => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::TOO_MANY_REQUESTS,
            },
            Self::Unavailable { .. } | Self::NotReady { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => match family {
                Family::Loki | Family::Tempo => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            },
            Self::Canceled => canceled,
            // OpenTelemetry clients do not retry 500, and a fault of ours is worth a retry.
            Self::Internal(_) if matches!(family, Family::LokiOtlp | Family::Otlp { .. }) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Internal(_) | Self::Disabled(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// gRPC code.
    pub fn code(&self) -> tonic::Code {
        match self {
            Self::NoTenant => tonic::Code::Unavailable,
            Self::BadTenant(_)
            | Self::BadRequest(_)
            | Self::Rejected(_)
            | Self::Execution(_)
            | Self::Limit(_)
            | Self::QueryMemory(_)
            | Self::UnsupportedMedia(_)
            | Self::TooLarge(_)
            | Self::Unprocessable(_) => tonic::Code::InvalidArgument,
            Self::NotFound(_) => tonic::Code::NotFound,
            Self::Disabled(_) | Self::Unimplemented(_) => tonic::Code::Unimplemented,
            Self::Busy { .. } | Self::Overloaded { .. } => tonic::Code::ResourceExhausted,
            Self::Unavailable { .. } | Self::NotReady { .. } => tonic::Code::Unavailable,
            Self::Timeout => tonic::Code::DeadlineExceeded,
            Self::Canceled => tonic::Code::Cancelled,
            Self::Internal(_) => tonic::Code::Internal,
        }
    }

    fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Busy { retry_after_s } | Self::Unavailable { retry_after_s, .. } => Some((*retry_after_s).max(1)),
            Self::NotReady { .. } | Self::Overloaded { .. } => Some(RETRY_AFTER_S),
            _ => None,
        }
    }

    fn error_type(&self) -> &'static str {
        match self {
            Self::Execution(_) | Self::Limit(_) | Self::QueryMemory(_) | Self::Unprocessable(_) => "execution",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::NotFound(_) => "not_found",
            Self::Unavailable { .. }
            | Self::NotReady { .. }
            | Self::Busy { .. }
            | Self::Overloaded { .. }
            | Self::Disabled(_) => "unavailable",
            Self::Internal(_) => "internal",
            _ => "bad_data",
        }
    }

    fn text(&self, family: Family) -> String {
        shorten(self.full_text(family))
    }

    fn full_text(&self, family: Family) -> String {
        match self {
            Self::QueryMemory(_) if family == Family::Prometheus => {
                "query processing would load too many samples into memory in query execution".to_owned()
            }
            Self::Canceled if family == Family::Loki => "the request was cancelled by the client".to_owned(),
            Self::Timeout if family == Family::Loki => {
                "request timed out, decrease the duration of the request or add \
                 more label matchers (prefer exact match over regex match) to reduce the amount of data processed"
                    .to_owned()
            }
            Self::Timeout if family == Family::Tempo => "context deadline exceeded".to_owned(),
            Self::Timeout => "query timed out in expression evaluation".to_owned(),
            Self::NotReady { reason } if family != Family::Prometheus && family != Family::RemoteWrite => {
                format!("not ready: {reason}")
            }
            _ => self.to_string(),
        }
    }

    /// The reply in a family's words.
    pub fn respond(&self, family: Family) -> Response {
        let status = self.status(family);
        failures::tell(status, self);
        if family == Family::Grpc {
            return self.to_grpc().into_http();
        }
        let text = self.text(family);
        // Ahead of the tenant and of readiness nothing protocol-specific answers in the originals either.
        let plain = matches!(self, Self::NoTenant | Self::NotReady { .. }) && family == Family::Prometheus;
        let (content_type, body) = match family {
            Family::Prometheus if !plain => ("application/json", self.envelope(&text).into_bytes()),
            Family::Otlp { json: true } => ("application/json", self.rpc_json(&text).into_bytes()),
            Family::Otlp { json: false } => ("application/x-protobuf", self.rpc_status(&text).encode_to_vec()),
            Family::LokiOtlp => {
                let status = RpcStatus { code: 0, message: text, details: Vec::new() };
                ("application/octet-stream", status.encode_to_vec())
            }
            Family::Admin => {
                let mut body = String::from("{\"error\":");
                push_json_str(&mut body, &text);
                body.push('}');
                ("application/json", body.into_bytes())
            }
            Family::Prometheus | Family::RemoteWrite | Family::Loki | Family::Tempo | Family::Grpc => {
                let newline = if matches!(family, Family::RemoteWrite | Family::Loki) { "\n" } else { "" };
                ("text/plain; charset=utf-8", format!("{text}{newline}").into_bytes())
            }
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(s) = self.retry_after_s() {
            headers.insert(RETRY_AFTER, HeaderValue::from(s));
        }
        if matches!(family, Family::Loki | Family::RemoteWrite | Family::LokiOtlp) {
            headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
        }
        if matches!(self, Self::NotReady { .. }) && matches!(family, Family::Prometheus | Family::RemoteWrite) {
            headers.insert(HeaderName::from_static("x-prometheus-stopping"), HeaderValue::from_static("false"));
        }
        response
    }

    fn envelope(&self, text: &str) -> String {
        let mut body = format!("{{\"status\":\"error\",\"errorType\":\"{}\",\"error\":", self.error_type());
        push_json_str(&mut body, text);
        body.push('}');
        body
    }

    fn rpc_status(&self, text: &str) -> RpcStatus {
        RpcStatus { code: self.code() as i32, message: text.to_owned(), details: Vec::new() }
    }

    fn rpc_json(&self, text: &str) -> String {
        let mut body = format!("{{\"code\":{},\"message\":", self.code() as i32);
        push_json_str(&mut body, text);
        body.push('}');
        body
    }

    /// The gRPC status; a busy one carries the `RetryInfo` without which exporters drop the batch.
    pub fn to_grpc(&self) -> tonic::Status {
        let text = self.text(Family::Tempo);
        let (Self::Busy { .. } | Self::Overloaded { .. }, Some(retry_after_s)) = (self, self.retry_after_s()) else {
            return tonic::Status::new(self.code(), text);
        };
        let delay = ProtoDuration { seconds: retry_after_s as i64, nanos: 0 };
        let retry = Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: RetryInfo { retry_delay: Some(delay) }.encode_to_vec(),
        };
        let status = RpcStatus { code: self.code() as i32, message: text.clone(), details: vec![retry] };
        tonic::Status::with_details(self.code(), text, status.encode_to_vec().into())
    }
}

/// google.rpc.Status.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Any>,
}

/// google.protobuf.Any.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

/// google.rpc.RetryInfo.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

/// google.protobuf.Duration.
#[derive(Clone, PartialEq, prost::Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fact_in_every_protocol() {
        let busy = ApiError::Busy { retry_after_s: 3 };
        let bad = ApiError::BadRequest("x".to_owned());
        let memory = ApiError::QueryMemory(Exceeded::Query { bytes_max: 5 << 20 });
        let overloaded = ApiError::Overloaded { reason: "o".to_owned() };
        let run = ApiError::Execution("y".to_owned());
        let broken = ApiError::Internal("z".to_owned());
        for (error, family, status) in [
            (&memory, Family::Prometheus, 422),
            (&memory, Family::Loki, 400),
            (&overloaded, Family::Prometheus, 503),
            (&overloaded, Family::Loki, 429),
            (&overloaded, Family::Tempo, 429),
            (&busy, Family::Prometheus, 429),
            (&busy, Family::Otlp { json: false }, 429),
            (&bad, Family::Loki, 400),
            (&run, Family::Prometheus, 422),
            (&run, Family::Loki, 400),
            (&ApiError::Timeout, Family::Prometheus, 503),
            (&ApiError::Timeout, Family::Tempo, 504),
            (&ApiError::Canceled, Family::Loki, 499),
            (&ApiError::NoTenant, Family::Loki, 401),
            (&broken, Family::Prometheus, 500),
            (&broken, Family::LokiOtlp, 503),
        ] {
            let response = error.respond(family);
            assert_eq!(response.status().as_u16(), status, "{error:?} {family:?}");
        }
        assert_eq!(busy.respond(Family::Loki).headers()[RETRY_AFTER], "3");
        assert_eq!(bad.envelope("x"), r#"{"status":"error","errorType":"bad_data","error":"x"}"#);
        assert!(!busy.to_grpc().details().is_empty());
        assert!(!overloaded.to_grpc().details().is_empty());
        assert_eq!(overloaded.respond(Family::Prometheus).headers()[RETRY_AFTER], "5");
        let text = "query processing would load too many samples into memory in query execution";
        assert_eq!(memory.text(Family::Prometheus), text);
        assert!(memory.text(Family::Tempo).starts_with("query needs more than 5 MiB of memory"));
        let long = ApiError::BadRequest("é".repeat(1 << 20)).to_grpc();
        assert!(long.message().len() < 9000 && long.message().ends_with("é… (2088960 bytes more)"));
    }
}
