//! A head: the rows since the last seal, owned by the shard actor, published as immutable views.
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use hashbrown::HashTable;

use super::config::HeadConfig;
use super::piece::Source;
use super::run::{Run, source_of};
use super::stream::{StreamInfo, StreamRef};
use super::stream_table::{Segment, StreamTable, TenantStream};
use super::tail::TailBatch;
use crate::codec::Error;
use crate::model::Signal;
use crate::shard::PartOutcome;

/// Streams that are scanned before they become an indexed segment.
const OPEN_STREAMS_MAX: usize = 512;

/// Immutable state of a head at one moment.
#[derive(Debug)]
pub struct HeadView {
    pub(crate) signal: Signal,
    pub(crate) config: HeadConfig,
    pub(crate) streams: Arc<StreamTable>,
    /// Oldest first.
    pub(crate) runs: Vec<Arc<Run>>,
    /// Applied parts that are not in a run yet, in log order.
    pub(crate) tail: Vec<Arc<TailBatch>>,
}

impl HeadView {
    /// The tenant's pieces, oldest first.
    pub(crate) fn source(&self, tenant: &str) -> Source {
        source_of(tenant, &self.streams, &self.runs, &self.tail)
    }

    /// Repeated rows of the tenant that were left out when the head was compressed.
    pub fn dropped(&self, tenant: &str) -> u64 {
        self.runs.iter().filter_map(|run| run.dropped.get(tenant)).sum()
    }

    /// Tenants with rows.
    pub(crate) fn tenants(&self) -> BTreeSet<Arc<str>> {
        let in_runs = self.runs.iter().flat_map(|r| r.granules.iter().map(|(t, _)| t));
        in_runs.chain(self.tail.iter().map(|b| &b.tenant)).cloned().collect()
    }
}

/// Size of a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadStats {
    /// Memory of the tail, runs and definitions.
    pub bytes: u64,
    /// Streams.
    pub series: u64,
    /// Rows, repeated ones included.
    pub facts: u64,
    /// Earliest and latest time in ns; `None` without rows.
    pub min_time: Option<i64>,
    pub max_time: Option<i64>,
}

/// The rows of one signal of one shard since the last seal.
#[derive(Debug)]
pub struct RowsHead {
    pub(super) signal: Signal,
    pub(super) config: HeadConfig,
    tenants: HashSet<Arc<str>>,
    defined: Vec<TenantStream>,
    by_hash: HashTable<u32>,
    streams: Arc<StreamTable>,
    /// Streams below this are in indexed segments.
    indexed_len: u32,
    pub(super) runs: Vec<Arc<Run>>,
    pub(super) tail: Vec<Arc<TailBatch>>,
    pub(super) tail_raw_bytes: usize,
    pub(super) job_in_flight: bool,
    /// Order of pieces is log order; nothing else needs positions.
    last_position: u64,
    pub(super) view: Option<Arc<HeadView>>,
    pub(super) stats: HeadStats,
}

impl RowsHead {
    /// An empty head. `signal` is logs or traces.
    pub fn new(signal: Signal, config: HeadConfig) -> Self {
        Self {
            signal,
            config,
            tenants: HashSet::new(),
            defined: Vec::new(),
            by_hash: HashTable::new(),
            streams: Arc::default(),
            indexed_len: 0,
            runs: Vec::new(),
            tail: Vec::new(),
            tail_raw_bytes: 0,
            job_in_flight: false,
            last_position: 0,
            view: None,
            stats: HeadStats::default(),
        }
    }

    /// Finds or creates the stream with this key. `hash` routes and is trusted; the key is checked.
    pub fn resolve(&mut self, tenant: &Arc<str>, hash: u64, key: &[u8]) -> Result<StreamRef, Error> {
        let defined = &self.defined;
        let is_it = |&at: &u32| {
            let known = &defined[at as usize];
            known.stream.key() == key && *known.tenant == **tenant
        };
        if let Some(&at) = self.by_hash.find(hash, is_it) {
            return Ok(StreamRef(at));
        }
        let stream = Arc::new(StreamInfo::new(self.signal, hash, key)?);
        let at = u32::try_from(self.defined.len()).map_err(|_| Error::Invalid { what: "streams count", at: 0 })?;
        let tenant = self.tenant(tenant);
        self.defined.push(TenantStream { tenant, stream });
        let defined = &self.defined;
        self.by_hash.insert_unique(hash, at, |&at| defined[at as usize].stream.hash());
        self.stats.series += 1;
        self.stats.bytes += (key.len() + 128) as u64;
        self.view = None;
        Ok(StreamRef(at))
    }

    /// Applies one part's body, all or nothing. `refs` gives the stream of each definition; rows without a time take
    /// `assigned_ns`. Repeated parts are dropped by the caller; repeated rows are dropped by readers and merges.
    pub fn append(
        &mut self,
        tenant: &Arc<str>,
        position: u64,
        refs: &[StreamRef],
        body: &[u8],
        assigned_ns: i64,
    ) -> Result<PartOutcome, Error> {
        if let Some(unknown) = refs.iter().find(|r| r.0 as usize >= self.defined.len()) {
            return Err(Error::Unknown { what: "stream reference", value: u64::from(unknown.0), at: 0 });
        }
        debug_assert!(position >= self.last_position, "parts are applied in log order");
        self.last_position = position;
        let tenant = self.tenant(tenant);
        let batch = TailBatch::decode(self.signal, &tenant, refs, body, assigned_ns)?;
        let accepted = batch.len() as u32;
        if accepted > 0 {
            self.stats.bytes += batch.memory_bytes() as u64;
            self.stats.facts += u64::from(accepted);
            self.stats.min_time = Some(self.stats.min_time.map_or(batch.min_ns, |t| t.min(batch.min_ns)));
            self.stats.max_time = Some(self.stats.max_time.map_or(batch.max_ns, |t| t.max(batch.max_ns)));
            self.tail_raw_bytes += batch.raw_bytes();
            self.tail.push(Arc::new(batch));
            self.view = None;
        }
        Ok(PartOutcome { accepted, ..PartOutcome::default() })
    }

    /// The current state for readers; the same `Arc` until something changes.
    pub fn view(&mut self) -> Arc<HeadView> {
        if let Some(view) = &self.view {
            return view.clone();
        }
        self.publish_streams();
        let view = Arc::new(HeadView {
            signal: self.signal,
            config: self.config.clone(),
            streams: self.streams.clone(),
            runs: self.runs.clone(),
            tail: self.tail.clone(),
        });
        self.view = Some(view.clone());
        view
    }

    pub fn stats(&self) -> HeadStats {
        self.stats
    }

    /// Puts streams defined since the last view into a segment that is scanned, or all open ones into one with an index.
    fn publish_streams(&mut self) {
        let published = self.streams.len();
        if published as usize == self.defined.len() {
            return;
        }
        let table = Arc::make_mut(&mut self.streams);
        let open = &self.defined[self.indexed_len as usize..];
        if open.len() >= OPEN_STREAMS_MAX {
            table.replace_from(self.indexed_len, Segment::indexed(self.indexed_len, open.to_vec()));
            self.indexed_len = self.defined.len() as u32;
        } else {
            let fresh = self.defined[published as usize..].to_vec();
            table.push(Arc::new(Segment::scanned(published, fresh)));
        }
    }

    fn tenant(&mut self, tenant: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.tenants.get(tenant) {
            return known.clone();
        }
        self.tenants.insert(tenant.clone());
        tenant.clone()
    }
}
