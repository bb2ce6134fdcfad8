//! `admin/tsdb/*`: Prometheus' way to delete and to copy data, turned off.
use super::query::time_param;
use super::rules::go_bool;
use crate::call::{Call, Outcome};
use crate::error::ApiError;
use crate::time::{TIME_MS_MAX, TIME_MS_MIN, bad_parameter};

const DISABLED: ApiError = ApiError::Disabled("admin APIs disabled");

/// `delete_series`: what is wrong with the question is said first.
pub(super) async fn delete_series(call: Call) -> Outcome {
    let p = &call.params;
    if p.all("match[]").next().is_none() {
        return Err(ApiError::BadRequest("no match[] parameter provided".to_owned()));
    }
    time_param(p, "start", Some(TIME_MS_MIN))?;
    time_param(p, "end", Some(TIME_MS_MAX))?;
    for text in p.all("match[]") {
        trine_query::promql::parse_selector(text).map_err(|e| bad_parameter("match[]", e))?;
    }
    Err(DISABLED)
}

/// `clean_tombstones`.
pub(super) async fn clean_tombstones(_call: Call) -> Outcome {
    Err(DISABLED)
}

/// `snapshot`.
pub(super) async fn snapshot(call: Call) -> Outcome {
    if let Some(text) = call.params.get("skip_head").filter(|text| go_bool(text).is_none()) {
        let reason = format!("unable to parse boolean: strconv.ParseBool: parsing {text:?}: invalid syntax");
        return Err(bad_parameter("skip_head", reason));
    }
    Err(DISABLED)
}
