//! Calls about streams on the asking node.
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use trine_store::index::Matcher;
use trine_store::model::Labels;

use super::ask::{Account, ask};
use super::metric::{Evaluated, evaluate};
use super::series::by_pairs;
use crate::error::{Error, Result};
use crate::logql::answer::{IndexStats, Metadata, Volume, VolumeBy, VolumeQuery};
use crate::logql::ast::{AggregateOp, Grouping, LogExpr, MetricExpr, RangeExpr, RangeOp};
use crate::logql::fragment::{
    Ask, Reply, StatsAsk, StreamsAsk, VolumeAsk, WANT_LABEL_SETS, WANT_NAMES, WANT_VALUES, corrupt,
};
use crate::logql::parser::parse_selector;
use crate::logql::plan::Grid;
use crate::memory::{Charge, labels_bytes, text_bytes};
use crate::scatter::{QueryContext, Scatter};

const NS_PER_MS: i64 = 1_000_000;
/// What a group weighs besides its texts and points.
const VOLUME_BYTES: u64 = 160;
/// What a stream weighs in the set of those that were counted.
const STREAM_BYTES: u64 = 16;
/// What a point weighs in a map and then in a list.
const POINT_BYTES: u64 = 48;
/// Most buckets of a volume over time.
const BUCKETS_MAX: i64 = 11_000;

fn metadata<T>(value: T, account: Account, held: Charge) -> Metadata<T> {
    Metadata { value, truncated: false, completeness: account.completeness, held: Arc::new(held) }
}

/// The selector as text that shards parse: checked, and in canonical form.
fn selector_text(matchers: &[Matcher]) -> String {
    LogExpr { matchers: matchers.to_vec(), stages: Vec::new() }.to_string()
}

async fn texts(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, request: StreamsAsk) -> Result<Metadata<Vec<String>>> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut held = ctx.memory.open();
    let account = ask(scatter, ctx, Ask::Streams(request), |reply| match reply {
        Reply::Texts(texts) => {
            for text in texts.texts {
                if !found.contains(&text) {
                    held.add(text_bytes(&text))?;
                    found.insert(text);
                }
            }
            Ok(())
        }
        _ => Err(corrupt("LogQL reply", "not texts")),
    })
    .await?;
    Ok(metadata(found.into_iter().collect(), account, held))
}

fn selectors(selector: Option<&str>) -> Result<Vec<String>> {
    selector.map(|s| parse_selector(s).map(|m| selector_text(&m))).into_iter().collect()
}

/// Names of the stream labels of streams with entries in `start_ns..end_ns`, sorted; of those that `selector` matches.
pub async fn labels(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    selector: Option<&str>,
    start_ns: i64,
    end_ns: i64,
) -> Result<Metadata<Vec<String>>> {
    let selectors = selectors(selector)?;
    texts(scatter, ctx, StreamsAsk { selectors, start_ns, end_ns, want: WANT_NAMES, name: String::new() }).await
}

/// Values of one stream label, sorted.
pub async fn label_values(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    name: &str,
    selector: Option<&str>,
    start_ns: i64,
    end_ns: i64,
) -> Result<Metadata<Vec<String>>> {
    let selectors = selectors(selector)?;
    texts(scatter, ctx, StreamsAsk { selectors, start_ns, end_ns, want: WANT_VALUES, name: name.to_owned() }).await
}

/// Label sets of the streams that any of `sets` matches, sorted; all streams when there are no sets.
pub async fn series(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    sets: &[Vec<Matcher>],
    start_ns: i64,
    end_ns: i64,
) -> Result<Metadata<Vec<Labels>>> {
    let selectors = sets.iter().map(|m| selector_text(m)).collect();
    let request = StreamsAsk { selectors, start_ns, end_ns, want: WANT_LABEL_SETS, name: String::new() };
    let mut found: BTreeSet<Labels> = BTreeSet::new();
    let mut held = ctx.memory.open();
    let account = ask(scatter, ctx, Ask::Streams(request), |reply| {
        let Reply::LabelSets(list) = reply else {
            return Err(corrupt("LogQL reply", "not label sets"));
        };
        for bytes in list.sets {
            let labels = Labels::decode(&bytes).map_err(|e| corrupt("LogQL label set", &e.to_string()))?;
            if !found.contains(&labels) {
                held.add(labels_bytes(&labels))?;
                found.insert(labels);
            }
        }
        Ok(())
    })
    .await?;
    let mut found: Vec<Labels> = found.into_iter().collect();
    found.sort_by(by_pairs);
    Ok(metadata(found, account, held))
}

/// Totals over the streams of `selector`.
pub async fn index_stats(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    selector: &str,
    start_ns: i64,
    end_ns: i64,
) -> Result<Metadata<IndexStats>> {
    let selector = selector_text(&parse_selector(selector)?);
    let mut total = IndexStats::default();
    // A stream that is spread is in several shards.
    let (mut streams, mut held) = (HashSet::new(), ctx.memory.open());
    let account = ask(scatter, ctx, Ask::Stats(StatsAsk { selector, start_ns, end_ns }), |reply| {
        let Reply::Stats(s) = reply else {
            return Err(corrupt("LogQL reply", "not totals"));
        };
        total.streams = total.streams.saturating_add(s.streams);
        total.chunks = total.chunks.saturating_add(s.chunks);
        total.bytes = total.bytes.saturating_add(s.bytes);
        total.entries = total.entries.saturating_add(s.entries);
        for hash in s.hashes {
            if streams.insert(hash) {
                held.add(STREAM_BYTES)?;
            }
        }
        Ok(())
    })
    .await?;
    total.streams = total.streams.saturating_add(streams.len() as u64);
    Ok(metadata(total, account, held))
}

/// Bytes of lines by group, largest first, then by labels.
pub async fn index_volume(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    query: &VolumeQuery,
) -> Result<Metadata<Vec<Volume>>> {
    let matchers = parse_selector(&query.query)?;
    let (mut volumes, held, account) = match query.step_ms {
        None => total_volumes(scatter, ctx, query, &matchers).await?,
        Some(step_ms) => bucket_volumes(scatter, ctx, query, &matchers, step_ms).await?,
    };
    volumes.sort_by(|a, b| b.bytes().cmp(&a.bytes()).then_with(|| a.labels.cmp(&b.labels)));
    let truncated = volumes.len() > query.limit;
    volumes.truncate(query.limit);
    Ok(Metadata { value: volumes, truncated, completeness: account.completeness, held: Arc::new(held) })
}

async fn total_volumes(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    query: &VolumeQuery,
    matchers: &[Matcher],
) -> Result<(Vec<Volume>, Charge, Account)> {
    let request = VolumeAsk {
        selector: selector_text(matchers),
        start_ns: query.start_ns,
        end_ns: query.end_ns,
        target_labels: query.target_labels.clone(),
        by_label: query.by == VolumeBy::Labels,
    };
    let mut groups: BTreeMap<Vec<String>, u64> = BTreeMap::new();
    let mut held = ctx.memory.open();
    let account = ask(scatter, ctx, Ask::Volume(request), |reply| {
        let Reply::Volumes(list) = reply else {
            return Err(corrupt("LogQL reply", "not volumes"));
        };
        for part in list.volumes {
            if !groups.contains_key(&part.labels) {
                held.add(part.labels.iter().map(|text| text_bytes(text)).sum::<u64>() + VOLUME_BYTES)?;
            }
            *groups.entry(part.labels).or_default() += part.bytes;
        }
        Ok(())
    })
    .await?;
    let time_ms = query.end_ns.div_euclid(NS_PER_MS);
    let volumes = groups
        .into_iter()
        .map(|(flat, bytes)| Ok(Volume { labels: super::logs::pairs(flat)?, points: vec![(time_ms, bytes)] }))
        .collect::<Result<Vec<_>>>()?;
    Ok((volumes, held, account))
}

/// Volumes over time are the metric query `sum by (…) (bytes_over_time({…}[step]))`.
async fn bucket_volumes(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    query: &VolumeQuery,
    matchers: &[Matcher],
    step_ms: i64,
) -> Result<(Vec<Volume>, Charge, Account)> {
    let step_ns = step_ms.saturating_mul(NS_PER_MS);
    let span_ns = query.end_ns.saturating_sub(query.start_ns);
    if step_ns <= 0 || span_ns / step_ns > BUCKETS_MAX {
        return Err(Error::Limit {
            message: "exceeded maximum resolution of 11,000 points per time series".to_owned(),
        });
    }
    let mut names = query.target_labels.clone();
    if names.is_empty() {
        names = matchers.iter().map(|m| m.name.clone()).collect();
    }
    let mut account = Account::default();
    if names.is_empty() {
        let all = labels(scatter, ctx, None, query.start_ns, query.end_ns).await?;
        account.completeness = all.completeness;
        names = all.value;
    }
    let range = RangeExpr {
        op: RangeOp::Bytes,
        param: None,
        log: LogExpr { matchers: matchers.to_vec(), stages: Vec::new() },
        unwrap: None,
        range_ns: step_ns,
        offset_ns: 0,
        grouping: None,
    };
    let expr = MetricExpr::Aggregate {
        op: AggregateOp::Sum,
        k: None,
        grouping: Some(Grouping { without: false, labels: names }),
        expr: Box::new(MetricExpr::Range(range)),
    };
    let steps = ((span_ns + step_ns - 1) / step_ns).max(1) as usize;
    let grid = Grid { start_ns: query.start_ns.saturating_add(step_ns), step_ns, steps };
    let (evaluated, mut held, cost) = evaluate(scatter, ctx, &expr, grid).await?;
    account.add(cost);
    let Evaluated::Series(series) = evaluated else {
        return Ok((Vec::new(), held, account));
    };
    let mut groups: BTreeMap<Vec<(String, String)>, BTreeMap<i64, u64>> = BTreeMap::new();
    for s in series {
        let pairs: Vec<_> = s.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let keys = match query.by {
            VolumeBy::Series if pairs.is_empty() => Vec::new(),
            VolumeBy::Series => vec![pairs],
            VolumeBy::Labels => pairs.into_iter().map(|(name, _)| vec![(name, String::new())]).collect(),
        };
        for key in keys {
            let count = s.values.iter().flatten().count() as u64;
            held.add(count * POINT_BYTES + labels_bytes(&s.labels) + VOLUME_BYTES)?;
            let points = groups.entry(key).or_default();
            for (step, value) in s.values.iter().enumerate() {
                if let Some(value) = value {
                    *points.entry(grid.time_ns(step).div_euclid(NS_PER_MS)).or_default() += *value as u64;
                }
            }
        }
    }
    let volumes = groups.into_iter().map(|(labels, points)| Volume { labels, points: points.into_iter().collect() });
    Ok((volumes.collect(), held, account))
}
