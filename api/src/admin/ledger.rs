//! `/admin/v1/ledger`: what became of every fact, and whether that is so when all are counted again.
use axum::Json;
use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;

use super::model::{AdminLedger, AdminVerification};
use crate::state::Api;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/admin/v1/ledger", get(ledger))
        .route("/admin/v1/ledger/verify", get(verification).post(verify))
}

/// Whose books.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LedgerParams {
    /// Only the rows of this tenant.
    tenant: Option<String>,
}

/// What became of the facts of each tenant and signal: on every node since its start, and in every shard since its first.
#[utoipa::path(get, path = "/admin/v1/ledger", params(LedgerParams), responses((status = 200, body = AdminLedger)))]
pub(super) async fn ledger(State(api): State<Api>, Query(params): Query<LedgerParams>) -> Json<AdminLedger> {
    let mut ledger = api.backend().ledger().await;
    if let Some(tenant) = params.tenant {
        ledger.retain(&tenant);
    }
    Json(ledger)
}

/// How far each node's count is, or what the last one found.
#[utoipa::path(get, path = "/admin/v1/ledger/verify", params(LedgerParams), responses((status = 200, body = AdminVerification)))]
pub(super) async fn verification(
    State(api): State<Api>,
    Query(params): Query<LedgerParams>,
) -> Json<AdminVerification> {
    let mut verification = api.backend().verify_ledger(false).await;
    if let Some(tenant) = params.tenant {
        verification.retain(&tenant);
    }
    Json(verification)
}

/// Starts to count everything again on every node where no count is running; answers at once with the progress.
#[utoipa::path(post, path = "/admin/v1/ledger/verify", responses((status = 200, body = AdminVerification)))]
pub(super) async fn verify(State(api): State<Api>) -> Json<AdminVerification> {
    Json(api.backend().verify_ledger(true).await)
}
