//! A selection's samples in one block.
use std::sync::{Arc, Mutex, PoisonError};

use roaring::RoaringBitmap;
use smallvec::SmallVec;

use super::reader::FloatReader;
use super::series::{PART_BYTES, Part};
use crate::codec;
use crate::index::{Matcher, select};
use crate::limits::Limits;
use crate::memory::Charge;
use crate::model::Labels;
use crate::part::SampleKind;
use crate::tsdb::block::{ChunkRef, Place, TenantIndex};
use crate::tsdb::chunk::{Scratch, blobs, floats, ints};
use crate::tsdb::{Block, Error, Result};

/// Pages that a selection keeps a block: neighbours in label order share them.
const PAGES_KEPT: usize = 16;

/// One tenant's section of a block, and the pages that were read from it last.
#[derive(Debug)]
pub(in crate::tsdb) struct BlockSource {
    pub(in crate::tsdb) index: TenantIndex,
    /// Series of which samples were deleted, with the time range.
    deleted: Vec<(RoaringBitmap, i64, i64)>,
    /// The last used at the end.
    pages: Mutex<Vec<Page>>,
}

/// A page in memory.
#[derive(Debug)]
struct Page {
    of_times: bool,
    number: u32,
    bytes: Arc<[u8]>,
}

impl BlockSource {
    /// `None` when the block has nothing of the tenant.
    pub(in crate::tsdb) fn select(block: &Arc<Block>, tenant: &str, limits: &Limits) -> Result<Option<Self>> {
        let Some(index) = block.tenant(tenant)? else { return Ok(None) };
        let deleted = block.deleted(tenant, limits).map(|d| Ok((select(&index, &d.matchers)?, d.min_ms, d.max_ms)));
        let deleted = deleted.collect::<Result<_>>()?;
        Ok(Some(Self { index, deleted, pages: Mutex::default() }))
    }

    /// Time ranges that were deleted of a series.
    pub(in crate::tsdb) fn deleted_of(&self, series: u32) -> impl Iterator<Item = (i64, i64)> + Clone {
        self.deleted
            .iter()
            .filter(move |(ids, _, _)| ids.contains(series))
            .map(|(_, min_ms, max_ms)| (*min_ms, *max_ms))
    }

    /// Appends the series that match and have records of one of `kinds` in chunks overlapping the range.
    pub(super) fn list(
        &self,
        matchers: &[Matcher],
        (min_ms, max_ms): (i64, i64),
        kinds: &[SampleKind],
        source: usize,
        found: &mut Vec<(Labels, Part)>,
        held: &mut Charge,
    ) -> Result<()> {
        let ids = select(&self.index, matchers)?;
        let mut buffer = Vec::new();
        self.index.series(&ids, &mut |series| {
            let mut overlapping: SmallVec<[ChunkRef; 1]> = SmallVec::new();
            for chunk in series.chunks() {
                let times = self.index.times(chunk.times)?;
                let is_deleted = self.deleted_of(series.id).any(|d| d.0 <= times.min_ms && d.1 >= times.max_ms);
                if times.min_ms <= max_ms && times.max_ms >= min_ms && !is_deleted {
                    overlapping.push(*chunk);
                }
            }
            if overlapping.iter().any(|chunk| kinds.contains(&chunk.kind)) {
                let labels = series.labels(&mut buffer)?;
                let spilled = if overlapping.spilled() { overlapping.len() * size_of::<ChunkRef>() } else { 0 };
                held.add(PART_BYTES + (labels.as_bytes().len() + spilled) as u64)?;
                found.push((labels, Part::Block { source, series: series.id, chunks: overlapping }));
            }
            Ok(())
        })
    }

    /// Float samples of the chunks.
    pub(super) fn floats_count(&self, chunks: &[ChunkRef]) -> Result<u64> {
        let floats = chunks.iter().filter(|chunk| chunk.kind == SampleKind::Float);
        floats.map(|chunk| Ok(u64::from(self.index.times(chunk.times)?.count))).sum()
    }

    /// Appends the float samples of a series' chunks, whole but for what was deleted.
    pub(in crate::tsdb) fn floats_into(
        &self,
        series: u32,
        chunks: &[ChunkRef],
        scratch: &mut Scratch,
        times_ms: &mut Vec<i64>,
        bits: &mut Vec<u64>,
    ) -> Result<()> {
        let from = times_ms.len();
        for chunk in chunks.iter().filter(|chunk| chunk.kind == SampleKind::Float) {
            let count = self.times_into(chunk, times_ms)?;
            self.with_bytes(false, chunk.place, |bytes| floats::decode(bytes, count, scratch, bits))?;
        }
        forget(times_ms, bits, from, self.deleted_of(series));
        Ok(())
    }

    /// Appends the records of `kind` of a series' chunks, whole but for what was deleted.
    pub(in crate::tsdb) fn blobs_into(
        &self,
        series: u32,
        chunks: &[ChunkRef],
        kind: SampleKind,
        times_ms: &mut Vec<i64>,
        payloads: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        let from = times_ms.len();
        for chunk in chunks.iter().filter(|chunk| chunk.kind == kind && kind != SampleKind::Float) {
            let count = self.times_into(chunk, times_ms)?;
            self.with_bytes(false, chunk.place, |bytes| blobs::decode(bytes, count, payloads))?;
        }
        forget(times_ms, payloads, from, self.deleted_of(series));
        Ok(())
    }

    /// Appends what the chunks have in the range but for what was deleted, in the order of the chunks.
    pub(super) fn read_floats(
        &self,
        (source, series): (usize, u32),
        chunks: &[ChunkRef],
        range: (i64, i64),
        reader: &mut FloatReader,
        times_ms: &mut Vec<i64>,
        values: &mut Vec<f64>,
    ) -> Result<()> {
        let from = times_ms.len();
        for chunk in chunks.iter().filter(|chunk| chunk.kind == SampleKind::Float) {
            let times = self.index.times(chunk.times)?;
            let count = times.count as usize;
            let key = (source as u32, 0, chunk.times);
            let positions = reader.times_into(key, range, times_ms, |out| {
                self.with_bytes(true, times.place, |bytes| ints::decode_between(bytes, count, range, out))
            })?;
            if positions.is_empty() {
                continue;
            }
            let page = match &reader.page {
                Some((of, number, page)) if (*of, *number) == (source, chunk.place.page) => page.clone(),
                _ => {
                    let page = self.page(false, chunk.place.page)?;
                    reader.page = Some((source, chunk.place.page, page.clone()));
                    page
                }
            };
            self.decode_in(&page, false, chunk.place, |bytes| reader.values_into(bytes, count, positions, values))?;
        }
        forget(times_ms, values, from, self.deleted_of(series));
        Ok(())
    }

    fn times_into(&self, chunk: &ChunkRef, times_ms: &mut Vec<i64>) -> Result<usize> {
        let times = self.index.times(chunk.times)?;
        let count = times.count as usize;
        self.with_bytes(true, times.place, |bytes| ints::decode(bytes, count, times_ms))?;
        Ok(count)
    }

    /// Appends the bytes of a chunk's values as they are stored.
    pub(in crate::tsdb) fn stored_into(&self, chunk: &ChunkRef, out: &mut Vec<u8>) -> Result<()> {
        self.with_bytes(false, chunk.place, |bytes| {
            out.extend_from_slice(bytes);
            Ok(())
        })
    }

    fn with_bytes<T>(
        &self,
        of_times: bool,
        place: Place,
        decode: impl FnOnce(&[u8]) -> Result<T, codec::Error>,
    ) -> Result<T> {
        self.decode_in(&self.page(of_times, place.page)?, of_times, place, decode)
    }

    fn decode_in<T>(
        &self,
        page: &[u8],
        of_times: bool,
        place: Place,
        decode: impl FnOnce(&[u8]) -> Result<T, codec::Error>,
    ) -> Result<T> {
        let section = if of_times { "time page" } else { "value page" };
        let from = place.start as usize;
        let bytes = from.checked_add(place.len as usize).and_then(|to| page.get(from..to));
        let decoded = match bytes {
            Some(bytes) => decode(bytes),
            None => Err(codec::Error::Truncated { what: "column", at: from }),
        };
        decoded.map_err(|source| self.error(section, source))
    }

    fn error(&self, section: &'static str, source: codec::Error) -> Error {
        self.index.decode_error(section, source)
    }

    fn page(&self, of_times: bool, number: u32) -> Result<Arc<[u8]>> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = match pages.iter().position(|kept| (kept.of_times, kept.number) == (of_times, number)) {
            Some(at) => pages.remove(at).bytes,
            None => {
                if pages.len() >= PAGES_KEPT {
                    pages.remove(0);
                }
                Arc::from(self.index.page(of_times, number)?)
            }
        };
        pages.push(Page { of_times, number, bytes: bytes.clone() });
        Ok(bytes)
    }
}

/// Takes the samples from `from` on out that lie in one of the time ranges.
pub(in crate::tsdb) fn forget<T>(
    times_ms: &mut Vec<i64>,
    values: &mut Vec<T>,
    from: usize,
    deleted: impl Iterator<Item = (i64, i64)> + Clone,
) {
    if deleted.clone().next().is_none() {
        return;
    }
    let mut kept = from;
    for at in from..times_ms.len() {
        let time_ms = times_ms[at];
        if !deleted.clone().any(|(min_ms, max_ms)| min_ms <= time_ms && time_ms <= max_ms) {
            times_ms.swap(kept, at);
            values.swap(kept, at);
            kept += 1;
        }
    }
    times_ms.truncate(kept);
    values.truncate(kept);
}
