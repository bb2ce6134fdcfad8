//! The OpenAPI document of the admin REST.
use axum::Json;
use utoipa::OpenApi;

use super::model::{
    AdminCluster, AdminHealing, AdminHealingRecord, AdminNode, AdminReplacement, AdminReplica, AdminScrub,
    AdminScrubFinding, AdminScrubNode, AdminShard, FlushReport, RemovedNode,
};
use super::{cluster, scrub};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Trine admin API",
        description = "What the cluster is, flushing and scrubbing it, and what is healed."
    ),
    paths(
        cluster::cluster,
        cluster::nodes,
        cluster::shards,
        cluster::flush,
        cluster::healing,
        cluster::remove_node,
        cluster::export_metadata,
        scrub::progress,
        scrub::start
    ),
    components(schemas(
        AdminCluster,
        AdminHealing,
        AdminHealingRecord,
        AdminNode,
        AdminReplacement,
        AdminReplica,
        AdminScrub,
        AdminScrubFinding,
        AdminScrubNode,
        AdminShard,
        FlushReport,
        RemovedNode
    ))
)]
struct Document;

/// `GET /admin/v1/openapi.json`.
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
