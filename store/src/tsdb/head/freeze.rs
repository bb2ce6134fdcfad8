//! Work of the pool for a head: compress the tail, merge runs, index definitions.
use std::sync::Arc;

use super::batch::Batch;
use super::defs::DefSegment;
use super::run::{Run, RunBuilder, RunChunk};
use crate::codec;
use crate::part::SampleKind;
use crate::tsdb::chunk::Scratch;
use crate::tsdb::merge::{settle, settle_blobs};
use crate::tsdb::{Error, Result};

/// Work for the pool: holds what it needs, so the head goes on meanwhile.
#[derive(Debug)]
pub struct FreezeJob {
    /// The newest runs, to be merged with the tail; oldest first.
    pub(super) runs: Vec<Arc<Run>>,
    pub(super) batches: Vec<Arc<Batch>>,
    pub(super) defs: Vec<Arc<DefSegment>>,
}

/// What a [`FreezeJob`] made, for [`super::MetricsHead::install`].
#[derive(Debug)]
pub struct Frozen {
    /// In place of this many of the newest runs ..
    pub(super) runs_count: usize,
    /// .. and of the batches the job took.
    pub(super) run: Option<Run>,
    pub(super) segment: Option<DefSegment>,
}

impl FreezeJob {
    /// Does the work: milliseconds to a second, without locks. Fails only when a run does not decode.
    pub fn run(self) -> Result<Frozen> {
        let run =
            if self.batches.is_empty() { None } else { Some(self.merge().map_err(|source| Error::Head { source })?) };
        let segment = (!self.defs.is_empty()).then(|| DefSegment::merge(&self.defs));
        Ok(Frozen { runs_count: self.runs.len(), run, segment })
    }

    fn merge(&self) -> Result<Run, codec::Error> {
        let mut inputs: Vec<&[RunChunk]> = self.runs.iter().map(|run| run.chunks()).collect();
        let mut tail = SortedTail::of(&self.batches);
        let mut out = RunBuilder::new();
        for (series, count) in self.runs.iter().flat_map(|run| run.dropped()) {
            out.dropped(*series, *count);
        }
        let (mut times, mut bits, mut payloads) = (Vec::new(), Vec::new(), Vec::new());
        let mut scratch = Scratch::default();
        loop {
            let next = inputs.iter().filter_map(|chunks| chunks.first().map(RunChunk::key)).chain(tail.key()).min();
            let Some(key) = next else { return Ok(out.finish()) };
            times.clear();
            bits.clear();
            payloads.clear();
            let mut kind = SampleKind::Float;
            for (run, chunks) in self.runs.iter().zip(&mut inputs) {
                while let Some((chunk, rest)) = chunks.split_first().filter(|(chunk, _)| chunk.key() == key) {
                    kind = chunk.kind;
                    run.times_into(chunk, &mut times)?;
                    match kind {
                        SampleKind::Float => run.floats_into(chunk, &mut scratch, &mut bits)?,
                        _ => run.blobs_into(chunk, &mut payloads)?,
                    }
                    *chunks = rest;
                }
            }
            if tail.key() == Some(key) {
                kind = tail.take(&mut times, &mut bits, &mut payloads);
            }
            match kind {
                SampleKind::Float => {
                    out.dropped(key.0, settle(&mut times, &mut bits));
                    out.floats(key.0, &times, &bits);
                }
                _ => {
                    out.dropped(key.0, settle_blobs(kind, &mut times, &mut payloads));
                    out.blobs(key.0, kind, &times, &payloads);
                }
            }
        }
    }
}

/// Sorts rows by series, keeping their order within: by counting, unless the references are far apart.
fn by_series(mut rows: Vec<(u32, u32, u32)>) -> Vec<(u32, u32, u32)> {
    let (first, last) = rows.iter().fold((u32::MAX, 0), |(min, max), row| (min.min(row.0), max.max(row.0)));
    let span = last.saturating_sub(first) as usize + 1;
    if span > rows.len() * 4 {
        rows.sort_by_key(|row| row.0);
        return rows;
    }
    let mut next = vec![0u32; span + 1];
    rows.iter().for_each(|row| next[(row.0 - first) as usize + 1] += 1);
    for at in 1..next.len() {
        next[at] += next[at - 1];
    }
    let mut sorted = vec![(0, 0, 0); rows.len()];
    for row in rows {
        let slot = &mut next[(row.0 - first) as usize];
        sorted[*slot as usize] = row;
        *slot += 1;
    }
    sorted
}

/// The samples of batches by (series, kind), in log order within.
struct SortedTail<'a> {
    batches: &'a [Arc<Batch>],
    /// (series, batch, row) of floats.
    floats: std::iter::Peekable<std::vec::IntoIter<(u32, u32, u32)>>,
    /// (series, kind, batch, row) of the others.
    blobs: std::iter::Peekable<std::vec::IntoIter<(u32, u8, u32, u32)>>,
}

impl<'a> SortedTail<'a> {
    fn of(batches: &'a [Arc<Batch>]) -> Self {
        let mut floats: Vec<(u32, u32, u32)> = Vec::with_capacity(batches.iter().map(|b| b.series.len()).sum());
        let mut blobs = Vec::new();
        for (at, batch) in (0..).zip(batches) {
            floats.extend(batch.series.iter().zip(0..).map(|(series, row)| (*series, at, row)));
            blobs.extend(batch.blobs.iter().zip(0..).map(|(blob, row)| (blob.series, blob.kind as u8, at, row)));
        }
        let floats = by_series(floats);
        blobs.sort_unstable();
        Self { batches, floats: floats.into_iter().peekable(), blobs: blobs.into_iter().peekable() }
    }

    /// (series, kind) of what comes next.
    fn key(&mut self) -> Option<(u32, u8)> {
        let float = self.floats.peek().map(|f| (f.0, SampleKind::Float as u8));
        let blob = self.blobs.peek().map(|b| (b.0, b.1));
        float.into_iter().chain(blob).min()
    }

    /// Appends all samples of the next key and tells their kind.
    fn take(&mut self, times: &mut Vec<i64>, bits: &mut Vec<u64>, payloads: &mut Vec<Vec<u8>>) -> SampleKind {
        let key = self.key();
        let mut kind = SampleKind::Float;
        while let Some((_, batch, row)) = self.floats.next_if(|f| Some((f.0, SampleKind::Float as u8)) == key) {
            let batch = &self.batches[batch as usize];
            times.push(batch.times_ms[row as usize]);
            bits.push(batch.bits[row as usize]);
        }
        while let Some((_, _, batch, row)) = self.blobs.next_if(|b| Some((b.0, b.1)) == key) {
            let batch = &self.batches[batch as usize];
            let record = &batch.blobs[row as usize];
            kind = record.kind;
            times.push(record.time_ms);
            payloads.push(batch.payload(record).to_vec());
        }
        kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_by_series_in_log_order() {
        let cases: [Vec<u32>; 4] = [vec![], vec![5], vec![3, 1, 3, 2, 1, 1, 3], vec![u32::MAX, 0, u32::MAX, 7]];
        for series in cases {
            let rows: Vec<(u32, u32, u32)> = series.iter().zip(0..).map(|(s, row)| (*s, row / 3, row % 3)).collect();
            let mut expected = rows.clone();
            expected.sort_unstable();
            assert_eq!(by_series(rows), expected);
        }
    }
}
