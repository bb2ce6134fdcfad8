//! Loki: push, the query API, rules stubs and status.
mod detected;
pub(crate) mod entries;
pub(crate) mod level;
mod metadata;
mod params;
pub(crate) mod push;
pub(crate) mod push_decode;
mod query;
mod render;
mod selector;
mod status;

use axum::Router;

use crate::call::{ingest, query as query_route};
use crate::error::Family;
use crate::later::later;
use crate::state::Api;

pub(crate) fn routes() -> Router<Api> {
    let family = Family::Loki;
    let labels = || query_route(family, "loki_labels", metadata::labels);
    Router::new()
        .route("/loki/api/v1/push", ingest(|_| Family::Loki, "loki_push", |c| c.loki_push_bytes_max, push::push))
        .route(
            "/api/prom/push",
            ingest(|_| Family::Loki, "loki_push_legacy", |c| c.loki_push_bytes_max, push::push_legacy),
        )
        .route("/loki/api/v1/query", query_route(family, "loki_query", query::instant))
        .route("/loki/api/v1/query_range", query_route(family, "loki_query_range", query::range))
        .route("/api/prom/query", query_route(family, "loki_query_legacy", query::legacy))
        .route("/loki/api/v1/format_query", query_route(family, "loki_format", query::format))
        .route("/loki/api/v1/labels", labels())
        .route("/loki/api/v1/label", labels())
        .route("/api/prom/label", query_route(family, "loki_labels", metadata::labels_legacy))
        .route("/loki/api/v1/label/{name}/values", query_route(family, "loki_label_values", metadata::label_values))
        .route("/api/prom/label/{name}/values", query_route(family, "loki_label_values", metadata::label_values_legacy))
        .route("/loki/api/v1/series", query_route(family, "loki_series", metadata::series))
        .route("/api/prom/series", query_route(family, "loki_series", metadata::series))
        .route("/loki/api/v1/index/stats", query_route(family, "loki_index_stats", metadata::index_stats))
        .route("/loki/api/v1/index/volume", query_route(family, "loki_volume", metadata::volume))
        .route("/loki/api/v1/index/volume_range", query_route(family, "loki_volume_range", metadata::volume_range))
        .route("/loki/api/v1/detected_fields", query_route(family, "loki_detected_fields", detected::fields))
        .route(
            "/loki/api/v1/detected_field/{name}/values",
            query_route(family, "loki_detected_fields", detected::values),
        )
        .route("/loki/api/v1/detected_labels", query_route(family, "loki_detected_labels", metadata::detected_labels))
        .route("/loki/api/v1/index/shards", later(family, "index shards"))
        .route("/loki/api/v1/tail", later(family, "tailing"))
        .route("/api/prom/tail", later(family, "tailing"))
        .route("/loki/api/v1/delete", later(family, "deletion requests"))
        .merge(status::routes())
}
