//! Readers' view of the rows of one signal of one shard.
use std::sync::Arc;

use super::block::Block;
use super::error::Result;
use super::head::HeadView;
use super::row::{RowBatch, TraceRows};
use super::scan::{RowScan, ScanStats, StreamSelector};
use super::stream::{SelectionStats, StreamInfo, StreamStats};
use crate::index::Matcher;
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

    /// Streams that have rows in `min_ns <= t < max_ns`, by key. Granule statistics decide, so a stream may be listed whose
    /// rows lie just outside.
    pub fn streams(&self, tenant: &str, matchers: &[Matcher], min_ns: i64, max_ns: i64) -> Result<Vec<Arc<StreamInfo>>> {
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
        let _unused = (tenant, selector, min_ns, max_ns);
        Ok(Vec::new())
    }

    /// Label names of those streams, sorted.
    pub fn label_names(&self, tenant: &str, matchers: &[Matcher], min_ns: i64, max_ns: i64) -> Result<Vec<String>> {
        let _unused = (tenant, matchers, min_ns, max_ns);
        Ok(Vec::new())
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
        let _unused = (tenant, name, matchers, min_ns, max_ns);
        Ok(Vec::new())
    }

    /// Size of a selection, without decompressing.
    pub fn stats(&self, tenant: &str, matchers: &[Matcher], min_ns: i64, max_ns: i64) -> Result<SelectionStats> {
        let _unused = (tenant, matchers, min_ns, max_ns);
        Ok(SelectionStats::default())
    }

    /// Starts a scan. Nothing is decompressed before the first batch.
    pub fn scan(&self, scan: &RowScan) -> Result<Scan> {
        let _unused = scan;
        Ok(Scan { stats: ScanStats::default() })
    }

    /// All spans of a trace by start time; empty when there is none.
    pub fn trace(&self, tenant: &str, trace_id: &[u8; 16]) -> Result<RowBatch> {
        let _unused = (tenant, trace_id);
        Ok(RowBatch::default())
    }

    /// Traces with a span start in the scan's time range and a granule that passes its conditions, by trace id, each with
    /// all its spans whatever their time. Order and needles of the scan are not used.
    pub fn traces(&self, scan: &RowScan) -> Result<TraceScan> {
        let _unused = scan;
        Ok(TraceScan { stats: ScanStats::default() })
    }

    /// Attributes that rows or span streams in the time range have, sorted, without duplicates.
    pub fn attr_columns(&self, tenant: &str, min_ns: i64, max_ns: i64) -> Result<Vec<(Scope, String, ValueType)>> {
        let _unused = (tenant, min_ns, max_ns);
        Ok(Vec::new())
    }

    /// Some distinct values of an attribute in the time range, at most `limit`, in the order met.
    pub fn attr_values(
        &self,
        tenant: &str,
        scope: Scope,
        key: &str,
        min_ns: i64,
        max_ns: i64,
        limit: usize,
    ) -> Result<Vec<Value>> {
        let _unused = (tenant, scope, key, min_ns, max_ns, limit);
        Ok(Vec::new())
    }
}

/// A running scan; owns what it reads, so it may outlive the view.
#[derive(Debug)]
pub struct Scan {
    stats: ScanStats,
}

impl Scan {
    /// The next rows in the scan's order, or `None` at the end.
    pub fn next_batch(&mut self) -> Result<Option<RowBatch>> {
        Ok(None)
    }

    /// What the scan has done so far.
    pub fn stats(&self) -> ScanStats {
        self.stats
    }
}

/// A running scan of traces.
#[derive(Debug)]
pub struct TraceScan {
    stats: ScanStats,
}

impl TraceScan {
    /// The next trace by id, or `None` at the end.
    pub fn next_trace(&mut self) -> Result<Option<TraceRows>> {
        Ok(None)
    }

    pub fn stats(&self) -> ScanStats {
        self.stats
    }
}
