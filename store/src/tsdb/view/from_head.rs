//! A selection's samples in one head.
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::series::{PART_BYTES, Part};
use crate::codec;
use crate::index::Matcher;
use crate::memory::Charge;
use crate::model::Labels;
use crate::part::SampleKind;
use crate::tsdb::chunk::Scratch;
use crate::tsdb::head::Run;
use crate::tsdb::{Error, HeadView, Result};

/// Bytes of a sample that is picked out of the tail, while it is.
const TAIL_ROW_BYTES: u64 = 40;
/// Marks a series that is not selected.
const NOT_SELECTED: u32 = u32::MAX;

/// The selected series of a head, with their samples of the tail picked out: the tail is scanned once a selection.
#[derive(Debug)]
pub(super) struct HeadSource {
    view: Arc<HeadView>,
    /// Ascending.
    selected: Vec<u32>,
    tail: Tail,
}

/// Samples of the tail within the range, of the series at `i` in `offsets[i]..offsets[i + 1]`, in log order.
#[derive(Debug, Default)]
struct Tail {
    offsets: Vec<u32>,
    times_ms: Vec<i64>,
    bits: Vec<u64>,
    /// (position in `selected`, kind, batch, row), sorted.
    blobs: Vec<(u32, SampleKind, u32, u32)>,
}

impl HeadSource {
    pub(super) fn select(
        head: &Arc<HeadView>,
        tenant: &str,
        matchers: &[Matcher],
        (min_ms, max_ms): (i64, i64),
        held: &mut Charge,
    ) -> Result<Self> {
        let ids = head.select(tenant, matchers);
        // Position and offset of each series, and the table of positions between the first and the last.
        let span = ids.max().zip(ids.min()).map_or(0, |(last, first)| u64::from(last - first) + 1);
        held.add(ids.len() * 12 + span * 4)?;
        let tail = Tail::pick(head, &ids, min_ms, max_ms, held)?;
        Ok(Self { view: head.clone(), selected: ids.iter().collect(), tail })
    }

    /// Appends the series that have records of one of `kinds` in the range.
    pub(super) fn list(
        &self,
        range: (i64, i64),
        kinds: &[SampleKind],
        source: usize,
        found: &mut Vec<(Labels, Part)>,
        held: &mut Charge,
    ) -> Result<()> {
        for &series in self.selected.iter().filter(|series| self.has(**series, range, kinds)) {
            if let Some(def) = self.view.def(series) {
                held.add(PART_BYTES)?;
                found.push((def.labels.clone(), Part::Head { source, series }));
            }
        }
        Ok(())
    }

    pub(super) fn has(&self, series: u32, (min_ms, max_ms): (i64, i64), kinds: &[SampleKind]) -> bool {
        let Ok(at) = self.selected.binary_search(&series) else { return false };
        let in_tail = |kind: &SampleKind| match kind {
            SampleKind::Float => self.tail.offsets[at] < self.tail.offsets[at + 1],
            _ => !self.tail.blobs_of(at as u32, *kind).is_empty(),
        };
        kinds.iter().any(in_tail)
            || self.view.runs().iter().any(|run| {
                let chunks = run.chunks_of(series);
                chunks.iter().any(|chunk| kinds.contains(&chunk.kind) && run.overlaps(chunk, min_ms, max_ms))
            })
    }

    /// Chunks of the series in all runs, and one for its tail.
    pub(super) fn chunks_count(&self, series: u32) -> u64 {
        let in_runs: usize = self.view.runs().iter().map(|run| run.chunks_of(series).len()).sum();
        in_runs as u64 + u64::from(self.selected.binary_search(&series).is_ok())
    }

    /// Float samples of chunks that overlap the range, and of the tail.
    pub(super) fn floats_count(&self, series: u32, (min_ms, max_ms): (i64, i64)) -> u64 {
        let of_run = |run: &Run| -> u64 {
            let chunks = run.chunks_of(series).iter().filter(|chunk| chunk.kind == SampleKind::Float);
            chunks.filter(|chunk| run.overlaps(chunk, min_ms, max_ms)).map(|chunk| run.count(chunk)).sum()
        };
        let in_tail = self.selected.binary_search(&series);
        let tail = in_tail.map_or(0, |at| self.tail.offsets[at + 1] - self.tail.offsets[at]);
        self.view.runs().iter().map(|run| of_run(run)).sum::<u64>() + u64::from(tail)
    }

    /// Appends float samples of chunks that overlap the range, in log order.
    pub(super) fn floats_into(
        &self,
        series: u32,
        (min_ms, max_ms): (i64, i64),
        scratch: &mut Scratch,
        times_ms: &mut Vec<i64>,
        bits: &mut Vec<u64>,
    ) -> Result<()> {
        for run in self.view.runs() {
            let chunks = run.chunks_of(series).iter().filter(|chunk| chunk.kind == SampleKind::Float);
            for chunk in chunks.filter(|chunk| run.overlaps(chunk, min_ms, max_ms)) {
                run.times_into(chunk, times_ms).map_err(in_head)?;
                run.floats_into(chunk, scratch, bits).map_err(in_head)?;
            }
        }
        if let Ok(at) = self.selected.binary_search(&series) {
            let rows = self.tail.offsets[at] as usize..self.tail.offsets[at + 1] as usize;
            times_ms.extend_from_slice(&self.tail.times_ms[rows.clone()]);
            bits.extend_from_slice(&self.tail.bits[rows]);
        }
        Ok(())
    }

    /// Appends records of `kind` of chunks that overlap the range, in log order.
    pub(super) fn blobs_into(
        &self,
        series: u32,
        kind: SampleKind,
        (min_ms, max_ms): (i64, i64),
        times_ms: &mut Vec<i64>,
        payloads: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        for run in self.view.runs() {
            let chunks = run.chunks_of(series).iter().filter(|chunk| chunk.kind == kind && kind != SampleKind::Float);
            for chunk in chunks.filter(|chunk| run.overlaps(chunk, min_ms, max_ms)) {
                run.times_into(chunk, times_ms).map_err(in_head)?;
                run.blobs_into(chunk, payloads).map_err(in_head)?;
            }
        }
        if let Ok(at) = self.selected.binary_search(&series) {
            for (_, _, batch, row) in self.tail.blobs_of(at as u32, kind) {
                let batch = &self.view.batches()[*batch as usize];
                let record = &batch.blobs[*row as usize];
                times_ms.push(record.time_ms);
                payloads.push(batch.payload(record).to_vec());
            }
        }
        Ok(())
    }
}

fn in_head(source: codec::Error) -> Error {
    Error::Head { source }
}

impl Tail {
    fn pick(head: &HeadView, ids: &RoaringBitmap, min_ms: i64, max_ms: i64, held: &mut Charge) -> Result<Self> {
        let mut tail = Tail { offsets: vec![0; ids.len() as usize + 1], ..Tail::default() };
        let (Some(first), Some(last)) = (ids.min(), ids.max()) else { return Ok(tail) };
        let mut positions = vec![NOT_SELECTED; (last - first) as usize + 1];
        ids.iter().zip(0..).for_each(|(id, at)| positions[(id - first) as usize] = at);
        let position = |series: u32| {
            let at = series.checked_sub(first).and_then(|at| positions.get(at as usize).copied());
            at.filter(|at| *at != NOT_SELECTED)
        };
        let in_range = |time_ms: i64| time_ms >= min_ms && time_ms <= max_ms;
        let mut rows: Vec<(u32, i64, u64)> = Vec::new();
        for (batch_at, batch) in (0..).zip(head.batches()) {
            let before = rows.len() + tail.blobs.len();
            for (row, &series) in batch.series.iter().enumerate() {
                if let Some(at) = position(series).filter(|_| in_range(batch.times_ms[row])) {
                    tail.offsets[at as usize + 1] += 1;
                    rows.push((at, batch.times_ms[row], batch.bits[row]));
                }
            }
            for (row, blob) in (0..).zip(&batch.blobs) {
                if let Some(at) = position(blob.series).filter(|_| in_range(blob.time_ms)) {
                    tail.blobs.push((at, blob.kind, batch_at, row));
                }
            }
            held.add((rows.len() + tail.blobs.len() - before) as u64 * TAIL_ROW_BYTES)?;
        }
        tail.blobs.sort_unstable();
        tail.group(&rows);
        Ok(tail)
    }

    /// Counting sort of `rows` by series; `offsets[at + 1]` is the count of series `at` on entry.
    fn group(&mut self, rows: &[(u32, i64, u64)]) {
        for at in 1..self.offsets.len() {
            self.offsets[at] += self.offsets[at - 1];
        }
        let mut next = self.offsets.clone();
        self.times_ms = vec![0; rows.len()];
        self.bits = vec![0; rows.len()];
        for &(at, time_ms, bits) in rows {
            let slot = next[at as usize] as usize;
            next[at as usize] += 1;
            self.times_ms[slot] = time_ms;
            self.bits[slot] = bits;
        }
    }

    fn blobs_of(&self, at: u32, kind: SampleKind) -> &[(u32, SampleKind, u32, u32)] {
        let from = self.blobs.partition_point(|b| (b.0, b.1) < (at, kind));
        let len = self.blobs[from..].iter().take_while(|b| (b.0, b.1) == (at, kind)).count();
        &self.blobs[from..from + len]
    }
}
