//! `features`: what of Prometheus is there, by category.
use trine_query::promql;

use super::render::plain;
use crate::call::{Call, Outcome};
use crate::json::{push_json_object, push_json_str};

const API: &[(&str, bool)] = &[
    ("admin", false),
    ("exclude_alerts", true),
    ("label_values_match", true),
    ("lifecycle", false),
    ("openapi_3.1", false),
    ("openapi_3.2", false),
    ("otlp_write_receiver", true),
    ("query_stats", true),
    ("query_warnings", true),
    ("remote_write_receiver", true),
    ("search", true),
    ("search_fuzz_alg_jarowinkler", true),
    ("search_fuzz_alg_subsequence", true),
    ("time_range_labels", true),
    ("time_range_series", true),
];
const PROMETHEUS: &[(&str, bool)] = &[("agent_mode", false), ("auto_reload_config", false), ("server_mode", true)];
const PROMQL: &[(&str, bool)] = &[
    ("anchored", true),
    ("at_modifier", true),
    ("bool", true),
    ("by", true),
    ("delayed_name_removal", true),
    ("duration_expr", true),
    ("fill", true),
    ("fill_left", true),
    ("fill_right", true),
    ("group_left", true),
    ("group_right", true),
    ("ignoring", true),
    ("negative_offset", true),
    ("offset", true),
    ("on", true),
    ("per_query_lookback_delta", true),
    ("per_step_stats", true),
    ("smoothed", true),
    ("subqueries", true),
    ("type_and_unit_labels", false),
    ("without", true),
];
const OPERATORS: &[&str] = &[
    "!=",
    "!~",
    "%",
    "*",
    "+",
    "-",
    "/",
    "<",
    "</",
    "<=",
    "==",
    "=~",
    ">",
    ">/",
    ">=",
    "@",
    "^",
    "and",
    "atan2",
    "avg",
    "bottomk",
    "count",
    "count_values",
    "group",
    "limit_ratio",
    "limitk",
    "max",
    "min",
    "or",
    "quantile",
    "stddev",
    "stdvar",
    "sum",
    "topk",
    "unless",
];
const NONE_YET: &[(&str, &[&str])] = &[
    ("rules", &["concurrent_rule_eval", "keep_firing_for", "query_offset"]),
    ("scrape", &["extra_scrape_metrics", "start_timestamp_zero_ingestion", "type_and_unit_labels"]),
    ("service_discovery_providers", &["dns", "file", "http", "kubernetes", "static"]),
    ("templating_functions", &[]),
];
const TSDB: &[(&str, bool)] = &[("exemplar_storage", true), ("isolation", true), ("native_histograms", true)];
const UI: &[(&str, bool)] = &[("ui_v2", false), ("ui_v3", false)];

/// `/api/v1/features`.
pub(super) async fn features(call: Call) -> Outcome {
    let mut functions: Vec<(&str, bool)> = promql::function_names().map(|name| (name, true)).collect();
    functions.sort_unstable();
    let operators: Vec<(&str, bool)> = OPERATORS.iter().map(|name| (*name, true)).collect();
    let otlp = [("delta_conversion", call.api.config().otlp.delta_to_cumulative), ("native_delta_ingestion", false)];
    let mut categories: Vec<(&str, Vec<(&str, bool)>)> = vec![
        ("api", API.to_vec()),
        ("otlp_receiver", otlp.to_vec()),
        ("prometheus", PROMETHEUS.to_vec()),
        ("promql", PROMQL.to_vec()),
        ("promql_functions", functions),
        ("promql_operators", operators),
        ("tsdb", TSDB.to_vec()),
        ("ui", UI.to_vec()),
    ];
    categories.extend(NONE_YET.iter().map(|(name, all)| (*name, all.iter().map(|f| (*f, false)).collect())));
    categories.sort_unstable();
    let mut data = String::new();
    push_json_object(&mut data, categories, |out, (category, features)| {
        push_json_str(out, category);
        out.push(':');
        push_json_object(out, features, |out, (name, is_on)| {
            push_json_str(out, name);
            out.push_str(if is_on { ":true" } else { ":false" });
        });
    });
    Ok(plain(&data))
}
