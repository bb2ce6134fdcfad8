//! The OpenAPI document of the admin REST.
use axum::Json;
use utoipa::OpenApi;

use super::cluster;
use super::model::{AdminCluster, AdminNode, AdminReplica, AdminShard, FlushReport};

#[derive(OpenApi)]
#[openapi(
    info(title = "Trine admin API", description = "What the cluster is, and flushing it."),
    paths(cluster::cluster, cluster::nodes, cluster::shards, cluster::flush),
    components(schemas(AdminCluster, AdminNode, AdminReplica, AdminShard, FlushReport))
)]
struct Document;

/// `GET /admin/v1/openapi.json`.
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
