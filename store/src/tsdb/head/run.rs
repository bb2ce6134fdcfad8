//! Runs: sorted, compressed samples in memory.
use std::collections::BTreeMap;

use super::super::chunk::{CHUNK_SAMPLES_MAX, Scratch, blobs, floats, ints};
use super::super::times::TimesTable;
use crate::codec::Error;
use crate::part::SampleKind;

/// Samples of an interval of the log. Of one series and kind, times rise strictly (exemplars: do not fall).
#[derive(Debug, Default)]
pub(in crate::tsdb) struct Run {
    times: Vec<Times>,
    /// By (series, kind, time).
    chunks: Vec<RunChunk>,
    bytes: Vec<u8>,
    samples_count: usize,
    /// Duplicates that were left out on the way here, of the series that had any, by series.
    dropped: Vec<(u32, u64)>,
}

/// A time column, shared by the chunks of one scrape.
#[derive(Clone, Copy, Debug)]
struct Times {
    start: usize,
    len: u32,
    count: u32,
    min_ms: i64,
    max_ms: i64,
}

/// Consecutive samples of one kind of one series.
#[derive(Clone, Copy, Debug)]
pub(in crate::tsdb) struct RunChunk {
    pub(in crate::tsdb) series: u32,
    pub(in crate::tsdb) kind: SampleKind,
    times: u32,
    start: usize,
    len: u32,
}

impl RunChunk {
    /// Its time column, which others of the run may have too.
    pub(in crate::tsdb) fn column(&self) -> u32 {
        self.times
    }

    pub(super) fn key(&self) -> (u32, u8) {
        (self.series, self.kind as u8)
    }
}

impl Run {
    /// All chunks, by (series, kind, time).
    pub(in crate::tsdb) fn chunks(&self) -> &[RunChunk] {
        &self.chunks
    }

    /// Where in [`Self::chunks`] the chunks of each series lie, by (kind, time); `selected` rises.
    pub(in crate::tsdb) fn spans_of<'a>(&'a self, selected: &'a [u32]) -> impl Iterator<Item = (u32, u32)> + 'a {
        let mut at = 0;
        selected.iter().map(move |series| {
            at += gallop(&self.chunks[at..], |c| c.series < *series);
            let len = self.chunks[at..].iter().take_while(|c| c.series == *series).count();
            let span = (at as u32, (at + len) as u32);
            at += len;
            span
        })
    }

    pub(in crate::tsdb) fn overlaps(&self, chunk: &RunChunk, min_ms: i64, max_ms: i64) -> bool {
        let times = &self.times[chunk.times as usize];
        times.min_ms <= max_ms && times.max_ms >= min_ms
    }

    /// Whether all samples of a chunk are in the time range.
    pub(in crate::tsdb) fn is_within(&self, chunk: &RunChunk, min_ms: i64, max_ms: i64) -> bool {
        let times = &self.times[chunk.times as usize];
        min_ms <= times.min_ms && times.max_ms <= max_ms
    }

    /// Samples of a chunk.
    pub(in crate::tsdb) fn count(&self, chunk: &RunChunk) -> u64 {
        u64::from(self.times[chunk.times as usize].count)
    }

    /// Appends the times of a chunk.
    pub(in crate::tsdb) fn times_into(&self, chunk: &RunChunk, out: &mut Vec<i64>) -> Result<(), Error> {
        let times = &self.times[chunk.times as usize];
        ints::decode(&self.bytes[times.start..times.start + times.len as usize], times.count as usize, out)
    }

    /// Appends the bit patterns of a float chunk.
    pub(in crate::tsdb) fn floats_into(
        &self,
        chunk: &RunChunk,
        scratch: &mut Scratch,
        out: &mut Vec<u64>,
    ) -> Result<(), Error> {
        floats::decode(self.values(chunk), self.times[chunk.times as usize].count as usize, scratch, out)
    }

    /// Appends the payloads of a chunk of another kind.
    pub(in crate::tsdb) fn blobs_into(&self, chunk: &RunChunk, out: &mut Vec<Vec<u8>>) -> Result<(), Error> {
        blobs::decode(self.values(chunk), self.times[chunk.times as usize].count as usize, out)
    }

    /// The coded values of a chunk.
    pub(in crate::tsdb) fn values(&self, chunk: &RunChunk) -> &[u8] {
        &self.bytes[chunk.start..chunk.start + chunk.len as usize]
    }

    pub(super) fn samples_count(&self) -> usize {
        self.samples_count
    }

    /// Duplicates that were left out, by series.
    pub(super) fn dropped(&self) -> &[(u32, u64)] {
        &self.dropped
    }

    pub(super) fn bytes(&self) -> usize {
        self.dropped.len() * size_of::<(u32, u64)>()
            + self.bytes.len()
            + self.chunks.len() * size_of::<RunChunk>()
            + self.times.len() * size_of::<Times>()
    }
}

/// How many of the first are before the point that `is_before` tells: found soon if there are few.
fn gallop<T>(sorted: &[T], is_before: impl Fn(&T) -> bool) -> usize {
    let mut reach = 1;
    while reach < sorted.len() && is_before(&sorted[reach]) {
        reach *= 2;
    }
    let known = reach / 2;
    known + sorted[known..sorted.len().min(reach + 1)].partition_point(is_before)
}

/// Builds a [`Run`] from columns in the order of (series, kind).
#[derive(Debug)]
pub(super) struct RunBuilder {
    run: Run,
    table: TimesTable,
    scratch: Scratch,
    dropped: BTreeMap<u32, u64>,
}

impl RunBuilder {
    pub(super) fn new() -> Self {
        Self { run: Run::default(), table: TimesTable::new(), scratch: Scratch::quick(), dropped: BTreeMap::new() }
    }

    /// Counts duplicates of a series that are left out.
    pub(super) fn dropped(&mut self, series: u32, count: u64) {
        if count > 0 {
            *self.dropped.entry(series).or_default() += count;
        }
    }

    /// Adds all float samples of a series; times rise strictly.
    pub(super) fn floats(&mut self, series: u32, times_ms: &[i64], bits: &[u64]) {
        for (times_ms, bits) in times_ms.chunks(CHUNK_SAMPLES_MAX).zip(bits.chunks(CHUNK_SAMPLES_MAX)) {
            let times = self.times(times_ms);
            let start = self.run.bytes.len();
            floats::encode(bits, &mut self.scratch, &mut self.run.bytes);
            self.chunk(series, SampleKind::Float, times, start, bits.len());
        }
    }

    /// Adds all records of another kind of a series.
    pub(super) fn blobs(&mut self, series: u32, kind: SampleKind, times_ms: &[i64], payloads: &[Vec<u8>]) {
        for (times_ms, payloads) in times_ms.chunks(CHUNK_SAMPLES_MAX).zip(payloads.chunks(CHUNK_SAMPLES_MAX)) {
            let times = self.times(times_ms);
            let start = self.run.bytes.len();
            blobs::encode(payloads.iter().map(Vec::as_slice), &mut self.run.bytes);
            self.chunk(series, kind, times, start, payloads.len());
        }
    }

    fn chunk(&mut self, series: u32, kind: SampleKind, times: u32, start: usize, count: usize) {
        let len = (self.run.bytes.len() - start) as u32;
        self.run.chunks.push(RunChunk { series, kind, times, start, len });
        self.run.samples_count += count;
    }

    fn times(&mut self, times_ms: &[i64]) -> u32 {
        let (id, is_new) = self.table.intern(times_ms);
        if is_new {
            let start = self.run.bytes.len();
            ints::encode(times_ms, &mut self.scratch, &mut self.run.bytes);
            self.run.times.push(Times {
                start,
                len: (self.run.bytes.len() - start) as u32,
                count: times_ms.len() as u32,
                min_ms: times_ms.iter().copied().min().unwrap_or(i64::MAX),
                max_ms: times_ms.iter().copied().max().unwrap_or(i64::MIN),
            });
        }
        id
    }

    pub(super) fn finish(mut self) -> Run {
        self.run.dropped = self.dropped.into_iter().collect();
        self.run.bytes.shrink_to_fit();
        self.run.chunks.shrink_to_fit();
        self.run
    }
}
