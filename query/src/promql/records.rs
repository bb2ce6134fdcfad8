//! Records as they are stored: exemplars, and raw samples for remote read and federation.
//!
//! What comes back is kept encoded, so that a reply that is long in samples is short in memory, and decoded series by series.
use std::sync::Arc;

use hashbrown::HashMap;
use trine_store::index::Matcher;
use trine_store::model::Labels;
use trine_store::part::SampleKind;

use super::ast::Expr;
use super::fragment::{self, Frame, MatcherSet, Records, RecordsMessage, Request, SamplesMessage};
use super::metadata::Metadata;
use super::{columns, fetch, labels};
use crate::error::{Error, Result};
use crate::memory::{self, Charge, labels_bytes};
use crate::scatter::{Completeness, QueryContext, Scatter};

/// What a message weighs beside its bytes.
const MESSAGE_BYTES: u64 = 64;

/// Series in label order.
#[derive(Clone, Debug)]
pub struct Found {
    pub series: Vec<SeriesRecords>,
    /// Records of all kinds that the shards read.
    pub records_read: u64,
    pub completeness: Completeness,
    /// What `series` weighs.
    pub held: Arc<Charge>,
}

/// A series and its records, encoded as they came.
#[derive(Clone, Debug)]
pub struct SeriesRecords {
    pub labels: Labels,
    floats: Vec<Vec<u8>>,
    blobs: Vec<RecordsMessage>,
}

impl SeriesRecords {
    /// Replaces the columns' contents by the float samples, times strictly rising, stale markers included.
    pub fn floats_into(&self, times_ms: &mut Vec<i64>, values: &mut Vec<f64>) -> Result<()> {
        times_ms.clear();
        values.clear();
        self.floats.iter().try_for_each(|bytes| columns::decode_samples(bytes, times_ms, values))?;
        if !times_ms.is_sorted_by(|a, b| a < b) {
            fetch::merge_by_time(times_ms, values);
        }
        Ok(())
    }

    /// (ms, payload) of the records of `kind`, by time.
    pub fn blobs(&self, kind: SampleKind) -> Vec<(i64, &[u8])> {
        let of_kind = self.blobs.iter().filter(|m| m.kind == kind as u32);
        let mut all: Vec<(i64, &[u8])> =
            of_kind.flat_map(|m| m.times_ms.iter().copied().zip(m.payloads.iter().map(Vec::as_slice))).collect();
        all.sort_by_key(|(time_ms, _)| *time_ms);
        all
    }

    /// Whether there are records of any kind.
    pub fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.blobs.is_empty()
    }
}

impl Found {
    /// Series of which only the labels are of interest.
    pub fn without_samples(answer: Metadata<Vec<Labels>>) -> Self {
        let series = |labels| SeriesRecords { labels, floats: Vec::new(), blobs: Vec::new() };
        let Metadata { value, completeness, held, .. } = answer;
        Self { series: value.into_iter().map(series).collect(), records_read: 0, completeness, held }
    }
}

/// What `select` asks the shards for.
struct Question<'a> {
    sets: &'a [Vec<Matcher>],
    range: (i64, i64),
    kinds: &'a [SampleKind],
    last_only: bool,
    records_max: u64,
}

/// Matchers of every selector in an expression. Errors: [`Error::Parse`].
pub fn selectors(query: &str) -> Result<Vec<Vec<Matcher>>> {
    let mut found = Vec::new();
    walk(&super::parser::parse(query)?, &mut found);
    Ok(found)
}

fn walk(expr: &Expr, found: &mut Vec<Vec<Matcher>>) {
    match expr {
        Expr::Number { .. } | Expr::String { .. } => {}
        // The data labels of `info()` name labels, not series.
        Expr::Vector(selector) | Expr::Matrix { selector, .. } => {
            if !selector.allows_empty && !found.contains(&selector.matchers) {
                found.push(selector.matchers.clone());
            }
        }
        Expr::Subquery { expr, .. } | Expr::Unary { expr, .. } | Expr::Paren { expr, .. } => walk(expr, found),
        Expr::Binary { lhs, rhs, .. } => {
            walk(lhs, found);
            walk(rhs, found);
        }
        Expr::Aggregate { expr, param, .. } => {
            walk(expr, found);
            param.iter().for_each(|param| walk(param, found));
        }
        Expr::Call { args, .. } => args.iter().for_each(|arg| walk(arg, found)),
    }
}

/// All records of `kinds` in `start_ms..=end_ms` of the series that match one of `sets`. Errors: [`Error::Limit`] once a node
/// has read more than `records_max`, and what a query may meet.
pub async fn records(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    sets: &[Vec<Matcher>],
    range: (i64, i64),
    kinds: &[SampleKind],
    records_max: u64,
) -> Result<Found> {
    select(scatter, ctx, Question { sets, range, kinds, last_only: false, records_max }).await
}

/// The newest sample in `start_ms..=end_ms` of each series that matches one of `sets`.
pub async fn latest(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    sets: &[Vec<Matcher>],
    range: (i64, i64),
    records_max: u64,
) -> Result<Found> {
    let kinds = &[SampleKind::Float, SampleKind::IntHistogram, SampleKind::FloatHistogram];
    select(scatter, ctx, Question { sets, range, kinds, last_only: true, records_max }).await
}

async fn select(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, question: Question<'_>) -> Result<Found> {
    let Question { sets, range: (min_ms, max_ms), kinds, last_only, records_max } = question;
    let mut gather = Gather { series: HashMap::new(), held: ctx.memory.open(), records_read: 0 };
    let mut completeness = Completeness::default();
    if !sets.is_empty() {
        let records = Records {
            sets: sets.iter().map(|set| MatcherSet { matchers: fragment::put_matchers(set) }).collect(),
            min_ms,
            max_ms,
            kinds: kinds.iter().map(|kind| *kind as u32).collect(),
            last_only,
        };
        let request = Request {
            version: fragment::VERSION,
            samples_max: records_max,
            records: Some(records),
            ..Request::default()
        };
        completeness = fetch::stream(scatter, ctx, &request, |bytes| {
            let _decoding = memory::decoding(&ctx.memory, bytes.len())?;
            gather.frame(fetch::decode(bytes)?, records_max)
        })
        .await?;
    }
    let mut series: Vec<SeriesRecords> = gather.series.into_values().map(|(_, series)| series).collect();
    series.sort_by(|a, b| labels::compare(&a.labels, &b.labels));
    let (records_read, held) = (gather.records_read, Arc::new(gather.held));
    Ok(Found { series, records_read, completeness, held })
}

struct Gather {
    /// With the set by which the series was found first: what other sets find of it is the same.
    series: HashMap<Labels, ((u32, u32), SeriesRecords)>,
    held: Charge,
    records_read: u64,
}

fn corrupt(reason: impl Into<String>) -> Error {
    Error::Corrupt { what: "PromQL frame", reason: reason.into() }
}

impl Gather {
    fn frame(&mut self, frame: Frame, records_max: u64) -> Result<()> {
        self.records_read = self.records_read.saturating_add(frame.samples_read);
        if self.records_read > records_max {
            return Err(super::local::too_many_samples());
        }
        for SamplesMessage { select, labels, samples, .. } in frame.samples {
            if let Some(series) = self.series(frame.shard, select, &labels, samples.len())? {
                series.floats.push(samples);
            }
        }
        for message in frame.records {
            if message.times_ms.len() != message.payloads.len() {
                return Err(corrupt("times and payloads of different count"));
            }
            let bytes = message.payloads.iter().map(|payload| payload.len() + 40).sum();
            if let Some(series) = self.series(frame.shard, message.set, &message.labels, bytes)? {
                series.blobs.push(RecordsMessage { labels: Vec::new(), ..message });
            }
        }
        Ok(())
    }

    /// The series to add to; `None` when another set of the same shard has found it already.
    fn series(&mut self, shard: u32, set: u32, key: &[u8], bytes: usize) -> Result<Option<&mut SeriesRecords>> {
        let labels = Labels::decode(key).map_err(|e| corrupt(e.to_string()))?;
        self.held.add(bytes as u64 + MESSAGE_BYTES)?;
        if !self.series.contains_key(&labels) {
            self.held.add(labels_bytes(&labels))?;
            let series = SeriesRecords { labels: labels.clone(), floats: Vec::new(), blobs: Vec::new() };
            self.series.insert(labels.clone(), ((shard, set), series));
        }
        let found = self.series.get_mut(&labels);
        Ok(found.filter(|((of, by), _)| *of != shard || *by == set).map(|(_, series)| series))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_of_an_expression() {
        for (query, expected) in [
            ("1 + 1", vec![]),
            ("rate(a{x=\"1\"}[5m]) / on (y) b", vec!["a", "b"]),
            ("sum by (le) (rate(a[1m])) + a", vec!["a"]),
            ("max_over_time((-a)[1h:]) or quantile(scalar(b), c)", vec!["a", "c", "b"]),
        ] {
            let found = selectors(query).unwrap();
            let names: Vec<&str> =
                found.iter().filter_map(|set| set.iter().find(|m| m.name == "__name__")).map(|m| &*m.value).collect();
            assert_eq!(names, expected, "{query}");
        }
        assert!(selectors("a{").is_err());
    }
}
