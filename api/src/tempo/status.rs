//! Echo, build information, and the metrics endpoints that are not there yet.
use axum::Router;
use axum::response::Response;
use axum::routing::{any, get};
use http::StatusCode;

use crate::error::{ApiError, Family};
use crate::reply;
use crate::state::Api;

/// Tempo release whose API is served; Grafana chooses streaming by it.
const API_VERSION: &str = "3.0.2";

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/echo", get(|| async { reply::text(StatusCode::OK, "echo") }))
        .route("/api/status/buildinfo", get(build_info))
        .route("/api/metrics/query_range", any(unsupported))
        .route("/api/metrics/query", any(unsupported))
        .route("/api/mcp", any(|| async { reply::empty(StatusCode::NOT_FOUND) }))
}

async fn build_info() -> Response {
    reply::json(format!(
        "{{\"version\":\"{API_VERSION}\",\"revision\":\"{}\",\"branch\":\"trine\",\"buildUser\":\"\",\"buildDate\":\"\",\"goVersion\":\"\"}}",
        env!("CARGO_PKG_VERSION")
    ))
}

async fn unsupported() -> Response {
    ApiError::BadRequest("TraceQL metrics queries are not supported yet".to_owned()).respond(Family::Tempo)
}
