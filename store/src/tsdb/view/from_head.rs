//! A selection's samples in one head.
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::from_block::forget;
use super::reader::FloatReader;
use super::series::{PART_BYTES, Part};
use crate::codec;
use crate::index::Matcher;
use crate::limits::Limits;
use crate::memory::Charge;
use crate::model::Labels;
use crate::part::SampleKind;
use crate::tsdb::chunk::Scratch;
use crate::tsdb::head::{Run, RunChunk};
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
    /// Of each run, for each selected series: where its chunks lie.
    spans: Vec<(u32, u32)>,
    deleted: Deleted,
    tail: Tail,
}

/// Series of a frozen head of which samples were deleted, with the time range.
#[derive(Debug, Default)]
struct Deleted(Vec<(RoaringBitmap, i64, i64)>);

impl Deleted {
    fn of(&self, series: u32) -> impl Iterator<Item = (i64, i64)> + Clone {
        self.0.iter().filter(move |(ids, _, _)| ids.contains(series)).map(|(_, min_ms, max_ms)| (*min_ms, *max_ms))
    }

    fn has(&self, series: u32, time_ms: i64) -> bool {
        self.of(series).any(|(min_ms, max_ms)| min_ms <= time_ms && time_ms <= max_ms)
    }
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
        limits: Option<(&Limits, u64)>,
        held: &mut Charge,
    ) -> Result<Self> {
        let deleted = limits.into_iter().flat_map(|(limits, at)| limits.of(tenant, at, (min_ms, max_ms)));
        let deleted = Deleted(deleted.map(|d| (head.select(tenant, &d.matchers), d.min_ms, d.max_ms)).collect());
        let ids = head.select(tenant, matchers);
        // Position and offset of each series, and the table of positions between the first and the last.
        let span = ids.max().zip(ids.min()).map_or(0, |(last, first)| u64::from(last - first) + 1);
        held.add(ids.len() * 12 + span * 4)?;
        let tail = Tail::pick(head, &ids, (min_ms, max_ms), &deleted, held)?;
        let selected: Vec<u32> = ids.iter().collect();
        held.add((selected.len() * head.runs().len() * size_of::<(u32, u32)>()) as u64)?;
        let spans = head.runs().iter().flat_map(|run| run.spans_of(&selected)).collect();
        Ok(Self { view: head.clone(), selected, spans, deleted, tail })
    }

    /// The runs, each with its position and the chunks of a selected series.
    fn chunks(&self, at: u32) -> impl Iterator<Item = (usize, &Run, &[RunChunk])> {
        let spans = self.spans.iter().skip(at as usize).step_by(self.selected.len().max(1));
        let runs = self.view.runs().iter().enumerate().zip(spans);
        runs.map(|((number, run), (from, to))| (number, &**run, &run.chunks()[*from as usize..*to as usize]))
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
        for (at, &series) in (0..).zip(&self.selected).filter(|(at, _)| self.has(*at, range, kinds)) {
            if let Some(def) = self.view.def(series) {
                held.add(PART_BYTES)?;
                found.push((def.labels.clone(), Part::Head { source, at }));
            }
        }
        Ok(())
    }

    /// Series are asked for by their position among those selected.
    pub(super) fn has(&self, at: u32, (min_ms, max_ms): (i64, i64), kinds: &[SampleKind]) -> bool {
        let in_tail = |kind: &SampleKind| match kind {
            SampleKind::Float => !self.tail.rows(at).is_empty(),
            _ => !self.tail.blobs_of(at, *kind).is_empty(),
        };
        kinds.iter().any(in_tail)
            || self.chunks(at).any(|(_, run, chunks)| {
                chunks.iter().any(|chunk| {
                    let is_deleted = || self.deleted_of(at).any(|d| run.is_within(chunk, d.0, d.1));
                    kinds.contains(&chunk.kind) && run.overlaps(chunk, min_ms, max_ms) && !is_deleted()
                })
            })
    }

    fn deleted_of(&self, at: u32) -> impl Iterator<Item = (i64, i64)> + Clone {
        self.deleted.of(self.selected[at as usize])
    }

    /// Chunks of the series in all runs, and one for its tail.
    pub(super) fn chunks_count(&self, at: u32) -> u64 {
        self.chunks(at).map(|(_, _, chunks)| chunks.len() as u64).sum::<u64>() + 1
    }

    /// Float samples of chunks that overlap the range, and of the tail.
    pub(super) fn floats_count(&self, at: u32, (min_ms, max_ms): (i64, i64)) -> u64 {
        let of_run = |(_, run, chunks): (usize, &Run, &[RunChunk])| -> u64 {
            let floats = chunks.iter().filter(|chunk| chunk.kind == SampleKind::Float);
            floats.filter(|chunk| run.overlaps(chunk, min_ms, max_ms)).map(|chunk| run.count(chunk)).sum()
        };
        self.chunks(at).map(of_run).sum::<u64>() + self.tail.rows(at).len() as u64
    }

    /// Appends float samples of chunks that overlap the range, in log order.
    pub(super) fn floats_into(
        &self,
        at: u32,
        (min_ms, max_ms): (i64, i64),
        scratch: &mut Scratch,
        times_ms: &mut Vec<i64>,
        bits: &mut Vec<u64>,
    ) -> Result<()> {
        let from = times_ms.len();
        for (_, run, chunks) in self.chunks(at) {
            let floats = chunks.iter().filter(|chunk| chunk.kind == SampleKind::Float);
            for chunk in floats.filter(|chunk| run.overlaps(chunk, min_ms, max_ms)) {
                run.times_into(chunk, times_ms).map_err(in_head)?;
                run.floats_into(chunk, scratch, bits).map_err(in_head)?;
            }
        }
        forget(times_ms, bits, from, self.deleted_of(at));
        let rows = self.tail.rows(at);
        times_ms.extend_from_slice(&self.tail.times_ms[rows.clone()]);
        bits.extend_from_slice(&self.tail.bits[rows]);
        Ok(())
    }

    /// Appends what the series has in the range, in log order.
    pub(super) fn read_floats(
        &self,
        (source, at): (usize, u32),
        range: (i64, i64),
        reader: &mut FloatReader,
        times_ms: &mut Vec<i64>,
        values: &mut Vec<f64>,
    ) -> Result<()> {
        let from = times_ms.len();
        for (number, run, chunks) in self.chunks(at) {
            let floats = chunks.iter().filter(|chunk| chunk.kind == SampleKind::Float);
            for chunk in floats.filter(|chunk| run.overlaps(chunk, range.0, range.1)) {
                let key = (u32::MAX - source as u32, number as u32, chunk.column());
                let decode = |out: &mut Vec<i64>| run.times_into(chunk, out).map(|()| 0).map_err(in_head);
                let positions = reader.times_into(key, range, times_ms, decode)?;
                let (bytes, count) = (run.values(chunk), run.count(chunk) as usize);
                reader.values_into(bytes, count, positions, values).map_err(in_head)?;
            }
        }
        forget(times_ms, values, from, self.deleted_of(at));
        let rows = self.tail.rows(at);
        times_ms.extend_from_slice(&self.tail.times_ms[rows.clone()]);
        values.extend(self.tail.bits[rows].iter().copied().map(f64::from_bits));
        Ok(())
    }

    /// Appends records of `kind` of chunks that overlap the range, in log order.
    pub(super) fn blobs_into(
        &self,
        at: u32,
        kind: SampleKind,
        (min_ms, max_ms): (i64, i64),
        times_ms: &mut Vec<i64>,
        payloads: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        let from = times_ms.len();
        for (_, run, chunks) in self.chunks(at) {
            let records = chunks.iter().filter(|chunk| chunk.kind == kind && kind != SampleKind::Float);
            for chunk in records.filter(|chunk| run.overlaps(chunk, min_ms, max_ms)) {
                run.times_into(chunk, times_ms).map_err(in_head)?;
                run.blobs_into(chunk, payloads).map_err(in_head)?;
            }
        }
        forget(times_ms, payloads, from, self.deleted_of(at));
        for (_, _, batch, row) in self.tail.blobs_of(at, kind) {
            let batch = &self.view.batches()[*batch as usize];
            let record = &batch.blobs[*row as usize];
            times_ms.push(record.time_ms);
            payloads.push(batch.payload(record).to_vec());
        }
        Ok(())
    }
}

fn in_head(source: codec::Error) -> Error {
    Error::Head { source }
}

impl Tail {
    fn pick(
        head: &HeadView,
        ids: &RoaringBitmap,
        (min_ms, max_ms): (i64, i64),
        deleted: &Deleted,
        held: &mut Charge,
    ) -> Result<Self> {
        let mut tail = Tail { offsets: vec![0; ids.len() as usize + 1], ..Tail::default() };
        let (Some(first), Some(last)) = (ids.min(), ids.max()) else { return Ok(tail) };
        let mut positions = vec![NOT_SELECTED; (last - first) as usize + 1];
        ids.iter().zip(0..).for_each(|(id, at)| positions[(id - first) as usize] = at);
        let position = |series: u32| {
            let at = series.checked_sub(first).and_then(|at| positions.get(at as usize).copied());
            at.filter(|at| *at != NOT_SELECTED)
        };
        let is_wanted =
            |series: u32, time_ms: i64| time_ms >= min_ms && time_ms <= max_ms && !deleted.has(series, time_ms);
        let mut rows: Vec<(u32, i64, u64)> = Vec::new();
        for (batch_at, batch) in (0..).zip(head.batches()) {
            let before = rows.len() + tail.blobs.len();
            for (row, &series) in batch.series.iter().enumerate() {
                if let Some(at) = position(series).filter(|_| is_wanted(series, batch.times_ms[row])) {
                    tail.offsets[at as usize + 1] += 1;
                    rows.push((at, batch.times_ms[row], batch.bits[row]));
                }
            }
            for (row, blob) in (0..).zip(&batch.blobs) {
                if let Some(at) = position(blob.series).filter(|_| is_wanted(blob.series, blob.time_ms)) {
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

    /// Positions of a series' floats.
    fn rows(&self, at: u32) -> std::ops::Range<usize> {
        self.offsets[at as usize] as usize..self.offsets[at as usize + 1] as usize
    }

    fn blobs_of(&self, at: u32, kind: SampleKind) -> &[(u32, SampleKind, u32, u32)] {
        let from = self.blobs.partition_point(|b| (b.0, b.1) < (at, kind));
        let len = self.blobs[from..].iter().take_while(|b| (b.0, b.1) == (at, kind)).count();
        &self.blobs[from..from + len]
    }
}
