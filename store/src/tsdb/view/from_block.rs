//! A selection's samples in one block.
use std::sync::{Arc, Mutex, PoisonError};

use smallvec::SmallVec;

use super::series::{PART_BYTES, Part};
use crate::codec;
use crate::index::{Matcher, select};
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
pub(super) struct BlockSource {
    index: TenantIndex,
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
    pub(super) fn select(block: &Arc<Block>, tenant: &str) -> Result<Option<Self>> {
        Ok(block.tenant(tenant)?.map(|index| Self { index, pages: Mutex::default() }))
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
        self.index.series(&ids, &mut |series| {
            let mut overlapping: SmallVec<[ChunkRef; 1]> = SmallVec::new();
            for chunk in series.chunks() {
                let times = self.index.times(chunk.times)?;
                if times.min_ms <= max_ms && times.max_ms >= min_ms {
                    overlapping.push(*chunk);
                }
            }
            if overlapping.iter().any(|chunk| kinds.contains(&chunk.kind)) {
                let labels = series.labels()?;
                let spilled = if overlapping.spilled() { overlapping.len() * size_of::<ChunkRef>() } else { 0 };
                held.add(PART_BYTES + (labels.as_bytes().len() + spilled) as u64)?;
                found.push((labels, Part::Block { source, chunks: overlapping }));
            }
            Ok(())
        })
    }

    /// Float samples of the chunks.
    pub(super) fn floats_count(&self, chunks: &[ChunkRef]) -> Result<u64> {
        let floats = chunks.iter().filter(|chunk| chunk.kind == SampleKind::Float);
        floats.map(|chunk| Ok(u64::from(self.index.times(chunk.times)?.count))).sum()
    }

    /// Appends the float samples of the chunks, whole.
    pub(super) fn floats_into(
        &self,
        chunks: &[ChunkRef],
        scratch: &mut Scratch,
        times_ms: &mut Vec<i64>,
        bits: &mut Vec<u64>,
    ) -> Result<()> {
        for chunk in chunks.iter().filter(|chunk| chunk.kind == SampleKind::Float) {
            let count = self.times_into(chunk, times_ms)?;
            self.with_bytes(false, chunk.place, |bytes| floats::decode(bytes, count, scratch, bits))?;
        }
        Ok(())
    }

    /// Appends the records of `kind` of the chunks, whole.
    pub(super) fn blobs_into(
        &self,
        chunks: &[ChunkRef],
        kind: SampleKind,
        times_ms: &mut Vec<i64>,
        payloads: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        for chunk in chunks.iter().filter(|chunk| chunk.kind == kind && kind != SampleKind::Float) {
            let count = self.times_into(chunk, times_ms)?;
            self.with_bytes(false, chunk.place, |bytes| blobs::decode(bytes, count, payloads))?;
        }
        Ok(())
    }

    fn times_into(&self, chunk: &ChunkRef, times_ms: &mut Vec<i64>) -> Result<usize> {
        let times = self.index.times(chunk.times)?;
        let count = times.count as usize;
        self.with_bytes(true, times.place, |bytes| ints::decode(bytes, count, times_ms))?;
        Ok(count)
    }

    fn with_bytes(
        &self,
        of_times: bool,
        place: Place,
        decode: impl FnOnce(&[u8]) -> Result<(), codec::Error>,
    ) -> Result<()> {
        let section = if of_times { "time page" } else { "value page" };
        let page = self.page(of_times, place.page)?;
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
