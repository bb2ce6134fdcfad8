//! The frame of a block file, and pieces with their checksums.
use std::io::{self, Write};

use super::format::{Extent, HEADER_LEN, MAGIC, TAIL_LEN, TenantEntry, VERSION, encode_footer};
use super::{BlockSummary, summary_of};
use crate::tsdb::chunk::blobs::{self, pack};

/// Counts what was written.
pub(super) struct Output<'w, W> {
    inner: &'w mut W,
    pub(super) at: u64,
    /// Offsets of extents count from here.
    pub(super) section_start: u64,
}

impl<'w, W: Write> Output<'w, W> {
    /// Writes the header.
    pub(super) fn begin(inner: &'w mut W) -> io::Result<Self> {
        let mut out = Self { inner, at: 0, section_start: 0 };
        let mut header = [0; HEADER_LEN as usize];
        header[..4].copy_from_slice(&MAGIC);
        header[4] = VERSION;
        out.put(&header)?;
        Ok(out)
    }

    /// Writes footer and tail.
    pub(super) fn end(mut self, tenants: &[TenantEntry]) -> io::Result<BlockSummary> {
        self.section_start = 0;
        let footer = self.piece(&encode_footer(tenants))?;
        let mut tail = Vec::with_capacity(TAIL_LEN as usize);
        tail.extend_from_slice(&footer.offset.to_le_bytes());
        tail.extend_from_slice(&footer.len.to_le_bytes());
        tail.extend_from_slice(&footer.crc.to_le_bytes());
        let crc = crc32fast::hash(&tail);
        tail.extend_from_slice(&crc.to_le_bytes());
        tail.extend_from_slice(&MAGIC);
        self.put(&tail)?;
        Ok(summary_of(tenants, self.at))
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Writes bytes as they are.
    pub(super) fn stored(&mut self, bytes: &[u8]) -> io::Result<Extent> {
        let len = u32::try_from(bytes.len()).map_err(|_| io::Error::other("a piece of a block is too long"))?;
        let extent = Extent { offset: self.at - self.section_start, len, crc: crc32fast::hash(bytes) };
        self.put(bytes)?;
        Ok(extent)
    }

    /// Writes bytes packed.
    pub(super) fn piece(&mut self, raw: &[u8]) -> io::Result<Extent> {
        if raw.len() as u64 > blobs::RAW_BYTES_LIMIT {
            return Err(io::Error::other("a piece of a block is too long"));
        }
        let mut packed = Vec::new();
        pack(raw, &mut packed);
        self.stored(&packed)
    }
}
