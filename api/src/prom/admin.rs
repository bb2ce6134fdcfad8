//! `/api/v1/admin/tsdb/*`: deletion of series, snapshots.
use http::StatusCode;

use super::series::{match_sets, time_range};
use crate::call::{Call, Outcome};
use crate::error::ApiError;
use crate::reply;
use crate::time::bad_parameter;

/// `delete_series`: answers once no query sees the samples any more.
pub(super) async fn delete_series(call: Call) -> Outcome {
    let sets = match_sets(&call.params)?;
    if sets.is_empty() {
        return Err(ApiError::BadRequest("no match[] parameter provided".to_owned()));
    }
    let range = time_range(&call.params)?;
    for matchers in sets {
        call.api.backend().delete_series(&call.tenant, matchers, range).await?;
    }
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `clean_tombstones`: blocks are rewritten without what was deleted by themselves, so there is nothing to start.
pub(super) async fn clean_tombstones(_call: Call) -> Outcome {
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `snapshot`: links the blocks of the node that is asked into a directory, whose name is the answer.
pub(super) async fn snapshot(call: Call) -> Outcome {
    let skip_heads = match call.params.get("skip_head") {
        None => false,
        Some(text) => go_bool(text).ok_or_else(|| {
            bad_parameter("skip_head", format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))
        })?,
    };
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let name = call.api.backend().snapshot(&time, skip_heads).await.map_err(ApiError::Internal)?;
    // The name has neither quotes nor backslashes.
    let body = format!("{{\"status\":\"success\",\"data\":{{\"name\":\"{name}\"}}}}");
    Ok(reply::json(body))
}

/// As Go's `strconv.ParseBool`.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}
