//! `/admin/v1/spread`: log streams that are spread over several slots.
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use super::model::{AdminSpread, AdminSpreads, SpreadRequest};
use crate::error::{ApiError, Family};
use crate::loki::entries::stream_labels;
use crate::state::Api;
use crate::tenant::{TENANT_DEFAULT, check_name};

const NS_PER_MS: i64 = 1_000_000;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/admin/v1/spread", get(spreads).post(spread))
}

/// The log streams that are spread over several slots, and from when on.
#[utoipa::path(get, path = "/admin/v1/spread", responses((status = 200, body = AdminSpreads)))]
pub(super) async fn spreads(State(api): State<Api>) -> Json<AdminSpreads> {
    Json(api.backend().spread_streams().await)
}

/// Spreads a log stream over several slots; answers once that is decided. It begins with entries of the time that is answered.
#[utoipa::path(
    post,
    path = "/admin/v1/spread",
    request_body = SpreadRequest,
    responses((status = 200, body = AdminSpread), (status = 400, description = "why not"))
)]
pub(super) async fn spread(State(api): State<Api>, body: axum::body::Bytes) -> Response {
    match decide(&api, &body).await {
        Ok(spread) => Json(spread).into_response(),
        Err(reason) => ApiError::BadRequest(reason).respond(Family::Admin),
    }
}

async fn decide(api: &Api, body: &[u8]) -> Result<AdminSpread, String> {
    let request: SpreadRequest = serde_json::from_slice(body).map_err(|e| format!("not a spread request: {e}"))?;
    let tenant = request.tenant.as_deref().unwrap_or(TENANT_DEFAULT);
    check_name(tenant).map_err(|e| e.to_string())?;
    let labels = stream_labels(&request.stream).map_err(|e| format!("stream {:?}: {e}", request.stream))?;
    let from_ns = match request.from_unix_ms {
        None => 0,
        Some(ms) if ms > 0 => ms.checked_mul(NS_PER_MS).ok_or_else(|| format!("{ms} ms is beyond all times"))?,
        Some(ms) => return Err(format!("from_unix_ms is {ms}; leave it out to begin as early as possible")),
    };
    let from_unix_ns = api.backend().spread_stream(tenant, &labels, request.slots, from_ns).await?;
    Ok(AdminSpread {
        tenant: tenant.to_owned(),
        stream: labels.to_string(),
        from_unix_ms: from_unix_ns.div_euclid(NS_PER_MS) + i64::from(from_unix_ns.rem_euclid(NS_PER_MS) > 0),
        from_unix_ns,
        slots: request.slots,
        begun: from_unix_ns <= api.now_ns(),
    })
}
