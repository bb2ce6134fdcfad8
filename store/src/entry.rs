//! An entry of a shard's raft log: what every replica applies. Byte table: `docs/formats/entry.md`.
//!
//! ```text
//! version(u8 = 1) kind(u8)
//! kind 1, write:
//!   table(u64)            names the reference table that the entry's references belong to
//!   first_ref(uvarint)    how many references the table had before this entry
//!   tenants_count tenant*                          length-prefixed names, referred to by position
//!   defs_count    (signal(u8) tenant hash(u64) key)*   references first_ref, first_ref + 1, ...
//!   parts_count   (signal(u8) tenant digest(u128) assigned_ns(i64) facts(u32) refs_count ref* body)*
//! kind 2, seal:
//!   reason(u8)
//! kind 3, compact:
//!   signal(u8) window_ms inputs_count file*        which blocks become one
//! kind 4, expire:
//!   signal(u8) cutoffs                             what is older is not seen any more
//! kind 5, delete series:
//!   id tenant min(i64) max(i64) matchers_count (op(u8) name value)*
//! ```
//! All counts, positions, references and lengths are uvarints.
use crate::codec::{Error, Reader, put_bytes, put_uvarint};
use crate::limits::{Cutoffs, DeleteSeries};
use crate::model::{Signal, TENANT_BYTES_MAX};
use crate::part::{MetricsBody, PartRef, RowsBody};
use crate::shard::CompactRequest;

/// Version byte of an encoded entry.
pub const ENTRY_VERSION: u8 = 1;
/// Largest encoded entry that a proposer makes and a replica accepts.
pub const ENTRY_BYTES_MAX: usize = 128 << 10;

/// Why a shard was sealed. On disk: never reuse a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SealReason {
    HeadBytes = 1,
    HeadAge = 2,
    LogBytes = 3,
    Requested = 4,
}

impl SealReason {
    fn from_u8(v: u8) -> Option<Self> {
        [Self::HeadBytes, Self::HeadAge, Self::LogBytes, Self::Requested].into_iter().find(|r| *r as u8 == v)
    }
}

/// A definition that travels in a write entry before its first use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDef<'a> {
    pub signal: Signal,
    pub tenant: &'a str,
    pub hash: u64,
    pub key: &'a [u8],
}

/// One part of a write entry; `refs` stand for the part's definitions, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPart<'a> {
    pub signal: Signal,
    pub tenant: &'a str,
    pub digest: u128,
    pub assigned_ns: i64,
    pub facts_count: u32,
    pub refs: Vec<u32>,
    pub body: &'a [u8],
}

/// A decoded entry, borrowing from its bytes. Bodies are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    Write { table: u64, first_ref: u32, defs: Vec<NewDef<'a>>, parts: Vec<EntryPart<'a>> },
    Seal { reason: SealReason },
    Compact(CompactRequest),
    Expire { signal: Signal, cutoffs: Cutoffs },
    Delete(DeleteSeries),
}

impl<'a> Entry<'a> {
    /// Decodes and checks a whole entry, so that applying it cannot fail half-way.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        let version = r.u8("entry version")?;
        if version != ENTRY_VERSION {
            return Err(Error::Unknown { what: "entry version", value: u64::from(version), at: 0 });
        }
        match r.u8("entry kind")? {
            1 => Self::decode_write(&mut r),
            2 => {
                let at = r.position();
                let reason = r.u8("seal reason")?;
                let reason = SealReason::from_u8(reason);
                Ok(Self::Seal { reason: reason.ok_or(Error::Invalid { what: "seal reason", at })? })
            }
            3 => whole(&mut r, |r| CompactRequest::decode(r).map(Self::Compact)),
            4 => whole(&mut r, |r| Ok(Self::Expire { signal: signal(r)?, cutoffs: Cutoffs::decode(r)? })),
            5 => whole(&mut r, |r| DeleteSeries::decode(r).map(Self::Delete)),
            other => Err(Error::Unknown { what: "entry kind", value: u64::from(other), at: 1 }),
        }
    }

    fn decode_write(r: &mut Reader<'a>) -> Result<Self, Error> {
        let table = r.u64("table")?;
        let first_ref = small(r, "first reference")?;
        let n = r.count(1, "tenants count")?;
        let mut tenants = Vec::with_capacity(n);
        for _ in 0..n {
            let at = r.position();
            let tenant = r.str("tenant")?;
            if tenant.is_empty() || tenant.len() > TENANT_BYTES_MAX {
                return Err(Error::Invalid { what: "tenant", at });
            }
            tenants.push(tenant);
        }
        let n = r.count(11, "definitions count")?;
        let mut defs = Vec::with_capacity(n);
        for _ in 0..n {
            let (signal, tenant) = signal_and_tenant(r, &tenants)?;
            defs.push(NewDef { signal, tenant, hash: r.u64("definition hash")?, key: r.bytes("definition key")? });
        }
        let n = r.count(32, "parts count")?;
        let mut parts = Vec::with_capacity(n);
        for _ in 0..n {
            parts.push(decode_part(r, &tenants)?);
        }
        if !r.is_empty() {
            return Err(Error::Invalid { what: "bytes after the last part", at: r.position() });
        }
        Ok(Self::Write { table, first_ref, defs, parts })
    }
}

/// Refuses what is left over.
fn whole<'a, T>(r: &mut Reader<'a>, decode: impl FnOnce(&mut Reader<'a>) -> Result<T, Error>) -> Result<T, Error> {
    let decoded = decode(r)?;
    if r.is_empty() { Ok(decoded) } else { Err(Error::Invalid { what: "bytes after the entry", at: r.position() }) }
}

fn small(r: &mut Reader<'_>, what: &'static str) -> Result<u32, Error> {
    let at = r.position();
    u32::try_from(r.uvarint(what)?).map_err(|_| Error::Invalid { what, at })
}

pub(crate) fn signal(r: &mut Reader<'_>) -> Result<Signal, Error> {
    let at = r.position();
    let signal = r.u8("signal")?;
    Signal::from_u8(signal).ok_or(Error::Unknown { what: "signal", value: u64::from(signal), at })
}

fn signal_and_tenant<'a>(r: &mut Reader<'a>, tenants: &[&'a str]) -> Result<(Signal, &'a str), Error> {
    let signal = signal(r)?;
    let at = r.position();
    let tenant = small(r, "tenant position")?;
    let tenant = tenants.get(tenant as usize).ok_or(Error::Invalid { what: "tenant position", at })?;
    Ok((signal, tenant))
}

fn decode_part<'a>(r: &mut Reader<'a>, tenants: &[&'a str]) -> Result<EntryPart<'a>, Error> {
    let (signal, tenant) = signal_and_tenant(r, tenants)?;
    let digest = r.u128("part digest")?;
    let assigned_ns = r.u64("assigned time")? as i64;
    let facts_count = r.u32("facts count")?;
    let n = r.count(1, "references count")?;
    let mut refs = Vec::with_capacity(n);
    for _ in 0..n {
        refs.push(small(r, "reference")?);
    }
    let body = r.bytes("part body")?;
    check_body(signal, body, refs.len())?;
    Ok(EntryPart { signal, tenant, digest, assigned_ns, facts_count, refs, body })
}

/// Checks the body of a part of `signal` with that many definitions.
pub fn check_body(signal: Signal, body: &[u8], defs_count: usize) -> Result<(), Error> {
    let defs_count = u32::try_from(defs_count).map_err(|_| Error::Invalid { what: "definitions count", at: 0 })?;
    match signal {
        Signal::Metrics => MetricsBody::check(body, defs_count),
        Signal::Logs | Signal::Traces => RowsBody::check(body, defs_count),
    }
}

/// Encodes a seal entry.
pub fn encode_seal(reason: SealReason) -> Vec<u8> {
    vec![ENTRY_VERSION, 2, reason as u8]
}

/// Encodes a compaction entry.
pub fn encode_compact(request: &CompactRequest) -> Vec<u8> {
    let mut out = vec![ENTRY_VERSION, 3];
    request.encode(&mut out);
    out
}

/// Encodes an entry that moves the cut-offs of a signal.
pub fn encode_expire(signal: Signal, cutoffs: &Cutoffs) -> Vec<u8> {
    let mut out = vec![ENTRY_VERSION, 4, signal as u8];
    cutoffs.encode(&mut out);
    out
}

/// Encodes a deletion of series.
pub fn encode_delete(delete: &DeleteSeries) -> Vec<u8> {
    let mut out = vec![ENTRY_VERSION, 5];
    delete.encode(&mut out);
    out
}

/// Builds one write entry from parts whose definitions have been turned into references.
#[derive(Debug)]
pub struct WriteEntryBuilder {
    table: u64,
    first_ref: u32,
    tenants: Vec<String>,
    defs: Vec<u8>,
    defs_count: u32,
    parts: Vec<u8>,
    parts_count: u32,
}

impl WriteEntryBuilder {
    /// `first_ref` is the number of references in the table before this entry.
    pub fn new(table: u64, first_ref: u32) -> Self {
        let (tenants, defs, parts) = (Vec::new(), Vec::new(), Vec::new());
        Self { table, first_ref, tenants, defs, defs_count: 0, parts, parts_count: 0 }
    }

    fn tenant(&mut self, tenant: &str) -> u64 {
        let at = self.tenants.iter().position(|t| t == tenant).unwrap_or_else(|| {
            self.tenants.push(tenant.to_owned());
            self.tenants.len() - 1
        });
        at as u64
    }

    /// Adds a definition; its reference is `first_ref` plus the number of definitions before it.
    pub fn define(&mut self, signal: Signal, tenant: &str, hash: u64, key: &[u8]) {
        let tenant = self.tenant(tenant);
        self.defs.push(signal as u8);
        put_uvarint(&mut self.defs, tenant);
        self.defs.extend_from_slice(&hash.to_le_bytes());
        put_bytes(&mut self.defs, key);
        self.defs_count += 1;
    }

    /// Adds a part; `refs` stand for its definitions.
    pub fn part(&mut self, part: &PartRef<'_>, refs: &[u32]) {
        let tenant = self.tenant(part.tenant);
        let out = &mut self.parts;
        out.push(part.signal as u8);
        put_uvarint(out, tenant);
        out.extend_from_slice(&part.digest.to_le_bytes());
        out.extend_from_slice(&part.assigned_ns.to_le_bytes());
        out.extend_from_slice(&part.facts_count.to_le_bytes());
        put_uvarint(out, refs.len() as u64);
        for r in refs {
            put_uvarint(out, u64::from(*r));
        }
        put_bytes(out, part.body);
        self.parts_count += 1;
    }

    pub fn parts_count(&self) -> u32 {
        self.parts_count
    }

    /// About how long the encoded entry is.
    pub fn bytes_len(&self) -> usize {
        self.defs.len() + self.parts.len() + 64
    }

    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes_len() + 16 * self.tenants.len());
        out.extend_from_slice(&[ENTRY_VERSION, 1]);
        out.extend_from_slice(&self.table.to_le_bytes());
        put_uvarint(&mut out, u64::from(self.first_ref));
        put_uvarint(&mut out, self.tenants.len() as u64);
        for tenant in &self.tenants {
            put_bytes(&mut out, tenant.as_bytes());
        }
        put_uvarint(&mut out, u64::from(self.defs_count));
        out.extend_from_slice(&self.defs);
        put_uvarint(&mut out, u64::from(self.parts_count));
        out.extend_from_slice(&self.parts);
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::index::{MatchOp, Matcher};
    use crate::part::MetricsPartBuilder;

    #[test]
    fn a_write_comes_back() {
        let mut b = MetricsPartBuilder::new("acme");
        let s = b.series(9, b"\x01a\x011");
        b.floats(s, [(10, 1)].into_iter());
        let part = b.finish();
        let part = PartRef::decode(&part).unwrap();
        let mut entry = WriteEntryBuilder::new(77, 3);
        entry.define(Signal::Metrics, "acme", 9, b"\x01a\x011");
        entry.part(&part, &[3]);
        let bytes = entry.finish();
        let Entry::Write { table: 77, first_ref: 3, defs, parts } = Entry::decode(&bytes).unwrap() else { panic!() };
        assert_eq!(defs, [NewDef { signal: Signal::Metrics, tenant: "acme", hash: 9, key: b"\x01a\x011" }]);
        assert_eq!((parts[0].refs.as_slice(), parts[0].body, parts[0].digest), (&[3][..], part.body, part.digest));
    }

    /// Version 1 as it is in logs on disk. A change here needs a new version.
    #[test]
    fn version_1_is_fixed() {
        let mut b = MetricsPartBuilder::new("t");
        let s = b.series(0x0102, b"\x01a\x011");
        b.floats(s, [(1000, 0x3ff0_0000_0000_0000)].into_iter());
        let part = b.finish();
        let part = PartRef::decode(&part).unwrap();
        let mut entry = WriteEntryBuilder::new(7, 0);
        entry.define(Signal::Metrics, "t", 0x0102, b"\x01a\x011");
        entry.part(&part, &[0]);
        let digest: String = part.digest.to_le_bytes().iter().map(|b| format!("{b:02x}")).collect();
        let hex: String = entry.finish().iter().map(|b| format!("{b:02x}")).collect();
        let before = "010107000000000000000001017401010002010000000000000401610131010100";
        let after = "0000000000000000010000000100";
        assert_eq!(hex, format!("{before}{digest}{after}0d000101d00f000000000000f03f"));
        assert_eq!(digest, "e01c47499e21d23d4f859b62040ccc12");
    }

    #[test]
    fn a_seal_comes_back() {
        let bytes = encode_seal(SealReason::HeadAge);
        assert_eq!(Entry::decode(&bytes).unwrap(), Entry::Seal { reason: SealReason::HeadAge });
        assert!(Entry::decode(&[1, 2, 99]).is_err());
        assert!(Entry::decode(&[9, 2, 1]).is_err());
    }

    /// Kinds 3 to 5 as they are in logs on disk. A change here needs a new version.
    #[test]
    fn the_entries_about_blocks_are_fixed() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let request = CompactRequest { signal: Signal::Logs, window_ms: 300, inputs: vec!["a".into(), "b".into()] };
        let bytes = encode_compact(&request);
        assert_eq!(hex(&bytes), "010302ac020201610162");
        assert_eq!(Entry::decode(&bytes).unwrap(), Entry::Compact(request));
        let cutoffs = Cutoffs::new(258, [("t", -1)]);
        let bytes = encode_expire(Signal::Metrics, &cutoffs);
        assert_eq!(hex(&bytes), "0104010201000000000000010174ffffffffffffffff");
        assert_eq!(Entry::decode(&bytes).unwrap(), Entry::Expire { signal: Signal::Metrics, cutoffs });
        let matchers = vec![Matcher::new("a", MatchOp::Regex, "b").unwrap()];
        let delete = DeleteSeries { id: 7, tenant: "t".into(), matchers, min_ms: 1, max_ms: 2 };
        let bytes = encode_delete(&delete);
        assert_eq!(hex(&bytes), "0105070174010000000000000002000000000000000102016101".to_owned() + "62");
        assert_eq!(Entry::decode(&bytes).unwrap(), Entry::Delete(delete));
    }

    #[test]
    fn entries_about_blocks_that_nobody_makes_are_refused() {
        let cases: [(&str, &[u8]); 6] = [
            ("no inputs", b"\x01\x03\x01\x05\x00"),
            ("a file outside the directory", b"\x01\x03\x01\x05\x01\x02/x"),
            ("an unknown signal", b"\x01\x03\x09\x05\x01\x01a"),
            ("bytes behind the end", b"\x01\x03\x01\x05\x01\x01ab"),
            ("a pattern that does not compile", b"\x01\x05\x01\x01t12345678123456781\x02\x01a\x01("),
            ("an unknown matcher", b"\x01\x05\x01\x01t1234567812345678\x01\x09\x01a\x01b"),
        ];
        for (name, bytes) in cases {
            assert!(Entry::decode(bytes).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(mut bytes: Vec<u8>, kind in 0u8..6) {
            if kind > 0 { bytes.splice(0..0, [1, kind]); }
            let _unchecked = Entry::decode(&bytes);
        }
    }
}
