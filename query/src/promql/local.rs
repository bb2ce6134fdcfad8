//! Runs a fragment over the views of one node's shards: reads, evaluates per series, aggregates, sends frames.
mod census;
mod frames;
mod groups;
mod lanes;
mod left;
mod records;
mod segments;
mod select;

use std::sync::Arc;

use prost::Message;
use trine_store::index::Matcher;
use trine_store::model::Labels;
use trine_store::shard::ShardView;
use trine_store::tsdb::TextSet;

use super::fragment::{self, Lookup, LookupKind, MatcherSet, Request};
use super::metadata::FamilyMetadata;
use super::parser::METRIC_NAME;
use super::source::{SeriesSource, StoreSource};
use crate::error::{Error, Result};
use crate::fragment::{FragmentLimits, Sink};
use crate::memory::labels_bytes;
use frames::Frames;
use left::Left;
use select::{Counted, Selects};

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
    let request = decode(payload)?;
    if request.asks_for_samples() {
        return lanes::run(&request, tenant, shards, limits, sink);
    }
    let sources: Vec<(u32, StoreSource<'_>)> =
        shards.iter().map(|s| (s.shard, StoreSource { view: &s.metrics, tenant })).collect();
    let borrowed: Vec<(u32, &dyn SeriesSource)> =
        sources.iter().map(|(shard, source)| (*shard, source as &dyn SeriesSource)).collect();
    run_other(&request, &borrowed, limits, sink)
}

/// [`run`] over any sources, each with its shard's number.
pub fn run_over(
    payload: &[u8],
    sources: &[(u32, &dyn SeriesSource)],
    limits: &FragmentLimits,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let request = decode(payload)?;
    if !request.asks_for_samples() {
        return run_other(&request, sources, limits, sink);
    }
    let selects = Selects::decode(&request)?;
    let (left, limits) = (Left::new(&request, limits), limits_of(&request, limits));
    let mut merged = selects.merge(&limits)?;
    for (shard, source) in sources {
        let done = selects.over(*shard, *source, &limits, &left, sink)?;
        merged.take(done, &left)?;
    }
    merged.send(&left, sink)
}

/// What is not about samples: one shard after the other.
fn run_other(
    request: &Request,
    sources: &[(u32, &dyn SeriesSource)],
    limits: &FragmentLimits,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let left = Left::new(request, limits);
    let mut run = Run { limits, left: &left, frames: Frames::new(&left, sink), counted: None };
    if let Some(lookup) = &request.lookup {
        return run.lookup(lookup, sources);
    }
    if let Some(records) = &request.records {
        return run.records(records, sources);
    }
    request.census.as_ref().map_or(Ok(()), |census| run.census(census, sources))
}

fn decode(payload: &[u8]) -> Result<Request> {
    let corrupt = |reason: String| Error::Corrupt { what: "PromQL fragment", reason };
    let request = Request::decode(payload).map_err(|e| corrupt(e.to_string()))?;
    if request.version != fragment::VERSION {
        return Err(corrupt(format!("version {}, this node reads {}", request.version, fragment::VERSION)));
    }
    Ok(request)
}

/// The limits without what the request wants to do without.
fn limits_of(request: &Request, limits: &FragmentLimits) -> FragmentLimits {
    let segments = limits.segments.clone().filter(|_| !request.no_cache && !request.count_steps);
    FragmentLimits { segments, ..limits.clone() }
}

impl Request {
    fn asks_for_samples(&self) -> bool {
        self.lookup.is_none() && self.records.is_none() && self.census.is_none()
    }
}

struct Run<'a, 's> {
    limits: &'a FragmentLimits,
    left: &'a Left,
    frames: Frames<'a, 's>,
    /// Of the selector that is being evaluated, where samples are counted by step.
    counted: Option<Counted>,
}

impl Run<'_, '_> {
    /// Counts samples and checks the clock, once a series.
    fn charge(&mut self, samples: u64) -> Result<()> {
        self.limits.stop.check()?;
        self.left.samples(samples)?;
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
        // Each text once, whatever shards and sets bring it.
        let mut texts = TextSet::new(&self.limits.memory);
        for (shard, source) in sources {
            if kind == LookupKind::Metadata {
                self.frames.begin(*shard)?;
                for family in source.metadata(lookup.name.as_deref())?.into_iter().take(most) {
                    self.frames.family(family)?;
                }
                continue;
            }
            for set in &sets {
                self.charge(0)?;
                self.lookup_set(kind, lookup, *source, (set, most), &mut texts)?;
            }
        }
        let (texts, _held) = texts.sorted()?;
        texts.into_iter().take(most).try_for_each(|text| self.frames.text(text))?;
        self.frames.flush()
    }

    fn lookup_set(
        &mut self,
        kind: LookupKind,
        lookup: &Lookup,
        source: &dyn SeriesSource,
        (set, most): (&[Matcher], usize),
        texts: &mut TextSet,
    ) -> Result<()> {
        let (range, memory) = ((lookup.min_ms, lookup.max_ms), &self.limits.memory);
        match kind {
            LookupKind::Series => {
                let mut held = memory.open();
                let series = source.series_labels(set, range, memory)?;
                held.add(series.iter().map(labels_bytes).sum())?;
                series.iter().take(most).try_for_each(|labels| self.frames.label_set(labels))
            }
            LookupKind::LabelNames => source.label_names(set, range, memory, texts),
            LookupKind::LabelValues => {
                source.label_values(lookup.name.as_deref().unwrap_or_default(), set, range, memory, texts)
            }
            LookupKind::Metadata => Ok(()),
        }
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
