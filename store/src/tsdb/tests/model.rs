//! A naive model of a shard's metrics, and a world that drives head, pool and blocks beside it.
use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::*;
use super::open;
use crate::model::Labels;
use crate::model::signal::key_hash;
use crate::part::{MetricsPartBuilder, PartRef, SampleKind};
use crate::shard::PartOutcome;

#[derive(Clone, Debug)]
pub(super) enum Fact {
    Float { series: u8, time_ms: i64, bits: u64 },
    Blob { series: u8, kind: SampleKind, time_ms: i64, payload: Vec<u8> },
    Metadata { family: u8, metric_type: u8 },
}

type Records = Vec<(i64, Vec<u8>)>;

/// Everything in maps.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    floats: BTreeMap<(String, Labels), BTreeMap<i64, u64>>,
    blobs: BTreeMap<(String, Labels), BTreeMap<SampleKind, Records>>,
    metadata: BTreeMap<String, BTreeMap<String, u8>>,
    /// Newest time of this epoch, whose value stands.
    last: BTreeMap<(String, Labels, SampleKind), (i64, Vec<u8>)>,
}

pub(super) fn labels(series: u8) -> Labels {
    let value = "v".repeat(usize::from(series % 3) + 1);
    Labels::from_pairs([("__name__", format!("m{}", series / 3)), ("l", value)]).unwrap()
}

impl Model {
    /// Whether a sample is kept.
    fn arrive(&mut self, tenant: &str, labels: &Labels, kind: SampleKind, time_ms: i64, value: &[u8]) -> bool {
        let key = (tenant.to_owned(), labels.clone(), kind);
        match self.last.get(&key) {
            Some((last_ms, last)) if *last_ms == time_ms => {
                if kind != SampleKind::Exemplar || last == value {
                    return false;
                }
            }
            Some((last_ms, _)) if *last_ms > time_ms => {}
            _ => {
                self.last.insert(key, (time_ms, value.to_vec()));
            }
        }
        true
    }

    pub(super) fn apply(&mut self, tenant: &str, facts: &[Fact]) -> u32 {
        let mut kept = 0;
        for fact in facts {
            match fact {
                Fact::Float { series, time_ms, bits } => {
                    let labels = labels(*series);
                    if self.arrive(tenant, &labels, SampleKind::Float, *time_ms, &bits.to_le_bytes()) {
                        kept += 1;
                        self.floats.entry((tenant.into(), labels)).or_default().entry(*time_ms).or_insert(*bits);
                    }
                }
                Fact::Blob { series, kind, time_ms, payload } => {
                    let labels = labels(*series);
                    if self.arrive(tenant, &labels, *kind, *time_ms, payload) {
                        kept += 1;
                        let records = self.blobs.entry((tenant.into(), labels)).or_default().entry(*kind).or_default();
                        let is_there = records
                            .iter()
                            .any(|(t, p)| *t == *time_ms && (*kind != SampleKind::Exemplar || p == payload));
                        if !is_there {
                            records.push((*time_ms, payload.clone()));
                            records.sort_by_key(|(t, _)| *t);
                        }
                    }
                }
                Fact::Metadata { family, metric_type } => {
                    self.metadata.entry(tenant.into()).or_default().insert(format!("f{family}"), *metric_type);
                }
            }
        }
        kept
    }

    pub(super) fn check(&self, view: &MetricsView, (min_ms, max_ms): (i64, i64)) {
        for tenant in super::TENANTS {
            let mut expected = Seen::new();
            for ((_, labels), samples) in self.floats.iter().filter(|((t, _), _)| t == tenant) {
                let in_range = samples.iter().filter(|(t, _)| **t >= min_ms && **t <= max_ms);
                expected.entry(labels.clone()).or_default().0.extend(in_range.map(|(t, b)| (*t, *b)));
            }
            for ((_, labels), kinds) in self.blobs.iter().filter(|((t, _), _)| t == tenant) {
                for (kind, records) in kinds {
                    let in_range = records.iter().filter(|(t, _)| *t >= min_ms && *t <= max_ms);
                    let records = in_range.map(|(t, p)| (*kind, *t, p.clone()));
                    expected.entry(labels.clone()).or_default().1.extend(records);
                }
            }
            expected.retain(|_, (floats, blobs)| !floats.is_empty() || !blobs.is_empty());
            assert_eq!(seen(view, tenant, min_ms, max_ms), expected, "tenant {tenant}, range {min_ms}..={max_ms}");
            let families = view.metadata(tenant, None).unwrap();
            let families: BTreeMap<String, u8> = families.into_iter().map(|(f, m)| (f, m.metric_type)).collect();
            assert_eq!(families, self.metadata.get(tenant).cloned().unwrap_or_default());
        }
    }
}

/// Floats and other records, by series.
pub(super) type Seen = BTreeMap<Labels, (Vec<(i64, u64)>, Vec<(SampleKind, i64, Vec<u8>)>)>;

/// Everything a view shows of a tenant; series without a sample in the range are left out.
pub(super) fn seen(view: &MetricsView, tenant: &str, min_ms: i64, max_ms: i64) -> Seen {
    let mut seen = Seen::new();
    let mut last: Option<Labels> = None;
    let (mut times, mut bits, mut blobs) = (Vec::new(), Vec::new(), Vec::new());
    for series in view.select(tenant, &[], min_ms, max_ms).unwrap() {
        if let Some(last) = &last {
            let order = crate::index::compare_labels(last.as_bytes(), series.labels.as_bytes());
            assert!(order.is_lt(), "{last} before {}", series.labels);
        }
        last = Some(series.labels.clone());
        series.bits_into(&mut times, &mut bits).unwrap();
        let floats: Vec<(i64, u64)> = times.iter().copied().zip(bits.iter().copied()).collect();
        let mut others = Vec::new();
        use SampleKind::{Exemplar, FloatHistogram, IntHistogram, StartTimestamp};
        for kind in [IntHistogram, FloatHistogram, StartTimestamp, Exemplar] {
            series.blobs_into(kind, &mut blobs).unwrap();
            others.extend(blobs.drain(..).map(|(t, p)| (kind, t, p)));
        }
        if !floats.is_empty() || !others.is_empty() {
            seen.insert(series.labels.clone(), (floats, others));
        }
    }
    seen
}

/// The view, compacted into one block.
pub(super) fn sealed(view: &MetricsView) -> MetricsView {
    let mut bytes = Vec::new();
    let summary = seal_view(view, &mut bytes).unwrap();
    assert_eq!(summary.bytes, bytes.len() as u64);
    let block = open(bytes).unwrap();
    assert_eq!(block.summary(), summary);
    MetricsView { blocks: vec![block], ..MetricsView::default() }
}

/// A shard's metrics, driven step by step.
#[derive(Debug)]
pub(super) struct World {
    pub(super) model: Model,
    head: MetricsHead,
    sealing: Vec<Arc<HeadView>>,
    blocks: Vec<Arc<Block>>,
    job: Option<FreezeJob>,
    position: u64,
}

fn head() -> MetricsHead {
    MetricsHead::new(HeadConfig { tail_samples_max: 10, tail_batches_max: 2 })
}

impl Default for World {
    fn default() -> Self {
        let (sealing, blocks) = (Vec::new(), Vec::new());
        Self { model: Model::default(), head: head(), sealing, blocks, job: None, position: 0 }
    }
}

impl World {
    pub(super) fn apply(&mut self, tenant: &str, facts: &[Fact]) -> PartOutcome {
        let mut builder = MetricsPartBuilder::new(tenant);
        let mut positions: BTreeMap<u8, u32> = BTreeMap::new();
        for fact in facts {
            match fact {
                Fact::Metadata { family, metric_type } => {
                    builder.metadata(&format!("f{family}"), *metric_type, "help", "unit");
                }
                Fact::Float { series, .. } | Fact::Blob { series, .. } => {
                    let labels = labels(*series);
                    let at = *positions
                        .entry(*series)
                        .or_insert_with(|| builder.series(key_hash(tenant, labels.as_bytes()), labels.as_bytes()));
                    match fact {
                        Fact::Float { time_ms, bits, .. } => builder.floats(at, [(*time_ms, *bits)].into_iter()),
                        Fact::Blob { kind, time_ms, payload, .. } => builder.blob(at, *kind, *time_ms, payload),
                        Fact::Metadata { .. } => {}
                    }
                }
            }
        }
        self.append(&builder.finish())
    }

    pub(super) fn part(&mut self, tenant: &str, facts: &[Fact]) {
        let kept = self.model.apply(tenant, facts);
        let outcome = self.apply(tenant, facts);
        assert_eq!(outcome.accepted, kept);
        let samples = facts.iter().filter(|f| !matches!(f, Fact::Metadata { .. })).count();
        assert_eq!(outcome.accepted + outcome.repeated + outcome.conflicts_count, samples as u32);
    }

    /// One float sample at time 1 for each label set.
    pub(super) fn floats(&mut self, tenant: &str, series: &[&[(&str, &str)]]) {
        let mut builder = MetricsPartBuilder::new(tenant);
        for pairs in series {
            let labels = Labels::from_pairs(pairs.iter().copied()).unwrap();
            let at = builder.series(key_hash(tenant, labels.as_bytes()), labels.as_bytes());
            builder.floats(at, [(1, 1f64.to_bits())].into_iter());
        }
        self.append(&builder.finish());
    }

    /// (series, ms, bits) in one part.
    pub(super) fn samples<'l>(&mut self, tenant: &str, samples: impl Iterator<Item = (&'l Labels, i64, u64)>) {
        let mut builder = MetricsPartBuilder::new(tenant);
        for (labels, time_ms, bits) in samples {
            let at = builder.series(key_hash(tenant, labels.as_bytes()), labels.as_bytes());
            builder.floats(at, [(time_ms, bits)].into_iter());
        }
        self.append(&builder.finish());
    }

    fn append(&mut self, part: &[u8]) -> PartOutcome {
        let part = PartRef::decode(part).unwrap();
        let tenant: Arc<str> = part.tenant.into();
        let refs: Vec<SeriesRef> =
            part.defs.iter().map(|def| self.head.resolve(&tenant, def.hash, def.key).unwrap()).collect();
        self.position += 1;
        self.head.append(&tenant, self.position, &refs, part.body).unwrap()
    }

    /// Whether there is work in flight now.
    pub(super) fn take_job(&mut self) -> bool {
        if self.job.is_none() {
            self.job = self.head.freeze_job();
        }
        self.job.is_some()
    }

    pub(super) fn finish_job(&mut self) {
        if let Some(job) = self.job.take() {
            self.head.install(job.run().unwrap());
        }
    }

    pub(super) fn seal_start(&mut self) {
        self.job = None;
        self.sealing.push(self.head.view());
        self.head = head();
        self.model.last.clear();
    }

    pub(super) fn seal_finish(&mut self) {
        if self.sealing.is_empty() {
            return;
        }
        let view = self.sealing.remove(0);
        let mut bytes = Vec::new();
        seal(&view, &mut bytes).unwrap();
        let block = Arc::into_inner(open(bytes).unwrap()).unwrap();
        self.blocks.push(Arc::new(block.made_at(self.blocks.len() as u64 + 1)));
    }

    pub(super) fn view(&mut self) -> MetricsView {
        let heads = self.sealing.iter().cloned().chain([self.head.view()]).collect();
        MetricsView { heads, blocks: self.blocks.clone(), ..MetricsView::default() }
    }
}
