//! The OpenAPI document of the admin REST.
use axum::Json;
use utoipa::OpenApi;

use super::model::{
    AdminBlock, AdminBlockWindow, AdminBlocks, AdminBooks, AdminBooksRow, AdminCardinality, AdminCluster,
    AdminCompaction, AdminDemotion, AdminDemotions, AdminHealing, AdminHealingRecord, AdminImbalance, AdminIntake,
    AdminIntakeRow, AdminLabelCardinality, AdminLedger, AdminLedgerRow, AdminMetricCardinality, AdminNode,
    AdminOffender, AdminPairCardinality, AdminRejected, AdminReplacement, AdminReplica, AdminRoom, AdminScrub,
    AdminScrubFinding, AdminScrubNode, AdminShard, AdminShardBlocks, AdminSpread, AdminSpreads, AdminTenantCardinality,
    AdminVerification, AdminVerificationNode, AdminVerifiedRow, DemotionOutcome, DemotionRequest, FlushReport,
    RemovedNode, RestoreRequest, SpreadRequest,
};
use super::{blocks, cardinality, cluster, demotion, ledger, scrub, spread};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Trine admin API",
        description = "What the cluster is, flushing and scrubbing it, what is healed, which log streams are spread, what is sealed, who makes how many series, which labels are demoted, and what became of every fact."
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
        scrub::start,
        blocks::blocks,
        cardinality::cardinality,
        demotion::demotions,
        demotion::demote,
        demotion::restore,
        ledger::ledger,
        ledger::verification,
        ledger::verify,
        spread::spreads,
        spread::spread
    ),
    components(schemas(
        AdminBlock,
        AdminBlockWindow,
        AdminBlocks,
        AdminBooks,
        AdminBooksRow,
        AdminCardinality,
        AdminCompaction,
        AdminDemotion,
        AdminDemotions,
        AdminLabelCardinality,
        AdminMetricCardinality,
        AdminOffender,
        AdminPairCardinality,
        AdminTenantCardinality,
        AdminRoom,
        AdminShardBlocks,
        AdminCluster,
        AdminHealing,
        AdminHealingRecord,
        AdminImbalance,
        AdminIntake,
        AdminIntakeRow,
        AdminLedger,
        AdminLedgerRow,
        AdminNode,
        AdminRejected,
        AdminVerification,
        AdminVerificationNode,
        AdminVerifiedRow,
        AdminReplacement,
        AdminReplica,
        AdminScrub,
        AdminScrubFinding,
        AdminScrubNode,
        AdminShard,
        AdminSpread,
        AdminSpreads,
        DemotionOutcome,
        DemotionRequest,
        RestoreRequest,
        FlushReport,
        RemovedNode,
        SpreadRequest
    ))
)]
struct Document;

/// `GET /admin/v1/openapi.json`.
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
