//! Series and samples applied since the last seal.
mod append;
mod batch;
mod defs;
mod freeze;
mod metadata;
mod pieces;
mod run;
mod view;

use std::collections::HashMap;
use std::sync::Arc;

use hashbrown::HashTable;

use batch::Batch;
pub use freeze::{FreezeJob, Frozen};
pub(in crate::tsdb) use run::{Run, RunChunk};
pub use view::HeadView;

use crate::codec;
use crate::model::Labels;
use defs::{DefSegment, SeriesDef};
use metadata::{KnownMetadata, MetadataPiece};

/// Batches and definition segments are not merged beyond this on the actor's thread.
const PIECE_SIZE_MAX: usize = 8 << 10;
/// Definitions that wait for an index before a job is worth it.
const DEFS_UNINDEXED_MAX: usize = 4 << 10;
/// Runs of about one size that are merged into one.
const RUNS_MERGED: usize = 6;

/// A series of one head. Means nothing outside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef(pub u32);

/// When a head gives work to the pool.
#[derive(Clone, Debug)]
pub struct HeadConfig {
    /// Compress the tail once it has this many samples. Larger: fewer merges, slower scans of the tail.
    pub tail_samples_max: usize,
    /// Or this many batches.
    pub tail_batches_max: usize,
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self { tail_samples_max: 64 << 10, tail_batches_max: 64 }
    }
}

/// Sizes of a head. `min_time..=max_time` are ms; `min_time > max_time` when it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadStats {
    /// Estimate of the memory held.
    pub bytes: u64,
    pub series: u64,
    /// Samples of all kinds, duplicates that were let in included.
    pub facts: u64,
    pub min_time: i64,
    pub max_time: i64,
}

/// What the head knows of a series, beside its definition. There are many of them: kept small.
#[derive(Debug)]
struct SeriesState {
    hash: u64,
    /// The newest float sample of this head: retries and conflicts show here. Nothing unless `has_last`.
    last_ms: i64,
    last_bits: u64,
    tenant: TenantRef,
    has_last: bool,
}

impl SeriesState {
    /// The newest float sample, (ms, bits).
    fn last(&self) -> Option<(i64, u64)> {
        self.has_last.then_some((self.last_ms, self.last_bits))
    }

    fn set_last(&mut self, last: Option<(i64, u64)>) {
        if let Some((last_ms, last_bits)) = last {
            (self.last_ms, self.last_bits, self.has_last) = (last_ms, last_bits, true);
        }
    }
}

/// A tenant of one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TenantRef(u32);

/// The metrics of one shard since the last seal. Owned by the shard's actor; readers take [`HeadView`]s.
#[derive(Debug)]
pub struct MetricsHead {
    config: HeadConfig,
    table: HashTable<u32>,
    series: Vec<SeriesState>,
    /// Those that have series.
    tenants: HashMap<Arc<str>, TenantRef>,
    blobs_last: append::LastBlobs,
    known_metadata: KnownMetadata,
    /// Series that are not yet in a segment.
    defs_open: Vec<SeriesDef>,
    defs: Vec<Arc<DefSegment>>,
    runs: Vec<Arc<Run>>,
    batches: Vec<Arc<Batch>>,
    metadata: Vec<Arc<MetadataPiece>>,
    job: Option<InFlight>,
    published: Option<Arc<HeadView>>,
    facts: u64,
    min_ms: i64,
    max_ms: i64,
    labels_bytes: u64,
    last_position: u64,
}

/// What the job in flight took: pieces that must stay as they are until it is installed.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    batches_count: usize,
    /// Range of definition segments.
    defs_from: usize,
    defs_to: usize,
}

impl MetricsHead {
    pub fn new(config: HeadConfig) -> Self {
        Self {
            config,
            table: HashTable::new(),
            series: Vec::new(),
            tenants: HashMap::new(),
            blobs_last: append::LastBlobs::default(),
            known_metadata: KnownMetadata::default(),
            defs_open: Vec::new(),
            defs: Vec::new(),
            runs: Vec::new(),
            batches: Vec::new(),
            metadata: Vec::new(),
            job: None,
            published: None,
            facts: 0,
            min_ms: i64::MAX,
            max_ms: i64::MIN,
            labels_bytes: 0,
            last_position: 0,
        }
    }

    /// Finds or creates the series of `tenant` with these canonical labels, whose [`crate::model::signal::key_hash`] is
    /// `hash`. Fails when `key` is no canonical encoding.
    pub fn resolve(&mut self, tenant: &Arc<str>, hash: u64, key: &[u8]) -> Result<SeriesRef, codec::Error> {
        let is_it = |id: &u32| {
            self.series[*id as usize].hash == hash
                && self.def(*id).is_some_and(|def| def.labels.as_bytes() == key && def.tenant == *tenant)
        };
        if let Some(id) = self.table.find(hash, is_it) {
            return Ok(SeriesRef(*id));
        }
        let labels = Labels::decode(key)?;
        // A head is sealed by bytes long before it could have that many series.
        let id = u32::try_from(self.series.len()).map_err(|_| codec::Error::Invalid { what: "series count", at: 0 })?;
        self.labels_bytes += key.len() as u64;
        let (tenant, tenant_ref) = self.enter_tenant(tenant);
        self.defs_open.push(SeriesDef { tenant, labels });
        self.series.push(SeriesState { hash, last_ms: 0, last_bits: 0, tenant: tenant_ref, has_last: false });
        let series = &self.series;
        self.table.insert_unique(hash, id, |id| series[*id as usize].hash);
        self.published = None;
        Ok(SeriesRef(id))
    }

    /// The tenant's reference, and its text, which all of its series share.
    fn enter_tenant(&mut self, tenant: &Arc<str>) -> (Arc<str>, TenantRef) {
        if let Some((text, known)) = self.tenants.get_key_value(tenant) {
            return (text.clone(), *known);
        }
        let new = TenantRef(self.tenants.len() as u32);
        self.tenants.insert(tenant.clone(), new);
        (tenant.clone(), new)
    }

    /// The definition of a series.
    fn def(&self, series: u32) -> Option<&SeriesDef> {
        let open_from = self.series.len() - self.defs_open.len();
        match (series as usize).checked_sub(open_from) {
            Some(at) => self.defs_open.get(at),
            None => defs::find(&self.defs, series),
        }
    }

    /// An immutable cut of what was appended so far. Copies some `Arc`s; the same cut again when nothing changed.
    pub fn view(&mut self) -> Arc<HeadView> {
        if let Some(published) = &self.published {
            return published.clone();
        }
        if !self.defs_open.is_empty() {
            let first = (self.series.len() - self.defs_open.len()) as u32;
            let segment = DefSegment { first, defs: std::mem::take(&mut self.defs_open), index: None };
            let indexed = self.defs.iter().take_while(|s| s.index.is_some()).count();
            let fixed = self.job.map_or(indexed, |job| job.defs_to);
            pieces::push(&mut self.defs, fixed, segment, PIECE_SIZE_MAX);
        }
        let view = Arc::new(HeadView {
            defs: self.defs.clone(),
            runs: self.runs.clone(),
            batches: self.batches.clone(),
            metadata: self.metadata.clone(),
            stats: self.stats(),
        });
        self.published = Some(view.clone());
        view
    }

    /// Sizes now.
    pub fn stats(&self) -> HeadStats {
        let runs: usize = self.runs.iter().map(|run| run.bytes()).sum();
        let batches: usize = self.batches.iter().map(|batch| batch.bytes()).sum();
        let blobs_last = self.blobs_last.len() * 48;
        // Labels once, and about as much again for their postings; table and state of a series.
        let series = self.labels_bytes * 2 + self.series.len() as u64 * 256;
        HeadStats {
            bytes: (runs + batches + blobs_last) as u64 + series + self.known_metadata.bytes(),
            series: self.series.len() as u64,
            facts: self.facts,
            min_time: self.min_ms,
            max_time: self.max_ms,
        }
    }

    /// Work for the pool, when the tail is full and no other job is in flight. Its result goes to [`Self::install`].
    pub fn freeze_job(&mut self) -> Option<FreezeJob> {
        if self.job.is_some() {
            return None;
        }
        let indexed = self.defs.iter().take_while(|segment| segment.index.is_some()).count();
        let unindexed: usize = self.defs[indexed..].iter().map(|segment| segment.defs.len()).sum();
        let samples: usize = self.batches.iter().map(|batch| batch.len()).sum();
        let is_full = samples >= self.config.tail_samples_max
            || self.batches.len() >= self.config.tail_batches_max
            || unindexed >= DEFS_UNINDEXED_MAX;
        if !is_full {
            return None;
        }
        let defs_from = if unindexed == 0 { self.defs.len() } else { self.segments_to_merge(indexed, unindexed) };
        self.job = Some(InFlight { batches_count: self.batches.len(), defs_from, defs_to: self.defs.len() });
        let runs_from = if samples == 0 { self.runs.len() } else { self.runs_to_merge(samples) };
        Some(FreezeJob {
            runs: self.runs[runs_from..].to_vec(),
            batches: self.batches.clone(),
            defs: self.defs[defs_from..].to_vec(),
        })
    }

    /// From which indexed segment on to merge: those at most twice as big as what comes behind them.
    fn segments_to_merge(&self, indexed: usize, unindexed: usize) -> usize {
        let mut from = indexed;
        let mut behind = unindexed;
        while from > 0 && self.defs[from - 1].defs.len() <= 2 * behind {
            from -= 1;
            behind += self.defs[from].defs.len();
        }
        from
    }

    /// From which run on to merge with a tail of `samples`: [`RUNS_MERGED`] runs of about one size become one.
    fn runs_to_merge(&self, samples: usize) -> usize {
        let mut from = self.runs.len();
        let mut merged = samples;
        loop {
            let similar = self.runs[..from].iter().rev().take_while(|run| run.samples_count() <= 2 * merged).count();
            if similar + 1 < RUNS_MERGED {
                return from;
            }
            merged += self.runs[from - similar..from].iter().map(|run| run.samples_count()).sum::<usize>();
            from -= similar;
        }
    }

    /// Puts what the job made in place of what it took.
    pub fn install(&mut self, frozen: Frozen) {
        let Some(job) = self.job.take() else {
            debug_assert!(false, "no job is in flight");
            return;
        };
        if let Some(run) = frozen.run {
            self.runs.truncate(self.runs.len() - frozen.runs_count);
            self.runs.push(Arc::new(run));
            self.batches.drain(..job.batches_count);
        }
        if let Some(segment) = frozen.segment {
            self.defs.splice(job.defs_from..job.defs_to, [Arc::new(segment)]);
        }
        self.published = None;
    }

    /// Forgets a job that failed or was dropped, so that a later one takes its work again.
    pub fn abandon_job(&mut self) {
        self.job = None;
    }
}
