//! Scrape targets and Alertmanagers: there are none, and questions about them are checked all the same.
use axum::Router;

use super::render::plain;
use crate::call::{Call, Outcome, get};
use crate::error::{ApiError, Family};
use crate::state::Api;
use crate::time::bad_parameter;

pub(super) fn routes() -> Router<Api> {
    let family = Family::Prometheus;
    Router::new()
        .route("/api/v1/targets", get(family, "prom_targets", targets))
        .route("/api/v1/targets/metadata", get(family, "prom_targets", metadata))
        .route("/api/v1/targets/relabel_steps", get(family, "prom_targets", relabel_steps))
        .route("/api/v1/scrape_pools", get(family, "prom_targets", pools))
        .route("/api/v1/scrape_pools/config", get(family, "prom_targets", pool_config))
        .route("/api/v1/alertmanagers", get(family, "prom_alertmanagers", alertmanagers))
}

/// Of another state than these, nothing is shown; what is left out is an empty list, and dropped ones are not counted.
async fn targets(call: Call) -> Outcome {
    let state = call.params.get("state").unwrap_or_default().to_lowercase();
    let shows_dropped = matches!(state.as_str(), "" | "any" | "dropped");
    let counts = if shows_dropped { "{}" } else { "null" };
    Ok(plain(&format!("{{\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":{counts}}}")))
}

async fn metadata(call: Call) -> Outcome {
    let p = &call.params;
    if p.get("limit").is_some_and(|text| text.parse::<i64>().is_err()) {
        return Err(ApiError::BadRequest("limit must be a number".to_owned()));
    }
    if let Some(text) = p.get("match_target") {
        trine_query::promql::parse_selector(text).map_err(|e| bad_parameter("match_target", e))?;
    }
    Ok(plain("[]"))
}

fn no_pool(call: &Call) -> Result<(), ApiError> {
    let bad = |text: String| Err(ApiError::BadRequest(text));
    match call.params.get("scrapePool") {
        None => bad("no scrapePool parameter provided".to_owned()),
        Some(name) => bad(format!("error retrieving scrape config: scrape pool not found: {name:?}")),
    }
}

async fn relabel_steps(call: Call) -> Outcome {
    if call.params.get("scrapePool").is_some() {
        let Some(labels) = call.params.get("labels") else {
            return Err(ApiError::BadRequest("no labels parameter provided".to_owned()));
        };
        serde_json::from_str::<std::collections::BTreeMap<String, String>>(labels)
            .map_err(|e| ApiError::BadRequest(format!("error parsing labels: {e}")))?;
    }
    no_pool(&call)?;
    Ok(plain("{\"steps\":[]}"))
}

async fn pools(_call: Call) -> Outcome {
    Ok(plain("{\"scrapePools\":[]}"))
}

async fn pool_config(call: Call) -> Outcome {
    no_pool(&call)?;
    Ok(plain("{\"yaml\":\"\"}"))
}

async fn alertmanagers(_call: Call) -> Outcome {
    Ok(plain("{\"activeAlertmanagers\":[],\"droppedAlertmanagers\":[]}"))
}
