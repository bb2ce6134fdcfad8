//! `/admin/v1/*`: what the cluster is, and flushing it.
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};

use super::model::{AdminCluster, AdminNode, AdminShard, FlushReport};
use super::{openapi, scrub};
use crate::error::{ApiError, Family};
use crate::state::Api;

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/admin/v1/cluster", get(cluster))
        .route("/admin/v1/nodes", get(nodes))
        .route("/admin/v1/shards", get(shards))
        .route("/admin/v1/flush", post(flush))
        .route("/admin/v1/openapi.json", get(openapi::document))
        .merge(scrub::routes())
}

/// The cluster as this node sees it.
#[utoipa::path(get, path = "/admin/v1/cluster", responses((status = 200, body = AdminCluster)))]
pub(super) async fn cluster(State(api): State<Api>) -> Json<AdminCluster> {
    Json(api.backend().cluster().await)
}

/// All nodes.
#[utoipa::path(get, path = "/admin/v1/nodes", responses((status = 200, body = Vec<AdminNode>)))]
pub(super) async fn nodes(State(api): State<Api>) -> Json<Vec<AdminNode>> {
    Json(api.backend().nodes().await)
}

/// All shards with their replicas.
#[utoipa::path(get, path = "/admin/v1/shards", responses((status = 200, body = Vec<AdminShard>)))]
pub(super) async fn shards(State(api): State<Api>) -> Json<Vec<AdminShard>> {
    Json(api.backend().shards().await)
}

/// Seals every shard's head; answers once the blocks are durable.
#[utoipa::path(post, path = "/admin/v1/flush", responses((status = 200, body = FlushReport), (status = 500, description = "why not")))]
pub(super) async fn flush(State(api): State<Api>) -> Response {
    match api.backend().flush().await {
        Ok(report) => Json(report).into_response(),
        Err(reason) => ApiError::Internal(reason).respond(Family::Admin),
    }
}
