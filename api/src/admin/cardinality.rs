//! `/admin/v1/cardinality`: which tenant, metric and label make the most series, and where they become more.
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use trine_query::promql::{self, LabelCensus, TenantCensus};
use trine_store::index::Matcher;

use super::model::{
    AdminCardinality, AdminLabelCardinality, AdminMetricCardinality, AdminOffender, AdminPairCardinality,
    AdminTenantCardinality,
};
use crate::error::{ApiError, Family};
use crate::state::Api;
use crate::tenant::check_name;

const HOUR_MS: i64 = 3_600_000;
const NAME: &str = "__name__";
const LIMIT_DEFAULT: usize = 10;
/// Each row of metrics is a question to all shards.
const LIMIT_MAX: usize = 50;
/// Tenants that are looked at in one request when none is named.
const TENANTS_MAX: usize = 20;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/admin/v1/cardinality", get(cardinality))
}

/// Whose series, and how many rows.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CardinalityParams {
    /// One tenant; otherwise the twenty with the most samples.
    tenant: Option<String>,
    /// Rows of each table, 1 to 50; 10 without.
    limit: Option<usize>,
}

/// Which tenant, metric and label make the most series: of those with samples in the last two hours.
#[utoipa::path(
    get,
    path = "/admin/v1/cardinality",
    params(CardinalityParams),
    responses((status = 200, body = AdminCardinality), (status = 400, description = "why not"))
)]
pub(super) async fn cardinality(State(api): State<Api>, Query(params): Query<CardinalityParams>) -> Response {
    match count(&api, &params).await {
        Ok(document) => Json(document).into_response(),
        Err(error) => error.respond(Family::Admin),
    }
}

async fn count(api: &Api, params: &CardinalityParams) -> Result<AdminCardinality, ApiError> {
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::BadRequest(format!("limit is {limit}, and not within 1 and {LIMIT_MAX}")));
    }
    let (names, left_out) = match &params.tenant {
        Some(tenant) => {
            check_name(tenant)?;
            (vec![tenant.clone()], 0)
        }
        None => tenants(api).await,
    };
    let mut tenants = Vec::with_capacity(names.len());
    for name in names {
        tenants.push(tenant(api, name.into(), limit).await?);
    }
    tenants.sort_by(|a, b| b.series.cmp(&a.series).then_with(|| a.tenant.cmp(&b.tenant)));
    Ok(AdminCardinality { tenants, tenants_left_out: left_out })
}

/// Tenants with metrics, those with the most samples first, and how many more there are.
async fn tenants(api: &Api) -> (Vec<String>, u64) {
    let ledger = api.backend().ledger().await;
    let metrics = ledger.facts.into_iter().filter(|row| row.signal == "metrics" && !row.tenant.is_empty());
    let mut rows: Vec<(u64, String)> = metrics.map(|row| (row.applied.max(row.received), row.tenant)).collect();
    rows.sort_by_key(|(samples, name)| (Reverse(*samples), name.clone()));
    let left_out = rows.len().saturating_sub(TENANTS_MAX) as u64;
    (rows.into_iter().take(TENANTS_MAX).map(|(_, name)| name).collect(), left_out)
}

async fn tenant(api: &Api, name: Arc<str>, limit: usize) -> Result<AdminTenantCardinality, ApiError> {
    let (scatter, ctx) = (api.backend().scatter(), api.query_context(&name, None, false));
    let (now_ms, end_ms) = (api.now_ms(), api.now_ms().saturating_add(api.config().future_ms_max));
    let census = promql::census(&scatter, &ctx, &[], (now_ms - 2 * HOUR_MS, end_ms), &[]).await?;
    let names = [NAME.to_owned()];
    let last = promql::census(&scatter, &ctx, &[], (now_ms - HOUR_MS, end_ms), &names).await?;
    let before = promql::census(&scatter, &ctx, &[], (now_ms - 2 * HOUR_MS, now_ms - HOUR_MS - 1), &names).await?;
    let mut out = summary(&name, &census, limit);
    out.growth = difference(last.series, before.series);
    for (metric, series) in top(&census, NAME, limit) {
        let matcher = [Matcher::equal(NAME, &metric)];
        let of_metric = promql::census(&scatter, &ctx, &matcher, (now_ms - 2 * HOUR_MS, end_ms), &[]).await?;
        let (label, values) = worst(&of_metric.labels);
        let growth = difference(series_of(&last, &metric), series_of(&before, &metric));
        out.metrics.push(AdminMetricCardinality { metric, series, growth, label, values });
    }
    let worst = out.metrics.iter().filter(|m| m.values > 0).max_by_key(|m| m.values);
    out.offender = worst.map(|m| AdminOffender {
        metric: m.metric.clone(),
        label: m.label.clone(),
        values: m.values,
        series: m.series,
    });
    out.warnings = [&census, &last, &before].into_iter().flat_map(|c| c.completeness.warnings()).collect();
    out.warnings.sort();
    out.warnings.dedup();
    Ok(out)
}

fn difference(now: u64, before: u64) -> i64 {
    let clamp = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    clamp(now).saturating_sub(clamp(before))
}

fn series_of(census: &TenantCensus, metric: &str) -> u64 {
    census.labels.get(NAME).and_then(|metrics| metrics.get(metric)).copied().unwrap_or(0)
}

/// The values of a label with the most series.
fn top(census: &TenantCensus, label: &str, limit: usize) -> Vec<(String, u64)> {
    let values = census.labels.get(label).into_iter().flatten();
    let mut rows: Vec<(String, u64)> = values.map(|(value, series)| (value.clone(), *series)).collect();
    rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    rows.truncate(limit);
    rows
}

/// The label with the most values, the metric's name aside.
fn worst(labels: &BTreeMap<String, LabelCensus>) -> (String, u64) {
    let others = labels.iter().filter(|(name, _)| *name != NAME);
    let counted = others.map(|(name, values)| (name.clone(), values.len() as u64));
    counted.max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0))).unwrap_or_default()
}

/// What needs no more questions.
fn summary(tenant: &str, census: &TenantCensus, limit: usize) -> AdminTenantCardinality {
    let mut labels: Vec<AdminLabelCardinality> = census
        .labels
        .iter()
        .map(|(name, values)| AdminLabelCardinality {
            label: name.clone(),
            values: values.len() as u64,
            series: values.values().sum(),
        })
        .collect();
    let label_pairs = labels.iter().map(|l| l.values).sum();
    labels.sort_by(|a, b| b.values.cmp(&a.values).then_with(|| a.label.cmp(&b.label)));
    labels.truncate(limit);
    // No pair beyond the most frequent ones of its label is among the most frequent of all.
    let of_label = |label: &String| {
        let rows = top(census, label, limit).into_iter();
        rows.map(|(value, series)| AdminPairCardinality { label: label.clone(), value, series }).collect::<Vec<_>>()
    };
    let mut pairs: Vec<AdminPairCardinality> = census.labels.keys().flat_map(of_label).collect();
    pairs.sort_by(|a, b| b.series.cmp(&a.series).then_with(|| (&a.label, &a.value).cmp(&(&b.label, &b.value))));
    pairs.truncate(limit);
    AdminTenantCardinality {
        tenant: tenant.to_owned(),
        series: census.series,
        label_names: census.labels.len() as u64,
        label_pairs,
        labels,
        pairs,
        ..AdminTenantCardinality::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_label_is_that_with_the_most_values() {
        let values = |n: usize| (0..n).map(|v| (v.to_string(), 1)).collect::<LabelCensus>();
        let labels = [(NAME, 9), ("user", 3), ("pod", 3), ("job", 1)];
        let labels: BTreeMap<String, LabelCensus> = labels.map(|(l, n)| (l.to_owned(), values(n))).into();
        assert_eq!(worst(&labels), ("pod".to_owned(), 3));
        assert_eq!(worst(&BTreeMap::new()), (String::new(), 0));
        assert_eq!([difference(2, 5), difference(u64::MAX, 0)], [-3, i64::MAX]);
    }
}
