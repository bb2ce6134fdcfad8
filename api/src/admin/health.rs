//! `/ready`, `/-/ready`, `/-/healthy`, `/metrics`.
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;

use crate::error::ApiError;
use crate::metrics::render;
use crate::reply;
use crate::state::Api;

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/ready", get(ready_page))
        .route("/-/ready", get(prometheus_ready))
        .route("/-/healthy", get(|| async { reply::text(StatusCode::OK, "Prometheus Server is Healthy.\n") }))
        .route("/metrics", get(metrics_page))
}

/// 200 `ready`, or 503 with the reason.
pub(crate) async fn ready_page(State(api): State<Api>) -> Response {
    match api.backend().ready() {
        Ok(()) => reply::text(StatusCode::OK, "ready\n"),
        Err(reason) => reply::text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn prometheus_ready(State(api): State<Api>) -> Response {
    match api.backend().ready() {
        Ok(()) => reply::text(StatusCode::OK, "Prometheus Server is Ready.\n"),
        Err(reason) => ApiError::NotReady { reason }.respond(crate::Family::Prometheus),
    }
}

/// This node's own metrics in the text format.
pub(crate) async fn metrics_page(State(api): State<Api>) -> Response {
    reply::with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", render(&api.families()))
}
