//! The OpenAPI document of the admin REST.
use axum::Json;
use utoipa::OpenApi;

use super::model::{
    AdminCluster, AdminNode, AdminReplica, AdminScrub, AdminScrubFinding, AdminScrubNode, AdminShard, FlushReport,
};
use super::{cluster, scrub};

#[derive(OpenApi)]
#[openapi(
    info(title = "Trine admin API", description = "What the cluster is, flushing and scrubbing it."),
    paths(cluster::cluster, cluster::nodes, cluster::shards, cluster::flush, scrub::progress, scrub::start),
    components(schemas(
        AdminCluster,
        AdminNode,
        AdminReplica,
        AdminScrub,
        AdminScrubFinding,
        AdminScrubNode,
        AdminShard,
        FlushReport
    ))
)]
struct Document;

/// `GET /admin/v1/openapi.json`.
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
