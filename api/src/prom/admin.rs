//! `admin/tsdb/*`: deletion of series, snapshots. Turned off unless `metrics.admin_api` says otherwise, as Prometheus' are.
use http::StatusCode;

use super::query::time_param;
use super::rules::go_bool;
use crate::call::{Call, Outcome};
use crate::error::ApiError;
use crate::reply;
use crate::time::{TIME_MS_MAX, TIME_MS_MIN, bad_parameter};

const DISABLED: ApiError = ApiError::Disabled("admin APIs disabled");

/// `delete_series`: answers once no query sees the samples any more. What is wrong with the question is said first.
pub(super) async fn delete_series(call: Call) -> Outcome {
    let p = &call.params;
    if p.all("match[]").next().is_none() {
        return Err(ApiError::BadRequest("no match[] parameter provided".to_owned()));
    }
    let start_ms = time_param(p, "start", Some(TIME_MS_MIN))?;
    let end_ms = time_param(p, "end", Some(TIME_MS_MAX))?;
    let parse = |text| trine_query::promql::parse_selector(text).map_err(|e| bad_parameter("match[]", e));
    let sets = p.all("match[]").map(parse).collect::<Result<Vec<_>, _>>()?;
    if !call.api.config().admin_api {
        return Err(DISABLED);
    }
    for matchers in sets {
        call.api.backend().delete_series(&call.tenant, matchers, (start_ms, end_ms)).await?;
    }
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `clean_tombstones`: blocks are rewritten without what was deleted by themselves; answers once all are.
pub(super) async fn clean_tombstones(call: Call) -> Outcome {
    if !call.api.config().admin_api {
        return Err(DISABLED);
    }
    call.api.backend().clean_tombstones().await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `snapshot`: links the blocks of the node that is asked into a directory, whose name is the answer.
pub(super) async fn snapshot(call: Call) -> Outcome {
    let text = call.params.get("skip_head");
    if let Some(text) = text.filter(|text| go_bool(text).is_none()) {
        let reason = format!("unable to parse boolean: strconv.ParseBool: parsing {text:?}: invalid syntax");
        return Err(bad_parameter("skip_head", reason));
    }
    if !call.api.config().admin_api {
        return Err(DISABLED);
    }
    let skip_heads = text.and_then(go_bool).unwrap_or(false);
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let name = call.api.backend().snapshot(&time, skip_heads).await.map_err(ApiError::Internal)?;
    // The name has neither quotes nor backslashes.
    let body = format!("{{\"status\":\"success\",\"data\":{{\"name\":\"{name}\"}}}}");
    Ok(reply::json(body))
}
