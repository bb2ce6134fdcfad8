//! Writes the rows of a sealed head as one block file, a granule at a time.
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, Write};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::footer::{Footer, SectionEntry, encode_header, encode_trailer};
use super::section::{encode_granules, encode_labels, encode_streams};
use super::{Block, BlockSummary};
use crate::codec::{put_bytes, put_uvarint};
use crate::limits::Cutoffs;
use crate::model::Signal;
use crate::model::attrs::put_column;
use crate::rows::config::HeadConfig;
use crate::rows::error::{Error, Result};
use crate::rows::granule::GranuleMeta;
use crate::rows::head::HeadView;
use crate::rows::label_index::LabelIndex;
use crate::rows::piece::{ClosedPiece, Source};
use crate::rows::region::{REGION_RAW_BYTES_MAX, Region, RegionWriter};
use crate::rows::row::{Row, ValueRef};
use crate::rows::stream::{StreamInfo, StreamRef};
use crate::rows::write::{GranuleLimits, scan_everything, write_granules};
use crate::shard::{CompactedFacts, SealedFacts};

/// zstd level of the directories of a block; they are small.
const TABLE_LEVEL: i32 = 9;

/// Writes the rows of `view` as one block. Holds one granule and the open pieces of the merge in memory. The caller syncs.
pub fn seal(view: &HeadView, out: &mut impl Write) -> io::Result<BlockSummary> {
    Ok(seal_counted(view, out)?.0)
}

/// As [`seal`], and what became of each tenant's rows.
pub fn seal_counted(view: &HeadView, out: &mut impl Write) -> io::Result<(BlockSummary, Vec<SealedFacts>)> {
    let mut writer = Sealer::begin(view.signal, &view.config, out)?;
    let mut counts = Vec::new();
    for tenant in view.tenants() {
        let (facts, dropped) = writer.section(&tenant, i64::MIN, vec![view.source(&tenant)], &mut |_| Ok(()))?;
        let folded = view.dropped(&tenant) + dropped;
        counts.push(SealedFacts { tenant, facts, folded });
    }
    Ok((writer.finish()?, counts))
}

/// Writes the rows of `blocks` of one signal, which come in log order, into one block, without repeated rows and without those
/// before their tenant's cut-off. What became of each tenant's rows; a tenant that is left without any has no section.
///
/// Holds one granule and the open pieces of the merge in memory, and the streams of one tenant. `progress` is told of bytes
/// that were decompressed; an error of it ends the work.
pub fn compact(
    signal: Signal,
    config: &HeadConfig,
    blocks: &[Arc<Block>],
    cutoffs: &Cutoffs,
    progress: &mut dyn FnMut(u64) -> io::Result<()>,
    out: &mut impl Write,
) -> io::Result<(BlockSummary, Vec<CompactedFacts>)> {
    let mut writer = Sealer::begin(signal, config, out)?;
    let tenants: BTreeSet<&str> = blocks.iter().flat_map(|block| block.tenants()).collect();
    let mut counts = Vec::new();
    for tenant in tenants {
        let cutoff_ns = cutoffs.of(tenant);
        let (mut facts, mut sources) = (CompactedFacts::of(&Arc::from(tenant)), Vec::new());
        let mut rows = 0;
        for block in blocks {
            let Some(entry) = block.footer.sections.iter().find(|s| s.tenant == tenant) else { continue };
            if entry.max_ns < cutoff_ns {
                facts.expired += entry.rows;
            } else {
                rows += entry.rows;
                sources.extend(block.source(tenant)?);
            }
        }
        if rows > 0 {
            let (kept, repeated) = writer.section(&facts.tenant, cutoff_ns, sources, progress)?;
            (facts.facts, facts.folded) = (kept, repeated);
            facts.expired += rows.saturating_sub(kept + repeated);
        }
        counts.push(facts);
    }
    Ok((writer.finish()?, counts))
}

struct Sealer<'a, W: Write> {
    out: &'a mut W,
    signal: Signal,
    limits: GranuleLimits,
    at: u64,
    digest: Xxh3,
    footer: Footer,
}

impl<'a, W: Write> Sealer<'a, W> {
    fn begin(signal: Signal, config: &HeadConfig, out: &'a mut W) -> io::Result<Self> {
        let limits = GranuleLimits::new(config, config.seal_level);
        let mut writer = Self { out, signal, limits, at: 0, digest: Xxh3::new(), footer: Footer::default() };
        writer.write(&encode_header(signal))?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Rows that were written, and repeated ones that were left out. Without rows nothing is written.
    fn section(
        &mut self,
        tenant: &Arc<str>,
        cutoff_ns: i64,
        sources: Vec<Source>,
        progress: &mut dyn FnMut(u64) -> io::Result<()>,
    ) -> io::Result<(u64, u64)> {
        let (streams, numbers) = number_streams(&sources);
        let section_at = self.at;
        let mut granules: Vec<(u64, GranuleMeta)> = Vec::new();
        let mut began = false;
        let digest = &mut self.digest;
        let (out, at) = (&mut self.out, &mut self.at);
        let mut scratch = Vec::new();
        let dropped = write_granules(
            self.signal,
            scan_everything(self.signal, tenant, cutoff_ns, sources)?,
            self.limits,
            &|piece, row| numbers.get(&stream_id(piece.stream(row))).copied().unwrap_or_default(),
            &mut |row| {
                if !began {
                    put_prefixed(digest, tenant.as_bytes());
                    began = true;
                }
                encode_canonical(row, &mut scratch)?;
                digest.update(&scratch);
                Ok(())
            },
            &mut |meta, bytes| {
                let failed = |at| move |source| Error::Read { region: "block file", at, source };
                out.write_all(&bytes).map_err(failed(*at))?;
                granules.push((*at - section_at, meta));
                *at += bytes.len() as u64;
                progress(bytes.len() as u64).map_err(failed(*at))
            },
        )?;
        if granules.is_empty() {
            return Ok((0, dropped));
        }
        let mut index = LabelIndex::default();
        streams.iter().enumerate().for_each(|(i, s)| index.insert(i as u32, s));
        let entry = SectionEntry {
            tenant: tenant.to_string(),
            at: section_at,
            len: 0,
            rows: granules.iter().map(|(_, g)| u64::from(g.rows)).sum(),
            streams_len: streams.len() as u32,
            series: granules.iter().flat_map(|(_, g)| g.spans.iter().map(|s| s.stream)).collect::<HashSet<_>>().len()
                as u32,
            min_ns: granules.iter().map(|(_, g)| g.min_ns).min().unwrap_or_default(),
            max_ns: granules.iter().map(|(_, g)| g.max_ns).max().unwrap_or_default(),
            streams: self.region(section_at, &encode_streams(&streams))?,
            labels: self.region(section_at, &encode_labels(&index)?)?,
            granules: self.region(section_at, &encode_granules(&granules))?,
        };
        let rows = entry.rows;
        self.footer.sections.push(SectionEntry { len: self.at - section_at, ..entry });
        Ok((rows, dropped))
    }

    fn region(&mut self, base: u64, raw: &[u8]) -> io::Result<Region> {
        if raw.len() as u64 > REGION_RAW_BYTES_MAX {
            return Err(io::Error::other(format!("table of {} bytes is beyond the format", raw.len())));
        }
        let mut packed = RegionWriter::new(TABLE_LEVEL);
        let region = Region { at: self.at - base, ..packed.put(raw) };
        self.write(&packed.out)?;
        Ok(region)
    }

    fn finish(mut self) -> io::Result<BlockSummary> {
        self.footer.digest = self.digest.digest128();
        let footer = self.region(0, &self.footer.encode())?;
        self.write(&encode_trailer(&footer))?;
        self.out.flush()?;
        Ok(BlockSummary::of(&self.footer, self.at))
    }
}

/// A stream of a source by its place in memory, while the source is held.
fn stream_id(stream: &Arc<StreamInfo>) -> usize {
    Arc::as_ptr(stream) as usize
}

/// Streams that have rows, repeated ones included, by key, and the number of each source's streams among them.
fn number_streams(sources: &[Source]) -> (Vec<Arc<StreamInfo>>, HashMap<usize, u32>) {
    let mut found: Vec<Arc<StreamInfo>> = Vec::new();
    for source in sources {
        let mut used = vec![false; source.streams.len() as usize];
        for piece in &source.pieces {
            match piece {
                ClosedPiece::Granule(granule) => granule.meta.spans.iter().for_each(|s| used[s.stream as usize] = true),
                ClosedPiece::Tail(batch) => {
                    (0..batch.len() as u32).for_each(|row| used[batch.stream_ref(row) as usize] = true);
                }
            }
        }
        let refs = (0..source.streams.len()).filter(|&r| used[r as usize]);
        found.extend(refs.filter_map(|r| source.streams.get(StreamRef(r)).cloned()));
    }
    found.sort_by(|a, b| a.key().cmp(b.key()));
    let (mut streams, mut numbers): (Vec<Arc<StreamInfo>>, HashMap<usize, u32>) = (Vec::new(), HashMap::new());
    for stream in found {
        if streams.last().is_none_or(|last| last.key() != stream.key()) {
            streams.push(stream.clone());
        }
        numbers.insert(stream_id(&stream), streams.len() as u32 - 1);
    }
    (streams, numbers)
}

/// `u64` length, then the bytes.
pub(super) fn put_prefixed(digest: &mut Xxh3, bytes: &[u8]) {
    digest.update(&(bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
}

/// `stream_key time(i64) body attributes length`, the same whatever encodes the granules.
pub(super) fn encode_canonical(row: Row<'_>, out: &mut Vec<u8>) -> Result<()> {
    out.clear();
    put_bytes(out, row.stream().key());
    out.extend_from_slice(&row.time_ns().to_le_bytes());
    put_bytes(out, row.body()?);
    row.for_each_attr(&mut |attr| {
        put_column(out, attr.scope, attr.value.value_type(), attr.key);
        match attr.value {
            ValueRef::Str(s) => put_bytes(out, s.as_bytes()),
            ValueRef::Bytes(b) | ValueRef::Nested(_, b) => put_bytes(out, b),
            ValueRef::Bool(b) => out.push(u8::from(b)),
            ValueRef::Int(i) => out.extend_from_slice(&i.to_le_bytes()),
            ValueRef::Double(d) => out.extend_from_slice(&d.to_bits().to_le_bytes()),
            ValueRef::Empty => {}
        }
    })?;
    put_uvarint(out, out.len() as u64);
    Ok(())
}
