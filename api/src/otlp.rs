//! OpenTelemetry: traces, logs and metrics over HTTP and gRPC.
mod delta;
mod grpc;
#[cfg(test)]
mod hostile;
mod http;
mod json;
pub(crate) mod json_logs;
pub(crate) mod json_metrics;
pub(crate) mod json_trace;
pub(crate) mod logs;
pub(crate) mod metrics;
mod names;
mod store;
pub(crate) mod trace;
mod value;
mod weigh;

use axum::Router;
pub(crate) use delta::Deltas;
pub(crate) use grpc::services;

use crate::call::ingest;
use crate::config::ApiConfig;
use crate::error::Family;
use crate::state::Api;

fn bytes_max(config: &ApiConfig) -> usize {
    config.otlp_bytes_max
}

/// On the main port: every path that a distribution of Prometheus, Mimir or Loki has, and the collector's own.
pub(crate) fn routes() -> Router<Api> {
    let metrics = || ingest(http::family_of, "otlp_metrics", bytes_max, http::metrics);
    http_routes()
        .route("/otlp/v1/metrics", metrics())
        .route("/api/v1/otlp/v1/metrics", metrics())
        .route("/otlp/v1/logs", ingest(|_| Family::LokiOtlp, "otlp_logs", bytes_max, http::loki_logs))
        .route("/otlp/v1/traces", ingest(http::family_of, "otlp_traces", bytes_max, http::traces))
}

/// On OTLP's own port.
pub(crate) fn http_routes() -> Router<Api> {
    Router::new()
        .route("/v1/traces", ingest(http::family_of, "otlp_traces", bytes_max, http::traces))
        .route("/v1/logs", ingest(http::family_of, "otlp_logs", bytes_max, http::logs))
        .route("/v1/metrics", ingest(http::family_of, "otlp_metrics", bytes_max, http::metrics))
}
