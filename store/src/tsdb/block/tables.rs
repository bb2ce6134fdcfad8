//! The pieces of a tenant's index: symbols, series, time columns, postings, metadata.
//!
//! ```text
//! symbols    repeated: varint length, text; in order of bytes
//! series     four streams, each with its varint length:
//!            slots    2 bytes a series
//!            labels   varint pairs, then (varint name symbol, varint value symbol) each
//!            chunks   varint page and varint offset where the first chunk lies; for each series varint chunks, then
//!                     (1 kind, bit 7 set: at the start of the next page; varint time column) each
//!            lengths  varint length of each chunk
//! times      varint page and varint offset of the first column; for each column varint samples * 2 (+ 1: at the start of
//!            the next page), zigzag least time, varint (greatest - least), varint length
//! postings   varint values; for each varint symbol (less the one before), varint length, roaring bitmap of series
//! metadata   repeated: family, 1 type, help, unit
//! ```
use std::sync::OnceLock;

use roaring::RoaringBitmap;

use crate::codec::{Error, Reader, put_bytes, put_ivarint, put_uvarint};
use crate::model::Labels;
use crate::part::SampleKind;
use crate::tsdb::FamilyMetadata;
use crate::tsdb::chunk::CHUNK_SAMPLES_LIMIT;

use super::format::read_u32;

const NEXT_PAGE: u8 = 0x80;
/// How long names and values of a series' labels may be on average to be kept, and what keeping them takes besides.
pub(super) const PAIR_BYTES: usize = 40;
const LABELS_BYTES: usize = 32;

/// Where in the pages of a section bytes lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::tsdb) struct Place {
    pub(in crate::tsdb) page: u32,
    pub(in crate::tsdb) start: u32,
    pub(in crate::tsdb) len: u32,
}

impl Place {
    /// The place of `len` bytes right behind this one, or at the start of the next page.
    fn next(self, next_page: bool, len: u32) -> Result<Self, Error> {
        let invalid = Error::Invalid { what: "place", at: 0 };
        if next_page {
            return Ok(Self { page: self.page.checked_add(1).ok_or(invalid)?, start: 0, len });
        }
        Ok(Self { page: self.page, start: self.start.checked_add(self.len).ok_or(invalid)?, len })
    }
}

/// Consecutive samples of one kind of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tsdb) struct ChunkRef {
    pub(in crate::tsdb) kind: SampleKind,
    /// Time column.
    pub(in crate::tsdb) times: u32,
    pub(in crate::tsdb) place: Place,
}

/// A time column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tsdb) struct TimesRef {
    pub(in crate::tsdb) count: u32,
    pub(in crate::tsdb) min_ms: i64,
    pub(in crate::tsdb) max_ms: i64,
    pub(in crate::tsdb) place: Place,
}

/// Sorted texts, by position.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    text: String,
    ends: Vec<u32>,
}

impl Symbols {
    pub(super) fn encode<'a>(symbols: impl Iterator<Item = &'a str>) -> Vec<u8> {
        let mut out = Vec::new();
        symbols.for_each(|s| put_bytes(&mut out, s.as_bytes()));
        out
    }

    pub(super) fn decode(raw: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(raw);
        let mut symbols = Self::default();
        while !r.is_empty() {
            symbols.text.push_str(r.str("symbol")?);
            symbols.ends.push(symbols.text.len() as u32);
        }
        Ok(symbols)
    }

    pub(super) fn get(&self, at: u32) -> Result<&str, Error> {
        let at = at as usize;
        let to = self.ends.get(at).ok_or(Error::Invalid { what: "symbol", at })?;
        let from = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        Ok(&self.text[from as usize..*to as usize])
    }

    /// Texts, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len() as u32).filter_map(|at| self.get(at).ok())
    }

    pub(super) fn find(&self, text: &str) -> Option<u32> {
        let at = self.first_not_before(text);
        (self.get(at).ok()? == text).then_some(at)
    }

    /// Position of the first text that is not before `text`; their count if there is none.
    pub(super) fn first_not_before(&self, text: &str) -> u32 {
        let (mut from, mut to) = (0, self.ends.len() as u32);
        while from < to {
            let middle = from + (to - from) / 2;
            if self.get(middle).is_ok_and(|found| found < text) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }

    pub(super) fn bytes(&self) -> usize {
        self.text.len() + self.ends.len() * 4
    }
}

/// Collects the rows of one piece of the series table.
#[derive(Debug, Default)]
pub(super) struct SeriesRows {
    pub(super) count: usize,
    slots: Vec<u8>,
    labels: Vec<u8>,
    chunks: Vec<u8>,
    lengths: Vec<u8>,
    last: Option<Place>,
}

impl SeriesRows {
    pub(super) fn push(&mut self, slot: u16, labels: &[(u32, u32)], chunks: &[ChunkRef]) {
        self.count += 1;
        self.slots.extend_from_slice(&slot.to_le_bytes());
        put_uvarint(&mut self.labels, labels.len() as u64);
        for (name, value) in labels {
            put_uvarint(&mut self.labels, u64::from(*name));
            put_uvarint(&mut self.labels, u64::from(*value));
        }
        if self.last.is_none() {
            let first = chunks.first().map(|c| c.place).unwrap_or_default();
            put_uvarint(&mut self.chunks, u64::from(first.page));
            put_uvarint(&mut self.chunks, u64::from(first.start));
            self.last = Some(Place { len: 0, ..first });
        }
        put_uvarint(&mut self.chunks, chunks.len() as u64);
        for chunk in chunks {
            let next_page = self.last.is_some_and(|last| last.page != chunk.place.page);
            self.chunks.push(chunk.kind as u8 | if next_page { NEXT_PAGE } else { 0 });
            put_uvarint(&mut self.chunks, u64::from(chunk.times));
            put_uvarint(&mut self.lengths, u64::from(chunk.place.len));
            self.last = Some(chunk.place);
        }
    }

    /// The piece, leaving this empty.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let rows = std::mem::take(self);
        let mut out = Vec::new();
        for stream in [rows.slots, rows.labels, rows.chunks, rows.lengths] {
            put_bytes(&mut out, &stream);
        }
        out
    }
}

/// One series of a piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeriesRow<'a> {
    /// Symbols of names and values, by name.
    pub(super) pairs: &'a [(u32, u32)],
    /// What they spell, once somebody has asked.
    pub(super) labels: &'a OnceLock<Labels>,
    /// By kind and time.
    pub(super) chunks: &'a [ChunkRef],
}

/// A decoded piece of the series table.
#[derive(Debug, Default)]
pub(super) struct SeriesPiece {
    slots: Vec<u16>,
    /// Labels that were asked for: queries ask for the same series again and again.
    labels: Vec<OnceLock<Labels>>,
    pairs: Vec<(u32, u32)>,
    pairs_ends: Vec<u32>,
    chunks: Vec<ChunkRef>,
    chunks_ends: Vec<u32>,
}

impl SeriesPiece {
    pub(super) fn decode(raw: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(raw);
        let mut slots = Reader::new(r.bytes("slots")?);
        let mut labels = Reader::new(r.bytes("labels")?);
        let mut chunks = Reader::new(r.bytes("chunks")?);
        let mut lengths = Reader::new(r.bytes("lengths")?);
        let mut piece = Self::default();
        let mut last = Place { page: 0, start: 0, len: 0 };
        if !slots.is_empty() {
            last.page = read_u32(&mut chunks, "first page")?;
            last.start = read_u32(&mut chunks, "first offset")?;
        }
        while !slots.is_empty() {
            piece.slots.push(slots.u16("slot")?);
            for _ in 0..labels.count(2, "labels count")? {
                piece.pairs.push((read_u32(&mut labels, "name")?, read_u32(&mut labels, "value")?));
            }
            piece.pairs_ends.push(piece.pairs.len() as u32);
            piece.labels.push(OnceLock::new());
            for _ in 0..chunks.count(2, "chunks count")? {
                let at = chunks.position();
                let tag = chunks.u8("sample kind")?;
                let kind = kind_of(tag & !NEXT_PAGE, at)?;
                let times = read_u32(&mut chunks, "time column")?;
                last = last.next(tag & NEXT_PAGE != 0, read_u32(&mut lengths, "chunk length")?)?;
                piece.chunks.push(ChunkRef { kind, times, place: last });
            }
            piece.chunks_ends.push(piece.chunks.len() as u32);
        }
        Ok(piece)
    }

    /// The series at `row`.
    pub(super) fn row(&self, row: usize) -> Option<SeriesRow<'_>> {
        let range = |ends: &[u32]| {
            let to = *ends.get(row)? as usize;
            Some(row.checked_sub(1).map_or(0, |before| ends[before] as usize)..to)
        };
        let (pairs, chunks) = (range(&self.pairs_ends)?, range(&self.chunks_ends)?);
        Some(SeriesRow { pairs: &self.pairs[pairs], labels: self.labels.get(row)?, chunks: &self.chunks[chunks] })
    }

    pub(super) fn slot(&self, row: usize) -> Option<u16> {
        self.slots.get(row).copied()
    }

    /// About the memory that it takes once all its labels were asked for.
    pub(super) fn bytes(&self) -> usize {
        let of_series = 10 + size_of::<OnceLock<Labels>>() + LABELS_BYTES;
        let of_pair = size_of::<(u32, u32)>() + PAIR_BYTES;
        self.slots.len() * of_series + self.pairs.len() * of_pair + self.chunks.len() * size_of::<ChunkRef>()
    }
}

/// The kind of a chunk; metadata is none.
fn kind_of(tag: u8, at: usize) -> Result<SampleKind, Error> {
    use SampleKind::*;
    let known = [Float, IntHistogram, FloatHistogram, StartTimestamp, Exemplar].into_iter().find(|k| *k as u8 == tag);
    known.ok_or(Error::Unknown { what: "sample kind", value: u64::from(tag), at })
}

/// A piece of the table of time columns.
pub(super) fn encode_times(columns: &[TimesRef]) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(first) = columns.first() else { return out };
    put_uvarint(&mut out, u64::from(first.place.page));
    put_uvarint(&mut out, u64::from(first.place.start));
    let mut page = first.place.page;
    for column in columns {
        put_uvarint(&mut out, u64::from(column.count) << 1 | u64::from(column.place.page != page));
        put_ivarint(&mut out, column.min_ms);
        put_uvarint(&mut out, column.max_ms.wrapping_sub(column.min_ms) as u64);
        put_uvarint(&mut out, u64::from(column.place.len));
        page = column.place.page;
    }
    out
}

pub(super) fn decode_times(raw: &[u8]) -> Result<Vec<TimesRef>, Error> {
    let mut r = Reader::new(raw);
    let mut columns = Vec::new();
    if r.is_empty() {
        return Ok(columns);
    }
    let mut last = Place { page: read_u32(&mut r, "first page")?, start: read_u32(&mut r, "first offset")?, len: 0 };
    while !r.is_empty() {
        let at = r.position();
        let tag = r.uvarint("samples count")?;
        let count = u32::try_from(tag >> 1).ok().filter(|count| *count as usize <= CHUNK_SAMPLES_LIMIT);
        let count = count.ok_or(Error::Invalid { what: "samples count", at })?;
        let min_ms = r.ivarint("least time")?;
        let max_ms = min_ms.wrapping_add(r.uvarint("time span")? as i64);
        last = last.next(tag & 1 == 1, read_u32(&mut r, "column length")?)?;
        columns.push(TimesRef { count, min_ms, max_ms, place: last });
    }
    Ok(columns)
}

/// Postings of one label name: (value symbol, series), by symbol.
pub(super) fn encode_postings(values: &[(u32, RoaringBitmap)]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    put_uvarint(&mut out, values.len() as u64);
    let mut last = 0;
    for (symbol, series) in values {
        put_uvarint(&mut out, u64::from(symbol - last));
        last = *symbol;
        put_uvarint(&mut out, series.serialized_size() as u64);
        series.serialize_into(&mut out)?;
    }
    Ok(out)
}

pub(super) fn decode_postings(raw: &[u8], series_count: u32) -> Result<Vec<(u32, RoaringBitmap)>, Error> {
    let mut r = Reader::new(raw);
    let count = r.count(2, "values count")?;
    let mut values = Vec::with_capacity(count);
    let mut symbol = 0u32;
    for _ in 0..count {
        let at = r.position();
        let invalid = Error::Invalid { what: "postings", at };
        symbol = symbol.checked_add(read_u32(&mut r, "value symbol")?).ok_or_else(|| invalid.clone())?;
        let series = RoaringBitmap::deserialize_from(r.bytes("postings")?).map_err(|_| invalid.clone())?;
        if series.max().is_some_and(|max| max >= series_count) {
            return Err(invalid);
        }
        values.push((symbol, series));
    }
    Ok(values)
}

pub(super) fn encode_metadata(families: &[(String, FamilyMetadata)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (family, metadata) in families {
        put_bytes(&mut out, family.as_bytes());
        out.push(metadata.metric_type);
        put_bytes(&mut out, metadata.help.as_bytes());
        put_bytes(&mut out, metadata.unit.as_bytes());
    }
    out
}

pub(super) fn decode_metadata(raw: &[u8]) -> Result<Vec<(String, FamilyMetadata)>, Error> {
    let mut r = Reader::new(raw);
    let mut families = Vec::new();
    while !r.is_empty() {
        let family = r.str("metric family")?.to_owned();
        let metric_type = r.u8("metric type")?;
        let help = r.str("metric help")?.to_owned();
        families.push((family, FamilyMetadata { metric_type, help, unit: r.str("metric unit")?.to_owned() }));
    }
    Ok(families)
}
