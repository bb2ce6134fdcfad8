//! Merges spans trace by trace, by trace id, and drops repeated ones.
//!
//! Pieces that pass the scan's time range and conditions *drive* the merge: they say which traces are wanted. The others
//! only *follow*: they are opened when a wanted trace may have spans in them.
use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::error::Result;
use super::filter::{may_contain, value_hash};
use super::granule::ReadCounters;
use super::merge::same_entry;
use super::piece::{ClosedPiece, Piece, Source};
use super::row::{Row, RowBatch, TraceRows, ValueRef};
use super::scan::{RowScan, ScanStats};
use super::select::{NOT_SELECTED, Selection};
use crate::memory::Charge;
use crate::model::{Scope, intrinsic};

type TraceId = [u8; 16];

#[derive(Debug)]
enum State {
    Closed(ClosedPiece),
    /// Rows by trace id, and how many are done.
    Open(Arc<Piece>, Vec<(TraceId, u32)>, usize),
    Done,
}

/// (slot, piece, row) of a span; slots rise with log position.
type Found = (usize, Arc<Piece>, u32);

/// A running merge of spans.
#[derive(Debug)]
pub(crate) struct TraceMerge {
    scan: RowScan,
    sources: Vec<Source>,
    selection: Selection,
    slots: Vec<(usize, State)>,
    /// (least trace id, slot) of driving pieces.
    drivers: BinaryHeap<Reverse<(TraceId, usize)>>,
    followers: Vec<usize>,
    /// Trace filters of followers that were looked at and not opened.
    filters: HashMap<usize, Vec<u8>>,
    counters: Arc<ReadCounters>,
    stats: ScanStats,
    /// For the selection and the list of pieces.
    _held: Charge,
}

impl TraceMerge {
    /// Pieces of `sources` come oldest first.
    pub(crate) fn new(scan: RowScan, sources: Vec<Source>) -> Result<Self> {
        let held = scan.memory.charge(Selection::bytes(&sources))?;
        let selection = Selection::new(&scan.tenant, &scan.streams, &sources);
        let mut merge = Self::over(scan, sources, selection, held);
        for at in 0..merge.sources.len() {
            for piece in merge.sources[at].pieces.clone() {
                let slot = merge.slots.len();
                match merge.drives(at, &piece)? {
                    true => {
                        let least = match &piece {
                            ClosedPiece::Tail(_) => [0; 16],
                            ClosedPiece::Granule(granule) => granule.meta.min_id,
                        };
                        merge.drivers.push(Reverse((least, slot)));
                    }
                    false => merge.followers.push(slot),
                }
                merge.slots.push((at, State::Closed(piece)));
            }
        }
        Ok(merge)
    }

    /// All spans of one trace by start.
    pub(crate) fn lookup(scan: RowScan, sources: Vec<Source>, trace_id: &TraceId) -> Result<RowBatch> {
        let held = scan.memory.charge(Selection::bytes(&sources))?;
        let mut merge = Self::over(scan, sources, Selection::default(), held);
        for (at, source) in merge.sources.iter().enumerate() {
            merge.slots.extend(source.pieces.iter().map(|piece| (at, State::Closed(piece.clone()))));
        }
        merge.followers = (0..merge.slots.len()).collect();
        let mut found = Vec::new();
        merge.follow(trace_id, &mut found)?;
        merge.finish_trace(found)
    }

    fn over(scan: RowScan, sources: Vec<Source>, selection: Selection, held: Charge) -> Self {
        let counters = Arc::new(ReadCounters { memory: scan.memory.clone(), ..ReadCounters::default() });
        Self {
            scan,
            sources,
            selection,
            slots: Vec::new(),
            drivers: BinaryHeap::new(),
            followers: Vec::new(),
            filters: HashMap::new(),
            counters,
            stats: ScanStats::default(),
            _held: held,
        }
    }

    pub(crate) fn stats(&self) -> ScanStats {
        ScanStats {
            bytes_read: self.counters.read.load(Ordering::Relaxed),
            bytes_decompressed: self.counters.decompressed.load(Ordering::Relaxed),
            ..self.stats
        }
    }

    pub(crate) fn batch_rows_max(&self) -> usize {
        self.scan.batch_rows_max.max(1)
    }

    /// Whether a row is in the scan's time range and streams.
    pub(crate) fn is_wanted(&self, row: Row<'_>) -> bool {
        let time = row.time_ns();
        let streams = &self.selection.streams;
        self.scan.overlaps((time, time)) && streams.binary_search_by(|s| s.key().cmp(row.stream().key())).is_ok()
    }

    /// The next trace with a wanted row.
    pub(crate) fn next_trace(&mut self) -> Result<Option<TraceRows>> {
        while let Some(&Reverse((trace_id, _))) = self.drivers.peek() {
            let (found, wanted) = self.drive(&trace_id)?;
            if !wanted {
                continue;
            }
            let mut found = found;
            self.follow(&trace_id, &mut found)?;
            let rows = self.finish_trace(found)?;
            self.stats.rows += rows.len() as u64;
            return Ok(Some(TraceRows { trace_id, rows }));
        }
        Ok(None)
    }

    /// Whether a piece may have a wanted row.
    fn drives(&mut self, source: usize, piece: &ClosedPiece) -> Result<bool> {
        if !self.scan.overlaps(piece.times()) || self.selection.streams.is_empty() {
            return Ok(false);
        }
        let ClosedPiece::Granule(granule) = piece else { return Ok(true) };
        let selected = granule.meta.spans.iter().any(|s| {
            self.scan.overlaps((s.min_ns, s.max_ns)) && self.selection.number(source, s.stream) != NOT_SELECTED
        });
        if !selected {
            return Ok(false);
        }
        self.stats.granules_considered += 1;
        let may = granule.may_satisfy(&self.scan.conditions, &self.sources[source].streams)?;
        self.stats.granules_pruned += u64::from(!may);
        Ok(may)
    }

    /// Takes all rows of `trace_id`, the least that a driver may hold, from the drivers; and whether one is wanted.
    fn drive(&mut self, trace_id: &TraceId) -> Result<(Vec<Found>, bool)> {
        let mut found = Vec::new();
        let mut wanted = false;
        while let Some(&Reverse((least, slot))) = self.drivers.peek() {
            if least != *trace_id {
                break;
            }
            self.drivers.pop();
            self.open(slot)?;
            let from = found.len();
            if let Some(next) = self.take(slot, trace_id, &mut found) {
                self.drivers.push(Reverse((next, slot)));
            }
            wanted |= found[from..].iter().any(|(_, piece, row)| self.is_wanted(Row { piece, row: *row }));
        }
        Ok((found, wanted))
    }

    /// Adds the trace's rows of the followers.
    fn follow(&mut self, trace_id: &TraceId, found: &mut Vec<Found>) -> Result<()> {
        for at in 0..self.followers.len() {
            let slot = self.followers[at];
            if let (_, State::Closed(ClosedPiece::Granule(granule))) = &self.slots[slot] {
                if !granule.spans_trace(trace_id) {
                    continue;
                }
                let filter = match self.filters.entry(slot) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(place) => place.insert(granule.trace_filter()?),
                };
                // Rows without an id count as zeros, which no filter knows.
                if *trace_id != [0; 16] && !may_contain(filter, value_hash(trace_id)) {
                    continue;
                }
                self.filters.remove(&slot);
            }
            self.open(slot)?;
            self.take(slot, trace_id, found);
        }
        Ok(())
    }

    fn open(&mut self, slot: usize) -> Result<()> {
        let (source, State::Closed(closed)) = &self.slots[slot] else { return Ok(()) };
        match closed {
            ClosedPiece::Granule(_) => self.stats.granules_opened += 1,
            ClosedPiece::Tail(_) => self.stats.batches_opened += 1,
        }
        let piece = closed.open(&self.sources[*source].streams, &self.counters)?;
        let ids = (0..piece.len() as u32).map(|row| Ok((piece.trace_id(row)?, row)));
        let mut rows = ids.collect::<Result<Vec<_>>>()?;
        if !rows.is_sorted() {
            rows.sort_unstable();
        }
        self.slots[slot].1 = State::Open(Arc::new(piece), rows, 0);
        Ok(())
    }

    /// Moves an open piece past `trace_id`, adding its rows; the next trace id, if any is left.
    fn take(&mut self, slot: usize, trace_id: &TraceId, found: &mut Vec<Found>) -> Option<TraceId> {
        let State::Open(piece, rows, at) = &mut self.slots[slot].1 else { return None };
        *at += rows[*at..].partition_point(|r| r.0 < *trace_id);
        while let Some((id, row)) = rows.get(*at) {
            if id != trace_id {
                return Some(*id);
            }
            found.push((slot, piece.clone(), *row));
            *at += 1;
        }
        self.slots[slot].1 = State::Done;
        None
    }

    /// Drops repeated spans, lowest position first, and sorts by start.
    fn finish_trace(&mut self, mut found: Vec<Found>) -> Result<RowBatch> {
        found.retain(|(_, piece, row)| piece.time_ns(*row) >= self.scan.expired_ns);
        found.sort_by_key(|(slot, _, row)| (*slot, *row));
        let mut seen = HashSet::new();
        let mut unnamed: Vec<(Arc<Piece>, u32)> = Vec::new();
        let mut kept: Vec<(i64, Found)> = Vec::with_capacity(found.len());
        for (slot, piece, at) in found {
            let row = Row { piece: &piece, row: at };
            let is_new = match natural_key(row)? {
                Some(key) => seen.insert(key),
                None => {
                    let mut is_new = true;
                    for (other, other_at) in &unnamed {
                        is_new = is_new && !same_entry(row, Row { piece: other, row: *other_at })?;
                    }
                    unnamed.push((piece.clone(), at));
                    is_new
                }
            };
            if is_new {
                kept.push((row.time_ns(), (slot, piece, at)));
            } else {
                self.stats.rows_repeated += 1;
            }
        }
        kept.sort_by_key(|(time, (slot, _, row))| (*time, *slot, *row));
        let mut batch = RowBatch::default();
        kept.iter().for_each(|(_, (_, piece, row))| batch.push(piece, *row));
        Ok(batch)
    }
}

/// Span id and kind; `None` for a row without a span id, which is compared whole.
fn natural_key(row: Row<'_>) -> Result<Option<([u8; 8], i64)>> {
    let kind = match row.attr(Scope::Intrinsic, intrinsic::KIND)? {
        Some(ValueRef::Int(kind)) => kind,
        _ => 0,
    };
    Ok(match row.attr(Scope::Intrinsic, intrinsic::SPAN_ID)? {
        Some(ValueRef::Bytes(id)) => id.try_into().ok().map(|id| (id, kind)),
        _ => None,
    })
}
