//! Prometheus and Mimir: remote write, the query API, rules and status.
pub(crate) mod decode;
mod write;

pub(crate) use write::conflict_texts;

use axum::Router;

use crate::call::ingest;
use crate::error::Family;
use crate::state::Api;

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route(
            "/api/v1/write",
            ingest(|_| Family::RemoteWrite, "remote_write", |c| c.remote_write_bytes_max, write::write),
        )
        .route("/api/v1/push", ingest(|_| Family::RemoteWrite, "mimir_push", |c| c.remote_write_bytes_max, write::push))
}
