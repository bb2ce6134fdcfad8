//! Build information, limits for Logs Drilldown, and the answers of the ruler and of features that are off.
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{any, get};
use http::StatusCode;

use crate::reply;
use crate::state::Api;

/// Loki release whose API is served.
const API_VERSION: &str = "3.8.0";

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/loki/api/v1/status/buildinfo", get(build_info))
        .route("/loki/api/v1/drilldown-limits", get(drilldown_limits))
        .route("/loki/api/v1/patterns", any(|| async { reply::empty(StatusCode::NOT_FOUND) }))
        .merge(rules("/loki/api/v1/rules"))
        .merge(rules("/api/prom/rules"))
}

/// Grafana tells a ruler without groups from no ruler by these texts.
fn rules(base: &str) -> Router<Api> {
    let none = |text: &'static str| any(move || async move { reply::text(StatusCode::NOT_FOUND, text) });
    Router::new()
        .route(base, none("no rule groups found\n"))
        .route(&format!("{base}/{{namespace}}"), none("group namespace does not exist\n"))
        .route(&format!("{base}/{{namespace}}/{{group}}"), none("group does not exist\n"))
}

async fn build_info() -> Response {
    reply::json_utf8(format!(
        "{{\"version\":\"{API_VERSION}\",\"revision\":\"{}\",\"branch\":\"trine\",\"buildUser\":\"\",\"buildDate\":\"\",\"goVersion\":\"\"}}",
        env!("CARGO_PKG_VERSION")
    ))
}

async fn drilldown_limits(State(api): State<Api>) -> Response {
    let c = api.config();
    let hours = |ms: i64| format!("{}h", ms / 3_600_000);
    let limits = serde_json::json!({
        "discover_log_levels": true,
        "discover_service_name": super::entries::SERVICE_LABELS,
        "log_level_fields": super::level::FIELD_NAMES,
        "max_entries_limit_per_query": c.log_entries_max,
        "max_line_size_truncate": false,
        "max_query_bytes_read": "0B",
        "max_query_length": hours(c.log_query_range_ms_max),
        "max_query_lookback": "0s",
        "max_query_range": "0s",
        "max_query_series": c.log_series_max,
        "metric_aggregation_enabled": false,
        "otlp_config": {},
        "pattern_persistence_enabled": false,
        "query_timeout": format!("{}s", c.query_timeout_ms / 1000),
        "retention_period": hours(c.retention_ms),
        "retention_stream": [],
        "volume_enabled": true,
        "volume_max_series": 1000,
    });
    let body = serde_json::json!({ "limits": limits, "pattern_ingester_enabled": false, "version": API_VERSION });
    reply::json_utf8(body.to_string())
}
