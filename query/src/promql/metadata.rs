//! Questions about series, labels and metric families.
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashSet;
use trine_store::index::Matcher;
use trine_store::model::Labels;

use super::fragment::{self, Frame, Lookup, LookupKind, MatcherSet, Request};
use super::{SAMPLES_MAX, fetch, labels};
use crate::error::{Error, Result};
use crate::memory::{self, Charge, labels_bytes, text_bytes};
use crate::scatter::{Completeness, QueryContext, Scatter};

/// An answer about what exists.
#[derive(Clone, Debug)]
pub struct Metadata<T> {
    /// Sorted, without repetition.
    pub value: T,
    /// Cut at the request's limit.
    pub truncated: bool,
    pub completeness: Completeness,
    /// What `value` weighs.
    pub held: Arc<Charge>,
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
    let mut held = ctx.memory.open();
    let lookup = lookup(LookupKind::Series, None, sets, start_ms, end_ms, limit);
    let completeness = ask(scatter, ctx, lookup, |frame| {
        for bytes in &frame.label_sets {
            let labels = Labels::decode(bytes).map_err(|e| corrupt(&e.to_string()))?;
            held.add(labels_bytes(&labels))?;
            found.push(labels);
        }
        Ok(())
    })
    .await?;
    found.sort_by(labels::compare);
    found.dedup();
    held.set(found.iter().map(labels_bytes).sum())?;
    Ok(cut(found, limit, completeness, held))
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
    let (mut found, mut held) = (Vec::new(), ctx.memory.open());
    let completeness = ask(scatter, ctx, lookup(LookupKind::Metadata, metric, &[], 0, 0, limit), |frame| {
        for f in frame.families {
            held.add(text_bytes(&f.family) + text_bytes(&f.help) + text_bytes(&f.unit))?;
            let metric_type = u8::try_from(f.metric_type).map_err(|_| corrupt("metric type"))?;
            found.push(FamilyMetadata { family: f.family, metric_type, help: f.help, unit: f.unit });
        }
        Ok(())
    })
    .await?;
    found.sort();
    found.dedup();
    Ok(cut(found, limit, completeness, held))
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
        Request { version: fragment::VERSION, samples_max: SAMPLES_MAX, lookup: Some(lookup), ..Request::default() };
    let one = |bytes: Bytes| {
        let _decoding = memory::decoding(&ctx.memory, bytes.len())?;
        take(fetch::decode(bytes)?)
    };
    fetch::stream(scatter, ctx, &request, one).await
}

async fn texts(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    lookup: Lookup,
    limit: usize,
) -> Result<Metadata<Vec<String>>> {
    // A set: every shard may send the same texts.
    let (mut found, mut held) = (HashSet::new(), ctx.memory.open());
    let completeness = ask(scatter, ctx, lookup, |frame| {
        for text in frame.texts {
            if !found.contains(&text) {
                held.add(text_bytes(&text))?;
                found.insert(text);
            }
        }
        Ok(())
    })
    .await?;
    let mut found: Vec<String> = found.into_iter().collect();
    found.sort_unstable();
    Ok(cut(found, limit, completeness, held))
}

fn cut<T>(mut value: Vec<T>, limit: usize, completeness: Completeness, held: Charge) -> Metadata<Vec<T>> {
    let truncated = limit != 0 && value.len() > limit;
    if truncated {
        value.truncate(limit);
    }
    Metadata { value, truncated, completeness, held: Arc::new(held) }
}
