//! Runs a fragment over the views of one node's shards: reads, evaluates per series, aggregates, sends frames.
mod census;
mod frames;
mod groups;
mod records;

use std::sync::Arc;

use prost::Message;
use trine_store::index::Matcher;
use trine_store::model::Labels;
use trine_store::shard::ShardView;

use super::fragment::{self, Lookup, LookupKind, MatcherSet, Request, Select};
use super::functions::extended::Extension;
use super::functions::native::{self, Column, Notes, Samples};
use super::functions::range::{RangeFn, Windows, eval_steps};
use super::histogram::HistogramColumn;
use super::metadata::FamilyMetadata;
use super::parser::METRIC_NAME;
use super::source::{SeriesSource, StoreSource, Wants};
use crate::error::{Error, Result};
use crate::fragment::{FragmentLimits, Sink};
use crate::memory::{labels_bytes, text_bytes};
use frames::Frames;
use groups::Groups;

/// Prometheus' words for a query that needs too much.
pub(super) fn too_many_samples() -> Error {
    Error::Limit { message: "query processing would load too many samples into memory in query execution".to_owned() }
}

/// Decodes `payload`, reads the shards, and sends frames to `sink`. Errors: [`Error::Limit`], [`Error::Timeout`],
/// [`Error::Corrupt`].
pub fn run(
    payload: &[u8],
    tenant: &str,
    shards: &[Arc<ShardView>],
    limits: &FragmentLimits,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let sources: Vec<(u32, StoreSource<'_>)> =
        shards.iter().map(|s| (s.shard, StoreSource { view: &s.metrics, tenant })).collect();
    let borrowed: Vec<(u32, &dyn SeriesSource)> =
        sources.iter().map(|(shard, source)| (*shard, source as &dyn SeriesSource)).collect();
    run_over(payload, &borrowed, limits, sink)
}

/// [`run`] over any sources, each with its shard's number.
pub fn run_over(
    payload: &[u8],
    sources: &[(u32, &dyn SeriesSource)],
    limits: &FragmentLimits,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let corrupt = |reason: String| Error::Corrupt { what: "PromQL fragment", reason };
    let request = Request::decode(payload).map_err(|e| corrupt(e.to_string()))?;
    if request.version != fragment::VERSION {
        return Err(corrupt(format!("version {}, this node reads {}", request.version, fragment::VERSION)));
    }
    let mut run = Run { limits, samples_left: request.samples_max, frames: Frames::new(limits.reply_bytes_max, sink) };
    if let Some(lookup) = &request.lookup {
        return run.lookup(lookup, sources);
    }
    if let Some(records) = &request.records {
        return run.records(records, sources);
    }
    if let Some(census) = &request.census {
        return run.census(census, sources);
    }
    for (position, select) in request.selects.iter().enumerate() {
        run.select(position as u32, select, sources)?;
    }
    run.frames.finish()
}

struct Run<'a, 's> {
    limits: &'a FragmentLimits,
    samples_left: u64,
    frames: Frames<'a, 's>,
}

/// What is evaluated beside the data.
struct Pushed {
    function: RangeFn,
    windows: Windows,
    params: Vec<f64>,
}

impl Run<'_, '_> {
    fn select(&mut self, position: u32, select: &Select, sources: &[(u32, &dyn SeriesSource)]) -> Result<()> {
        let matchers = fragment::get_matchers(&select.matchers)?;
        let memory = &self.limits.memory;
        let pushed = match &select.steps {
            Some(steps) => {
                let (function, windows) = steps.decode()?;
                Some(Pushed { function, windows, params: steps.params.clone() })
            }
            None => None,
        };
        let mut groups = match (&select.group, &pushed) {
            (Some(group), Some(pushed)) => Some(Groups::new(group, pushed.windows.count, memory.open())?),
            _ => None,
        };
        let _column = memory.charge(pushed.as_ref().map_or(0, |p| p.windows.count as u64) * size_of::<f64>() as u64)?;
        let starts = pushed.as_ref().is_some_and(|p| p.function.uses_starts());
        let wants = Wants { starts, stats_only: select.stats_only };
        let mut notes = Notes::default();
        for (shard, source) in sources {
            self.frames.begin(*shard)?;
            source.for_each(&matchers, (select.min_ms, select.max_ms), wants, memory, &mut |labels, samples| {
                self.charge(samples.weight())?;
                let Some(pushed) = &pushed else {
                    return self.frames.samples(position, labels, samples);
                };
                let column = pushed.eval(samples, &mut notes);
                notes.drain().for_each(|(note, count)| self.frames.note(position, labels, note, count));
                if !column.has_any() {
                    return Ok(());
                }
                if pushed.function.wants_counter() && column.has_floats() {
                    self.frames.non_counter(position, labels);
                }
                match &mut groups {
                    Some(groups) => groups.add(position, labels, column, &mut self.samples_left, &mut self.frames),
                    None => self.frames.vector(position, labels, &[column.values], &column.histograms, false),
                }
            })?;
        }
        match groups {
            Some(groups) => groups.send(position, &mut self.frames),
            None => Ok(()),
        }
    }

    /// Counts samples and checks the clock, once a series.
    fn charge(&mut self, samples: u64) -> Result<()> {
        self.limits.stop.check()?;
        self.samples_left = self.samples_left.checked_sub(samples).ok_or_else(too_many_samples)?;
        self.frames.read(samples);
        Ok(())
    }

    fn lookup(&mut self, lookup: &Lookup, sources: &[(u32, &dyn SeriesSource)]) -> Result<()> {
        let kind = LookupKind::from_u32(lookup.kind).ok_or_else(|| Error::Corrupt {
            what: "PromQL fragment",
            reason: format!("unknown lookup {}", lookup.kind),
        })?;
        let decode = |set: &MatcherSet| fragment::get_matchers(&set.matchers);
        let mut sets: Vec<Vec<Matcher>> = lookup.sets.iter().map(decode).collect::<Result<_>>()?;
        if sets.is_empty() {
            sets.push(Vec::new());
        }
        let most = if lookup.limit == 0 { usize::MAX } else { lookup.limit.saturating_add(1) as usize };
        for (shard, source) in sources {
            self.frames.begin(*shard)?;
            if kind == LookupKind::Metadata {
                for family in source.metadata(lookup.name.as_deref())?.into_iter().take(most) {
                    self.frames.family(family)?;
                }
                continue;
            }
            for set in &sets {
                self.charge(0)?;
                self.lookup_set(kind, lookup, *source, set, most)?;
            }
        }
        self.frames.flush()
    }

    fn lookup_set(
        &mut self,
        kind: LookupKind,
        lookup: &Lookup,
        source: &dyn SeriesSource,
        set: &[Matcher],
        most: usize,
    ) -> Result<()> {
        let (range, memory) = ((lookup.min_ms, lookup.max_ms), &self.limits.memory);
        let mut held = memory.open();
        let texts = match kind {
            LookupKind::Series => {
                let series = source.series_labels(set, range, memory)?;
                held.add(series.iter().map(labels_bytes).sum())?;
                for labels in series.iter().take(most) {
                    self.frames.label_set(labels)?;
                }
                return Ok(());
            }
            LookupKind::LabelNames => source.label_names(set, range, memory)?,
            LookupKind::LabelValues => {
                source.label_values(lookup.name.as_deref().unwrap_or_default(), set, range, memory)?
            }
            LookupKind::Metadata => Vec::new(),
        };
        held.add(texts.iter().map(|text| text_bytes(text)).sum())?;
        texts.into_iter().take(most).try_for_each(|text| self.frames.text(text))
    }
}

impl Pushed {
    fn eval(&self, samples: &mut Samples, notes: &mut Notes) -> Column {
        if !self.function.wants_stale_markers() || self.windows.extension != Extension::None {
            samples.drop_stale();
        }
        if !samples.is_plain() {
            return native::eval_steps(self.function, samples, &self.windows, |_| &self.params, notes);
        }
        let Samples { times_ms, values, .. } = samples;
        let values = eval_steps(self.function, times_ms, values, &self.windows, |_| &self.params);
        Column { values, histograms: HistogramColumn::default() }
    }
}

/// Whether Prometheus would wonder if this metric is a counter.
fn is_oddly_named_counter(labels: &Labels) -> Option<&str> {
    let name = labels.get(METRIC_NAME)?;
    let usual = ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix));
    (!usual).then_some(name)
}

impl From<FamilyMetadata> for fragment::FamilyMessage {
    fn from(f: FamilyMetadata) -> Self {
        Self { family: f.family, metric_type: u32::from(f.metric_type), help: f.help, unit: f.unit }
    }
}
