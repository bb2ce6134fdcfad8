//! `status/tsdb` and Mimir's cardinality pages: who makes how many series.
//!
//! What counts is a tenant's series with samples in the last two hours, about what the head of a Prometheus has.
use std::collections::BTreeMap;

use trine_query::promql::{self, LabelCensus, TenantCensus};
use trine_query::scatter::QueryContext;
use trine_store::index::Matcher;
use trine_store::part::SampleKind;

use super::histogram;
use super::query::limit_param;
use super::render::{close, open, push_labels};
use crate::call::{Call, Outcome};
use crate::error::ApiError;
use crate::json::{push_json_list, push_json_str};
use crate::params::Params;
use crate::reply;

/// How far back a series may have its last sample.
const WINDOW_MS: i64 = 2 * 3600 * 1000;
/// Rows of a table that may be asked for.
const TSDB_LIMIT_MAX: usize = 10_000;
const CARDINALITY_LIMIT_MAX: usize = 500;

/// A name and how many series or values it has, or bytes.
type Row = (String, u64);

fn window(call: &Call) -> (i64, i64) {
    let now_ms = call.api.now_ms();
    (now_ms.saturating_sub(WINDOW_MS), now_ms.saturating_add(call.api.config().future_ms_max))
}

/// The `limit` biggest, by size and then by name.
fn top(rows: impl Iterator<Item = Row>, limit: usize) -> Vec<Row> {
    let mut rows: Vec<Row> = rows.collect();
    rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    rows.truncate(limit);
    rows
}

fn push_rows(out: &mut String, name: &str, rows: &[Row]) {
    out.push_str(&format!("\"{name}\":"));
    push_json_list(out, rows, |out, (name, value)| {
        out.push_str("{\"name\":");
        push_json_str(out, name);
        out.push_str(&format!(",\"value\":{value}}}"));
    });
}

/// `/api/v1/status/tsdb`.
pub(super) async fn status(call: Call) -> Outcome {
    let limit = tsdb_limit(&call.params)?;
    let ctx = call.context(None);
    let (min_ms, max_ms) = window(&call);
    let census = promql::census(&call.scatter(), &ctx, &[], (min_ms, max_ms), &[]).await?;
    let pairs: usize = census.labels.values().map(LabelCensus::len).sum();
    let metrics = census.labels.get("__name__").into_iter().flatten().map(|(name, n)| (name.clone(), *n));
    let values = census.labels.iter().map(|(name, values)| (name.clone(), values.len() as u64));
    let memory = census.labels.iter().map(|(name, values)| {
        (name.clone(), values.iter().map(|(value, series)| value.len() as u64 * series).sum::<u64>())
    });
    let by_pair = census
        .labels
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |(value, series)| (format!("{name}={value}"), *series)));
    let mut writer = open(&ctx.memory);
    let out = writer.text();
    out.push_str(&format!(
        "{{\"headStats\":{{\"numSeries\":{},\"numLabelPairs\":{pairs},\"chunkCount\":{},\"minTime\":{min_ms},\"maxTime\":{max_ms}}},",
        census.series, census.chunks
    ));
    push_rows(out, "seriesCountByMetricName", &top(metrics, limit));
    out.push(',');
    push_rows(out, "labelValueCountByLabelName", &top(values, limit));
    out.push(',');
    push_rows(out, "memoryInBytesByLabelName", &top(memory, limit));
    out.push(',');
    push_rows(out, "seriesCountByLabelValuePair", &top(by_pair, limit));
    out.push('}');
    close(writer, &census.completeness.warnings(), &[], &census.completeness)
}

fn tsdb_limit(params: &Params) -> Result<usize, ApiError> {
    let Some(text) = params.get("limit") else { return Ok(10) };
    let bad = |text: String| ApiError::BadRequest(text);
    let limit: usize =
        text.parse().ok().filter(|n| *n > 0).ok_or_else(|| bad("limit must be a positive number".to_owned()))?;
    if limit > TSDB_LIMIT_MAX {
        return Err(bad(format!("limit must not exceed {TSDB_LIMIT_MAX}")));
    }
    Ok(limit)
}

fn cardinality_limit(params: &Params) -> Result<usize, ApiError> {
    let Some(text) = params.get("limit") else { return Ok(20) };
    let limit: i64 = text.parse().map_err(|e| ApiError::BadRequest(format!("{e}: {text:?}")))?;
    let refuse = |what: &str| Err(ApiError::BadRequest(format!("'limit' param cannot be {what}")));
    match usize::try_from(limit) {
        Err(_) => refuse("less than '0'"),
        Ok(n) if n > CARDINALITY_LIMIT_MAX => refuse(&format!("greater than '{CARDINALITY_LIMIT_MAX}'")),
        Ok(n) => Ok(n),
    }
}

/// `selector`, at most one; nothing selects all.
fn selector(params: &Params) -> Result<Vec<Matcher>, ApiError> {
    let mut all = params.all("selector").filter(|text| !text.is_empty());
    let Some(text) = all.next() else { return Ok(Vec::new()) };
    if all.next().is_some() {
        return Err(ApiError::BadRequest("multiple 'selector' params are not allowed".to_owned()));
    }
    promql::parse_selector(text).map_err(|e| ApiError::BadRequest(format!("error parsing selector: {e}")))
}

/// Both ways to count give the series of the window.
fn check_count_method(params: &Params) -> Result<(), ApiError> {
    match params.get("count_method") {
        None | Some("inmemory" | "active") => Ok(()),
        Some(other) => Err(ApiError::BadRequest(format!(
            "invalid 'count_method' param '{other}'. valid options are: [inmemory active]"
        ))),
    }
}

async fn census_of(call: &Call, ctx: &QueryContext, names: &[String]) -> Result<TenantCensus, ApiError> {
    let matchers = selector(&call.params)?;
    check_count_method(&call.params)?;
    Ok(promql::census(&call.scatter(), ctx, &matchers, window(call), names).await?)
}

/// `/api/v1/cardinality/label_names`.
pub(super) async fn label_names(call: Call) -> Outcome {
    let limit = cardinality_limit(&call.params)?;
    let ctx = call.context(None);
    let census = census_of(&call, &ctx, &[]).await?;
    let total: usize = census.labels.values().map(LabelCensus::len).sum();
    let rows = top(census.labels.iter().map(|(name, values)| (name.clone(), values.len() as u64)), limit);
    let mut out = format!(
        "{{\"label_values_count_total\":{total},\"label_names_count\":{},\"cardinality\":",
        census.labels.len()
    );
    push_json_list(&mut out, &rows, |out, (name, count)| {
        out.push_str("{\"label_name\":");
        push_json_str(out, name);
        out.push_str(&format!(",\"label_values_count\":{count}}}"));
    });
    out.push('}');
    Ok(reply::complete(reply::json(out), &census.completeness))
}

/// `/api/v1/cardinality/label_values`.
pub(super) async fn label_values(call: Call) -> Outcome {
    let limit = cardinality_limit(&call.params)?;
    let names: Vec<String> = call.params.distinct("label_names[]", 100)?.into_iter().map(str::to_owned).collect();
    if names.is_empty() {
        return Err(ApiError::BadRequest("'label_names[]' param is required".to_owned()));
    }
    if let Some(bad) = names.iter().find(|name| name.is_empty()) {
        return Err(ApiError::BadRequest(format!("invalid 'label_names' param '{bad}'")));
    }
    let ctx = call.context(None);
    let census = census_of(&call, &ctx, &names).await?;
    let none = LabelCensus::default();
    let mut labels: Vec<(&String, &LabelCensus, u64)> = names
        .iter()
        .map(|name| {
            let values = census.labels.get(name).unwrap_or(&none);
            (name, values, values.values().sum())
        })
        .collect();
    labels.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(b.0)));
    let mut out = format!("{{\"series_count_total\":{},\"labels\":", census.series);
    push_json_list(&mut out, labels, |out, (name, values, series)| {
        out.push_str("{\"label_name\":");
        push_json_str(out, name);
        out.push_str(&format!(",\"label_values_count\":{},\"series_count\":{series},\"cardinality\":", values.len()));
        let rows = top(values.iter().map(|(value, series)| (value.clone(), *series)), limit);
        push_json_list(out, &rows, |out, (value, series)| {
            out.push_str("{\"label_value\":");
            push_json_str(out, value);
            out.push_str(&format!(",\"series_count\":{series}}}"));
        });
        out.push('}');
    });
    out.push('}');
    Ok(reply::complete(reply::json(out), &census.completeness))
}

/// `/api/v1/cardinality/active_series`: the label sets themselves.
pub(super) async fn active_series(call: Call) -> Outcome {
    let matchers = selector(&call.params)?;
    if matchers.is_empty() {
        return Err(ApiError::BadRequest("missing 'selector' parameter".to_owned()));
    }
    let limit = limit_param(&call.params)?;
    let ctx = call.context(None);
    let (min_ms, max_ms) = window(&call);
    let answer = promql::series(&call.scatter(), &ctx, &[matchers], min_ms, max_ms, limit).await?;
    let mut writer = crate::writer::Writer::new(&ctx.memory);
    writer.text().push_str("{\"data\":");
    writer.list(&answer.value, push_labels)?;
    writer.text().push('}');
    Ok(reply::complete(writer.respond("application/json")?, &answer.completeness))
}

/// Series and buckets of a metric's native histograms.
#[derive(Clone, Copy, Debug)]
struct Buckets {
    series: u64,
    sum: u64,
    min: u64,
    max: u64,
}

/// `/api/v1/cardinality/active_native_histogram_metrics`: how many buckets each metric's histograms have now.
pub(super) async fn native_histograms(call: Call) -> Outcome {
    let matchers = selector(&call.params)?;
    if matchers.is_empty() {
        return Err(ApiError::BadRequest("missing 'selector' parameter".to_owned()));
    }
    let ctx = call.context(None);
    let found = promql::latest(&call.scatter(), &ctx, &[matchers], window(&call), promql::SAMPLES_MAX).await?;
    let mut metrics: BTreeMap<&str, Buckets> = BTreeMap::new();
    for series in &found.series {
        let kinds = [SampleKind::IntHistogram, SampleKind::FloatHistogram];
        let newest = kinds.into_iter().find_map(|kind| series.blobs(kind).pop()).map(|(_, bytes)| bytes);
        let Some(histogram) = newest.and_then(|bytes| histogram::read(bytes).ok()) else { continue };
        let buckets = histogram.buckets_count();
        let none = Buckets { series: 0, sum: 0, min: u64::MAX, max: 0 };
        let of_metric = metrics.entry(series.labels.get("__name__").unwrap_or_default()).or_insert(none);
        *of_metric = Buckets {
            series: of_metric.series + 1,
            sum: of_metric.sum + buckets,
            min: of_metric.min.min(buckets),
            max: of_metric.max.max(buckets),
        };
    }
    let mut out = String::from("{\"data\":");
    push_json_list(&mut out, metrics, |out, (name, b)| {
        out.push_str("{\"metric\":");
        push_json_str(out, name);
        let average = b.sum as f64 / b.series as f64;
        out.push_str(&format!(
            ",\"series_count\":{},\"bucket_count\":{},\"avg_bucket_count\":{average},\"min_bucket_count\":{},\"max_bucket_count\":{}}}",
            b.series, b.sum, b.min, b.max
        ));
    });
    out.push('}');
    Ok(reply::complete(reply::json(out), &found.completeness))
}

/// `/api/v1/user_stats`: how many series the tenant has. Rates are counted by node, not by tenant.
pub(super) async fn user_stats(call: Call) -> Outcome {
    let ctx = call.context(None);
    let names = ["__name__".to_owned()];
    let census = promql::census(&call.scatter(), &ctx, &[], window(&call), &names).await?;
    let body = format!(
        "{{\"ingestionRate\":0,\"numSeries\":{},\"APIIngestionRate\":0,\"RuleIngestionRate\":0}}",
        census.series
    );
    Ok(reply::complete(reply::json(body), &census.completeness))
}

/// `/api/v1/user_limits`: 0 where there is none.
pub(super) async fn user_limits(call: Call) -> Outcome {
    let config = call.api.config();
    Ok(reply::json(format!(
        "{{\"request_rate\":0,\"request_burst_size\":0,\"ingestion_rate\":0,\"ingestion_burst_size\":0,\
         \"max_global_series_per_user\":0,\"max_global_series_per_metric\":0,\"max_global_exemplars_per_user\":0,\
         \"max_fetched_chunks_per_query\":0,\"max_fetched_series_per_query\":0,\"max_fetched_chunk_bytes_per_query\":0,\
         \"ruler_max_rules_per_rule_group\":0,\"ruler_max_rule_groups_per_tenant\":0,\
         \"compactor_blocks_retention_period\":{}}}",
        config.retention_ms_of(&call.tenant) / 1000
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_biggest_come_first_and_equals_by_name() {
        let rows = [("b", 1), ("c", 9), ("a", 1)].map(|(n, v)| (n.to_owned(), v));
        assert_eq!(top(rows.into_iter(), 2), [("c".to_owned(), 9), ("a".to_owned(), 1)]);
    }
}
