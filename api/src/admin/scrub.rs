//! `/admin/v1/scrub`: checking every block of the cluster against its checksum and the other replicas.
use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::model::AdminScrub;
use crate::state::Api;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/admin/v1/scrub", get(progress).post(start))
}

/// How far each node's scrub is, or how its last one ended.
#[utoipa::path(get, path = "/admin/v1/scrub", responses((status = 200, body = AdminScrub)))]
pub(super) async fn progress(State(api): State<Api>) -> Json<AdminScrub> {
    Json(api.backend().scrub(false).await)
}

/// Starts a scrub on every node where none is running; answers at once with the progress.
#[utoipa::path(post, path = "/admin/v1/scrub", responses((status = 200, body = AdminScrub)))]
pub(super) async fn start(State(api): State<Api>) -> Json<AdminScrub> {
    Json(api.backend().scrub(true).await)
}
