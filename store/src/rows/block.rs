//! Sealed blocks of rows: one file, per-tenant sections, read by range.
mod footer;
mod inspect;
mod seal;
mod section;
mod verify;

use std::sync::{Arc, OnceLock};

pub use inspect::contents;
pub use seal::{compact, seal, seal_counted};
pub use verify::{recount, verify};

use self::footer::{Footer, SectionEntry, decode_header, decode_trailer};
use self::section::{decode_granules, decode_labels, decode_streams};
use super::error::{Error, Result, decoding};
use super::format::{HEADER_BYTES, TRAILER_BYTES};
use super::granule::Granule;
use super::piece::{ClosedPiece, Source};
use super::region::Region;
use super::stream_table::{Segment, StreamTable};
use crate::model::Signal;
use crate::read_at::ReadAt;

/// What a seal wrote, and what an open block says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSummary {
    /// Length of the file.
    pub bytes: u64,
    /// Rows after natural-key deduplication.
    pub facts: u64,
    /// Streams with rows.
    pub series: u64,
    /// Earliest and latest time in ns; `None` without rows.
    pub min_time: Option<i64>,
    pub max_time: Option<i64>,
    /// xxh3-128 of the canonical decoded content: the same on every replica and in every version.
    pub digest: u128,
}

impl BlockSummary {
    fn of(footer: &Footer, bytes: u64) -> Self {
        Self {
            bytes,
            facts: footer.sections.iter().fold(0, |sum, s| s.rows.saturating_add(sum)),
            series: footer.sections.iter().map(|s| u64::from(s.series)).sum(),
            min_time: footer.sections.iter().map(|s| s.min_ns).min(),
            max_time: footer.sections.iter().map(|s| s.max_ns).max(),
            digest: footer.digest,
        }
    }
}

/// An open block file. Sections are read and kept at their first use.
#[derive(Debug)]
pub struct Block {
    name: String,
    file: Arc<dyn ReadAt>,
    signal: Signal,
    footer: Footer,
    sections: Vec<OnceLock<Source>>,
    /// What is known of a block whose file is gone: then everything else is an [`Error::Lost`].
    lost: Option<BlockSummary>,
}

impl Block {
    /// Opens a block that has no name.
    pub fn open(file: Arc<dyn ReadAt>) -> Result<Self> {
        Self::open_with(file, "(unnamed)")
    }

    /// A place holder for a block whose file is damaged: reads fail with [`Error::Lost`].
    pub fn lost(name: &str, signal: Signal, summary: BlockSummary) -> Self {
        let file = Arc::new(bytes::Bytes::new());
        let (footer, sections) = (Footer { digest: summary.digest, ..Footer::default() }, Vec::new());
        Self { name: name.to_owned(), file, signal, footer, sections, lost: Some(summary) }
    }

    /// The name it was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this is a place holder.
    pub fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Whether it may have rows in `min_ns..=max_ns`.
    pub(crate) fn overlaps(&self, min_ns: i64, max_ns: i64) -> bool {
        let summary = self.summary();
        summary.min_time.is_some_and(|at| at <= max_ns) && summary.max_time.is_some_and(|at| at >= min_ns)
    }

    /// Checks header, trailer and footer. `name` appears in errors.
    pub fn open_with(file: Arc<dyn ReadAt>, name: &str) -> Result<Self> {
        let len = file.len();
        let short = Error::Mismatch { region: "block file" };
        let trailer_at = len.checked_sub(TRAILER_BYTES as u64).filter(|&at| at >= HEADER_BYTES as u64).ok_or(short)?;
        let mut header = [0; HEADER_BYTES];
        let mut trailer = [0; TRAILER_BYTES];
        let read = |region, at| move |source| Error::Read { region, at, source };
        file.read_exact_at(&mut header, 0).map_err(read("block header", 0))?;
        file.read_exact_at(&mut trailer, trailer_at).map_err(read("block trailer", trailer_at))?;
        let signal = decode_header(&header)?;
        let footer = decode_trailer(&trailer, trailer_at)?.read(&*file, 0, "block footer")?;
        let footer = Footer::decode(&footer).map_err(decoding("block footer"))?;
        let is_inside = |s: &SectionEntry| s.at.checked_add(s.len).is_some_and(|end| end <= len);
        if !footer.sections.iter().all(is_inside) {
            return Err(Error::Mismatch { region: "block footer" });
        }
        let sections = footer.sections.iter().map(|_| OnceLock::new()).collect();
        Ok(Self { name: name.to_owned(), file, signal, footer, sections, lost: None })
    }

    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// The summary that the seal returned.
    pub fn summary(&self) -> BlockSummary {
        self.lost.unwrap_or_else(|| BlockSummary::of(&self.footer, self.file.len()))
    }

    /// Tenants with a section, sorted.
    pub fn tenants(&self) -> impl Iterator<Item = &str> {
        self.footer.sections.iter().map(|s| s.tenant.as_str())
    }

    /// Tenants with their rows, as the footer says. None for a place holder.
    pub fn tenant_facts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.footer.sections.iter().map(|s| (s.tenant.as_str(), s.rows))
    }

    /// Tenants with the least and greatest time of their rows, as the footer says.
    pub fn tenant_times(&self) -> impl Iterator<Item = (&str, i64, i64)> {
        self.footer.sections.iter().map(|s| (s.tenant.as_str(), s.min_ns, s.max_ns))
    }

    /// The tenant's pieces, or `None` when it has no section.
    pub(crate) fn source(&self, tenant: &str) -> Result<Option<Source>> {
        if self.is_lost() {
            return Err(Error::Lost { block: self.name.clone() });
        }
        let Some(at) = self.footer.sections.iter().position(|s| s.tenant == tenant) else { return Ok(None) };
        if let Some(source) = self.sections[at].get() {
            return Ok(Some(source.clone()));
        }
        let source = self.read_section(&self.footer.sections[at])?;
        Ok(Some(self.sections[at].get_or_init(|| source).clone()))
    }

    fn read_section(&self, entry: &SectionEntry) -> Result<Source> {
        let read = |region: &Region, name| region.read(&*self.file, entry.at, name);
        let streams = decode_streams(&read(&entry.streams, "streams")?, entry.streams_len, self.signal)
            .map_err(decoding("streams"))?;
        let index =
            decode_labels(&read(&entry.labels, "label index")?, entry.streams_len).map_err(decoding("label index"))?;
        let granules = decode_granules(&read(&entry.granules, "granule directory")?, entry.streams_len)
            .map_err(decoding("granule directory"))?;
        let mut table = StreamTable::default();
        table.push(Arc::new(Segment::with_index(&Arc::from(entry.tenant.as_str()), streams, index)));
        let pieces = granules
            .into_iter()
            .map(|(base, meta)| {
                let base = entry.at.saturating_add(base);
                ClosedPiece::Granule(Arc::new(Granule { meta, file: self.file.clone(), base }))
            })
            .collect();
        Ok(Source { streams: Arc::new(table), pieces })
    }
}

/// Runs every decoder of a table of a block over bytes that no checksum vouches for.
pub(crate) fn decode_tables(bytes: &[u8]) {
    const STREAMS: u32 = 3;
    drop(Footer::decode(bytes));
    drop(decode_streams(bytes, STREAMS, Signal::Logs));
    drop(decode_streams(bytes, STREAMS, Signal::Traces));
    drop(decode_labels(bytes, STREAMS));
    drop(decode_granules(bytes, STREAMS));
    super::granule::decode_pieces(bytes);
}
