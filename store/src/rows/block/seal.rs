//! Writes the rows of a sealed head as one block file, a granule at a time.
use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::BlockSummary;
use super::footer::{Footer, SectionEntry, encode_header, encode_trailer};
use super::section::{encode_granules, encode_labels, encode_streams};
use crate::codec::{put_bytes, put_uvarint};
use crate::model::attrs::put_column;
use crate::rows::error::{Error, Result};
use crate::rows::granule::GranuleMeta;
use crate::rows::head::HeadView;
use crate::rows::label_index::LabelIndex;
use crate::rows::piece::{ClosedPiece, Source};
use crate::rows::region::{REGION_RAW_BYTES_MAX, Region, RegionWriter};
use crate::rows::row::{Row, ValueRef};
use crate::rows::stream::{StreamInfo, StreamRef};
use crate::rows::write::{GranuleLimits, write_granules};
use crate::shard::SealedFacts;

/// zstd level of the directories of a block; they are small.
const TABLE_LEVEL: i32 = 9;

/// Writes the rows of `view` as one block. Holds one granule and the open pieces of the merge in memory. The caller syncs.
pub fn seal(view: &HeadView, out: &mut impl Write) -> io::Result<BlockSummary> {
    Ok(seal_counted(view, out)?.0)
}

/// As [`seal`], and what became of each tenant's rows.
pub fn seal_counted(view: &HeadView, out: &mut impl Write) -> io::Result<(BlockSummary, Vec<SealedFacts>)> {
    let mut writer = Sealer { out, at: 0, digest: Xxh3::new(), footer: Footer::default() };
    writer.write(&encode_header(view.signal))?;
    let mut counts = Vec::new();
    for tenant in view.tenants() {
        let (facts, dropped) = writer.section(view, &tenant)?;
        let folded = view.dropped(&tenant) + dropped;
        counts.push(SealedFacts { tenant, facts, folded });
    }
    Ok((writer.finish()?, counts))
}

struct Sealer<'a, W: Write> {
    out: &'a mut W,
    at: u64,
    digest: Xxh3,
    footer: Footer,
}

impl<W: Write> Sealer<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Rows that were written, and repeated ones that were left out.
    fn section(&mut self, view: &HeadView, tenant: &Arc<str>) -> io::Result<(u64, u64)> {
        let source = view.source(tenant);
        let (streams, numbers) = number_streams(&source);
        let section_at = self.at;
        let mut granules: Vec<(u64, GranuleMeta)> = Vec::new();
        let digest = &mut self.digest;
        let (out, at) = (&mut self.out, &mut self.at);
        put_prefixed(digest, tenant.as_bytes());
        let mut scratch = Vec::new();
        let dropped = write_granules(
            view.signal,
            tenant,
            source,
            GranuleLimits::new(&view.config, view.config.seal_level),
            &|stream| numbers[stream as usize],
            &mut |row| {
                encode_canonical(row, &mut scratch)?;
                digest.update(&scratch);
                Ok(())
            },
            &mut |meta, bytes| {
                out.write_all(&bytes).map_err(|source| Error::Read { region: "block file", at: *at, source })?;
                granules.push((*at - section_at, meta));
                *at += bytes.len() as u64;
                Ok(())
            },
        )?;
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

/// Streams that have rows, repeated ones included, by key, and the number of each of the source's references among them.
fn number_streams(source: &Source) -> (Vec<Arc<StreamInfo>>, Vec<u32>) {
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
    let mut streams: Vec<(Arc<StreamInfo>, u32)> =
        refs.filter_map(|r| Some((source.streams.get(StreamRef(r))?.clone(), r))).collect();
    streams.sort_by(|a, b| a.0.key().cmp(b.0.key()));
    let mut numbers = vec![0; used.len()];
    streams.iter().enumerate().for_each(|(number, (_, r))| numbers[*r as usize] = number as u32);
    (streams.into_iter().map(|s| s.0).collect(), numbers)
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
