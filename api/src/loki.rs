//! Loki: push, the query API, rules stubs and status.
pub(crate) mod entries;
pub(crate) mod level;
pub(crate) mod push;
mod push_decode;
mod selector;

use axum::Router;

use crate::call::ingest;
use crate::error::Family;
use crate::state::Api;

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/loki/api/v1/push", ingest(|_| Family::Loki, "loki_push", |c| c.loki_push_bytes_max, push::push))
        .route(
            "/api/prom/push",
            ingest(|_| Family::Loki, "loki_push_legacy", |c| c.loki_push_bytes_max, push::push_legacy),
        )
}
