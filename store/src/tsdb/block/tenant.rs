//! One tenant's section of a block: its index, piece by piece.
use std::sync::{Arc, OnceLock};

use roaring::{MultiOps, RoaringBitmap};
use smallvec::SmallVec;

use super::Block;
use super::format::{Directory, Extent, ROWS_PER_PIECE, TenantEntry};
use super::tables::{
    ChunkRef, PAIR_BYTES, SeriesPiece, SeriesRow, Symbols, TimesRef, decode_metadata, decode_postings, decode_times,
};
use crate::codec;
use crate::index::Postings;
use crate::model::Labels;
use crate::tsdb::{Error, FamilyMetadata, Result};

/// A tenant's section. Holds its directory and symbols; other pieces come from the cache.
#[derive(Clone, Debug)]
pub(in crate::tsdb) struct TenantIndex {
    block: Arc<Block>,
    start: u64,
    len: u64,
    directory: Arc<Directory>,
    symbols: Arc<Symbols>,
    /// Pieces of the table of time columns that were asked for: every chunk asks, so they are found without a lock.
    times: Arc<[OnceLock<Arc<Vec<TimesRef>>>]>,
}

/// One series of a section.
#[derive(Debug)]
pub(in crate::tsdb) struct SeriesAt<'a> {
    /// Position in the series table.
    pub(in crate::tsdb) id: u32,
    index: &'a TenantIndex,
    row: SeriesRow<'a>,
}

impl<'a> SeriesAt<'a> {
    /// By kind and time.
    pub(in crate::tsdb) fn chunks(&self) -> &'a [ChunkRef] {
        self.row.chunks
    }

    /// Its labels, made once for as long as its piece of the table is in the cache, unless they are longer than what the piece
    /// is charged for. `buffer` is overwritten.
    pub(in crate::tsdb) fn labels(&self, buffer: &mut Vec<u8>) -> Result<Labels> {
        if let Some(labels) = self.row.labels.get() {
            return Ok(labels.clone());
        }
        let labels = self.index.labels(self.row.pairs, buffer)?;
        if labels.as_bytes().len() > self.row.pairs.len() * PAIR_BYTES {
            return Ok(labels);
        }
        Ok(self.row.labels.get_or_init(|| labels).clone())
    }
}

/// Postings of one label name, by symbol of the value.
type NamePostings = Vec<(u32, RoaringBitmap)>;

impl TenantIndex {
    pub(super) fn load(block: &Arc<Block>, entry: &TenantEntry) -> Result<Self> {
        let directory = block.piece(entry, entry.directory, "directory", |raw| {
            let directory = Directory::decode(raw)?;
            let extents = directory.value_pages.len() + directory.times_pages.len() + directory.series.len();
            let bytes = (extents + directory.times.len()) * size_of::<Extent>() + directory.names.len() * 64;
            Ok((directory, bytes))
        })?;
        let symbols = block.piece(entry, directory.symbols, "symbols", |raw| {
            let symbols = Symbols::decode(raw)?;
            let bytes = symbols.bytes();
            Ok((symbols, bytes))
        })?;
        let times = directory.times.iter().map(|_| OnceLock::new()).collect();
        Ok(Self { block: block.clone(), start: entry.start, len: entry.len, directory, symbols, times })
    }

    fn piece<T: Send + Sync + 'static>(
        &self,
        extent: Extent,
        section: &'static str,
        decode: impl FnOnce(&[u8]) -> Result<(T, usize), codec::Error>,
    ) -> Result<Arc<T>> {
        self.block.piece_at(self.start, self.len, extent, section, decode)
    }

    fn damaged(&self, section: &'static str, reason: &'static str) -> Error {
        Error::Damaged { block: self.block.name().to_owned(), section, reason }
    }

    /// Names the block in an error of a decoder.
    pub(in crate::tsdb) fn decode_error(&self, section: &'static str, source: codec::Error) -> Error {
        Error::Decode { block: self.block.name().to_owned(), section, source }
    }

    fn postings_of(&self, name: &str) -> Result<Option<Arc<NamePostings>>> {
        let names = &self.directory.names;
        let Ok(at) = names.binary_search_by(|(n, _)| n.as_str().cmp(name)) else { return Ok(None) };
        let series_count = self.directory.series_count;
        let postings = self.piece(names[at].1, "postings", |raw| {
            let values = decode_postings(raw, series_count)?;
            let bytes = values.iter().map(|(_, ids)| ids.serialized_size() + 48).sum();
            Ok((values, bytes))
        })?;
        Ok(Some(postings))
    }

    fn symbol(&self, at: u32) -> Result<&str> {
        self.symbols.get(at).map_err(|source| self.decode_error("symbols", source))
    }

    pub(super) fn label_names(&self, see: &mut dyn FnMut(&str)) {
        self.directory.names.iter().for_each(|(name, _)| see(name));
    }

    pub(super) fn label_values(&self, name: &str, see: &mut dyn FnMut(&str)) -> Result<()> {
        if let Some(postings) = self.postings_of(name)? {
            for (value, _) in postings.iter() {
                see(self.symbol(*value)?);
            }
        }
        Ok(())
    }

    /// Reads the postings of every name: all else is read by reading all samples.
    pub(super) fn check_postings(&self) -> Result<()> {
        self.directory.names.iter().try_for_each(|(name, _)| self.label_values(name, &mut |_| ()))
    }

    pub(super) fn metadata(&self) -> Result<Vec<(String, FamilyMetadata)>> {
        let families = self.piece(self.directory.metadata, "metadata", |raw| {
            let families = decode_metadata(raw)?;
            let bytes = raw.len() + families.len() * 96;
            Ok((families, bytes))
        })?;
        Ok((*families).clone())
    }

    /// Calls `see` with each of `ids`, in order.
    pub(in crate::tsdb) fn series(
        &self,
        ids: &RoaringBitmap,
        see: &mut dyn FnMut(SeriesAt<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut loaded: Option<(usize, Arc<SeriesPiece>)> = None;
        for number in ids {
            let (at, row) = (number as usize / ROWS_PER_PIECE, number as usize % ROWS_PER_PIECE);
            let piece = match loaded.take() {
                Some((of, piece)) if of == at => piece,
                _ => self.series_piece(at)?,
            };
            let Some(row) = piece.row(row) else {
                return Err(self.damaged("series", "a series is missing"));
            };
            see(SeriesAt { id: number, index: self, row })?;
            loaded = Some((at, piece));
        }
        Ok(())
    }

    fn series_piece(&self, at: usize) -> Result<Arc<SeriesPiece>> {
        let extent = self.directory.series.get(at).ok_or_else(|| self.damaged("series", "a piece is missing"))?;
        self.piece(*extent, "series", |raw| {
            let piece = SeriesPiece::decode(raw)?;
            let bytes = piece.bytes();
            Ok((piece, bytes))
        })
    }

    /// Where everything of the section lies.
    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Series of the section.
    pub(in crate::tsdb) fn series_count(&self) -> u32 {
        self.directory.series_count
    }

    /// Every label name and value of the section, in order of bytes.
    pub(super) fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// Slots of all series, in order: what a split of the shard goes by.
    pub(super) fn slots(&self, see: &mut dyn FnMut(u16)) -> Result<()> {
        for at in 0..self.directory.series.len() {
            let piece = self.series_piece(at)?;
            (0..ROWS_PER_PIECE).map_while(|row| piece.slot(row)).for_each(&mut *see);
        }
        Ok(())
    }

    fn labels(&self, pairs: &[(u32, u32)], buffer: &mut Vec<u8>) -> Result<Labels> {
        let mut texts: SmallVec<[(&str, &str); 24]> = SmallVec::with_capacity(pairs.len());
        for (name, value) in pairs {
            texts.push((self.symbol(*name)?, self.symbol(*value)?));
        }
        let labels = Labels::from_sorted(&texts, buffer);
        labels.ok_or_else(|| self.damaged("series", "its labels are not in order or one is empty"))
    }

    /// A time column by its number.
    pub(in crate::tsdb) fn times(&self, column: u32) -> Result<TimesRef> {
        let (at, row) = (column as usize / ROWS_PER_PIECE, column as usize % ROWS_PER_PIECE);
        let missing = || self.damaged("time columns", "a column is missing");
        let kept = self.times.get(at).ok_or_else(missing)?;
        let found = match kept.get() {
            Some(piece) => piece.get(row),
            None => {
                let piece = self.times_piece(self.directory.times[at])?;
                kept.get_or_init(|| piece).get(row)
            }
        };
        found.copied().ok_or_else(missing)
    }

    fn times_piece(&self, extent: Extent) -> Result<Arc<Vec<TimesRef>>> {
        self.piece(extent, "time columns", |raw| {
            let columns = decode_times(raw)?;
            let bytes = columns.len() * size_of::<TimesRef>();
            Ok((columns, bytes))
        })
    }

    /// Reads a page and checks it. Not cached here: see [`crate::tsdb::view`].
    pub(in crate::tsdb) fn page(&self, of_times: bool, page: u32) -> Result<Vec<u8>> {
        let (pages, section) = match of_times {
            true => (&self.directory.times_pages, "time page"),
            false => (&self.directory.value_pages, "value page"),
        };
        let extent = pages.get(page as usize).ok_or_else(|| self.damaged(section, "a page is missing"))?;
        self.block.stored(self.start, self.len, *extent, section)
    }
}

/// Goes through the series of a section one after the other, holding one piece of its table.
#[derive(Debug, Default)]
pub(in crate::tsdb) struct SeriesCursor {
    next: u32,
    piece: Option<(usize, Arc<SeriesPiece>)>,
}

/// A series of a section, by itself.
#[derive(Debug)]
pub(in crate::tsdb) struct OwnedSeries {
    /// Position in the series table.
    pub(in crate::tsdb) id: u32,
    pub(in crate::tsdb) labels: Labels,
    /// By kind and time.
    pub(in crate::tsdb) chunks: Vec<ChunkRef>,
}

impl SeriesCursor {
    /// The next series of `index`, which must be the same at every call; `None` at the end.
    pub(in crate::tsdb) fn next(&mut self, index: &TenantIndex) -> Result<Option<OwnedSeries>> {
        let id = self.next;
        if id >= index.series_count() {
            return Ok(None);
        }
        let (at, row) = (id as usize / ROWS_PER_PIECE, id as usize % ROWS_PER_PIECE);
        let piece = match self.piece.take() {
            Some((of, piece)) if of == at => piece,
            _ => index.series_piece(at)?,
        };
        let Some(found) = piece.row(row) else {
            return Err(index.damaged("series", "a series is missing"));
        };
        let series =
            OwnedSeries { id, labels: index.labels(found.pairs, &mut Vec::new())?, chunks: found.chunks.to_vec() };
        self.piece = Some((at, piece));
        self.next += 1;
        Ok(Some(series))
    }
}

impl Postings for TenantIndex {
    type Error = Error;

    fn all(&self) -> Result<RoaringBitmap> {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.directory.series_count);
        Ok(all)
    }

    fn with_value(&self, name: &str, value: &str) -> Result<RoaringBitmap> {
        let Some(symbol) = self.symbols.find(value) else { return Ok(RoaringBitmap::new()) };
        let Some(postings) = self.postings_of(name)? else { return Ok(RoaringBitmap::new()) };
        let found = postings.binary_search_by_key(&symbol, |(symbol, _)| *symbol);
        Ok(found.map(|at| postings[at].1.clone()).unwrap_or_default())
    }

    fn with_values(&self, name: &str, prefix: &str, keep: &mut dyn FnMut(&str) -> bool) -> Result<RoaringBitmap> {
        let Some(postings) = self.postings_of(name)? else { return Ok(RoaringBitmap::new()) };
        // Symbols are in order of their texts, and so are the values of a name.
        let from = self.symbols.first_not_before(prefix);
        let mut kept = Vec::new();
        for (symbol, of_value) in &postings[postings.partition_point(|(symbol, _)| *symbol < from)..] {
            let value = self.symbol(*symbol)?;
            if !value.starts_with(prefix) {
                break;
            }
            if keep(value) {
                kept.push(of_value);
            }
        }
        Ok(kept.into_iter().union())
    }
}
