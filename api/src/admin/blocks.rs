//! `/admin/v1/blocks`: what is sealed, by window of time.
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use super::model::AdminBlocks;
use crate::error::{ApiError, Family};
use crate::state::Api;
use crate::tenant::check_name;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/admin/v1/blocks", get(blocks))
}

/// Which blocks are asked for.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct BlocksParams {
    /// Only blocks with facts of this tenant; rows, series and times are then the tenant's.
    tenant: Option<String>,
}

/// The sealed blocks of every shard, by window of time, and what is yet to be done to them.
#[utoipa::path(
    get,
    path = "/admin/v1/blocks",
    params(BlocksParams),
    responses((status = 200, body = AdminBlocks), (status = 400, description = "why not"))
)]
pub(super) async fn blocks(State(api): State<Api>, Query(params): Query<BlocksParams>) -> Response {
    if let Some(Err(error)) = params.tenant.as_deref().map(check_name) {
        return ApiError::BadRequest(error.to_string()).respond(Family::Admin);
    }
    Json(api.backend().blocks(params.tenant.as_deref()).await).into_response()
}
