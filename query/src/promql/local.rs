//! Runs a fragment over the views of one node's shards: reads, evaluates per series, aggregates, sends frames.
mod census;
mod frames;
mod groups;
mod lanes;
mod left;
mod records;
mod select;

use std::sync::Arc;

use hashbrown::HashSet;
use prost::Message;
use trine_store::index::Matcher;
use trine_store::model::Labels;
use trine_store::shard::ShardView;

use super::fragment::{self, Lookup, LookupKind, MatcherSet, Request};
use super::metadata::FamilyMetadata;
use super::parser::METRIC_NAME;
use super::source::{SeriesSource, StoreSource};
use crate::error::{Error, Result};
use crate::fragment::{FragmentLimits, Sink};
use crate::memory::{Charge, labels_bytes, text_bytes};
use frames::Frames;
use left::Left;
use select::Selects;

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
    let selects = Selects::decode(&request.selects)?;
    let left = Left::new(&request, limits);
    let mut merged = selects.merge(limits)?;
    for (shard, source) in sources {
        let done = selects.over(*shard, *source, limits, &left, sink)?;
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
    let mut run = Run { limits, left: &left, frames: Frames::new(&left, sink) };
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

impl Request {
    fn asks_for_samples(&self) -> bool {
        self.lookup.is_none() && self.records.is_none() && self.census.is_none()
    }
}

struct Run<'a, 's> {
    limits: &'a FragmentLimits,
    left: &'a Left,
    frames: Frames<'a, 's>,
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
        // Texts that another shard, or another set, has brought already.
        let (mut sent, mut held) = (HashSet::new(), self.limits.memory.open());
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
                self.lookup_set(kind, lookup, *source, (set, most), &mut sent, &mut held)?;
            }
        }
        self.frames.flush()
    }

    fn lookup_set(
        &mut self,
        kind: LookupKind,
        lookup: &Lookup,
        source: &dyn SeriesSource,
        (set, most): (&[Matcher], usize),
        sent: &mut HashSet<String>,
        held_sent: &mut Charge,
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
        for text in texts.into_iter().take(most) {
            if !sent.contains(&text) {
                held_sent.add(text_bytes(&text))?;
                self.frames.text(text.clone())?;
                sent.insert(text);
            }
        }
        Ok(())
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
