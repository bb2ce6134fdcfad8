//! Readers' view of the rows of one signal of one shard.
use std::collections::BTreeSet;
use std::sync::Arc;

use super::attr_names::{attr_columns, attr_values};
use super::block::Block;
use super::error::Result;
use super::head::HeadView;
use super::measure::measure;
use super::merge::LogMerge;
use super::piece::Source;
use super::row::{Row, RowBatch, TraceRows};
use super::scan::{RowScan, ScanStats, StreamSelector};
use super::stream::{SelectionStats, StreamInfo, StreamStats};
use super::traces::TraceMerge;
use crate::index::Matcher;
use crate::memory::Account;
use crate::model::{Scope, Signal, Value, ValueType};

/// Heads being sealed, the open head, and sealed blocks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RowsView {
    pub signal: Signal,
    /// Oldest first; the last is open.
    pub heads: Vec<Arc<HeadView>>,
    /// In seal order.
    pub blocks: Vec<Arc<Block>>,
}

/// Of a trace all spans are wanted, whatever their time.
const ALL_TIMES: (i64, i64) = (i64::MIN, i64::MAX);

impl Default for RowsView {
    fn default() -> Self {
        Self::new(Signal::Logs)
    }
}

impl RowsView {
    /// A view without rows.
    pub fn new(signal: Signal) -> Self {
        Self { signal, heads: Vec::new(), blocks: Vec::new() }
    }

    /// Tenants with rows, sorted. Those of a block in quarantine are not known.
    pub fn tenants(&self) -> BTreeSet<Arc<str>> {
        let in_blocks = self.blocks.iter().flat_map(|block| block.tenants()).map(Arc::from);
        in_blocks.chain(self.heads.iter().flat_map(|head| head.tenants())).collect()
    }

    /// Streams that have rows in `min_ns <= t < max_ns`, by key. Granule statistics decide, so a stream may be listed whose
    /// rows lie just outside.
    pub fn streams(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        min_ns: i64,
        max_ns: i64,
    ) -> Result<Vec<Arc<StreamInfo>>> {
        let stats = self.stream_stats(tenant, &StreamSelector::Matching(matchers.to_vec()), min_ns, max_ns)?;
        Ok(stats.into_iter().map(|s| s.stream).collect())
    }

    /// The same with rows and bytes of each stream (for volumes), without decompressing.
    pub fn stream_stats(
        &self,
        tenant: &str,
        selector: &StreamSelector,
        min_ns: i64,
        max_ns: i64,
    ) -> Result<Vec<StreamStats>> {
        Ok(measure(tenant, selector, min_ns, max_ns, &self.sources(tenant, (min_ns, max_ns))?).0)
    }

    /// Streams of `tenant` in heads and in blocks that overlap the range, those of several counted several times: a bound on what a call about
    /// streams may have to look at.
    pub fn streams_max(&self, tenant: &str, times_ns: (i64, i64)) -> Result<u64> {
        Ok(self.sources(tenant, times_ns)?.iter().map(|source| u64::from(source.streams.len())).sum())
    }

    /// Label names of those streams, sorted.
    pub fn label_names(&self, tenant: &str, matchers: &[Matcher], min_ns: i64, max_ns: i64) -> Result<Vec<String>> {
        let streams = self.streams(tenant, matchers, min_ns, max_ns)?;
        let names = streams.iter().flat_map(|s| s.labels()).flat_map(|l| l.iter()).map(|(name, _)| name);
        Ok(names.collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect())
    }

    /// Values of label `name` in those streams, sorted.
    pub fn label_values(
        &self,
        tenant: &str,
        name: &str,
        matchers: &[Matcher],
        min_ns: i64,
        max_ns: i64,
    ) -> Result<Vec<String>> {
        let streams = self.streams(tenant, matchers, min_ns, max_ns)?;
        let values = streams.iter().filter_map(|s| s.labels()?.get(name));
        Ok(values.collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect())
    }

    /// Size of a selection, without decompressing.
    pub fn stats(&self, tenant: &str, matchers: &[Matcher], min_ns: i64, max_ns: i64) -> Result<SelectionStats> {
        let selector = StreamSelector::Matching(matchers.to_vec());
        let (streams, chunks) = measure(tenant, &selector, min_ns, max_ns, &self.sources(tenant, (min_ns, max_ns))?);
        Ok(SelectionStats {
            hashes: streams.iter().map(|s| s.stream.hash()).collect(),
            chunks,
            bytes: streams.iter().map(|s| s.body_bytes).sum(),
            entries: streams.iter().map(|s| s.rows).sum(),
        })
    }

    /// Starts a scan. Nothing is decompressed before the first batch.
    pub fn scan(&self, scan: &RowScan) -> Result<Scan> {
        let times = if self.signal == Signal::Traces { ALL_TIMES } else { (scan.min_ns, scan.max_ns) };
        scan_sources(self.signal, scan.clone(), self.sources(&scan.tenant, times)?)
    }

    /// All spans of a trace by start time; empty when there is none. `memory` is charged for what the rows hold open.
    pub fn trace(&self, tenant: &str, trace_id: &[u8; 16], memory: &Account) -> Result<RowBatch> {
        let scan = RowScan { memory: memory.clone(), ..RowScan::new(tenant, i64::MIN, i64::MAX) };
        TraceMerge::lookup(scan, self.sources(tenant, ALL_TIMES)?, trace_id)
    }

    /// Traces with a span start in the scan's time range and a granule that passes its conditions, by trace id, each with
    /// all its spans whatever their time. Order and needles of the scan are not used.
    pub fn traces(&self, scan: &RowScan) -> Result<TraceScan> {
        Ok(TraceScan { merge: TraceMerge::new(scan.clone(), self.sources(&scan.tenant, ALL_TIMES)?)? })
    }

    /// Attributes that rows or span streams in the time range have, sorted, without duplicates.
    pub fn attr_columns(&self, tenant: &str, min_ns: i64, max_ns: i64) -> Result<Vec<(Scope, String, ValueType)>> {
        attr_columns(&self.sources(tenant, (min_ns, max_ns))?, tenant, min_ns, max_ns)
    }

    /// Some distinct values of an attribute in the time range, at most `limit`, in the order met. `memory` is charged for
    /// them while they are collected.
    #[expect(clippy::too_many_arguments, reason = "a question of its own, asked in one place")]
    pub fn attr_values(
        &self,
        tenant: &str,
        scope: Scope,
        key: &str,
        min_ns: i64,
        max_ns: i64,
        limit: usize,
        memory: &Account,
    ) -> Result<Vec<Value>> {
        attr_values(&self.sources(tenant, (min_ns, max_ns))?, tenant, (scope, key), (min_ns, max_ns), limit, memory)
    }

    /// The tenant's pieces, oldest first. A block in quarantine is an error only when it may have rows in `times`.
    fn sources(&self, tenant: &str, times: (i64, i64)) -> Result<Vec<Source>> {
        let mut sources = Vec::with_capacity(self.blocks.len() + self.heads.len());
        for block in self.blocks.iter().filter(|b| !b.is_lost() || b.overlaps(times.0, times.1)) {
            sources.extend(block.source(tenant)?);
        }
        sources.extend(self.heads.iter().map(|head| head.source(tenant)));
        Ok(sources)
    }
}

/// Starts a scan over `sources`, oldest first.
pub(super) fn scan_sources(signal: Signal, scan: RowScan, sources: Vec<Source>) -> Result<Scan> {
    Ok(Scan(match signal {
        Signal::Traces => Merge::Traces(Box::new(TraceMerge::new(scan, sources)?)),
        Signal::Logs | Signal::Metrics => Merge::Logs(Box::new(LogMerge::new(scan, sources)?)),
    }))
}

#[derive(Debug)]
enum Merge {
    Logs(Box<LogMerge>),
    Traces(Box<TraceMerge>),
}

/// A running scan; owns what it reads, so it may outlive the view.
#[derive(Debug)]
pub struct Scan(Merge);

impl Scan {
    /// The next rows in the scan's order, or `None` at the end. Of traces: the wanted spans of one or more whole traces.
    pub fn next_batch(&mut self) -> Result<Option<RowBatch>> {
        match &mut self.0 {
            Merge::Logs(merge) => merge.next_batch(),
            Merge::Traces(merge) => next_spans(merge),
        }
    }

    /// What the scan has done so far.
    pub fn stats(&self) -> ScanStats {
        match &self.0 {
            Merge::Logs(merge) => merge.stats(),
            Merge::Traces(merge) => merge.stats(),
        }
    }
}

fn next_spans(merge: &mut TraceMerge) -> Result<Option<RowBatch>> {
    let mut batch = RowBatch::default();
    while batch.len() < merge.batch_rows_max() {
        let Some(trace) = merge.next_trace()? else { break };
        for &(piece, row) in &trace.rows.rows {
            let piece = &trace.rows.pieces[piece as usize];
            if merge.is_wanted(Row { piece, row }) {
                batch.push(piece, row);
            }
        }
    }
    Ok((!batch.is_empty()).then_some(batch))
}

/// A running scan of traces.
#[derive(Debug)]
pub struct TraceScan {
    merge: TraceMerge,
}

impl TraceScan {
    /// The next trace by id, or `None` at the end.
    pub fn next_trace(&mut self) -> Result<Option<TraceRows>> {
        self.merge.next_trace()
    }

    /// What the scan has done so far.
    pub fn stats(&self) -> ScanStats {
        self.merge.stats()
    }
}
