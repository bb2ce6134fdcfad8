//! What Prometheus tells about itself, and the empty answers of parts that Trine does not have yet: rules, alerts,
//! targets, Alertmanagers.
use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{any, get};
use http::StatusCode;

use super::query::{query_error, time_param};
use super::render::plain;
use crate::call::{Call, Outcome};
use crate::error::ApiError;
use crate::json::push_json_str;
use crate::reply;
use crate::state::Api;
use crate::time::{TIME_MS_MAX, TIME_MS_MIN, bad_parameter, rfc3339_text};

/// Prometheus release whose API is served; clients choose features by it.
const API_VERSION: &str = "3.14.0";

/// Status paths below `/api/v1`; they need no tenant.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/status/buildinfo", get(build_info))
        .route("/api/v1/status/flags", get(|| async { plain("{}") }))
        .route("/api/v1/status/config", get(|| async { plain("{\"yaml\":\"\"}") }))
        .route("/api/v1/status/runtimeinfo", get(runtime_info))
        .route("/api/v1/status/walreplay", get(|| async { plain("{\"min\":0,\"max\":0,\"current\":0}") }))
        .route("/api/v1/notifications", get(|| async { plain("[]") }))
        .route(
            "/api/v1/targets",
            get(|| async { plain("{\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":{}}") }),
        )
        .route("/api/v1/targets/metadata", get(|| async { plain("[]") }))
        .route("/api/v1/scrape_pools", get(|| async { plain("{\"scrapePools\":[]}") }))
        .route(
            "/api/v1/alertmanagers",
            get(|| async { plain("{\"activeAlertmanagers\":[],\"droppedAlertmanagers\":[]}") }),
        )
        .route("/api/v1/rules", get(|| async { plain("{\"groups\":[]}") }))
        .route("/api/v1/alerts", get(|| async { plain("{\"alerts\":[]}") }))
        .route("/config/v1/rules", any(ruler_list))
        .route("/config/v1/rules/{namespace}", any(ruler_namespace))
        .route("/config/v1/rules/{namespace}/{group}", any(ruler_group))
}

async fn build_info() -> Response {
    plain(&format!(
        "{{\"version\":\"{API_VERSION}\",\"revision\":\"{}\",\"branch\":\"trine\",\"buildUser\":\"\",\"buildDate\":\"\",\"goVersion\":\"\"}}",
        env!("CARGO_PKG_VERSION")
    ))
}

async fn runtime_info(State(api): State<Api>) -> Response {
    let mut data = String::from("{\"startTime\":");
    push_json_str(&mut data, &rfc3339_text(api.started_ns()));
    data.push_str(",\"CWD\":\"\",\"hostname\":\"\",\"serverTime\":");
    push_json_str(&mut data, &rfc3339_text(api.now_ns()));
    data.push_str(",\"reloadConfigSuccess\":true,\"lastConfigTime\":");
    push_json_str(&mut data, &rfc3339_text(api.started_ns()));
    data.push_str(",\"corruptionCount\":0,\"goroutineCount\":0,\"GOMAXPROCS\":0,\"GOMEMLIMIT\":0,\"GOGC\":\"\",\"GODEBUG\":\"\",\"storageRetention\":\"\"}");
    plain(&data)
}

async fn ruler_list() -> Response {
    reply::with_type(StatusCode::OK, "application/yaml", "{}\n")
}

async fn ruler_namespace(Path(_namespace): Path<String>) -> Response {
    reply::with_type(StatusCode::OK, "application/yaml", "{}\n")
}

async fn ruler_group() -> Response {
    reply::text(StatusCode::NOT_FOUND, "group does not exist\n")
}

/// `/api/v1/query_exemplars`. Stored exemplars are not indexed yet, so a valid question has an empty answer.
pub(super) async fn exemplars(call: Call) -> Outcome {
    let p = &call.params;
    time_param(p, "start", Some(TIME_MS_MIN))?;
    time_param(p, "end", Some(TIME_MS_MAX))?;
    let query = p.get("query").unwrap_or_default();
    trine_query::promql::format(query).map_err(query_error)?;
    Ok(plain("[]"))
}

/// `/api/v1/format_query`.
pub(super) async fn format(call: Call) -> Outcome {
    let query = call.params.get("query").unwrap_or_default();
    let text = trine_query::promql::format(query).map_err(query_error)?;
    let mut data = String::new();
    push_json_str(&mut data, &text);
    Ok(plain(&data))
}

/// `/api/v1/parse_query`: checks the text; its tree is not given.
pub(super) async fn parse(call: Call) -> Outcome {
    let query = call
        .params
        .get("query")
        .ok_or_else(|| bad_parameter("query", "unknown position: parse error: no expression found in input"))?;
    trine_query::promql::format(query).map_err(query_error)?;
    Err(ApiError::Execution("unsupported: parse_query does not give the syntax tree".to_owned()))
}
