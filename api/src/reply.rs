//! Replies that several protocols share.
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use trine_query::memory::{Account, hold};

pub(crate) use crate::completeness::complete;
use crate::error::ApiError;

/// A reply with a body of one content type.
pub(crate) fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// 200 with JSON.
pub(crate) fn json(body: String) -> Response {
    with_type(StatusCode::OK, "application/json", body)
}

/// 200 with JSON whose type names its charset, as Loki does.
pub(crate) fn json_utf8(body: String) -> Response {
    with_type(StatusCode::OK, "application/json; charset=UTF-8", body)
}

/// 200 with a body that is charged until it has been sent.
pub(crate) fn charged(
    memory: &Account,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Result<Response, ApiError> {
    let body = hold(memory, body.into()).map_err(trine_query::Error::from)?;
    Ok(with_type(StatusCode::OK, content_type, body))
}

/// Plain text.
pub(crate) fn text(status: StatusCode, body: impl Into<Body>) -> Response {
    with_type(status, "text/plain; charset=utf-8", body)
}

/// No body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
