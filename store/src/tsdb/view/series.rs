//! Selected series, decoded on demand.
use std::sync::Arc;

use smallvec::SmallVec;

use super::from_block::BlockSource;
use super::from_head::HeadSource;
use super::reader::FloatReader;
use crate::memory::Charge;
use crate::model::Labels;
use crate::part::SampleKind;
use crate::tsdb::Result;
use crate::tsdb::block::ChunkRef;
use crate::tsdb::chunk::Scratch;
use crate::tsdb::merge::{settle, settle_blobs, settle_floats};

/// What the series of one selection share.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) heads: Vec<HeadSource>,
    pub(super) blocks: Vec<BlockSource>,
    pub(super) min_ms: i64,
    pub(super) max_ms: i64,
    /// For the selection: given back with its last series.
    pub(super) held: Charge,
}

/// Bytes that a selection keeps for a part of a series, besides its labels where those are read from a block.
pub(super) const PART_BYTES: u64 = (size_of::<(Labels, Part)>() + 16) as u64;

/// Where a series has records; `source` is a position in [`Sources`].
#[derive(Debug)]
pub(super) enum Part {
    Block {
        source: usize,
        series: u32,
        chunks: SmallVec<[ChunkRef; 1]>,
    },
    /// `at` is the series' position among those selected.
    Head {
        source: usize,
        at: u32,
    },
}

/// Selected series, in the order of [`crate::index::compare_labels`].
#[derive(Debug)]
pub struct SeriesSet {
    found: std::iter::Peekable<std::vec::IntoIter<(Labels, Part)>>,
    left: usize,
    sources: Arc<Sources>,
}

impl SeriesSet {
    /// `found` is sorted by labels, and within by log order.
    pub(super) fn new(found: Vec<(Labels, Part)>, sources: Arc<Sources>) -> Self {
        let left = found.chunk_by(|a, b| a.0 == b.0).count();
        Self { found: found.into_iter().peekable(), left, sources }
    }
}

impl Iterator for SeriesSet {
    type Item = Series;

    fn next(&mut self) -> Option<Series> {
        let (labels, part) = self.found.next()?;
        let mut parts = SmallVec::from_iter([part]);
        while let Some((_, part)) = self.found.next_if(|(other, _)| *other == labels) {
            parts.push(part);
        }
        self.left -= 1;
        Some(Series { labels, parts, sources: self.sources.clone() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for SeriesSet {}

/// One selected series; its samples are decoded on demand, each time anew.
#[derive(Debug)]
pub struct Series {
    pub labels: Labels,
    parts: SmallVec<[Part; 1]>,
    sources: Arc<Sources>,
}

impl Series {
    /// Most samples that [`Self::samples_into`] decodes: those of all chunks that overlap the range.
    pub fn samples_max(&self) -> Result<u64> {
        let Sources { min_ms, max_ms, .. } = *self.sources;
        let count = |part: &Part| match part {
            Part::Block { source, chunks, .. } => self.sources.blocks[*source].floats_count(chunks),
            Part::Head { source, at } => Ok(self.sources.heads[*source].floats_count(*at, (min_ms, max_ms))),
        };
        self.parts.iter().map(count).sum()
    }

    /// Replaces the columns' contents by the float samples in the selected range: times strictly rising, values bit for
    /// bit as they came, stale markers included.
    pub fn samples_into(&self, times_ms: &mut Vec<i64>, values: &mut Vec<f64>) -> Result<()> {
        self.read(&mut FloatReader::new(self.sources.held.account()), times_ms, values)
    }

    /// As [`Self::samples_into`], faster for many series: `reader` must have been used for this selection only.
    pub fn read(&self, reader: &mut FloatReader, times_ms: &mut Vec<i64>, values: &mut Vec<f64>) -> Result<()> {
        times_ms.clear();
        values.clear();
        let Sources { min_ms, max_ms, .. } = *self.sources;
        let range = (min_ms, max_ms);
        for part in &self.parts {
            match part {
                Part::Block { source, series, chunks } => {
                    let block = &self.sources.blocks[*source];
                    block.read_floats((*source, *series), chunks, range, reader, times_ms, values)?;
                }
                Part::Head { source, at } => {
                    self.sources.heads[*source].read_floats((*source, *at), range, reader, times_ms, values)?;
                }
            }
        }
        if !times_ms.is_sorted_by(|a, b| a < b) {
            settle_floats(times_ms, values);
            trim(times_ms, values, min_ms, max_ms);
        }
        Ok(())
    }

    /// As [`Self::samples_into`], with the values' bit patterns. How many duplicates were left out of what was decoded.
    pub fn bits_into(&self, times_ms: &mut Vec<i64>, bits: &mut Vec<u64>) -> Result<u64> {
        times_ms.clear();
        bits.clear();
        let mut scratch = Scratch::default();
        let Sources { min_ms, max_ms, .. } = *self.sources;
        for part in &self.parts {
            match part {
                Part::Block { source, series, chunks } => {
                    self.sources.blocks[*source].floats_into(*series, chunks, &mut scratch, times_ms, bits)?;
                }
                Part::Head { source, at } => {
                    self.sources.heads[*source].floats_into(*at, (min_ms, max_ms), &mut scratch, times_ms, bits)?;
                }
            }
        }
        let dropped = settle(times_ms, bits);
        trim(times_ms, bits, min_ms, max_ms);
        Ok(dropped)
    }

    /// Replaces the contents of `out` by (time in ms, payload) of the records of `kind`, which is not float, by time.
    /// How many duplicates were left out of what was decoded.
    pub fn blobs_into(&self, kind: SampleKind, out: &mut Vec<(i64, Vec<u8>)>) -> Result<u64> {
        let (mut times_ms, mut payloads) = (Vec::new(), Vec::new());
        let Sources { min_ms, max_ms, .. } = *self.sources;
        for part in &self.parts {
            match part {
                Part::Block { source, series, chunks } => {
                    let source = &self.sources.blocks[*source];
                    source.blobs_into(*series, chunks, kind, &mut times_ms, &mut payloads)?;
                }
                Part::Head { source, at } => {
                    let source = &self.sources.heads[*source];
                    source.blobs_into(*at, kind, (min_ms, max_ms), &mut times_ms, &mut payloads)?;
                }
            }
        }
        let dropped = settle_blobs(kind, &mut times_ms, &mut payloads);
        trim(&mut times_ms, &mut payloads, min_ms, max_ms);
        out.clear();
        out.extend(times_ms.into_iter().zip(payloads));
        Ok(dropped)
    }

    /// Compressed pieces that the series' records in the range are in; the tail of a head counts as one.
    pub fn chunks_count(&self) -> u64 {
        let of = |part: &Part| match part {
            Part::Block { chunks, .. } => chunks.len() as u64,
            Part::Head { source, at } => self.sources.heads[*source].chunks_count(*at),
        };
        self.parts.iter().map(of).sum()
    }

    /// Whether there may be records of `kind` in the selected range: there are in a chunk that overlaps it.
    pub fn has(&self, kind: SampleKind) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Block { chunks, .. } => chunks.iter().any(|chunk| chunk.kind == kind),
            Part::Head { source, at } => {
                let Sources { min_ms, max_ms, .. } = *self.sources;
                self.sources.heads[*source].has(*at, (min_ms, max_ms), &[kind])
            }
        })
    }
}

/// Cuts sorted columns to the range: chunks are decoded whole.
fn trim<T>(times_ms: &mut Vec<i64>, values: &mut Vec<T>, min_ms: i64, max_ms: i64) {
    let to = times_ms.partition_point(|t| *t <= max_ms);
    times_ms.truncate(to);
    values.truncate(to);
    let from = times_ms.partition_point(|t| *t < min_ms);
    times_ms.drain(..from);
    values.drain(..from);
}
