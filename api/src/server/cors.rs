//! Prometheus' CORS: any origin, and 204 to every `OPTIONS` of its API.
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::reply;

/// Middleware around all REST routes.
pub(super) async fn layer(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let prometheus = path.starts_with("/api/v1/") || path.starts_with("/prometheus/api/v1/");
    if !prometheus {
        return next.run(request).await;
    }
    let has_origin = request.headers().contains_key(ORIGIN);
    let mut response = if request.method() == Method::OPTIONS {
        reply::empty(StatusCode::NO_CONTENT)
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Origin"));
    // Whether or not this answer was compressed, another one may be.
    headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    if has_origin {
        allow(headers);
    }
    response
}

fn allow(headers: &mut HeaderMap) {
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
