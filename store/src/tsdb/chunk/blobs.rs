//! Payload columns: histograms, start timestamps, exemplars.
//!
//! ```text
//! 1      0 raw, 1 zstd
//! varint length of what follows once decompressed
//! ..     (compressed) a varint length each, then the payloads
//! ```
use std::io::Read as _;

use crate::codec::{Error, Reader, put_uvarint};

const STORED: u8 = 0;
const ZSTD: u8 = 1;
const ZSTD_LEVEL: i32 = 3;
/// Refused above this when decompressing.
pub(in crate::tsdb) const RAW_BYTES_LIMIT: u64 = 256 << 20;

/// Appends `raw`, compressed when that is smaller.
pub(in crate::tsdb) fn pack(raw: &[u8], out: &mut Vec<u8>) {
    let packed = zstd::bulk::compress(raw, ZSTD_LEVEL).ok().filter(|packed| packed.len() < raw.len());
    out.push(if packed.is_some() { ZSTD } else { STORED });
    put_uvarint(out, raw.len() as u64);
    out.extend_from_slice(packed.as_deref().unwrap_or(raw));
}

/// Undoes [`pack`]. Memory grows with what is really there, not with what the length claims.
pub(in crate::tsdb) fn unpack(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut r = Reader::new(bytes);
    let form = r.u8("packing")?;
    let raw_len = r.uvarint("packed length")?;
    let at = r.position();
    let packed = r.take(r.remaining(), "packed bytes")?;
    let raw = match form {
        STORED => packed.to_vec(),
        ZSTD if raw_len <= RAW_BYTES_LIMIT => {
            let mut raw = Vec::new();
            let decoder =
                zstd::stream::read::Decoder::new(packed).map_err(|_| Error::Invalid { what: "zstd frame", at })?;
            decoder.take(raw_len + 1).read_to_end(&mut raw).map_err(|_| Error::Invalid { what: "zstd frame", at })?;
            raw
        }
        ZSTD => return Err(Error::Invalid { what: "packed length", at: 1 }),
        other => return Err(Error::Unknown { what: "packing", value: u64::from(other), at: 0 }),
    };
    if raw.len() as u64 == raw_len { Ok(raw) } else { Err(Error::Invalid { what: "packed length", at: 1 }) }
}

/// Appends a coded column of payloads.
pub(in crate::tsdb) fn encode<'a>(payloads: impl Iterator<Item = &'a [u8]> + Clone, out: &mut Vec<u8>) {
    let mut raw = Vec::new();
    payloads.clone().for_each(|p| put_uvarint(&mut raw, p.len() as u64));
    payloads.for_each(|p| raw.extend_from_slice(p));
    pack(&raw, out);
}

/// Appends `count` payloads to `out`; `bytes` is exactly one coded column.
pub(in crate::tsdb) fn decode(bytes: &[u8], count: usize, out: &mut Vec<Vec<u8>>) -> Result<(), Error> {
    let raw = unpack(bytes)?;
    let mut lengths = Reader::new(&raw);
    let mut payloads = lengths.clone();
    for _ in 0..count {
        payloads.uvarint("payload length")?;
    }
    for _ in 0..count {
        let at = lengths.position();
        let len = usize::try_from(lengths.uvarint("payload length")?);
        let len = len.map_err(|_| Error::Invalid { what: "payload length", at })?;
        out.push(payloads.take(len, "payload")?.to_vec());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn payloads_come_back(payloads: Vec<Vec<u8>>) {
            let mut out = Vec::new();
            encode(payloads.iter().map(Vec::as_slice), &mut out);
            let mut back = Vec::new();
            decode(&out, payloads.len(), &mut back).unwrap();
            prop_assert_eq!(back, payloads);
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>, count in 0usize..100) {
            let mut out = Vec::new();
            if decode(&bytes, count, &mut out).is_ok() {
                prop_assert_eq!(out.len(), count);
            }
        }
    }

    #[test]
    fn a_hostile_length_is_refused() {
        let mut packed = Vec::new();
        pack(&[0; 10_000], &mut packed);
        assert_eq!(packed[0], ZSTD);
        for claimed in [9_999u64, 10_001, u64::MAX] {
            let mut bytes = vec![ZSTD];
            put_uvarint(&mut bytes, claimed);
            bytes.extend_from_slice(&packed[3..]);
            assert!(unpack(&bytes).is_err(), "{claimed}");
        }
    }
}
