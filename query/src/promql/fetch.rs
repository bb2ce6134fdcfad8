//! Sends a fragment and gathers the frames that come back.
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use hashbrown::HashMap;
use prost::Message;
use trine_store::model::Labels;

use super::aggregate::Cells;
use super::fragment::{self, Frame, Request, SamplesMessage, VectorMessage};
use super::functions::ABSENT;
use super::local::too_many_samples;
use super::plan::{SelectKind, SelectPlan};
use super::value::Stats;
use super::{columns, labels};
use crate::error::{Error, Result};
use crate::fragment::{Fragment, Language};
use crate::memory::{self, Account, Charge, labels_bytes};
use crate::scatter::{Completeness, Item, QueryContext, Scatter};

/// What a sample of a raw series weighs: time and value in columns that grow.
pub(super) const SAMPLE_BYTES: u64 = 24;

/// What came back for one selector, in label order.
#[derive(Debug)]
pub(super) enum Fetched {
    Samples(Vec<RawSeries>),
    /// A value or [`ABSENT`] at each step.
    Vectors(Vec<(Labels, Vec<f64>)>),
}

/// Samples of a series, with stale markers.
#[derive(Clone, Debug)]
pub(super) struct RawSeries {
    pub labels: Labels,
    pub times_ms: Vec<i64>,
    pub values: Vec<f64>,
}

/// All that came back for a plan.
#[derive(Debug)]
pub(super) struct Replies {
    /// Of each selector, with what it weighs.
    pub data: Vec<(Fetched, Charge)>,
    /// Metrics that may not be counters, with the selector they came from.
    pub non_counters: Vec<(usize, String)>,
    pub stats: Stats,
    pub completeness: Completeness,
}

fn corrupt(reason: impl Into<String>) -> Error {
    Error::Corrupt { what: "PromQL frame", reason: reason.into() }
}

/// Asks all shards for `selects` in one fragment. Holds at most `samples_max` samples and step values.
pub(super) async fn fetch(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    selects: &[SelectPlan],
    samples_max: u64,
) -> Result<Replies> {
    let mut gather = Gather::new(selects, samples_max, &ctx.memory);
    if !selects.is_empty() {
        let request = Request {
            version: fragment::VERSION,
            selects: selects.iter().map(SelectPlan::message).collect(),
            samples_max,
            ..Request::default()
        };
        gather.completeness = stream(scatter, ctx, &request, |frame| gather.frame(frame)).await?;
    }
    gather.finish()
}

/// Sends `request` and hands every frame to `take`.
pub(super) async fn stream(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    request: &Request,
    mut take: impl FnMut(Bytes) -> Result<()>,
) -> Result<Completeness> {
    let fragment = Fragment { language: Language::PromQl, payload: Bytes::from(request.encode_to_vec()) };
    let mut items = scatter.scatter(ctx, fragment);
    let mut completeness = Completeness::default();
    while let Some(item) = items.next().await {
        match item? {
            Item::Frame(bytes) => take(bytes)?,
            Item::ShardDone(answer) => completeness.add(answer),
        }
    }
    Ok(completeness)
}

/// Decodes one frame and refuses another version.
pub(super) fn decode(bytes: Bytes) -> Result<Frame> {
    let frame = Frame::decode(bytes).map_err(|e| corrupt(e.to_string()))?;
    if frame.version == fragment::VERSION { Ok(frame) } else { Err(corrupt(format!("version {}", frame.version))) }
}

enum Store {
    Samples(HashMap<Labels, (Vec<i64>, Vec<f64>)>),
    Vectors(HashMap<Labels, Vec<f64>>),
    Groups(HashMap<Labels, Cells>),
}

struct Gather<'a> {
    selects: &'a [SelectPlan],
    memory: &'a Account,
    stores: Vec<Store>,
    /// Of each store.
    held: Vec<Charge>,
    non_counters: Vec<(usize, String)>,
    stats: Stats,
    left: u64,
    samples_max: u64,
    completeness: Completeness,
}

impl<'a> Gather<'a> {
    fn new(selects: &'a [SelectPlan], samples_max: u64, memory: &'a Account) -> Self {
        let store = |s: &SelectPlan| match s.kind {
            SelectKind::Raw => Store::Samples(HashMap::new()),
            SelectKind::Steps { .. } => Store::Vectors(HashMap::new()),
            SelectKind::Groups { .. } => Store::Groups(HashMap::new()),
        };
        Self {
            selects,
            memory,
            stores: selects.iter().map(store).collect(),
            held: selects.iter().map(|_| memory.open()).collect(),
            non_counters: Vec::new(),
            stats: Stats::default(),
            left: samples_max,
            samples_max,
            completeness: Completeness::default(),
        }
    }

    fn frame(&mut self, bytes: Bytes) -> Result<()> {
        self.stats.frame_bytes += bytes.len() as u64;
        let _decoding = memory::decoding(self.memory, bytes.len())?;
        let frame = decode(bytes)?;
        self.stats.samples_read = self.stats.samples_read.saturating_add(frame.samples_read);
        if self.stats.samples_read > self.samples_max {
            return Err(too_many_samples());
        }
        frame.samples.iter().try_for_each(|m| self.samples(m))?;
        frame.vectors.iter().try_for_each(|m| self.vector(m))?;
        for n in frame.non_counters {
            let known = (n.select as usize, n.name);
            if !self.non_counters.contains(&known) {
                self.non_counters.push(known);
            }
        }
        Ok(())
    }

    fn charge(&mut self, values: u64) -> Result<()> {
        self.left = self.left.checked_sub(values).ok_or_else(too_many_samples)?;
        Ok(())
    }

    fn samples(&mut self, message: &SamplesMessage) -> Result<()> {
        let key = Labels::decode(&message.labels).map_err(|e| corrupt(e.to_string()))?;
        let (mut ts, mut vs) = (Vec::new(), Vec::new());
        columns::decode_samples(&message.samples, &mut ts, &mut vs)?;
        self.charge(ts.len() as u64)?;
        let position = message.select as usize;
        let Some(Store::Samples(series)) = self.stores.get_mut(position) else {
            return Err(corrupt("samples for a selector that did not ask for them"));
        };
        let new_labels = if series.contains_key(&key) { 0 } else { labels_bytes(&key) };
        self.held[position].add(ts.len() as u64 * SAMPLE_BYTES + new_labels)?;
        let (all_ts, all_vs) = series.entry(key).or_default();
        let in_order = ts.first().zip(all_ts.last()).is_none_or(|(next, last)| last < next);
        all_ts.extend(ts);
        all_vs.extend(vs);
        if !in_order {
            let _both = self.memory.charge(all_ts.len() as u64 * SAMPLE_BYTES)?;
            merge_by_time(all_ts, all_vs);
        }
        Ok(())
    }

    fn vector(&mut self, message: &VectorMessage) -> Result<()> {
        let key = Labels::decode(&message.labels).map_err(|e| corrupt(e.to_string()))?;
        let position = message.select as usize;
        let select = self.selects.get(position).ok_or_else(|| corrupt("unknown selector"))?;
        let total = select.windows.count as u64;
        let is_inside = message.first_step.checked_add(message.steps).is_some_and(|end| end <= total);
        let columns_count = match &select.kind {
            SelectKind::Groups { partial, .. } => partial.columns_count(),
            SelectKind::Steps { .. } | SelectKind::Raw => 1,
        };
        if !is_inside || message.columns.len() != columns_count {
            return Err(corrupt("step columns do not fit their request"));
        }
        let (first, steps, total) = (message.first_step as usize, message.steps as usize, total as usize);
        let decoded: Vec<Vec<f64>> =
            message.columns.iter().map(|c| columns::decode_steps(c, steps)).collect::<Result<_>>()?;
        let is_new = match &self.stores[position] {
            Store::Vectors(series) => !series.contains_key(&key),
            Store::Groups(groups) => !groups.contains_key(&key),
            Store::Samples(_) => return Err(corrupt("steps for a selector that asked for samples")),
        };
        if is_new {
            self.charge((columns_count * total) as u64)?;
            let values = match &select.kind {
                SelectKind::Groups { partial, .. } => Cells::bytes(*partial, total),
                SelectKind::Steps { .. } | SelectKind::Raw => (total * size_of::<f64>()) as u64,
            };
            self.held[position].add(values + labels_bytes(&key))?;
            self.stats.series += 1;
        }
        match (&mut self.stores[position], &select.kind) {
            (Store::Vectors(series), _) => {
                let values = series.entry(key).or_insert_with(|| vec![ABSENT; total]);
                values[first..first + steps].copy_from_slice(&decoded[0]);
            }
            (Store::Groups(groups), SelectKind::Groups { partial, .. }) => {
                groups.entry(key).or_insert_with(|| Cells::new(*partial, total)).merge(first, &decoded);
            }
            (Store::Groups(_) | Store::Samples(_), _) => {}
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Replies> {
        self.stats.samples_peak = self.samples_max - self.left;
        let data = self.stores.into_iter().map(|store| match store {
            Store::Samples(series) => {
                self.stats.series += series.len() as u64;
                let raw = |(labels, (times_ms, values))| RawSeries { labels, times_ms, values };
                let mut all: Vec<RawSeries> = series.into_iter().map(raw).collect();
                all.sort_by(|a, b| labels::compare(&a.labels, &b.labels));
                Fetched::Samples(all)
            }
            Store::Vectors(series) => Fetched::Vectors(in_order(series.into_iter().collect())),
            Store::Groups(groups) => {
                Fetched::Vectors(in_order(groups.into_iter().map(|(l, cells)| (l, cells.finish())).collect()))
            }
        });
        let data: Vec<Fetched> = data.collect();
        let mut data: Vec<(Fetched, Charge)> = data.into_iter().zip(self.held).collect();
        for (fetched, held) in &mut data {
            held.set(fetched.bytes().min(held.bytes()))?;
        }
        Ok(Replies { data, non_counters: self.non_counters, stats: self.stats, completeness: self.completeness })
    }
}

impl Fetched {
    /// What the columns and labels weigh.
    fn bytes(&self) -> u64 {
        let values = |v: &[f64]| size_of_val(v) as u64;
        match self {
            Self::Samples(all) => {
                all.iter().map(|s| s.times_ms.len() as u64 * SAMPLE_BYTES + labels_bytes(&s.labels)).sum()
            }
            Self::Vectors(all) => all.iter().map(|(l, v)| values(v) + labels_bytes(l)).sum(),
        }
    }
}

fn in_order(mut series: Vec<(Labels, Vec<f64>)>) -> Vec<(Labels, Vec<f64>)> {
    series.sort_by(|a, b| labels::compare(&a.0, &b.0));
    series
}

/// Sorts samples of one series that came from two shards; the first of equal times stays.
pub(super) fn merge_by_time(ts: &mut Vec<i64>, vs: &mut Vec<f64>) {
    let mut both: Vec<(i64, f64)> = ts.iter().copied().zip(vs.iter().copied()).collect();
    both.sort_by_key(|(t, _)| *t);
    both.dedup_by_key(|(t, _)| *t);
    (*ts, *vs) = both.into_iter().unzip();
}
