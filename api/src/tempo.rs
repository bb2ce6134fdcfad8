//! Tempo: trace by id, search, tags, over HTTP and streaming gRPC.
mod accept;
mod json;
mod otlp;
mod params;
mod pb;
mod search;
mod status;
mod stream;
mod tags;
mod trace;

use axum::Router;
pub(crate) use params::{search as search_of, trace_id as trace_id_of};
pub(crate) use stream::services;

use crate::call::query;
use crate::error::Family;
use crate::state::Api;

pub(crate) fn routes() -> Router<Api> {
    let family = Family::Tempo;
    Router::new()
        .route("/api/traces/{id}", query(family, "tempo_trace", trace::v1))
        .route("/api/v2/traces/{id}", query(family, "tempo_trace_v2", trace::v2))
        .route("/api/search", query(family, "tempo_search", search::search))
        .route("/api/search/tags", query(family, "tempo_tags", tags::tags))
        .route("/api/v2/search/tags", query(family, "tempo_tags_v2", tags::tags_v2))
        .route("/api/search/tag/{*rest}", query(family, "tempo_tag_values", tags::values))
        .route("/api/v2/search/tag/{*rest}", query(family, "tempo_tag_values_v2", tags::values_v2))
        .merge(status::routes())
}
