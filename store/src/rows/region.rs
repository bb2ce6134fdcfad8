//! Regions: compressed, checksummed byte ranges, the unit in which granules and blocks are read.
use super::error::{Error, Result};
use crate::codec::{self, Reader, put_uvarint};
use crate::read_at::{DamageKind, ReadAt};

/// Most raw bytes of one region; a bigger one is damage. Granules stay far below, tables of some million streams as well.
pub(crate) const REGION_RAW_BYTES_MAX: u64 = 1 << 30;

/// How a region is stored. On disk: never reuse a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Codec {
    Raw = 0,
    Zstd = 1,
}

/// Where a region lies, relative to a base that its owner knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) at: u64,
    pub(crate) len: u32,
    pub(crate) raw_len: u32,
    pub(crate) codec: Codec,
    /// CRC-32 (IEEE) of the stored bytes.
    pub(crate) crc: u32,
}

impl Region {
    /// `at len raw_len codec crc`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_uvarint(out, self.at);
        put_uvarint(out, u64::from(self.len));
        put_uvarint(out, u64::from(self.raw_len));
        out.push(self.codec as u8);
        out.extend_from_slice(&self.crc.to_le_bytes());
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> std::result::Result<Self, codec::Error> {
        let start = r.position();
        let invalid = |what| codec::Error::Invalid { what, at: start };
        let at = r.uvarint("region offset")?;
        let len = u32::try_from(r.uvarint("region length")?).map_err(|_| invalid("region length"))?;
        let raw_len = r.uvarint("region raw length")?;
        if raw_len > REGION_RAW_BYTES_MAX {
            return Err(invalid("region raw length"));
        }
        let codec = match r.u8("region codec")? {
            0 => Codec::Raw,
            1 => Codec::Zstd,
            other => return Err(codec::Error::Unknown { what: "region codec", value: u64::from(other), at: start }),
        };
        Ok(Self { at, len, raw_len: raw_len as u32, codec, crc: r.u32("region checksum")? })
    }

    /// Reads, checks and decompresses the region.
    pub(crate) fn read(&self, file: &dyn ReadAt, base: u64, name: &'static str) -> Result<Vec<u8>> {
        let at = base.saturating_add(self.at);
        let stored = file.read_range(at, self.len as usize).map_err(|source| {
            file.report(at, name, DamageKind::of_read(&source), &source);
            Error::Read { region: name, at, source }
        })?;
        let found = crc32fast::hash(&stored);
        if codec::crc_differs(found, self.crc) {
            let reason = format_args!("checksum {found:08x}, expected {:08x}", self.crc);
            file.report(at, name, DamageKind::Checksum, &reason);
            return Err(Error::Checksum { region: name, at });
        }
        let raw = match self.codec {
            Codec::Raw => stored,
            Codec::Zstd => zstd::bulk::decompress(&stored, self.raw_len as usize)
                .map_err(|_| Error::Decompress { region: name, at })?,
        };
        if raw.len() != self.raw_len as usize {
            return Err(Error::Decompress { region: name, at });
        }
        Ok(raw)
    }
}

/// Appends regions to a buffer.
pub(crate) struct RegionWriter {
    zstd: Option<zstd::bulk::Compressor<'static>>,
    pub(crate) out: Vec<u8>,
}

impl std::fmt::Debug for RegionWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegionWriter").field("out", &self.out.len()).finish_non_exhaustive()
    }
}

impl RegionWriter {
    /// Compresses with zstd at `level`; stores raw should the compressor not start.
    pub(crate) fn new(level: i32) -> Self {
        Self { zstd: zstd::bulk::Compressor::new(level).ok(), out: Vec::new() }
    }

    /// Appends `raw`, compressed when that makes it smaller.
    pub(crate) fn put(&mut self, raw: &[u8]) -> Region {
        match self.zstd.as_mut().filter(|_| raw.len() > 32).and_then(|z| z.compress(raw).ok()) {
            Some(packed) if packed.len() < raw.len() => self.append(&packed, raw.len(), Codec::Zstd),
            _ => self.put_raw(raw),
        }
    }

    /// Appends `raw` as it is.
    pub(crate) fn put_raw(&mut self, raw: &[u8]) -> Region {
        self.append(raw, raw.len(), Codec::Raw)
    }

    fn append(&mut self, stored: &[u8], raw_len: usize, codec: Codec) -> Region {
        let at = self.out.len() as u64;
        self.out.extend_from_slice(stored);
        Region { at, len: stored.len() as u32, raw_len: raw_len as u32, codec, crc: crc32fast::hash(stored) }
    }
}
