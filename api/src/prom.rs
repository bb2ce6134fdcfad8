//! Prometheus and Mimir: remote write, the query API, rules and status.
mod admin;
pub(crate) mod decode;
pub(crate) mod decode_v2;
mod histogram;
mod query;
mod render;
mod series;
mod status;
mod write;

use axum::Router;
pub(crate) use write::conflict_texts;

use crate::call::{change, get, ingest, query as query_route};
use crate::error::Family;
use crate::later::later;
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
        .route("/api/v1/push", ingest(|_| Family::RemoteWrite, "mimir_push", |c| c.remote_write_bytes_max, write::push))
}

fn query_api() -> Router<Api> {
    let family = Family::Prometheus;
    Router::new()
        .route("/api/v1/query", query_route(family, "prom_query", query::instant))
        .route("/api/v1/query_range", query_route(family, "prom_query_range", query::range))
        .route("/api/v1/query_exemplars", query_route(family, "prom_exemplars", status::exemplars))
        .route("/api/v1/format_query", query_route(family, "prom_format", status::format))
        .route("/api/v1/parse_query", query_route(family, "prom_parse", status::parse))
        .route("/api/v1/labels", query_route(family, "prom_labels", series::labels))
        .route("/api/v1/label/{name}/values", get(family, "prom_label_values", series::label_values))
        .route("/api/v1/series", query_route(family, "prom_series", series::series))
        .route("/api/v1/metadata", get(family, "prom_metadata", series::metadata))
        .route("/federate", later(Family::RemoteWrite, "federation"))
        .route("/api/v1/read", later(Family::RemoteWrite, "remote read"))
        .route("/api/v1/status/tsdb", later(family, "statistics of the TSDB"))
        .route("/api/v1/features", later(family, "the list of features"))
        .route("/api/v1/admin/tsdb/delete_series", change(family, "prom_delete_series", admin::delete_series))
        .route("/api/v1/admin/tsdb/clean_tombstones", change(family, "prom_clean_tombstones", admin::clean_tombstones))
        .route("/api/v1/admin/tsdb/snapshot", change(family, "prom_snapshot", admin::snapshot))
        .merge(status::routes())
}
