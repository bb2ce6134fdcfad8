//! `/admin/v1/demotions`: labels that are taken off the series of a metric where they are received.
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use trine_query::promql::{self, InstantQuery, Value};
use trine_store::model::{Demotion, LabelOfMetric};

use super::model::{AdminDemotion, AdminDemotions, DemotionOutcome, DemotionRequest, RestoreRequest};
use crate::error::{ApiError, Family};
use crate::json::push_json_str;
use crate::state::Api;
use crate::tenant::{TENANT_DEFAULT, check_name};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/admin/v1/demotions", get(demotions).post(demote))
        .route("/admin/v1/demotions/restore", post(restore))
}

/// The labels that samples of some metrics lose, and from when on.
#[utoipa::path(get, path = "/admin/v1/demotions", responses((status = 200, body = AdminDemotions)))]
pub(super) async fn demotions(State(api): State<Api>) -> Json<AdminDemotions> {
    let rows = api.backend().demoted_labels().into_iter();
    Json(AdminDemotions { demotions: rows.map(|row| document(row, api.now_ms())).collect() })
}

/// Takes a label off the series of a metric, from a sample time some seconds ahead on. Refused, without `force`, when several
/// sources that send now would become one series.
#[utoipa::path(
    post,
    path = "/admin/v1/demotions",
    request_body = DemotionRequest,
    responses((status = 200, body = DemotionOutcome), (status = 400, description = "why not"))
)]
pub(super) async fn demote(State(api): State<Api>, body: axum::body::Bytes) -> Response {
    match demoted(&api, &body).await {
        Ok(outcome) => Json(outcome).into_response(),
        Err(error) => error.respond(Family::Admin),
    }
}

/// Has samples keep a demoted label again, from a sample time some seconds ahead on.
#[utoipa::path(
    post,
    path = "/admin/v1/demotions/restore",
    request_body = RestoreRequest,
    responses((status = 200, body = AdminDemotion), (status = 400, description = "why not"))
)]
pub(super) async fn restore(State(api): State<Api>, body: axum::body::Bytes) -> Response {
    match restored(&api, &body).await {
        Ok(row) => Json(row).into_response(),
        Err(error) => error.respond(Family::Admin),
    }
}

async fn demoted(api: &Api, body: &[u8]) -> Result<DemotionOutcome, ApiError> {
    let request: DemotionRequest =
        serde_json::from_slice(body).map_err(|e| ApiError::BadRequest(format!("not a demotion request: {e}")))?;
    let what = named(request.tenant, request.metric, request.label)?;
    let mut outcome = preview(api, &what).await?;
    outcome.objection = objection(&what, &outcome);
    if request.dry_run {
        return Ok(outcome);
    }
    if let (Some(reason), false) = (&outcome.objection, request.force) {
        return Err(ApiError::BadRequest(format!("{reason}. To demote it all the same, add force (--force)")));
    }
    let from_ms = api.backend().demote(&what).await.map_err(ApiError::BadRequest)?;
    outcome.demotion = Some(document(Demotion { of: what, from_ms, until_ms: i64::MAX }, api.now_ms()));
    Ok(outcome)
}

async fn restored(api: &Api, body: &[u8]) -> Result<AdminDemotion, ApiError> {
    let request: RestoreRequest =
        serde_json::from_slice(body).map_err(|e| ApiError::BadRequest(format!("not a restore request: {e}")))?;
    let what = named(request.tenant, request.metric, request.label)?;
    // The newest: an end that was asked for before is answered again.
    let row = api.backend().demoted_labels().into_iter().rev().find(|row| row.of == what);
    let until_ms = api.backend().restore(&what).await.map_err(ApiError::BadRequest)?;
    // A node that lags may not have the row yet.
    let from_ms = row.map_or(until_ms, |row| row.from_ms);
    Ok(document(Demotion { of: what, from_ms, until_ms }, api.now_ms()))
}

fn named(tenant: Option<String>, metric: String, label: String) -> Result<LabelOfMetric, ApiError> {
    let tenant = tenant.unwrap_or_else(|| TENANT_DEFAULT.to_owned());
    check_name(&tenant)?;
    for (what, name) in [("metric", &metric), ("label", &label)] {
        if name.is_empty() {
            return Err(ApiError::BadRequest(format!("{what} is empty: name the {what}")));
        }
    }
    if label == "__name__" {
        return Err(ApiError::BadRequest("the label __name__ is the metric itself and cannot be demoted".to_owned()));
    }
    Ok(LabelOfMetric { tenant, metric, label })
}

fn document(row: Demotion, now_ms: i64) -> AdminDemotion {
    AdminDemotion {
        tenant: row.of.tenant,
        metric: row.of.metric,
        label: row.of.label,
        from_unix_ms: row.from_ms,
        until_unix_ms: (row.until_ms != i64::MAX).then_some(row.until_ms),
        in_effect: (row.from_ms..row.until_ms).contains(&now_ms),
    }
}

/// How many of the series that are written now would become one.
fn preview_query(what: &LabelOfMetric) -> String {
    let quoted = |text: &str| {
        // Every escape of JSON means the same in PromQL.
        let mut out = String::new();
        push_json_str(&mut out, text);
        out
    };
    let (metric, label) = (quoted(&what.metric), quoted(&what.label));
    format!("count without ({label}) ({{__name__={metric},{label}!=\"\"}})")
}

async fn preview(api: &Api, what: &LabelOfMetric) -> Result<DemotionOutcome, ApiError> {
    let (scatter, config) = (api.backend().scatter(), api.config());
    let ctx = api.query_context(&what.tenant.as_str().into(), None, false);
    let (query, time_ms) = (preview_query(what), api.now_ms());
    let query = InstantQuery { query, time_ms, lookback_ms: config.lookback_ms, limit: 0 };
    let answer = promql::instant_within(&scatter, &ctx, &query, config.query_samples_max).await?;
    let mut outcome = DemotionOutcome { warnings: answer.warnings, ..DemotionOutcome::default() };
    let Value::Vector(left) = answer.value else { return Ok(outcome) };
    for series in &left {
        let sources = series.value as u64;
        outcome.series += sources;
        outcome.series_left += 1;
        outcome.shared += u64::from(sources > 1);
        outcome.sources_most = outcome.sources_most.max(sources);
    }
    Ok(outcome)
}

/// Why it should not be done without a second thought.
fn objection(what: &LabelOfMetric, outcome: &DemotionOutcome) -> Option<String> {
    let LabelOfMetric { tenant, metric, label } = what;
    let DemotionOutcome { series, series_left, shared, sources_most, .. } = outcome;
    if *series == 0 {
        return Some(format!(
            "no series of metric {metric:?} of tenant {tenant:?} has a current sample and label {label:?}"
        ));
    }
    (*shared > 0).then(|| {
        format!(
            "without label {label:?} the {series} series of {metric:?} would become {series_left}, of which {shared} have up to \
             {sources_most} sources that send now: one sample of each time would be kept, and counters would jump between sources. \
             Sum them up by a recording rule or where they are sent"
        )
    })
}

#[cfg(test)]
mod tests {
    use trine_store::index::Matcher;

    use super::*;

    #[test]
    fn any_name_can_be_asked_for() {
        let (tenant, metric) = ("t".to_owned(), "a\"b\\c\nü\u{1}".to_owned());
        let query = preview_query(&LabelOfMetric { tenant, metric: metric.clone(), label: "user id".to_owned() });
        assert!(query.starts_with("count without (\"user id\") ("), "{query}");
        let selector = query.split_once(" (").unwrap().1.split_once(" (").unwrap().1.trim_end_matches(')').to_owned();
        let matchers = promql::parse_selector(&selector).unwrap();
        assert!(matchers.contains(&Matcher::equal("__name__", &metric)), "{selector}");
        assert!(matchers.iter().any(|m| m.name == "user id"), "{selector}");
    }

    #[test]
    fn sources_that_would_meet_are_an_objection() {
        let what = LabelOfMetric { tenant: "t".into(), metric: "m".into(), label: "l".into() };
        let outcome = |series, shared, sources_most| {
            let series_left = 1;
            objection(&what, &DemotionOutcome { series, series_left, shared, sources_most, ..Default::default() })
        };
        assert!(outcome(0, 0, 0).unwrap().contains("no series"));
        assert!(outcome(3, 1, 3).unwrap().contains("up to 3 sources"));
        assert_eq!(outcome(1, 0, 1), None);
    }
}
