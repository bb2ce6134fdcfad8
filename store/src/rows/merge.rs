//! Merges the log entries of tail batches and granules in one order and drops repeated ones.
//!
//! A piece is opened when the merge reaches the least key it may hold, so a scan that stops early opens little.
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::error::Result;
use super::filter::{needle_keys, value_hash};
use super::granule::{Granule, ReadCounters};
use super::piece::{ClosedPiece, Piece, Source};
use super::row::{AttrRef, Row, RowBatch, ValueRef};
use super::scan::{RowOrder, RowScan, ScanStats};
use super::select::{NOT_SELECTED, Selection};
use crate::memory::Charge;

/// Order of a merge as an integer: stream and time, time, or inverted time.
type Key = u128;

#[derive(Debug)]
enum State {
    Closed(ClosedPiece),
    /// Rows of the selection in key order, and how many are done.
    Open(Arc<Piece>, Vec<(Key, u32)>, usize),
    Done,
}

/// A running merge of log entries.
#[derive(Debug)]
pub(crate) struct LogMerge {
    scan: RowScan,
    needle_keys: Vec<u64>,
    sources: Vec<Source>,
    selection: Selection,
    /// Source and state of each piece, oldest first.
    slots: Vec<(usize, State)>,
    /// (least key, slot) of pieces that are not done.
    heap: BinaryHeap<Reverse<(Key, usize)>>,
    /// Rows yielded at `recent_key`, by hash, while another piece may repeat them.
    recent_key: Key,
    recent: HashMap<u64, Vec<(Arc<Piece>, u32)>>,
    counters: Arc<ReadCounters>,
    stats: ScanStats,
    /// For the selection and the list of pieces.
    _held: Charge,
}

/// Order-preserving map of times to unsigned numbers.
fn biased(time_ns: i64) -> u64 {
    (time_ns as u64) ^ (1 << 63)
}

fn key_of(order: RowOrder, stream: u32, time_ns: i64) -> Key {
    match order {
        RowOrder::Forward => Key::from(biased(time_ns)),
        RowOrder::Backward => Key::from(!biased(time_ns)),
        RowOrder::Unordered => Key::from(stream) << 64 | Key::from(biased(time_ns)),
    }
}

impl LogMerge {
    /// Pieces of `sources` come oldest first.
    pub(crate) fn new(scan: RowScan, sources: Vec<Source>) -> Result<Self> {
        let held = scan.memory.charge(Selection::bytes(&sources))?;
        let selection = Selection::new(&scan.tenant, &scan.streams, &sources);
        let counters = Arc::new(ReadCounters { memory: scan.memory.clone(), ..ReadCounters::default() });
        let mut merge = Self {
            needle_keys: scan.needles.iter().flat_map(|n| needle_keys(n)).collect(),
            scan,
            selection,
            slots: Vec::new(),
            heap: BinaryHeap::new(),
            recent_key: 0,
            recent: HashMap::new(),
            counters,
            stats: ScanStats::default(),
            sources: Vec::new(),
            _held: held,
        };
        for (at, source) in sources.iter().enumerate() {
            for piece in &source.pieces {
                if let Some(least) = merge.least_key(at, piece) {
                    merge.heap.push(Reverse((least, merge.slots.len())));
                    merge.slots.push((at, State::Closed(piece.clone())));
                }
            }
        }
        merge.sources = sources;
        Ok(merge)
    }

    pub(crate) fn stats(&self) -> ScanStats {
        ScanStats {
            bytes_read: self.counters.read.load(Ordering::Relaxed),
            bytes_decompressed: self.counters.decompressed.load(Ordering::Relaxed),
            ..self.stats
        }
    }

    /// Up to the scan's batch size of rows; `None` at the end.
    pub(crate) fn next_batch(&mut self) -> Result<Option<RowBatch>> {
        let mut batch = RowBatch::default();
        let rows_max = self.scan.batch_rows_max.max(1);
        while batch.len() < rows_max {
            let Some(Reverse((_, slot))) = self.heap.pop() else { break };
            let least = match std::mem::replace(&mut self.slots[slot].1, State::Done) {
                State::Closed(closed) => self.open(slot, &closed)?,
                State::Open(piece, rows, at) => self.drain(slot, piece, rows, at, rows_max, &mut batch)?,
                State::Done => None,
            };
            if let Some(least) = least {
                self.heap.push(Reverse((least, slot)));
            }
        }
        self.stats.rows += batch.len() as u64;
        Ok((!batch.is_empty()).then_some(batch))
    }

    /// Least key that a closed piece may hold, or `None` when it cannot have a row of the selection.
    fn least_key(&mut self, source: usize, piece: &ClosedPiece) -> Option<Key> {
        let (min, max) = piece.times();
        if !self.scan.overlaps((min, max)) {
            return None;
        }
        let (scan, selection) = (&self.scan, &self.selection);
        let least = |stream, min: i64, max: i64| {
            let time = if scan.order == RowOrder::Backward { max.min(scan.max_ns) } else { min.max(scan.min_ns) };
            key_of(scan.order, stream, time)
        };
        match piece {
            ClosedPiece::Tail(_) => Some(least(0, min, max)),
            ClosedPiece::Granule(granule) => {
                let wanted = granule.meta.spans.iter().filter(|s| scan.overlaps((s.min_ns, s.max_ns)));
                let numbered = wanted.map(|s| (selection.number(source, s.stream), s.min_ns, s.max_ns));
                let key = numbered.filter(|n| n.0 != NOT_SELECTED).map(|(n, min, max)| least(n, min, max)).min();
                self.stats.granules_considered += u64::from(key.is_some());
                key
            }
        }
    }

    /// Opens a piece and returns its least key, or `None` when it is pruned or has no row of the selection.
    fn open(&mut self, slot: usize, closed: &ClosedPiece) -> Result<Option<Key>> {
        let source_at = self.slots[slot].0;
        let source = &self.sources[source_at];
        match closed {
            ClosedPiece::Granule(granule) if self.is_pruned(granule, source)? => {
                self.stats.granules_pruned += 1;
                return Ok(None);
            }
            ClosedPiece::Granule(_) => self.stats.granules_opened += 1,
            ClosedPiece::Tail(_) => self.stats.batches_opened += 1,
        }
        let piece = closed.open(&source.streams, &self.counters)?;
        let mut rows = Vec::with_capacity(piece.len());
        for row in 0..piece.len() as u32 {
            let time = piece.time_ns(row);
            if !self.scan.overlaps((time, time)) {
                continue;
            }
            let stream = self.selection.number(source_at, piece.stream_ref(row));
            if stream != NOT_SELECTED {
                rows.push((key_of(self.scan.order, stream, time), row));
            }
        }
        if !rows.is_sorted() {
            rows.sort_unstable();
        }
        let least = rows.first().map(|r| r.0);
        if least.is_some() {
            self.slots[slot].1 = State::Open(Arc::new(piece), rows, 0);
        }
        Ok(least)
    }

    fn is_pruned(&self, granule: &Granule, source: &Source) -> Result<bool> {
        Ok(!granule.may_have_tokens(&self.needle_keys)?
            || !granule.may_satisfy(&self.scan.conditions, &source.streams)?)
    }

    /// Yields rows of an open piece until another piece is due or the batch is full; returns the next key if any is left.
    fn drain(
        &mut self,
        slot: usize,
        piece: Arc<Piece>,
        rows: Vec<(Key, u32)>,
        mut at: usize,
        rows_max: usize,
        batch: &mut RowBatch,
    ) -> Result<Option<Key>> {
        let rival = self.heap.peek().map(|Reverse(least)| *least);
        while let Some(&(key, row)) = rows.get(at) {
            if batch.len() >= rows_max || rival.is_some_and(|rival| rival < (key, slot)) {
                self.slots[slot].1 = State::Open(piece, rows, at);
                return Ok(Some(key));
            }
            at += 1;
            if key != self.recent_key {
                self.recent.clear();
                self.recent_key = key;
            }
            let repeats_itself = !piece.is_sorted() && rows.get(at).is_some_and(|next| next.0 == key);
            let may_repeat = !self.recent.is_empty() || repeats_itself || rival.is_some_and(|rival| rival.0 == key);
            if may_repeat && self.is_repeated(&piece, row)? {
                self.stats.rows_repeated += 1;
            } else {
                batch.push(&piece, row);
            }
        }
        Ok(None)
    }

    /// Whether an equal row was yielded at this key; remembers the row otherwise.
    fn is_repeated(&mut self, piece: &Arc<Piece>, row: u32) -> Result<bool> {
        let this = Row { piece, row };
        let hash = value_hash(this.body()?) ^ this.stream().hash();
        let alike = self.recent.entry(hash).or_default();
        for (other, other_row) in alike.iter() {
            if same_entry(this, Row { piece: other, row: *other_row })? {
                return Ok(true);
            }
        }
        alike.push((piece.clone(), row));
        Ok(false)
    }
}

/// Equality by natural key: stream, time, line, attributes in their order.
pub(crate) fn same_entry(a: Row<'_>, b: Row<'_>) -> Result<bool> {
    if a.time_ns() != b.time_ns() || a.stream().key() != b.stream().key() || a.body()? != b.body()? {
        return Ok(false);
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    a.for_each_attr(&mut |attr| left.push(attr))?;
    b.for_each_attr(&mut |attr| right.push(attr))?;
    Ok(left.len() == right.len() && left.iter().zip(&right).all(|(a, b)| same_attr(a, b)))
}

fn same_attr(a: &AttrRef<'_>, b: &AttrRef<'_>) -> bool {
    a.scope == b.scope
        && a.key == b.key
        && match (a.value, b.value) {
            (ValueRef::Str(a), ValueRef::Str(b)) => a == b,
            (ValueRef::Bool(a), ValueRef::Bool(b)) => a == b,
            (ValueRef::Int(a), ValueRef::Int(b)) => a == b,
            (ValueRef::Double(a), ValueRef::Double(b)) => a.to_bits() == b.to_bits(),
            (ValueRef::Bytes(a), ValueRef::Bytes(b)) => a == b,
            (ValueRef::Nested(t, a), ValueRef::Nested(u, b)) => t == u && a == b,
            (ValueRef::Empty, ValueRef::Empty) => true,
            _ => false,
        }
}
