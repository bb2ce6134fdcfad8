//! What Prometheus tells about itself.
use axum::Router;
use axum::response::Response;
use axum::routing::get as open_get;

use super::query::query_error;
use super::render::plain;
use super::{blocks, features, notifications, search, tsdb};
use crate::call::{Call, Outcome, get};
use crate::error::{ApiError, Family};
use crate::json::push_json_str;
use crate::metrics::{MetricFamily, MetricKind};
use crate::number::float_text;
use crate::state::Api;
use crate::time::rfc3339_text;

/// Prometheus release whose API is served; clients choose features by it.
const API_VERSION: &str = "3.14.0";

/// Status paths below `/api/v1`. Who only asks what this is, or how far it is, needs no tenant and does not wait.
pub(super) fn routes() -> Router<Api> {
    let family = Family::Prometheus;
    Router::new()
        .route("/api/v1/status/buildinfo", open_get(build_info))
        .route("/alertmanager/api/v1/status/buildinfo", open_get(build_info))
        .route("/api/v1/status/walreplay", open_get(|| async { plain("{\"min\":0,\"max\":0,\"current\":0}") }))
        .route("/api/v1/notifications", open_get(notifications::now))
        .route("/api/v1/notifications/live", open_get(notifications::live))
        .route("/api/v1/status/flags", get(family, "prom_status", flags))
        .route("/api/v1/status/config", get(family, "prom_status", config))
        .route("/api/v1/status/runtimeinfo", get(family, "prom_status", runtime_info))
        .route("/api/v1/status/self_metrics", get(family, "prom_status", self_metrics))
        .route("/api/v1/status/tsdb", get(family, "prom_status_tsdb", tsdb::status))
        .route("/api/v1/status/tsdb/blocks", get(family, "prom_status", blocks::blocks))
        .route("/api/v1/features", get(family, "prom_status", features::features))
}

/// No `features` of Mimir's: with them Grafana would offer to edit rules.
async fn build_info() -> Response {
    plain(&format!(
        "{{\"version\":\"{API_VERSION}\",\"revision\":\"{}\",\"branch\":\"trine\",\"buildUser\":\"\",\"buildDate\":\"\",\"goVersion\":\"\"}}",
        env!("CARGO_PKG_VERSION")
    ))
}

/// What Prometheus has behind a flag and is on here.
const FEATURES: &str =
    "promql-experimental-functions,promql-per-step-stats,exemplar-storage,native-histograms,search-api";

/// The settings that have a counterpart among Prometheus' flags.
async fn flags(call: Call) -> Outcome {
    let config = call.api.config();
    let seconds = |ms: i64| format!("{}s", ms / 1000);
    let flags = [
        ("enable-feature", FEATURES.to_owned()),
        ("query.lookback-delta", seconds(config.lookback_ms)),
        ("query.max-samples", config.query_samples_max.to_string()),
        ("query.timeout", seconds(i64::try_from(config.query_timeout_ms).unwrap_or(i64::MAX))),
        ("storage.tsdb.retention.time", seconds(config.retention_ms_of(&call.tenant))),
        ("web.enable-admin-api", "false".to_owned()),
        ("web.enable-lifecycle", "false".to_owned()),
        ("web.enable-otlp-receiver", "true".to_owned()),
        ("web.enable-remote-write-receiver", "true".to_owned()),
        ("web.search.max-limit", search::LIMIT_MAX.to_string()),
    ];
    let mut data = String::new();
    crate::json::push_json_map(&mut data, flags.iter().map(|(name, value)| (*name, value.as_str())));
    Ok(plain(&data))
}

/// What of Prometheus' configuration file has a counterpart here.
async fn config(call: Call) -> Outcome {
    let mut yaml = String::from("global:\n  scrape_interval: 1m\n  scrape_timeout: 10s\n  evaluation_interval: 1m\n");
    let external = &call.api.config().external_labels;
    if !external.is_empty() {
        yaml.push_str("  external_labels:\n");
        for (name, value) in external {
            let (mut n, mut v) = (String::new(), String::new());
            push_json_str(&mut n, name);
            push_json_str(&mut v, value);
            yaml.push_str(&format!("    {n}: {v}\n"));
        }
    }
    let mut data = String::from("{\"yaml\":");
    push_json_str(&mut data, &yaml);
    data.push('}');
    Ok(plain(&data))
}

async fn runtime_info(call: Call) -> Outcome {
    let api = &call.api;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut data = String::from("{\"startTime\":");
    push_json_str(&mut data, &rfc3339_text(api.started_ns()));
    data.push_str(",\"CWD\":\"\",\"hostname\":\"\",\"serverTime\":");
    push_json_str(&mut data, &rfc3339_text(api.now_ns()));
    data.push_str(",\"reloadConfigSuccess\":true,\"lastConfigTime\":");
    push_json_str(&mut data, &rfc3339_text(api.started_ns()));
    data.push_str(&format!(
        ",\"corruptionCount\":0,\"goroutineCount\":0,\"GOMAXPROCS\":{threads},\"GOMEMLIMIT\":0,\"GOGC\":\"\",\"GODEBUG\":\"\",\"storageRetention\":\"{}s\"}}",
        api.config().retention_ms_of(&call.tenant) / 1000
    ));
    Ok(plain(&data))
}

/// This node's own metrics as protobuf's JSON has them.
async fn self_metrics(call: Call) -> Outcome {
    let pattern = call.params.get("metric_name_pattern");
    let filter = pattern
        .map(|p| trine_store::index::Matcher::new("__name__", trine_store::index::MatchOp::Regex, p))
        .transpose()
        .map_err(|e| ApiError::BadRequest(format!("invalid metric_name_pattern: {e}")))?;
    let families = call.api.families();
    let wanted = families.iter().filter(|f| filter.as_ref().is_none_or(|m| m.matches(f.name)));
    let mut data = String::new();
    crate::json::push_json_list(&mut data, wanted, push_family);
    Ok(plain(&data))
}

fn push_family(out: &mut String, family: &MetricFamily) {
    let (kind, field) = match family.kind {
        MetricKind::Counter => ("COUNTER", "counter"),
        MetricKind::Gauge => ("GAUGE", "gauge"),
    };
    out.push_str("{\"name\":");
    push_json_str(out, family.name);
    out.push_str(",\"help\":");
    push_json_str(out, family.help);
    out.push_str(&format!(",\"type\":\"{kind}\",\"metric\":"));
    crate::json::push_json_list(out, &family.samples, |out, sample| {
        out.push_str("{\"label\":");
        crate::json::push_json_list(out, &sample.labels, |out, (name, value)| {
            crate::json::push_json_map(out, [("name", *name), ("value", value.as_str())]);
        });
        let value = float_text(sample.value);
        // Numbers that JSON has no form for are texts.
        let value = if sample.value.is_finite() { value } else { format!("\"{}\"", value.replace('+', "")) };
        out.push_str(&format!(",\"{field}\":{{\"value\":{value}}}}}"));
    });
    out.push('}');
}

/// `/api/v1/format_query`.
pub(super) async fn format(call: Call) -> Outcome {
    let query = call.params.get("query").unwrap_or_default();
    let text = trine_query::promql::format(query).map_err(query_error)?;
    let mut data = String::new();
    push_json_str(&mut data, &text);
    Ok(plain(&data))
}

/// `/api/v1/parse_query`: the syntax tree.
pub(super) async fn parse(call: Call) -> Outcome {
    let query = call.params.get("query").unwrap_or_default();
    let tree = trine_query::promql::parse_tree(query).map_err(query_error)?;
    Ok(plain(&tree.to_string()))
}
