//! Header, footer and trailer of a block file.
use crate::codec::{Error, Reader, crc_differs, put_bytes, put_ivarint, put_uvarint};
use crate::model::Signal;
use crate::rows::error;
use crate::rows::format::{BLOCK_MAGIC, BLOCK_VERSION, HEADER_BYTES, TRAILER_BYTES};
use crate::rows::region::{Codec, REGION_RAW_BYTES_MAX, Region};

/// Where one tenant's section lies and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SectionEntry {
    pub(crate) tenant: String,
    /// The section's first byte in the file; its regions count from here.
    pub(crate) at: u64,
    pub(crate) len: u64,
    pub(crate) rows: u64,
    /// Streams in the section's table.
    pub(crate) streams_len: u32,
    /// Of those, streams with rows.
    pub(crate) series: u32,
    pub(crate) min_ns: i64,
    pub(crate) max_ns: i64,
    pub(crate) streams: Region,
    pub(crate) labels: Region,
    pub(crate) granules: Region,
}

/// The directory of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) digest: u128,
    /// By tenant.
    pub(crate) sections: Vec<SectionEntry>,
}

impl Footer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.digest.to_le_bytes());
        put_uvarint(&mut out, self.sections.len() as u64);
        for s in &self.sections {
            put_bytes(&mut out, s.tenant.as_bytes());
            put_uvarint(&mut out, s.at);
            put_uvarint(&mut out, s.len);
            put_uvarint(&mut out, s.rows);
            put_uvarint(&mut out, u64::from(s.streams_len));
            put_uvarint(&mut out, u64::from(s.series));
            put_ivarint(&mut out, s.min_ns);
            put_ivarint(&mut out, s.max_ns);
            s.streams.encode(&mut out);
            s.labels.encode(&mut out);
            s.granules.encode(&mut out);
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        let digest = r.u128("digest")?;
        let n = r.count(30, "sections count")?;
        let mut sections = Vec::with_capacity(n);
        for _ in 0..n {
            let tenant = r.str("tenant")?.to_owned();
            let (at, len, rows) = (r.uvarint("section offset")?, r.uvarint("section length")?, r.uvarint("rows")?);
            let from = r.position();
            let invalid = |_| Error::Invalid { what: "streams count", at: from };
            let streams_len = u32::try_from(r.uvarint("streams count")?).map_err(invalid)?;
            let series = u32::try_from(r.uvarint("series count")?).map_err(invalid)?;
            sections.push(SectionEntry {
                tenant,
                at,
                len,
                rows,
                streams_len,
                series,
                min_ns: r.ivarint("min time")?,
                max_ns: r.ivarint("max time")?,
                streams: Region::decode(&mut r)?,
                labels: Region::decode(&mut r)?,
                granules: Region::decode(&mut r)?,
            });
        }
        if r.is_empty() {
            Ok(Self { digest, sections })
        } else {
            Err(Error::Invalid { what: "footer", at: r.position() })
        }
    }
}

/// The 16 bytes at the start.
pub(crate) fn encode_header(signal: Signal) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&BLOCK_MAGIC);
    header[4] = BLOCK_VERSION;
    header[5] = signal as u8;
    header[6..8].copy_from_slice(&(HEADER_BYTES as u16).to_le_bytes());
    let crc = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Checks the header and names the signal.
pub(crate) fn decode_header(header: &[u8; HEADER_BYTES]) -> error::Result<Signal> {
    let mut magic = [0; 4];
    magic.copy_from_slice(&header[..4]);
    if magic != BLOCK_MAGIC {
        return Err(error::Error::Magic { magic });
    }
    if header[4] != BLOCK_VERSION {
        return Err(error::Error::Version { version: header[4] });
    }
    let [.., a, b, c, d] = *header;
    if crc_differs(crc32fast::hash(&header[..12]), u32::from_le_bytes([a, b, c, d])) {
        return Err(error::Error::Checksum { region: "block header", at: 0 });
    }
    match Signal::from_u8(header[5]) {
        Some(signal @ (Signal::Logs | Signal::Traces)) => Ok(signal),
        _ => Err(error::Error::Mismatch { region: "block header" }),
    }
}

/// The 32 bytes at the end; they say where the footer is.
pub(crate) fn encode_trailer(footer: &Region) -> [u8; TRAILER_BYTES] {
    let mut trailer = [0; TRAILER_BYTES];
    trailer[..8].copy_from_slice(&footer.at.to_le_bytes());
    trailer[8..12].copy_from_slice(&footer.len.to_le_bytes());
    trailer[12..16].copy_from_slice(&footer.raw_len.to_le_bytes());
    trailer[16] = footer.codec as u8;
    trailer[20..24].copy_from_slice(&footer.crc.to_le_bytes());
    let crc = crc32fast::hash(&trailer[..24]);
    trailer[24..28].copy_from_slice(&crc.to_le_bytes());
    trailer[28..].copy_from_slice(&BLOCK_MAGIC);
    trailer
}

/// The footer's region; `at` is the trailer's offset.
pub(crate) fn decode_trailer(trailer: &[u8; TRAILER_BYTES], at: u64) -> error::Result<Region> {
    let word = |i: usize| u32::from_le_bytes([trailer[i], trailer[i + 1], trailer[i + 2], trailer[i + 3]]);
    if trailer[28..] != BLOCK_MAGIC || crc_differs(crc32fast::hash(&trailer[..24]), word(24)) {
        return Err(error::Error::Checksum { region: "block trailer", at });
    }
    let codec = match trailer[16] {
        0 => Codec::Raw,
        1 => Codec::Zstd,
        _ => return Err(error::Error::Mismatch { region: "block trailer" }),
    };
    let footer_at = u64::from(word(0)) | u64::from(word(4)) << 32;
    if u64::from(word(12)) > REGION_RAW_BYTES_MAX {
        return Err(error::Error::Mismatch { region: "block trailer" });
    }
    Ok(Region { at: footer_at, len: word(8), raw_len: word(12), codec, crc: word(20) })
}
