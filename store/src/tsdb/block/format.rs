//! Constants of the block file, and the small records that locate its pieces.
//!
//! ```text
//!   0   4  magic "TRNM"
//!   4   1  version
//!   5   3  zero
//!   8   .. one section a tenant: pages, then pieces, the directory last
//!       .. footer (packed): the tenants and their sections
//! -24   8  offset of the footer
//! -16   4  length of the footer
//! -12   4  crc32 of the footer
//!  -8   4  crc32 of the 16 bytes before
//!  -4   4  magic "TRNM"
//! ```
//! See `docs/formats/metrics-block.md`.
use crate::codec::{Error, Reader, put_bytes, put_ivarint, put_uvarint};

pub(super) const MAGIC: [u8; 4] = *b"TRNM";
pub(super) const VERSION: u8 = 1;
pub(super) const HEADER_LEN: u64 = 8;
pub(super) const TAIL_LEN: u64 = 24;
/// Series of one piece of the series table; and time columns of one piece of their table.
pub(super) const ROWS_PER_PIECE: usize = 1024;
/// A page is closed once it has this many bytes: what one read of a single series costs.
pub(super) const PAGE_BYTES: usize = 16 << 10;

/// Stored bytes and their checksum. The offset counts from the start of the tenant's section, so that a section can be
/// copied as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) len: u32,
    pub(super) crc: u32,
}

impl Extent {
    const BYTES_MIN: usize = 6;

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_uvarint(out, self.offset);
        put_uvarint(out, u64::from(self.len));
        out.extend_from_slice(&self.crc.to_le_bytes());
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { offset: r.uvarint("offset")?, len: read_u32(r, "length")?, crc: r.u32("checksum")? })
    }

    fn put_all(extents: &[Self], out: &mut Vec<u8>) {
        put_uvarint(out, extents.len() as u64);
        extents.iter().for_each(|e| e.put(out));
    }

    fn read_all(r: &mut Reader<'_>, what: &'static str) -> Result<Vec<Self>, Error> {
        let count = r.count(Self::BYTES_MIN, what)?;
        (0..count).map(|_| Self::read(r)).collect()
    }
}

/// A varint that must fit 32 bits.
pub(super) fn read_u32(r: &mut Reader<'_>, what: &'static str) -> Result<u32, Error> {
    let at = r.position();
    u32::try_from(r.uvarint(what)?).map_err(|_| Error::Invalid { what, at })
}

/// One tenant in the footer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TenantEntry {
    pub(super) tenant: String,
    /// Offset of the section in the file, and its length.
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) directory: Extent,
    pub(super) series: u64,
    pub(super) facts: u64,
    pub(super) min_ms: i64,
    pub(super) max_ms: i64,
    pub(super) digest: u128,
}

impl TenantEntry {
    const BYTES_MIN: usize = 30;

    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.tenant.as_bytes());
        put_uvarint(out, self.start);
        put_uvarint(out, self.len);
        self.directory.put(out);
        put_uvarint(out, self.series);
        put_uvarint(out, self.facts);
        put_ivarint(out, self.min_ms);
        put_ivarint(out, self.max_ms);
        out.extend_from_slice(&self.digest.to_le_bytes());
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            tenant: r.str("tenant")?.to_owned(),
            start: r.uvarint("section offset")?,
            len: r.uvarint("section length")?,
            directory: Extent::read(r)?,
            series: r.uvarint("series count")?,
            facts: r.uvarint("samples count")?,
            min_ms: r.ivarint("least time")?,
            max_ms: r.ivarint("greatest time")?,
            digest: r.u128("digest")?,
        })
    }
}

/// The footer before packing: `varint tenants`, then for each `tenant`, `varint start`, `varint length`, directory extent,
/// `varint series`, `varint samples`, least and greatest time (zigzag, ms), 16 bytes of digest.
pub(super) fn encode_footer(tenants: &[TenantEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    put_uvarint(&mut out, tenants.len() as u64);
    tenants.iter().for_each(|t| t.put(&mut out));
    out
}

pub(super) fn decode_footer(raw: &[u8]) -> Result<Vec<TenantEntry>, Error> {
    let mut r = Reader::new(raw);
    let count = r.count(TenantEntry::BYTES_MIN, "tenants count")?;
    (0..count).map(|_| TenantEntry::read(&mut r)).collect()
}

/// Where everything of a tenant lies.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    pub(super) symbols: Extent,
    pub(super) metadata: Extent,
    pub(super) series_count: u32,
    pub(super) times_count: u32,
    /// The series table, [`ROWS_PER_PIECE`] series each.
    pub(super) series: Vec<Extent>,
    /// The table of time columns, [`ROWS_PER_PIECE`] columns each.
    pub(super) times: Vec<Extent>,
    pub(super) value_pages: Vec<Extent>,
    pub(super) times_pages: Vec<Extent>,
    /// Label names in order, with their postings.
    pub(super) names: Vec<(String, Extent)>,
}

impl Directory {
    /// Symbols, metadata, `varint series`, `varint time columns`, four lists of extents (each `varint count` first), then
    /// `varint names` and for each its text and extent.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.symbols.put(&mut out);
        self.metadata.put(&mut out);
        put_uvarint(&mut out, u64::from(self.series_count));
        put_uvarint(&mut out, u64::from(self.times_count));
        for list in [&self.series, &self.times, &self.value_pages, &self.times_pages] {
            Extent::put_all(list, &mut out);
        }
        put_uvarint(&mut out, self.names.len() as u64);
        for (name, extent) in &self.names {
            put_bytes(&mut out, name.as_bytes());
            extent.put(&mut out);
        }
        out
    }

    pub(super) fn decode(raw: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(raw);
        let mut directory = Self {
            symbols: Extent::read(&mut r)?,
            metadata: Extent::read(&mut r)?,
            series_count: read_u32(&mut r, "series count")?,
            times_count: read_u32(&mut r, "time columns count")?,
            series: Extent::read_all(&mut r, "series pieces")?,
            times: Extent::read_all(&mut r, "time pieces")?,
            value_pages: Extent::read_all(&mut r, "value pages")?,
            times_pages: Extent::read_all(&mut r, "time pages")?,
            names: Vec::new(),
        };
        let pieces_of = |rows: u32| (rows as usize).div_ceil(ROWS_PER_PIECE);
        if directory.series.len() != pieces_of(directory.series_count)
            || directory.times.len() != pieces_of(directory.times_count)
        {
            return Err(Error::Invalid { what: "pieces count", at: 0 });
        }
        let names = r.count(1 + Extent::BYTES_MIN, "label names count")?;
        for _ in 0..names {
            directory.names.push((r.str("label name")?.to_owned(), Extent::read(&mut r)?));
        }
        Ok(directory)
    }
}
