//! Rules, alerts and their configuration: there are none, and questions about them are checked all the same.
use axum::Router;
use http::{Method, StatusCode};

use super::render::plain;
use super::series::match_sets;
use crate::call::{Call, Outcome, any, get};
use crate::error::{ApiError, Family};
use crate::params::Params;
use crate::reply;
use crate::state::Api;
use crate::time::bad_parameter;

/// Read paths below `/api/v1`, and the ruler's as Mimir, Cortex and Grafana name them.
pub(super) fn routes() -> Router<Api> {
    let mut routes = Router::new()
        .route("/api/v1/rules", get(Family::Prometheus, "prom_rules", rules))
        .route("/api/v1/alerts", get(Family::Prometheus, "prom_alerts", alerts));
    for prefix in ["/config/v1/rules", "/rules"] {
        routes = routes
            .route(prefix, any(Family::Prometheus, "ruler_config", namespaces))
            .route(&format!("{prefix}/{{namespace}}"), any(Family::Prometheus, "ruler_config", namespace))
            .route(&format!("{prefix}/{{namespace}}/{{group}}"), any(Family::Prometheus, "ruler_config", group));
    }
    routes
}

/// Grafana sends Prometheus' and Mimir's spellings of the filters at once; none can fail by itself.
async fn rules(call: Call) -> Outcome {
    let p = &call.params;
    match_sets(p)?;
    let kind = p.get("type").unwrap_or_default().to_lowercase();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        return Err(bad_parameter("type", format!("not supported value {kind:?}")));
    }
    if let Some(text) = p.get("exclude_alerts").filter(|text| go_bool(text).is_none()) {
        let text = format!("error converting exclude_alerts: strconv.ParseBool: parsing {text:?}: invalid syntax");
        return Err(bad_parameter("exclude_alerts", text));
    }
    check_paging(p)?;
    Ok(plain("{\"groups\":[]}"))
}

fn check_paging(p: &Params) -> Result<(), ApiError> {
    let limit = p.get("group_limit");
    let token = p.get("group_next_token");
    if let Some(text) = limit {
        let number: i32 = text.parse().map_err(|_| {
            let reason = format!("strconv.ParseInt: parsing {text:?}: invalid syntax");
            bad_parameter("group_limit", format!("group_limit needs to be a valid number: {reason}"))
        })?;
        if number <= 0 {
            return Err(bad_parameter("group_limit", "group_limit needs to be greater than 0"));
        }
    }
    match (token, limit) {
        (None, _) => Ok(()),
        (Some(_), None) => {
            let text = "group_limit needs to be present in order to paginate over the groups";
            Err(bad_parameter("group_next_token", text))
        }
        // No group has this token.
        (Some(token), Some(_)) => {
            let text = format!("invalid group_next_token '{token}'. were rule groups changed?");
            Err(bad_parameter("group_next_token", text))
        }
    }
}

/// Go's booleans.
pub(super) fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

async fn alerts(_call: Call) -> Outcome {
    Ok(plain("{\"alerts\":[]}"))
}

fn yaml(body: &'static str) -> Outcome {
    Ok(reply::with_type(StatusCode::OK, "application/yaml", body))
}

fn not_there(call: &Call, what: &'static str) -> Outcome {
    match call.method {
        Method::POST => Err(ApiError::Unimplemented("rules: not implemented yet".to_owned())),
        _ => Ok(reply::text(StatusCode::NOT_FOUND, what)),
    }
}

async fn namespaces(call: Call) -> Outcome {
    match call.method {
        Method::GET | Method::HEAD => yaml("{}\n"),
        _ => Ok(reply::text(StatusCode::METHOD_NOT_ALLOWED, "")),
    }
}

async fn namespace(call: Call) -> Outcome {
    match call.method {
        Method::GET | Method::HEAD => yaml("{}\n"),
        _ => not_there(&call, "no rule groups found\n"),
    }
}

async fn group(call: Call) -> Outcome {
    not_there(&call, "group does not exist\n")
}
