//! Writing a block.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::Xxh3;

use super::format::{Directory, Extent, PAGE_BYTES, ROWS_PER_PIECE, TenantEntry};
use super::output::Output;
use super::tables::{ChunkRef, Place, SeriesRows, Symbols, TimesRef, encode_metadata, encode_postings, encode_times};
use super::{Block, BlockSummary};
use crate::codec::{put_bytes, put_ivarint};
use crate::model::Labels;
use crate::model::signal::{key_hash, slot_of_hash};
use crate::part::SampleKind;
use crate::shard::SealedFacts;
use crate::tsdb::chunk::{CHUNK_SAMPLES_MAX, Scratch, blobs, floats, ints};
use crate::tsdb::times::TimesTable;
use crate::tsdb::{FamilyMetadata, HeadView, MetricsView, Series};

/// Kinds of records besides floats, in the order of a series' chunks.
pub(super) const RECORD_KINDS: [SampleKind; 4] =
    [SampleKind::IntHistogram, SampleKind::FloatHistogram, SampleKind::StartTimestamp, SampleKind::Exemplar];

/// Writes a head into one block. Holds the index in memory, and the samples of one series at a time.
pub fn seal(view: &HeadView, out: &mut impl Write) -> io::Result<BlockSummary> {
    seal_view(&MetricsView { heads: vec![Arc::new(view.clone())], ..MetricsView::default() }, out)
}

/// As [`seal`], and what became of each tenant's facts.
pub fn seal_counted(view: &HeadView, out: &mut impl Write) -> io::Result<(BlockSummary, Vec<SealedFacts>)> {
    write_view(&MetricsView { heads: vec![Arc::new(view.clone())], ..MetricsView::default() }, out)
}

/// Writes everything that is seen through `view`, without duplicates, into one block. Holds the selection in memory; for
/// blocks there is [`super::compact`].
pub fn seal_view(view: &MetricsView, out: &mut impl Write) -> io::Result<BlockSummary> {
    Ok(write_view(view, out)?.0)
}

fn write_view(view: &MetricsView, out: &mut impl Write) -> io::Result<(BlockSummary, Vec<SealedFacts>)> {
    let mut out = Output::begin(out)?;
    let (mut tenants, mut counts) = (Vec::new(), Vec::new());
    for tenant in view.tenants().map_err(io::Error::other)? {
        let (entry, dropped) = SectionWriter::new(&mut out).write(view, &tenant)?;
        let before: u64 = view.heads.iter().map(|head| head.dropped(&tenant)).sum();
        counts.push(SealedFacts { tenant, facts: entry.facts, folded: before + dropped });
        tenants.push(entry);
    }
    Ok((out.end(&tenants)?, counts))
}

/// Reads a whole block: checks every checksum, decodes everything, and compares with the digest in its footer.
pub fn verify(block: &Arc<Block>) -> io::Result<()> {
    recount(block).map(drop)
}

/// As [`verify`]; the facts of each tenant, counted.
pub fn recount(block: &Arc<Block>) -> io::Result<Vec<SealedFacts>> {
    let view = MetricsView { blocks: vec![block.clone()], ..MetricsView::default() };
    for tenant in block.tenants() {
        block
            .tenant(tenant)
            .and_then(|index| index.map_or(Ok(()), |i| i.check_postings()))
            .map_err(io::Error::other)?;
    }
    let (found, counts) = write_view(&view, &mut io::sink())?;
    let expected = block.summary();
    if (found.digest, found.facts, found.series) == (expected.digest, expected.facts, expected.series) {
        return Ok(counts);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("metrics block {} is not what its digest says", block.name()),
    ))
}

/// Gathers bytes into pages and writes those that are full.
#[derive(Debug, Default)]
struct Pages {
    open: Vec<u8>,
    done: Vec<Extent>,
}

impl Pages {
    /// Where the bytes of `encode` came to lie.
    fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Place {
        let (page, start) = (self.done.len() as u32, self.open.len());
        encode(&mut self.open);
        Place { page, start: start as u32, len: (self.open.len() - start) as u32 }
    }

    fn close_if(&mut self, bytes_min: usize, out: &mut Output<'_, impl Write>) -> io::Result<()> {
        if self.open.len() >= bytes_min {
            self.done.push(out.stored(&self.open)?);
            self.open.clear();
        }
        Ok(())
    }
}

/// Writes one tenant's section, series by series in the order of their labels.
pub(super) struct SectionWriter<'o, 'w, W> {
    out: &'o mut Output<'w, W>,
    values: Pages,
    times: Pages,
    table: TimesTable,
    columns: Vec<TimesRef>,
    scratch: Scratch,
    directory: Directory,
    rows: SeriesRows,
    postings: BTreeMap<u32, BTreeMap<u32, RoaringBitmap>>,
    digest: Xxh3,
    facts: u64,
    min_ms: i64,
    max_ms: i64,
}

/// Positions of symbols in their order.
pub(super) type SymbolIds<'s> = HashMap<&'s str, u32>;
/// Samples, by their positions in a column, that are encoded already.
pub(super) type Encoded = (Range<usize>, Vec<u8>);

impl<'o, 'w, W: Write> SectionWriter<'o, 'w, W> {
    pub(super) fn new(out: &'o mut Output<'w, W>) -> Self {
        out.section_start = out.at;
        Self {
            out,
            values: Pages::default(),
            times: Pages::default(),
            table: TimesTable::new(),
            columns: Vec::new(),
            scratch: Scratch::default(),
            directory: Directory::default(),
            rows: SeriesRows::default(),
            postings: BTreeMap::new(),
            digest: Xxh3::new(),
            facts: 0,
            min_ms: i64::MAX,
            max_ms: i64::MIN,
        }
    }

    /// The section as it was written, and how many duplicates were left out.
    fn write(mut self, view: &MetricsView, tenant: &str) -> io::Result<(TenantEntry, u64)> {
        let selected: Vec<Series> = view.select(tenant, &[], i64::MIN, i64::MAX).map_err(io::Error::other)?.collect();
        let symbols: BTreeSet<&str> = selected.iter().flat_map(|s| s.labels.iter()).flat_map(|(n, v)| [n, v]).collect();
        let ids: SymbolIds<'_> = symbols.iter().copied().zip(0..).collect();
        let mut dropped = 0;
        for series in &selected {
            let mut chunks = Vec::new();
            dropped += self.series(series, &mut chunks)?;
            self.push(tenant, &series.labels, &ids, &chunks)?;
        }
        let families = view.metadata(tenant, None).map_err(io::Error::other)?;
        let symbols: Vec<&str> = symbols.into_iter().collect();
        Ok((self.finish(tenant, &symbols, &families)?, dropped))
    }

    /// Writes the samples of one series; how many duplicates were left out.
    fn series(&mut self, series: &Series, chunks: &mut Vec<ChunkRef>) -> io::Result<u64> {
        self.begin(&series.labels);
        let (mut times_ms, mut bits, mut records) = (Vec::new(), Vec::new(), Vec::new());
        let mut dropped = series.bits_into(&mut times_ms, &mut bits).map_err(io::Error::other)?;
        self.floats(&times_ms, &bits, &[], chunks)?;
        for kind in RECORD_KINDS.into_iter().filter(|kind| series.has(*kind)) {
            dropped += series.blobs_into(kind, &mut records).map_err(io::Error::other)?;
            self.records(kind, &records, chunks)?;
        }
        Ok(dropped)
    }

    /// Begins a series: its floats follow, then its records by kind, then [`Self::push`].
    pub(super) fn begin(&mut self, labels: &Labels) {
        self.digest_bytes(labels.as_bytes());
    }

    /// Writes all float samples of a series, of which `encoded` are copied as they are.
    pub(super) fn floats(
        &mut self,
        times_ms: &[i64],
        bits: &[u64],
        encoded: &[Encoded],
        chunks: &mut Vec<ChunkRef>,
    ) -> io::Result<()> {
        self.digest_floats(times_ms, bits);
        let mut from = 0;
        for (range, bytes) in encoded {
            self.encode_floats(&times_ms[from..range.start], &bits[from..range.start], chunks)?;
            let times = self.column(&times_ms[range.clone()]);
            let place = self.values.append(|out| out.extend_from_slice(bytes));
            chunks.push(ChunkRef { kind: SampleKind::Float, times, place });
            self.close_pages()?;
            from = range.end;
        }
        self.encode_floats(&times_ms[from..], &bits[from..], chunks)
    }

    fn encode_floats(&mut self, times_ms: &[i64], bits: &[u64], chunks: &mut Vec<ChunkRef>) -> io::Result<()> {
        for (times_ms, bits) in times_ms.chunks(CHUNK_SAMPLES_MAX).zip(bits.chunks(CHUNK_SAMPLES_MAX)) {
            let times = self.column(times_ms);
            let scratch = &mut self.scratch;
            let place = self.values.append(|out| floats::encode(bits, scratch, out));
            chunks.push(ChunkRef { kind: SampleKind::Float, times, place });
            self.close_pages()?;
        }
        Ok(())
    }

    /// Writes all records of a kind of a series.
    pub(super) fn records(
        &mut self,
        kind: SampleKind,
        records: &[(i64, Vec<u8>)],
        chunks: &mut Vec<ChunkRef>,
    ) -> io::Result<()> {
        self.digest_blobs(kind, records);
        for records in records.chunks(CHUNK_SAMPLES_MAX) {
            let times_ms: Vec<i64> = records.iter().map(|(time_ms, _)| *time_ms).collect();
            let times = self.column(&times_ms);
            let payloads = records.iter().map(|(_, payload)| payload.as_slice());
            let place = self.values.append(|out| blobs::encode(payloads, out));
            chunks.push(ChunkRef { kind, times, place });
            self.close_pages()?;
        }
        Ok(())
    }

    /// Ends a series with the chunks that were written for it.
    pub(super) fn push(
        &mut self,
        tenant: &str,
        labels: &Labels,
        ids: &SymbolIds<'_>,
        chunks: &[ChunkRef],
    ) -> io::Result<()> {
        let id = self.directory.series_count;
        self.directory.series_count += 1;
        let pairs: Vec<(u32, u32)> = labels.iter().map(|(n, v)| (ids[n], ids[v])).collect();
        for (name, value) in &pairs {
            self.postings.entry(*name).or_default().entry(*value).or_default().insert(id);
        }
        self.rows.push(slot_of_hash(key_hash(tenant, labels.as_bytes())).0, &pairs, chunks);
        if self.rows.count == ROWS_PER_PIECE {
            self.directory.series.push(self.out.piece(&self.rows.finish())?);
        }
        Ok(())
    }

    /// Samples that were written so far.
    pub(super) fn facts(&self) -> u64 {
        self.facts
    }

    fn close_pages(&mut self) -> io::Result<()> {
        self.values.close_if(PAGE_BYTES, self.out)?;
        self.times.close_if(PAGE_BYTES, self.out)
    }

    /// The time column of a chunk, written if it is new.
    fn column(&mut self, times_ms: &[i64]) -> u32 {
        let (min_ms, max_ms) = (times_ms[0], times_ms[times_ms.len() - 1]);
        self.facts += times_ms.len() as u64;
        self.min_ms = self.min_ms.min(min_ms);
        self.max_ms = self.max_ms.max(max_ms);
        let (id, is_new) = self.table.intern(times_ms);
        if is_new {
            let scratch = &mut self.scratch;
            let place = self.times.append(|out| ints::encode(times_ms, scratch, out));
            self.columns.push(TimesRef { count: times_ms.len() as u32, min_ms, max_ms, place });
        }
        id
    }

    fn index(&mut self, symbols: &[&str]) -> io::Result<()> {
        self.directory.symbols = self.out.piece(&Symbols::encode(symbols.iter().copied()))?;
        self.directory.times_count = self.columns.len() as u32;
        for columns in self.columns.chunks(ROWS_PER_PIECE) {
            self.directory.times.push(self.out.piece(&encode_times(columns))?);
        }
        for (name, values) in std::mem::take(&mut self.postings) {
            let mut values: Vec<(u32, RoaringBitmap)> = values.into_iter().collect();
            values.iter_mut().for_each(|(_, series)| {
                series.optimize();
            });
            let extent = self.out.piece(&encode_postings(&values)?)?;
            self.directory.names.push((symbols[name as usize].to_owned(), extent));
        }
        Ok(())
    }

    /// Writes the index and the metadata.
    pub(super) fn finish(
        mut self,
        tenant: &str,
        symbols: &[&str],
        families: &[(String, FamilyMetadata)],
    ) -> io::Result<TenantEntry> {
        if self.rows.count > 0 {
            self.directory.series.push(self.out.piece(&self.rows.finish())?);
        }
        self.values.close_if(1, self.out)?;
        self.times.close_if(1, self.out)?;
        self.index(symbols)?;
        let families = encode_metadata(families);
        self.digest_bytes(&families);
        self.directory.metadata = self.out.piece(&families)?;
        self.directory.value_pages = std::mem::take(&mut self.values.done);
        self.directory.times_pages = std::mem::take(&mut self.times.done);
        let directory = self.out.piece(&self.directory.encode())?;
        Ok(TenantEntry {
            tenant: tenant.to_owned(),
            start: self.out.section_start,
            len: self.out.at - self.out.section_start,
            directory,
            series: u64::from(self.directory.series_count),
            facts: self.facts,
            min_ms: self.min_ms,
            max_ms: self.max_ms,
            digest: self.digest.digest128(),
        })
    }

    fn digest_bytes(&mut self, bytes: &[u8]) {
        self.digest.update(&(bytes.len() as u64).to_le_bytes());
        self.digest.update(bytes);
    }

    /// Kind, count, then time and bits of each sample.
    fn digest_floats(&mut self, times_ms: &[i64], bits: &[u64]) {
        let mut canonical = Vec::with_capacity(times_ms.len() * 16 + 9);
        canonical.push(SampleKind::Float as u8);
        canonical.extend_from_slice(&(times_ms.len() as u64).to_le_bytes());
        for (time_ms, bits) in times_ms.iter().zip(bits) {
            canonical.extend_from_slice(&time_ms.to_le_bytes());
            canonical.extend_from_slice(&bits.to_le_bytes());
        }
        self.digest.update(&canonical);
    }

    fn digest_blobs(&mut self, kind: SampleKind, records: &[(i64, Vec<u8>)]) {
        let mut canonical = vec![kind as u8];
        for (time_ms, payload) in records {
            put_ivarint(&mut canonical, *time_ms);
            put_bytes(&mut canonical, payload);
        }
        self.digest_bytes(&canonical);
    }
}
