//! Merging blocks into one: series by series, without what has expired or was deleted.
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::io::{self, Write};
use std::sync::Arc;

use super::format::TenantEntry;
use super::output::Output;
use super::retain::copy_section;
use super::seal::{Encoded, RECORD_KINDS, SectionWriter, SymbolIds};
use super::tables::ChunkRef;
use super::tenant::{OwnedSeries, SeriesCursor};
use super::{Block, BlockSummary};
use crate::index::compare_labels;
use crate::limits::Limits;
use crate::model::Labels;
use crate::part::SampleKind;
use crate::shard::CompactedFacts;
use crate::tsdb::chunk::{CHUNK_SAMPLES_MAX, Scratch};
use crate::tsdb::merge::{settle, settle_blobs};
use crate::tsdb::view::{BlockSource, forget};
use crate::tsdb::{FamilyMetadata, Result};

/// Chunks with fewer samples are put together and encoded anew.
const COPIED_SAMPLES_MIN: u32 = CHUNK_SAMPLES_MAX as u32 / 2;

/// Told of bytes that were read; an error ends the work.
type Progress<'a> = dyn FnMut(u64) -> io::Result<()> + 'a;

/// Writes the samples of `blocks`, which come in log order, into one block, without duplicates and without what `limits`
/// hide. What became of each tenant's samples; a tenant that is left without any has no section.
///
/// Holds the index of one tenant's section in memory, and the samples of one series at a time. Full chunks that nothing
/// overlaps are copied as they are; a section that nothing concerns is copied whole.
pub fn compact(
    blocks: &[Arc<Block>],
    limits: &Limits,
    progress: &mut Progress<'_>,
    out: &mut impl Write,
) -> io::Result<(BlockSummary, Vec<CompactedFacts>)> {
    let mut out = Output::begin(out)?;
    let tenants: BTreeSet<&Arc<str>> = blocks.iter().flat_map(|block| block.tenants()).collect();
    let (mut sections, mut counts) = (Vec::new(), Vec::new());
    for tenant in tenants {
        let mut facts = CompactedFacts::of(tenant);
        sections.extend(section(blocks, limits, progress, &mut out, &mut facts)?);
        counts.push(facts);
    }
    Ok((out.end(&sections)?, counts))
}

fn section(
    blocks: &[Arc<Block>],
    limits: &Limits,
    progress: &mut Progress<'_>,
    out: &mut Output<'_, impl Write>,
    facts: &mut CompactedFacts,
) -> io::Result<Option<TenantEntry>> {
    let tenant = facts.tenant.clone();
    let cutoff_ms = limits.cutoffs.of(&tenant);
    let mut kept: Vec<(&Arc<Block>, &TenantEntry)> = Vec::new();
    for block in blocks {
        if block.lost {
            return Err(io::Error::other(format!("metrics block {} is in quarantine", block.name)));
        }
        let Some((_, entry)) = block.tenants.iter().find(|(name, _)| *name == tenant) else { continue };
        if entry.facts > 0 && entry.max_ms < cutoff_ms {
            facts.expired += entry.facts;
        } else {
            kept.push((block, entry));
        }
    }
    match kept[..] {
        [] => Ok(None),
        [(block, entry)] if entry.min_ms >= cutoff_ms && block.deleted(&tenant, limits).next().is_none() => {
            facts.facts = entry.facts;
            copy_section(block, entry, progress, out).map(Some)
        }
        _ => {
            let sources =
                kept.into_iter().filter_map(|(block, _)| BlockSource::select(block, &tenant, limits).transpose());
            let sources = sources.collect::<Result<Vec<_>>>().map_err(io::Error::other)?;
            Merge { sources: &sources, cutoff_ms, facts, progress }.run(&tenant, SectionWriter::new(out))
        }
    }
}

/// The series that a source is at; by labels, then by log order.
struct At {
    source: usize,
    series: OwnedSeries,
}

impl At {
    fn labels(&self) -> &Labels {
        &self.series.labels
    }
}

impl Ord for At {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_labels(self.labels().as_bytes(), other.labels().as_bytes()).then(self.source.cmp(&other.source))
    }
}

impl PartialOrd for At {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for At {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for At {}

struct Merge<'a, 'p> {
    /// In log order.
    sources: &'a [BlockSource],
    cutoff_ms: i64,
    facts: &'a mut CompactedFacts,
    progress: &'a mut Progress<'p>,
}

/// Times in ms and payloads.
type Records = Vec<(i64, Vec<u8>)>;

/// Buffers of one series.
#[derive(Default)]
struct Buffers {
    scratch: Scratch,
    times_ms: Vec<i64>,
    bits: Vec<u64>,
    payloads: Vec<Vec<u8>>,
    encoded: Vec<Encoded>,
}

impl Merge<'_, '_> {
    fn run<W: Write>(mut self, tenant: &str, mut out: SectionWriter<'_, '_, W>) -> io::Result<Option<TenantEntry>> {
        let symbols: BTreeSet<&str> = self.sources.iter().flat_map(|s| s.index.symbols().iter()).collect();
        let ids: SymbolIds<'_> = symbols.iter().copied().zip(0..).collect();
        let mut cursors: Vec<SeriesCursor> = self.sources.iter().map(|_| SeriesCursor::default()).collect();
        let mut next = |source: usize| -> io::Result<Option<Reverse<At>>> {
            let series = cursors[source].next(&self.sources[source].index).map_err(io::Error::other)?;
            Ok(series.map(|series| Reverse(At { source, series })))
        };
        let mut heap = BinaryHeap::new();
        for source in 0..self.sources.len() {
            heap.extend(next(source)?);
        }
        let (mut parts, mut buffers, mut had_series): (Vec<At>, Buffers, bool) =
            (Vec::new(), Buffers::default(), false);
        while let Some(Reverse(first)) = heap.pop() {
            heap.extend(next(first.source)?);
            parts.clear();
            parts.push(first);
            while heap.peek().is_some_and(|Reverse(at)| at.labels() == parts[0].labels()) {
                let Some(Reverse(same)) = heap.pop() else { break };
                heap.extend(next(same.source)?);
                parts.push(same);
            }
            let mut chunks = Vec::new();
            self.series(&parts, &mut buffers, &mut out, &mut chunks)?;
            had_series = true;
            if !chunks.is_empty() {
                out.push(tenant, parts[0].labels(), &ids, &chunks)?;
            }
            let read: u64 = parts.iter().flat_map(|p| &p.series.chunks).map(|c| u64::from(c.place.len)).sum();
            (self.progress)(read)?;
        }
        self.facts.facts = out.facts();
        if had_series && out.facts() == 0 {
            return Ok(None);
        }
        let symbols: Vec<&str> = symbols.into_iter().collect();
        out.finish(tenant, &symbols, &self.families()?).map(Some)
    }

    /// Writes what is left of a series; no chunks when that is nothing.
    fn series<W: Write>(
        &mut self,
        parts: &[At],
        buffers: &mut Buffers,
        out: &mut SectionWriter<'_, '_, W>,
        chunks: &mut Vec<ChunkRef>,
    ) -> io::Result<()> {
        self.read_floats(parts, buffers).map_err(io::Error::other)?;
        let mut records: Vec<(SampleKind, Records)> = Vec::new();
        let has = |kind| parts.iter().any(|part| part.series.chunks.iter().any(|chunk| chunk.kind == kind));
        // Records have times of their own: the floats wait in their buffers.
        let mut times_ms = Vec::new();
        for kind in RECORD_KINDS.into_iter().filter(|kind| has(*kind)) {
            let read = self.read_records(parts, kind, &mut times_ms, &mut buffers.payloads);
            read.map_err(io::Error::other)?;
            if !times_ms.is_empty() {
                records.push((kind, times_ms.drain(..).zip(buffers.payloads.drain(..)).collect()));
            }
        }
        if buffers.times_ms.is_empty() && records.is_empty() {
            return Ok(());
        }
        out.begin(parts[0].labels());
        out.floats(&buffers.times_ms, &buffers.bits, &buffers.encoded, chunks)?;
        records.iter().try_for_each(|(kind, records)| out.records(*kind, records, chunks))
    }

    /// Fills the buffers with a series' floats, settled, and with the chunks among them that can stay as they are.
    fn read_floats(&mut self, parts: &[At], buffers: &mut Buffers) -> Result<()> {
        let Buffers { scratch, times_ms, bits, encoded, .. } = buffers;
        times_ms.clear();
        bits.clear();
        encoded.clear();
        let mut whole = Vec::new();
        for part in parts {
            let source = &self.sources[part.source];
            for chunk in part.series.chunks.iter().filter(|chunk| chunk.kind == SampleKind::Float) {
                let from = times_ms.len();
                source.floats_into(part.series.id, std::slice::from_ref(chunk), scratch, times_ms, bits)?;
                let (read, count) = ((times_ms.len() - from) as u64, source.index.times(chunk.times)?.count);
                self.facts.deleted += u64::from(count) - read;
                if read == u64::from(count) && count >= COPIED_SAMPLES_MIN {
                    whole.push((source, chunk, from..times_ms.len()));
                }
            }
        }
        let before = times_ms.len();
        forget(times_ms, bits, 0, self.expired());
        self.facts.expired += (before - times_ms.len()) as u64;
        if times_ms.len() < before || !times_ms.is_sorted_by(|a, b| a < b) {
            self.facts.folded += settle(times_ms, bits);
            return Ok(());
        }
        for (source, chunk, range) in whole {
            let mut bytes = Vec::with_capacity(chunk.place.len as usize);
            source.stored_into(chunk, &mut bytes)?;
            encoded.push((range, bytes));
        }
        Ok(())
    }

    /// Replaces the columns by a series' records of `kind`, settled.
    fn read_records(
        &mut self,
        parts: &[At],
        kind: SampleKind,
        times_ms: &mut Vec<i64>,
        payloads: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        times_ms.clear();
        payloads.clear();
        let mut stored = 0;
        for part in parts {
            let source = &self.sources[part.source];
            for chunk in part.series.chunks.iter().filter(|chunk| chunk.kind == kind) {
                source.blobs_into(part.series.id, std::slice::from_ref(chunk), kind, times_ms, payloads)?;
                stored += u64::from(source.index.times(chunk.times)?.count);
            }
        }
        let before = times_ms.len();
        self.facts.deleted += stored - before as u64;
        forget(times_ms, payloads, 0, self.expired());
        self.facts.expired += (before - times_ms.len()) as u64;
        self.facts.folded += settle_blobs(kind, times_ms, payloads);
        Ok(())
    }

    /// The time range that has expired, if any.
    fn expired(&self) -> impl Iterator<Item = (i64, i64)> + Clone + use<> {
        self.cutoff_ms.checked_sub(1).map(|until_ms| (i64::MIN, until_ms)).into_iter()
    }

    /// Metadata of all sources; the newest wins.
    fn families(&self) -> io::Result<Vec<(String, FamilyMetadata)>> {
        let mut all = BTreeMap::new();
        for source in self.sources {
            all.extend(source.index.metadata().map_err(io::Error::other)?);
        }
        Ok(all.into_iter().collect())
    }
}
