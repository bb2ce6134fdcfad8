//! `/admin/v1/*`: what the cluster is, flushing it, and what is healed.
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};

use super::model::{AdminCluster, AdminHealing, AdminNode, AdminShard, FlushReport, RemovedNode};
use super::{blocks, cardinality, demotion, ledger, openapi, scrub, spread};
use crate::backend::NotRemoved;
use crate::error::{ApiError, Family};
use crate::state::Api;

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/admin/v1/cluster", get(cluster))
        .route("/admin/v1/nodes", get(nodes))
        .route("/admin/v1/shards", get(shards))
        .route("/admin/v1/flush", post(flush))
        .route("/admin/v1/healing", get(healing))
        .route("/admin/v1/nodes/{name}/remove", post(remove_node))
        .route("/admin/v1/metadata/export", get(export_metadata))
        .route("/admin/v1/openapi.json", get(openapi::document))
        .merge(scrub::routes())
        .merge(blocks::routes())
        .merge(cardinality::routes())
        .merge(demotion::routes())
        .merge(ledger::routes())
        .merge(spread::routes())
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

/// What was found damaged, why, when, and how far it is healed.
#[utoipa::path(get, path = "/admin/v1/healing", responses((status = 200, body = AdminHealing)))]
pub(super) async fn healing(State(api): State<Api>) -> Json<AdminHealing> {
    Json(api.backend().healing().await)
}

/// How a node is removed.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RemoveParams {
    /// Empty a node that is alive first; without it a living node is refused.
    #[serde(default)]
    drain: bool,
}

/// Has a dead node's replicas made on other nodes, then forgets it for good.
#[utoipa::path(
    post,
    path = "/admin/v1/nodes/{name}/remove",
    params(("name" = String, Path, description = "name of the node"), RemoveParams),
    responses(
        (status = 200, body = RemovedNode),
        (status = 400, description = "why not"),
        (status = 404, description = "no node has this name")
    )
)]
pub(super) async fn remove_node(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<RemoveParams>,
) -> Response {
    match api.backend().remove_node(&name, params.drain).await {
        Ok(removed) => Json(removed).into_response(),
        Err(NotRemoved::Unknown(reason)) => ApiError::NotFound(reason).respond(Family::Admin),
        Err(NotRemoved::Refused(reason)) => ApiError::BadRequest(reason).respond(Family::Admin),
    }
}

/// The metadata as a checksummed file: keep one from time to time, it can be restored from.
#[utoipa::path(
    get,
    path = "/admin/v1/metadata/export",
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = 500, description = "why not"))
)]
pub(super) async fn export_metadata(State(api): State<Api>) -> Response {
    match api.backend().export_metadata().await {
        Ok(bytes) => ([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response(),
        Err(reason) => ApiError::Internal(reason).respond(Family::Admin),
    }
}
