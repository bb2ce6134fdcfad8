//! Sends a fragment and gathers the frames that come back.
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use hashbrown::HashMap;
use prost::Message;
use trine_store::model::Labels;

use super::aggregate::Cells;
use super::counts::StepCounts;
use super::fragment::{self, Frame, Request, SamplesMessage, StepCountsMessage, VectorMessage};
use super::functions::ABSENT;
use super::functions::native::{Column, Note, Samples};
use super::histogram::{Histogram, HistogramColumn};
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
#[derive(Clone, Debug)]
pub(super) enum Fetched {
    Samples(Vec<RawSeries>),
    /// A value or none at each step.
    Vectors(Vec<(Labels, Column)>),
    /// Partial aggregates of floats, and series that are yet to be aggregated, since they have histograms.
    Groups {
        cells: Vec<(Labels, Cells)>,
        loose: Vec<(Labels, Column)>,
    },
}

/// Samples of a series, with stale markers.
#[derive(Clone, Debug)]
pub(super) struct RawSeries {
    pub labels: Labels,
    pub samples: Samples,
}

impl RawSeries {
    /// What it weighs.
    pub(super) fn bytes(&self) -> u64 {
        let Samples { times_ms, histograms, .. } = &self.samples;
        let histograms: u64 = histograms.iter().map(|h| h.bytes() + SAMPLE_BYTES).sum();
        times_ms.len() as u64 * SAMPLE_BYTES + histograms + labels_bytes(&self.labels)
    }
}

/// All that came back for a plan.
#[derive(Debug)]
pub(super) struct Replies {
    /// Of each selector, with what it weighs.
    pub data: Vec<(Fetched, Charge)>,
    /// Metrics that may not be counters, with the selector they came from.
    pub non_counters: Vec<(usize, String)>,
    /// How often functions had something to say of a metric, by selector.
    pub notes: BTreeMap<(usize, Note, String), u64>,
    pub stats: Stats,
    /// Samples by step of each selector that was evaluated by the shards; none unless they are asked for.
    pub counts: Vec<StepCounts>,
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
    let (messages, places) = distinct(selects);
    let mut firsts: Vec<SelectPlan> = Vec::with_capacity(messages.len());
    for (select, place) in selects.iter().zip(&places) {
        if *place == firsts.len() {
            firsts.push(select.clone());
        }
    }
    let mut gather = Gather::new(&firsts, samples_max, &ctx.memory);
    if ctx.count_steps {
        gather.count_steps()?;
    }
    if !messages.is_empty() {
        let request = Request {
            version: fragment::VERSION,
            selects: messages,
            samples_max,
            no_cache: ctx.no_cache,
            count_steps: ctx.count_steps,
            ..Request::default()
        };
        gather.completeness = stream(scatter, ctx, &request, |frame| gather.frame(frame)).await?;
    }
    gather.finish(&places)
}

/// What the selectors ask for, each thing once, and for each selector which of them it is: a query may name the same
/// series, range and function more than once.
fn distinct(selects: &[SelectPlan]) -> (Vec<fragment::Select>, Vec<usize>) {
    let mut messages: Vec<fragment::Select> = Vec::with_capacity(selects.len());
    let mut places = Vec::with_capacity(selects.len());
    for message in selects.iter().map(SelectPlan::message) {
        let place = messages.iter().position(|known| *known == message).unwrap_or(messages.len());
        if place == messages.len() {
            messages.push(message);
        }
        places.push(place);
    }
    (messages, places)
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
    Samples(HashMap<Labels, Samples>),
    Vectors(HashMap<Labels, Column>),
    Groups { cells: HashMap<Labels, Cells>, loose: HashMap<Labels, Column> },
}

struct Gather<'a> {
    selects: &'a [SelectPlan],
    memory: &'a Account,
    stores: Vec<Store>,
    /// Of each store.
    held: Vec<Charge>,
    non_counters: Vec<(usize, String)>,
    notes: BTreeMap<(usize, Note, String), u64>,
    stats: Stats,
    counts: Vec<StepCounts>,
    left: u64,
    samples_max: u64,
    completeness: Completeness,
}

impl<'a> Gather<'a> {
    fn new(selects: &'a [SelectPlan], samples_max: u64, memory: &'a Account) -> Self {
        let store = |s: &SelectPlan| match s.kind {
            SelectKind::Raw => Store::Samples(HashMap::new()),
            SelectKind::Steps { .. } => Store::Vectors(HashMap::new()),
            SelectKind::Groups { .. } => Store::Groups { cells: HashMap::new(), loose: HashMap::new() },
        };
        Self {
            selects,
            memory,
            stores: selects.iter().map(store).collect(),
            held: selects.iter().map(|_| memory.open()).collect(),
            non_counters: Vec::new(),
            notes: BTreeMap::new(),
            stats: Stats::default(),
            counts: Vec::new(),
            left: samples_max,
            samples_max,
            completeness: Completeness::default(),
        }
    }

    /// Makes room for samples by step.
    fn count_steps(&mut self) -> Result<()> {
        for (select, held) in self.selects.iter().zip(&mut self.held) {
            let steps = if matches!(select.kind, SelectKind::Raw) { 0 } else { select.windows.count };
            held.add(StepCounts::bytes(steps))?;
            self.counts.push(StepCounts::new(steps));
        }
        Ok(())
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
        for n in frame.notes {
            // A note that only a later version knows is worth no failure.
            let Some(note) = Note::from_u32(n.note) else { continue };
            let count = self.notes.entry((n.select as usize, note, n.metric)).or_default();
            *count = count.saturating_add(n.count);
        }
        frame.step_counts.iter().try_for_each(|m| self.counted(m))
    }

    fn counted(&mut self, message: &StepCountsMessage) -> Result<()> {
        let counts = self.counts.get_mut(message.select as usize);
        let counts = counts.ok_or_else(|| corrupt("samples by step that were not asked for"))?;
        let first = usize::try_from(message.first_step).unwrap_or(usize::MAX);
        let last = first.saturating_add(message.queryable.len());
        let (Some(queryable), Some(read)) = (counts.queryable.get_mut(first..last), counts.read.get_mut(first..last))
        else {
            return Err(corrupt("samples by step outside their grid"));
        };
        if message.read.len() != message.queryable.len() {
            return Err(corrupt("samples by step that are not of the same steps"));
        }
        for (mine, other) in queryable.iter_mut().zip(&message.queryable).chain(read.iter_mut().zip(&message.read)) {
            *mine = mine.saturating_add(*other);
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
        let mut histograms = Vec::with_capacity(message.histograms.len());
        for h in &message.histograms {
            histograms.push((h.timestamp, Arc::new(h.clone().into_histogram()?)));
        }
        let histogram_bytes: u64 = histograms.iter().map(|(_, h)| h.bytes() + SAMPLE_BYTES).sum();
        self.charge(ts.len() as u64 + histograms.iter().map(|(_, h)| h.weight()).sum::<u64>())?;
        let position = message.select as usize;
        let Some(Store::Samples(series)) = self.stores.get_mut(position) else {
            return Err(corrupt("samples for a selector that did not ask for them"));
        };
        let new_labels = if series.contains_key(&key) { 0 } else { labels_bytes(&key) };
        self.held[position].add(ts.len() as u64 * SAMPLE_BYTES + histogram_bytes + new_labels)?;
        let all = series.entry(key).or_default();
        let in_order = ts.first().zip(all.times_ms.last()).is_none_or(|(next, last)| last < next);
        all.times_ms.extend(ts);
        all.values.extend(vs);
        if !in_order {
            let _both = self.memory.charge(all.times_ms.len() as u64 * SAMPLE_BYTES)?;
            merge_by_time(&mut all.times_ms, &mut all.values);
        }
        let in_order = histograms.first().zip(all.histogram_times_ms.last()).is_none_or(|(next, last)| *last < next.0);
        let (times, histograms): (Vec<i64>, Vec<Arc<Histogram>>) = histograms.into_iter().unzip();
        all.histogram_times_ms.extend(times);
        all.histograms.extend(histograms);
        if !in_order {
            merge_by_time(&mut all.histogram_times_ms, &mut all.histograms);
        }
        Ok(())
    }

    fn vector(&mut self, message: &VectorMessage) -> Result<()> {
        let key = Labels::decode(&message.labels).map_err(|e| corrupt(e.to_string()))?;
        let position = message.select as usize;
        let select = self.selects.get(position).ok_or_else(|| corrupt("unknown selector"))?;
        let total = select.windows.count as u64;
        let is_inside = message.first_step.checked_add(message.steps).is_some_and(|end| end <= total);
        let partial = match &select.kind {
            SelectKind::Groups { partial, .. } if !message.is_loose => Some(*partial),
            SelectKind::Groups { .. } | SelectKind::Steps { .. } | SelectKind::Raw => None,
        };
        let columns_count = partial.map_or(1, |p| p.columns_count());
        if !is_inside || message.columns.len() != columns_count {
            return Err(corrupt("step columns do not fit their request"));
        }
        let (first, steps, total) = (message.first_step as usize, message.steps as usize, total as usize);
        let decoded: Vec<Vec<f64>> =
            message.columns.iter().map(|c| columns::decode_steps(c, steps)).collect::<Result<_>>()?;
        let is_new = match &self.stores[position] {
            Store::Vectors(series) => !series.contains_key(&key),
            Store::Groups { loose, .. } if message.is_loose => !loose.contains_key(&key),
            Store::Groups { cells, .. } => !cells.contains_key(&key),
            Store::Samples(_) => return Err(corrupt("steps for a selector that asked for samples")),
        };
        if is_new {
            self.charge((columns_count * total) as u64)?;
            let values = partial.map_or((total * size_of::<f64>()) as u64, |p| Cells::bytes(p, total));
            self.held[position].add(values + labels_bytes(&key))?;
            self.stats.series += 1;
        }
        let new_column = || Column { values: vec![ABSENT; total], histograms: HistogramColumn::default() };
        let column = match (&mut self.stores[position], partial) {
            (Store::Groups { cells, .. }, Some(partial)) => {
                cells.entry(key).or_insert_with(|| Cells::new(partial, total)).merge(first, &decoded);
                return Ok(());
            }
            (Store::Vectors(series) | Store::Groups { loose: series, .. }, _) => {
                series.entry(key).or_insert_with(new_column)
            }
            (Store::Samples(_), _) => return Ok(()),
        };
        column.values[first..first + steps].copy_from_slice(&decoded[0]);
        let before = column.histograms.bytes();
        let weight = put_histograms(&mut column.histograms, message, total)?;
        let grown = column.histograms.bytes().saturating_sub(before);
        self.held[position].add(grown)?;
        self.charge(weight)
    }

    /// `places` tells for each selector of the plan which of those that were asked for it is.
    fn finish(mut self, places: &[usize]) -> Result<Replies> {
        self.stats.samples_peak = self.samples_max - self.left;
        let data = self.stores.into_iter().map(|store| match store {
            Store::Samples(series) => {
                self.stats.series += series.len() as u64;
                let all = in_order(series.into_iter().collect());
                Fetched::Samples(all.into_iter().map(|(labels, samples)| RawSeries { labels, samples }).collect())
            }
            Store::Vectors(series) => Fetched::Vectors(in_order(series.into_iter().collect())),
            Store::Groups { cells, loose } if loose.is_empty() => {
                let floats = |cells: Cells| Column { values: cells.finish(), histograms: HistogramColumn::default() };
                Fetched::Vectors(in_order(cells.into_iter().map(|(l, cells)| (l, floats(cells))).collect()))
            }
            Store::Groups { cells, loose } => Fetched::Groups {
                cells: in_order(cells.into_iter().collect()),
                loose: in_order(loose.into_iter().collect()),
            },
        });
        let data: Vec<Fetched> = data.collect();
        let mut data: Vec<(Fetched, Charge)> = data.into_iter().zip(self.held).collect();
        for (fetched, held) in &mut data {
            held.set(fetched.bytes().unwrap_or(held.bytes()).min(held.bytes()))?;
        }
        if places.len() > data.len() {
            data = repeated(data, places)?;
        }
        let of_place = |place: usize| places.iter().enumerate().filter(move |(_, p)| **p == place).map(|(at, _)| at);
        let non_counters =
            self.non_counters.into_iter().flat_map(|(place, name)| of_place(place).map(move |at| (at, name.clone())));
        let notes = self.notes.into_iter().flat_map(|((place, note, metric), count)| {
            of_place(place).map(move |at| ((at, note, metric.clone()), count))
        });
        Ok(Replies {
            data,
            non_counters: non_counters.collect(),
            notes: notes.collect(),
            stats: self.stats,
            counts: if self.counts.is_empty() {
                Vec::new()
            } else {
                places.iter().map(|at| self.counts[*at].clone()).collect()
            },
            completeness: self.completeness,
        })
    }
}

/// What came back, for every selector of the plan: copied where several asked for one thing.
fn repeated(data: Vec<(Fetched, Charge)>, places: &[usize]) -> Result<Vec<(Fetched, Charge)>> {
    let mut left: Vec<usize> = vec![0; data.len()];
    places.iter().for_each(|place| left[*place] += 1);
    let mut data: Vec<Option<(Fetched, Charge)>> = data.into_iter().map(Some).collect();
    let mut out = Vec::with_capacity(places.len());
    for &place in places {
        left[place] -= 1;
        let taken = if left[place] == 0 { data[place].take() } else { None };
        let known = match (taken, &data[place]) {
            (Some(last), _) => last,
            (None, Some((fetched, held))) => {
                let held = held.account().charge(held.bytes())?;
                (fetched.clone(), held)
            }
            (None, None) => return Err(corrupt("a selector's replies are missing")),
        };
        out.push(known);
    }
    Ok(out)
}

/// Puts a message's histograms where they belong; samples that they count for.
fn put_histograms(column: &mut HistogramColumn, message: &VectorMessage, total: usize) -> Result<u64> {
    let mut weight = 0;
    for run in &message.histograms {
        let inside = run.step.checked_add(run.count).is_some_and(|end| end <= message.steps);
        let (true, Some(h)) = (inside, &run.histogram) else {
            return Err(corrupt("histograms outside their steps"));
        };
        let h = Arc::new(h.clone().into_histogram()?);
        weight += h.weight();
        for step in run.step..run.step + run.count {
            column.set(total, (message.first_step + step) as usize, h.clone());
        }
    }
    Ok(weight)
}

impl Fetched {
    /// What the columns and labels weigh, where that is known better than from the messages.
    fn bytes(&self) -> Option<u64> {
        Some(match self {
            Self::Samples(all) => all.iter().map(RawSeries::bytes).sum(),
            Self::Vectors(all) => all
                .iter()
                .map(|(l, c)| size_of_val(c.values.as_slice()) as u64 + c.histograms.bytes() + labels_bytes(l))
                .sum(),
            Self::Groups { .. } => return None,
        })
    }
}

fn in_order<T>(mut series: Vec<(Labels, T)>) -> Vec<(Labels, T)> {
    series.sort_by(|a, b| labels::compare(&a.0, &b.0));
    series
}

/// Sorts samples of one series that came from two shards; the first of equal times stays.
pub(super) fn merge_by_time<T: Clone>(ts: &mut Vec<i64>, vs: &mut Vec<T>) {
    let mut both: Vec<(i64, T)> = ts.iter().copied().zip(vs.iter().cloned()).collect();
    both.sort_by_key(|(t, _)| *t);
    both.dedup_by_key(|(t, _)| *t);
    (*ts, *vs) = both.into_iter().unzip();
}
