//! Bytes of a segment: its header, its records and the roster. Nothing here touches a file.
//!
//! ```text
//! segment, version 1, little-endian                    docs/formats/wal.md
//!   0     4  magic "TRNW"
//!   4     4  version       1; any other is refused by name
//!   8     8  generation    number of the segment, counted up by one, never reused
//!  16     8  salt          random; seeds every checksum in this segment
//!  24     8  first_batch   number of the first batch in this segment: the roster
//!  32     8  previous_end  offset behind the last record of the previous segment; 0 for the first
//!  40    20  zero
//!  60     4  crc32         of bytes 0 to 60
//!  2048  64  the same header again
//!  4096  ..  records
//!
//! record, 8-byte aligned
//!   0     4  header_crc    crc32 of generation, salt, bytes 4 to 48
//!   4     4  payload_crc   crc32 of the payload
//!   8     4  len           of the payload
//!  12     1  kind          1 entry, 2 mark, 3 truncate, 4 purge, 5 remove, 6 roster; never reused
//!  13     1  flags         bit 0: last record of its batch
//!  14     2  check         low 16 bits of the generation, to tell stale records apart cheaply
//!  16     8  batch         rises by one a batch
//!  24     8  stream        0 for a roster
//!  32     8  chain         the how manieth record of its stream since the stream was created, from 1; 0 for a roster
//!  40     8  index         entry: its index; mark: 1 vote, 2 committed, 3 purged; truncate: first dropped;
//!                          purge: last dropped; otherwise 0
//!  48   len  payload       entry: opaque; mark, purge: the value; roster: see below; padded with zeros to 8 bytes
//!
//! roster: the state of every stream where the segment begins
//!   uvarint count, then for each stream, by rising id:
//!   8 stream, 8 chain, 8 base, 8 next, 1 flags (bit 0: corrupt), then for vote, committed, purged:
//!   uvarint 0 when unset, otherwise the length + 1, then the value
//! ```
use crate::codec::{self, Reader, put_uvarint};

use super::Mark;
use super::ledger::{Extent, Marks};

pub(super) const VERSION: u32 = 1;
const MAGIC: [u8; 4] = *b"TRNW";
const HEADER_BYTES: usize = 64;
/// Where the two copies of a segment's header are: in different sectors.
pub(super) const HEADER_COPIES: [u64; 2] = [0, 2048];
/// Where records begin.
pub(super) const RECORDS_START: u64 = 4096;
/// Bytes of a record before its payload.
pub(super) const RECORD_HEADER_BYTES: usize = 48;
const FLAG_LAST: u8 = 1;

/// Name of the file of the segment with this generation.
pub(super) fn segment_name(generation: u64) -> String {
    format!("wal-{generation:016x}.seg")
}

/// Name of an emptied segment that waits for reuse.
pub(super) fn spare_name(id: u64) -> String {
    format!("spare-{id:016x}.seg")
}

/// Generations, batches, chains and entries are counted on from what is read, so larger ones are taken for damage: nobody
/// has ever come so far.
const COUNT_MAX: u64 = u64::MAX / 2;

/// The number in a file name made by [`segment_name`] (`prefix` "wal-") or [`spare_name`] (`prefix` "spare-").
pub(super) fn parse_name(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(".seg")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?.filter(|n| *n <= COUNT_MAX)
}

/// Why a segment's header is not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    Damaged,
    Version(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) generation: u64,
    pub(super) salt: u64,
    pub(super) first_batch: u64,
    pub(super) previous_end: u64,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&VERSION.to_le_bytes());
        out[8..16].copy_from_slice(&self.generation.to_le_bytes());
        out[16..24].copy_from_slice(&self.salt.to_le_bytes());
        out[24..32].copy_from_slice(&self.first_batch.to_le_bytes());
        out[32..40].copy_from_slice(&self.previous_end.to_le_bytes());
        let crc = crc32fast::hash(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Decodes one copy. `bytes` may be longer.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else { return Err(HeaderError::Damaged) };
        if bytes[..4] != MAGIC || codec::crc_differs(crc32fast::hash(&bytes[..60]), u32_at(bytes, 60)) {
            return Err(HeaderError::Damaged);
        }
        match u32_at(bytes, 4) {
            VERSION if u64_at(bytes, 24) > COUNT_MAX => Err(HeaderError::Damaged),
            VERSION => Ok(Self {
                generation: u64_at(bytes, 8),
                salt: u64_at(bytes, 16),
                first_batch: u64_at(bytes, 24),
                previous_end: u64_at(bytes, 32),
            }),
            other => Err(HeaderError::Version(other)),
        }
    }

    pub(super) fn seal(&self) -> Seal {
        let mut seed = crc32fast::Hasher::new();
        seed.update(&self.generation.to_le_bytes());
        seed.update(&self.salt.to_le_bytes());
        Seal { seed, check: self.generation as u16 }
    }
}

/// What a record's kind byte says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Entry = 1,
    Mark = 2,
    Truncate = 3,
    Purge = 4,
    Remove = 5,
    Roster = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Entry,
            2 => Self::Mark,
            3 => Self::Truncate,
            4 => Self::Purge,
            5 => Self::Remove,
            6 => Self::Roster,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) kind: Kind,
    pub(super) last: bool,
    pub(super) len: u32,
    pub(super) payload_crc: u32,
    pub(super) batch: u64,
    pub(super) stream: u64,
    pub(super) chain: u64,
    pub(super) index: u64,
}

impl RecordHeader {
    /// Bytes of the whole record, padding included.
    pub(super) fn record_bytes(&self) -> u64 {
        record_bytes(self.len as usize) as u64
    }
}

/// Bytes of a record with a payload of `len` bytes, padding included.
pub(super) fn record_bytes(len: usize) -> usize {
    RECORD_HEADER_BYTES + len.next_multiple_of(8)
}

/// The checksum of records in one segment, seeded with its generation and salt.
#[derive(Clone, Debug)]
pub(super) struct Seal {
    seed: crc32fast::Hasher,
    check: u16,
}

impl Seal {
    fn header_crc(&self, header: &[u8]) -> u32 {
        let mut crc = self.seed.clone();
        crc.update(&header[4..RECORD_HEADER_BYTES]);
        crc.finalize()
    }

    /// Appends one record; `header.len` and `header.payload_crc` are computed here. `out` must be 8-byte aligned in length.
    pub(super) fn put(&self, out: &mut Vec<u8>, header: RecordHeader, payload: &[u8]) {
        debug_assert_eq!(out.len() % 8, 0, "records are 8-byte aligned");
        let len = u32::try_from(payload.len()).expect("callers refuse payloads over 1 GiB");
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        out.push(header.kind as u8);
        out.push(if header.last { FLAG_LAST } else { 0 });
        out.extend_from_slice(&self.check.to_le_bytes());
        for field in [header.batch, header.stream, header.chain, header.index] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        self.stamp(&mut out[at..]);
        out.extend_from_slice(payload);
        out.resize(at + record_bytes(payload.len()), 0);
    }

    /// Flags the record at `at` as the last of its batch.
    pub(super) fn set_last(&self, out: &mut [u8], at: usize) {
        out[at + 13] |= FLAG_LAST;
        self.stamp(&mut out[at..]);
    }

    fn stamp(&self, record: &mut [u8]) {
        let crc = self.header_crc(&record[..RECORD_HEADER_BYTES]);
        record[..4].copy_from_slice(&crc.to_le_bytes());
    }

    /// The record header at the start of `bytes`, or `None` when it is not one of this segment. The payload is not looked at.
    pub(super) fn decode(&self, bytes: &[u8]) -> Option<RecordHeader> {
        let bytes = bytes.first_chunk::<RECORD_HEADER_BYTES>()?;
        let kind = Kind::from_byte(bytes[12])?;
        if u16::from_le_bytes([bytes[14], bytes[15]]) != self.check
            || codec::crc_differs(self.header_crc(bytes), u32_at(bytes, 0))
        {
            return None;
        }
        let header = RecordHeader {
            kind,
            last: bytes[13] & FLAG_LAST != 0,
            len: u32_at(bytes, 8),
            payload_crc: u32_at(bytes, 4),
            batch: u64_at(bytes, 16),
            stream: u64_at(bytes, 24),
            chain: u64_at(bytes, 32),
            index: u64_at(bytes, 40),
        };
        let counted = header.batch.max(header.chain) <= COUNT_MAX && (kind != Kind::Entry || header.index <= COUNT_MAX);
        counted.then_some(header)
    }
}

/// One stream in a roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RosterStream {
    pub(super) stream: u64,
    pub(super) chain: u64,
    pub(super) extent: Extent,
    pub(super) corrupt: bool,
    pub(super) marks: Marks,
}

pub(super) fn encode_roster<'a>(
    streams: impl ExactSizeIterator<Item = (u64, u64, Extent, bool, &'a Marks)>,
) -> Vec<u8> {
    let mut out = Vec::new();
    put_uvarint(&mut out, streams.len() as u64);
    for (stream, chain, extent, corrupt, marks) in streams {
        for field in [stream, chain, extent.base, extent.next] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.push(u8::from(corrupt));
        for mark in Mark::ALL {
            match marks.get(mark) {
                None => out.push(0),
                Some(value) => {
                    put_uvarint(&mut out, value.len() as u64 + 1);
                    out.extend_from_slice(value);
                }
            }
        }
    }
    out
}

pub(super) fn decode_roster(bytes: &[u8]) -> Result<Vec<RosterStream>, codec::Error> {
    let mut r = Reader::new(bytes);
    let count = r.count(4 * 8 + 1 + 3, "roster count")?;
    let mut out = Vec::with_capacity(count);
    for _ in 0..count {
        let (stream, chain) = (r.u64("stream")?, r.u64("chain")?);
        let at = r.position();
        let extent = Extent { base: r.u64("base")?, next: r.u64("next")? };
        if chain > COUNT_MAX || extent.base > extent.next {
            return Err(codec::Error::Invalid { what: "chain or extent of a stream", at });
        }
        let corrupt = r.u8("flags")? & 1 != 0;
        let mut marks = Marks::default();
        for mark in Mark::ALL {
            let at = r.position();
            let len = r.uvarint("mark length")?;
            if len > 0 {
                let len = usize::try_from(len - 1).map_err(|_| codec::Error::Invalid { what: "mark length", at })?;
                marks.set(mark, r.take(len, "mark")?.to_vec().into());
            }
        }
        out.push(RosterStream { stream, chain, extent, corrupt, marks });
    }
    Ok(out)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut le = [0; 4];
    le.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(le)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut le = [0; 8];
    le.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(le)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(generation: u64) -> SegmentHeader {
        SegmentHeader { generation, salt: 7, first_batch: 3, previous_end: 8192 }
    }

    fn record() -> RecordHeader {
        RecordHeader {
            kind: Kind::Purge,
            last: false,
            len: 0,
            payload_crc: 0,
            batch: 9,
            stream: u64::MAX,
            chain: 2,
            index: 77,
        }
    }

    #[test]
    fn segment_header_refuses_any_flipped_bit() {
        let bytes = header(5).encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header(5)));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bad), Err(HeaderError::Damaged), "bit {bit}");
        }
        assert_eq!(SegmentHeader::decode(&bytes[..63]), Err(HeaderError::Damaged));
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = header(5).encode();
        bytes[4] = 2;
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Version(2)));
    }

    #[test]
    fn record_header_refuses_any_flipped_bit_and_other_segments() {
        let seal = header(5).seal();
        let mut bytes = Vec::new();
        seal.put(&mut bytes, record(), b"payload");
        assert_eq!(bytes.len(), record_bytes(7));
        let back = seal.decode(&bytes).unwrap();
        assert_eq!((back.kind, back.last, back.len, back.batch), (Kind::Purge, false, 7, 9));
        assert_eq!((back.stream, back.chain, back.index), (u64::MAX, 2, 77));
        assert_eq!(back.payload_crc, crc32fast::hash(b"payload"));
        for bit in 0..RECORD_HEADER_BYTES * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(seal.decode(&bad), None, "bit {bit}");
        }
        assert_eq!(header(6).seal().decode(&bytes), None);
        assert_eq!(header(5 + (1 << 16)).seal().decode(&bytes), None);
        assert_eq!(SegmentHeader { salt: 8, ..header(5) }.seal().decode(&bytes), None);
        seal.set_last(&mut bytes, 0);
        assert!(seal.decode(&bytes).unwrap().last);
    }

    #[test]
    fn names_come_back() {
        assert_eq!(segment_name(26), "wal-000000000000001a.seg");
        assert_eq!(parse_name(&segment_name(26), "wal-"), Some(26));
        assert_eq!(parse_name(&spare_name(COUNT_MAX), "spare-"), Some(COUNT_MAX));
        for bad in ["wal-1.seg", "wal-000000000000001a", "spare-000000000000001a.seg", "wal-00000000000000zz.seg"] {
            assert_eq!(parse_name(bad, "wal-"), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn rosters_come_back(cut: prop::sample::Index, streams: Vec<(u64, u64, u64, u64, bool, Option<Vec<u8>>, Option<Vec<u8>>)>) {
            let streams: Vec<RosterStream> = streams.into_iter().map(|(stream, chain, base, next, corrupt, vote, purged)| {
                let mut marks = Marks::default();
                for (mark, value) in [(Mark::Vote, vote), (Mark::Purged, purged)] {
                    if let Some(value) = value {
                        marks.set(mark, value.into());
                    }
                }
                let extent = Extent { base: base.min(next), next: base.max(next) };
                RosterStream { stream, chain: chain / 2, extent, corrupt, marks }
            }).collect();
            let bytes = encode_roster(streams.iter().map(|s| (s.stream, s.chain, s.extent, s.corrupt, &s.marks)));
            prop_assert_eq!(decode_roster(&bytes).unwrap(), streams);
            prop_assert!(decode_roster(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            prop_assert_eq!(header(1).seal().decode(&bytes), None);
            prop_assert!(SegmentHeader::decode(&bytes).is_err());
            let _either_is_fine = decode_roster(&bytes).is_ok();
        }
    }

    #[test]
    fn numbers_that_nobody_counts_to_are_refused() {
        let seal = header(1).seal();
        let fine = RecordHeader {
            kind: Kind::Entry,
            last: true,
            len: 0,
            payload_crc: 0,
            batch: 1,
            stream: 1,
            chain: 1,
            index: 1,
        };
        let decoded = |header: RecordHeader| {
            let mut bytes = Vec::new();
            seal.put(&mut bytes, header, b"payload");
            seal.decode(&bytes).is_some()
        };
        let max = COUNT_MAX + 1;
        assert!(decoded(fine) && decoded(RecordHeader { kind: Kind::Purge, index: max, ..fine }));
        for bad in [
            RecordHeader { batch: max, ..fine },
            RecordHeader { chain: max, ..fine },
            RecordHeader { index: max, ..fine },
        ] {
            assert!(!decoded(bad), "{bad:?}");
        }
        let segment = SegmentHeader { first_batch: max, ..header(1) };
        assert_eq!(SegmentHeader::decode(&segment.encode()), Err(HeaderError::Damaged));
        assert_eq!(parse_name("wal-8000000000000000.seg", "wal-"), None);
        let (backward, marks) = (Extent { base: 2, next: 1 }, Marks::default());
        assert!(decode_roster(&encode_roster([(1, 1, backward, false, &marks)].into_iter())).is_err());
    }
}
