//! Prometheus and Mimir: remote write, the query API, rules and status.
mod admin;
mod blocks;
pub(crate) mod decode;
pub(crate) mod decode_v2;
pub(crate) mod exemplars;
mod features;
mod federate;
pub(crate) mod histogram;
mod notifications;
mod query;
pub(crate) mod read;
mod refused;
mod render;
pub(crate) mod replica;
mod rules;
pub(crate) mod search;
mod series;
mod series_cache;
mod slow;
mod status;
mod targets;
mod tsdb;
mod write;

use axum::Router;
use axum::routing::{MethodRouter, post};
use http::StatusCode;
pub(crate) use notifications::Notifications;
pub(crate) use series_cache::SeriesCache;
pub(crate) use write::{Conflicts, conflict_texts};

use crate::call::{change, get, ingest, query as query_route, query_body};
use crate::error::Family;
use crate::reply;
use crate::state::Api;

/// Everything at the root, and the query API again under Mimir's `/prometheus`.
pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .merge(query_api())
        .nest("/prometheus", query_api())
        .route(
            "/api/v1/write",
            ingest(|_| Family::RemoteWrite, "remote_write", |c| c.remote_write_bytes_max, write::write),
        )
        .route("/-/reload", lifecycle())
        .route("/-/quit", lifecycle())
        .route("/api/v1/push", ingest(|_| Family::RemoteWrite, "mimir_push", |c| c.remote_write_bytes_max, write::push))
}

/// Prometheus' paths that steer the process: turned off.
fn lifecycle() -> MethodRouter<Api> {
    let disabled = || async { reply::text(StatusCode::FORBIDDEN, "Lifecycle API is not enabled.") };
    let other = || async { reply::text(StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed") };
    post(disabled).put(disabled).fallback(other)
}

fn query_api() -> Router<Api> {
    let family = Family::Prometheus;
    Router::new()
        .route("/api/v1/query", query_route(family, "prom_query", query::instant))
        .route("/api/v1/query_range", query_route(family, "prom_query_range", query::range))
        .route("/api/v1/query_exemplars", query_route(family, "prom_exemplars", exemplars::exemplars))
        .route("/api/v1/format_query", query_route(family, "prom_format", status::format))
        .route("/api/v1/parse_query", query_route(family, "prom_parse", status::parse))
        .route("/api/v1/labels", query_route(family, "prom_labels", series::labels))
        .route("/api/v1/label/{name}/values", get(family, "prom_label_values", series::label_values))
        .route("/api/v1/series", query_route(family, "prom_series", series::series))
        .route("/api/v1/search/metric_names", query_route(family, "prom_search", search::metric_names))
        .route("/api/v1/search/label_names", query_route(family, "prom_search", search::label_names))
        .route("/api/v1/search/label_values", query_route(family, "prom_search", search::label_values))
        .route("/api/v1/metadata", get(family, "prom_metadata", series::metadata))
        .route("/api/v1/read", query_body(|_| Family::RemoteWrite, "remote_read", |c| c.form_bytes_max, read::read))
        .route("/federate", get(Family::RemoteWrite, "prom_federate", federate::federate))
        .route("/api/v1/cardinality/label_names", query_route(Family::RemoteWrite, "cardinality", tsdb::label_names))
        .route("/api/v1/cardinality/label_values", query_route(Family::RemoteWrite, "cardinality", tsdb::label_values))
        .route(
            "/api/v1/cardinality/active_series",
            query_route(Family::RemoteWrite, "cardinality", tsdb::active_series),
        )
        .route(
            "/api/v1/cardinality/active_native_histogram_metrics",
            query_route(Family::RemoteWrite, "cardinality", tsdb::native_histograms),
        )
        .route("/api/v1/user_stats", get(family, "user_stats", tsdb::user_stats))
        .route("/api/v1/user_limits", get(family, "user_limits", tsdb::user_limits))
        .route("/api/v1/admin/tsdb/delete_series", change(family, "prom_admin", admin::delete_series))
        .route("/api/v1/admin/tsdb/clean_tombstones", change(family, "prom_admin", admin::clean_tombstones))
        .route("/api/v1/admin/tsdb/snapshot", change(family, "prom_admin", admin::snapshot))
        .merge(rules::routes())
        .merge(targets::routes())
        .merge(status::routes())
}
