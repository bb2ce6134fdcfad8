//! Questions about series, labels and metric families.
use std::sync::Arc;

use trine_store::index::Matcher;
use trine_store::model::Labels;

use super::fragment::{self, Frame, Lookup, LookupKind, MatcherSet, Request};
use super::{SAMPLES_MAX, fetch, labels};
use crate::error::{Error, Result};
use crate::scatter::{Completeness, QueryContext, Scatter};

/// An answer about what exists.
#[derive(Clone, Debug)]
pub struct Metadata<T> {
    /// Sorted, without repetition.
    pub value: T,
    /// Cut at the request's limit.
    pub truncated: bool,
    pub completeness: Completeness,
}

/// Type, help and unit of a metric family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FamilyMetadata {
    pub family: String,
    /// As in remote write: 0 unknown, 1 counter, 2 gauge, …
    pub metric_type: u8,
    pub help: String,
    pub unit: String,
}

/// Series that match one of `sets` and have samples in `[start_ms, end_ms]`, in label order. `limit` 0 is no limit.
pub async fn series(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    sets: &[Vec<Matcher>],
    start_ms: i64,
    end_ms: i64,
    limit: usize,
) -> Result<Metadata<Vec<Labels>>> {
    let mut found: Vec<Labels> = Vec::new();
    let lookup = lookup(LookupKind::Series, None, sets, start_ms, end_ms, limit);
    let completeness = ask(scatter, ctx, lookup, |frame| {
        for bytes in &frame.label_sets {
            found.push(Labels::decode(bytes).map_err(|e| corrupt(&e.to_string()))?);
        }
        Ok(())
    })
    .await?;
    found.sort_by(labels::compare);
    found.dedup();
    Ok(cut(found, limit, completeness))
}

/// Label names of series that match one of `sets`; all series if there is no set.
pub async fn label_names(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    sets: &[Vec<Matcher>],
    start_ms: i64,
    end_ms: i64,
    limit: usize,
) -> Result<Metadata<Vec<String>>> {
    texts(scatter, ctx, lookup(LookupKind::LabelNames, None, sets, start_ms, end_ms, limit), limit).await
}

/// Values of the label `name` of series that match one of `sets`; all series if there is no set.
pub async fn label_values(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    name: &str,
    sets: &[Vec<Matcher>],
    start_ms: i64,
    end_ms: i64,
    limit: usize,
) -> Result<Metadata<Vec<String>>> {
    texts(scatter, ctx, lookup(LookupKind::LabelValues, Some(name), sets, start_ms, end_ms, limit), limit).await
}

/// Metadata of one metric family or of all, by family; `limit` counts entries.
pub async fn metric_metadata(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    metric: Option<&str>,
    limit: usize,
) -> Result<Metadata<Vec<FamilyMetadata>>> {
    let mut found = Vec::new();
    let completeness = ask(scatter, ctx, lookup(LookupKind::Metadata, metric, &[], 0, 0, limit), |frame| {
        for f in frame.families {
            let metric_type = u8::try_from(f.metric_type).map_err(|_| corrupt("metric type"))?;
            found.push(FamilyMetadata { family: f.family, metric_type, help: f.help, unit: f.unit });
        }
        Ok(())
    })
    .await?;
    found.sort();
    found.dedup();
    Ok(cut(found, limit, completeness))
}

fn corrupt(reason: &str) -> Error {
    Error::Corrupt { what: "PromQL frame", reason: reason.to_owned() }
}

fn lookup(
    kind: LookupKind,
    name: Option<&str>,
    sets: &[Vec<Matcher>],
    min_ms: i64,
    max_ms: i64,
    limit: usize,
) -> Lookup {
    Lookup {
        kind: kind as u32,
        sets: sets.iter().map(|set| MatcherSet { matchers: fragment::put_matchers(set) }).collect(),
        min_ms,
        max_ms,
        name: name.map(str::to_owned),
        limit: limit as u64,
    }
}

async fn ask(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    lookup: Lookup,
    mut take: impl FnMut(Frame) -> Result<()>,
) -> Result<Completeness> {
    let request =
        Request { version: fragment::VERSION, selects: Vec::new(), samples_max: SAMPLES_MAX, lookup: Some(lookup) };
    fetch::stream(scatter, ctx, &request, |bytes| take(fetch::decode(bytes)?)).await
}

async fn texts(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    lookup: Lookup,
    limit: usize,
) -> Result<Metadata<Vec<String>>> {
    let mut found = Vec::new();
    let completeness = ask(scatter, ctx, lookup, |frame| {
        found.extend(frame.texts);
        Ok(())
    })
    .await?;
    found.sort_unstable();
    found.dedup();
    Ok(cut(found, limit, completeness))
}

fn cut<T>(mut value: Vec<T>, limit: usize, completeness: Completeness) -> Metadata<Vec<T>> {
    let truncated = limit != 0 && value.len() > limit;
    if truncated {
        value.truncate(limit);
    }
    Metadata { value, truncated, completeness }
}
