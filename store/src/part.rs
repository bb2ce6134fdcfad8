//! A *part*: the facts of one request that go to one shard, in the form that travels from the decoder to the log.
//!
//! A part names its series or streams once, in a list of definitions; its body refers to them by position. On the way
//! into the shard's log the proposer replaces each definition by a reference that the shard already knows, and copies the
//! body verbatim, so no step after the decoder touches single samples. Byte tables: `docs/formats/part.md`.
mod metrics;
mod rows;

pub use metrics::{FloatRun, MetricRecord, MetricsBody, MetricsPartBuilder, SampleKind};
pub use rows::{RowRef, RowsBody, RowsPartBuilder, ShapeColumn};

use xxhash_rust::xxh3::xxh3_128;

use crate::codec::{Error, Reader, put_bytes, uvarint_len};
use crate::model::{Signal, TENANT_BYTES_MAX};

/// Version byte of an encoded part.
pub const PART_VERSION: u8 = 1;
/// A router closes a part at this many encoded body bytes, so that a log entry of several parts stays under 128 KiB.
pub const PART_BODY_BYTES_TARGET: usize = 48 << 10;
/// The same of metrics, where most bytes are definitions, which known references replace in the entry: the part of a usual
/// request stays whole.
pub const METRICS_PART_BYTES_TARGET: usize = 72 << 10;

/// One series, log stream, or span stream (resource and scope) of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefRef<'a> {
    /// [`crate::model::signal::key_hash`] of tenant and key.
    pub hash: u64,
    /// Canonical labels (metrics, logs) or encoded attributes (traces).
    pub key: &'a [u8],
}

/// A decoded part, borrowing from its bytes. The body is checked by whoever iterates it.
#[derive(Clone, Debug)]
pub struct PartRef<'a> {
    pub signal: Signal,
    pub tenant: &'a str,
    /// Names the part for deduplication (P3): taken over everything but stamps that the server assigned.
    pub digest: u128,
    /// Time given to rows that came without one (their time is 0 in the body); 0 when there are none.
    pub assigned_ns: i64,
    /// Samples, lines or spans.
    pub facts_count: u32,
    pub defs: Vec<DefRef<'a>>,
    pub body: &'a [u8],
}

/// The beginning of a part: whose facts, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartHead<'a> {
    pub signal: Signal,
    pub tenant: &'a str,
    pub digest: u128,
    pub assigned_ns: i64,
    /// As the builder counted them.
    pub facts_count: u32,
}

impl<'a> PartHead<'a> {
    /// Decodes the beginning of a part and looks at nothing else.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        Self::read(&mut Reader::new(bytes))
    }

    fn read(r: &mut Reader<'a>) -> Result<Self, Error> {
        let version = r.u8("part version")?;
        if version != PART_VERSION {
            return Err(Error::Unknown { what: "part version", value: u64::from(version), at: 0 });
        }
        let signal = r.u8("part signal")?;
        let signal =
            Signal::from_u8(signal).ok_or(Error::Unknown { what: "signal", value: u64::from(signal), at: 1 })?;
        let at = r.position();
        let tenant = r.str("tenant")?;
        if tenant.is_empty() || tenant.len() > TENANT_BYTES_MAX {
            return Err(Error::Invalid { what: "tenant", at });
        }
        let digest = r.u128("part digest")?;
        let assigned_ns = r.u64("assigned time")? as i64;
        Ok(Self { signal, tenant, digest, assigned_ns, facts_count: r.u32("facts count")? })
    }
}

impl<'a> PartRef<'a> {
    /// Decodes the envelope of a part.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        let PartHead { signal, tenant, digest, assigned_ns, facts_count } = PartHead::read(&mut r)?;
        let n = r.count(9, "definitions count")?;
        let mut defs = Vec::with_capacity(n);
        for _ in 0..n {
            defs.push(DefRef { hash: r.u64("definition hash")?, key: r.bytes("definition key")? });
        }
        let body = r.bytes("part body")?;
        Ok(Self { signal, tenant, digest, assigned_ns, facts_count, defs, body })
    }
}

/// Collects definitions, in the bytes that become the part; shared by the builders of the signals.
///
/// Most bytes of a metrics part are definitions, so they are written where they stay, behind the part's head.
#[derive(Debug)]
struct Envelope {
    signal: Signal,
    tenant: String,
    /// Head and definitions; empty before the first.
    out: Vec<u8>,
    /// Bytes of the definitions' count in the head, as of now.
    count_len: usize,
    defs_count: u32,
    facts_count: u32,
    assigned_ns: i64,
    /// Bytes to begin a part with.
    expected: usize,
}

/// Bytes of a part's head between the tenant and the count of the definitions: digest, assigned time, facts.
const STAMPS_BYTES: usize = 16 + 8 + 4;

impl Envelope {
    fn new(signal: Signal, tenant: &str) -> Self {
        Self {
            signal,
            tenant: tenant.to_owned(),
            out: Vec::new(),
            count_len: 1,
            defs_count: 0,
            facts_count: 0,
            assigned_ns: 0,
            expected: 0,
        }
    }

    fn define(&mut self, hash: u64, key: &[u8]) -> u32 {
        self.begin();
        if self.defs_count + 1 == 1 << (7 * self.count_len) {
            // The count takes a byte more from here on.
            self.out.insert(self.head_len(), 0);
            self.count_len += 1;
        }
        self.out.extend_from_slice(&hash.to_le_bytes());
        put_bytes(&mut self.out, key);
        self.defs_count += 1;
        self.defs_count - 1
    }

    /// Writes the head, with room for what is known at the end.
    fn begin(&mut self) {
        if self.out.is_empty() {
            self.out.reserve(self.expected.max(64 + self.tenant.len()));
            self.out.push(PART_VERSION);
            self.out.push(self.signal as u8);
            put_bytes(&mut self.out, self.tenant.as_bytes());
            self.out.extend_from_slice(&[0; STAMPS_BYTES + 1]);
        }
    }

    /// Where the definitions begin.
    fn head_len(&self) -> usize {
        self.stamps_at() + STAMPS_BYTES + self.count_len
    }

    fn stamps_at(&self) -> usize {
        2 + uvarint_len(self.tenant.len() as u64) + self.tenant.len()
    }

    /// Bytes of the definitions so far.
    fn defs_len(&self) -> usize {
        self.out.len().saturating_sub(self.head_len())
    }

    /// The encoded part. What is added from here on belongs to the next one, of the same signal and tenant.
    fn finish(&mut self, body: &[u8]) -> Vec<u8> {
        self.begin();
        let (digest_at, defs_at) = (self.stamps_at(), self.head_len());
        let (assigned_at, facts_at) = (digest_at + 16, digest_at + 24);
        let mut out = std::mem::take(&mut self.out);
        out[facts_at..facts_at + 4].copy_from_slice(&self.facts_count.to_le_bytes());
        let mut left = self.defs_count;
        for (at, byte) in out[facts_at + 4..defs_at].iter_mut().enumerate() {
            let more = at + 1 < self.count_len;
            *byte = (left & 0x7f) as u8 | if more { 0x80 } else { 0 };
            left >>= 7;
        }
        put_bytes(&mut out, body);
        if out.capacity() / 2 > out.len() {
            out.shrink_to_fit();
        }
        // The digest and the assigned time are still zero here, so a retry with a later stamp has the same digest.
        let digest = xxh3_128(&out);
        out[digest_at..assigned_at].copy_from_slice(&digest.to_le_bytes());
        out[assigned_at..facts_at].copy_from_slice(&self.assigned_ns.to_le_bytes());
        (self.count_len, self.defs_count, self.facts_count, self.assigned_ns) = (1, 0, 0, 0);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The count of definitions in the head grows by a byte at 128 and at 16,384 of them.
    #[test]
    fn definitions_keep_their_places_when_their_count_grows() {
        for count in [0u32, 1, 127, 128, 129, 16_383, 16_384, 16_385] {
            let mut envelope = Envelope::new(Signal::Metrics, "tenant");
            for round in 0..2 {
                for at in 0..count {
                    assert_eq!(envelope.define(u64::from(at), &at.to_le_bytes()[..(at % 5) as usize]), at);
                }
                let defs_len = envelope.defs_len();
                envelope.facts_count = 7;
                envelope.assigned_ns = -9;
                let bytes = envelope.finish(b"body");
                let part = PartRef::decode(&bytes).unwrap();
                assert_eq!((part.tenant, part.facts_count, part.assigned_ns), ("tenant", 7, -9), "{count} {round}");
                assert_eq!((part.body, part.defs.len()), (&b"body"[..], count as usize));
                assert!(part.defs.iter().zip(0..).all(|(def, at): (_, u32)| def.hash == u64::from(at)));
                assert_eq!(defs_len, part.defs.iter().map(|d| 9 + d.key.len()).sum::<usize>());
                assert_eq!(envelope.defs_len(), 0);
                let mut unstamped = bytes.clone();
                unstamped[envelope.stamps_at()..][..24].fill(0);
                assert_eq!(part.digest, xxh3_128(&unstamped));
            }
        }
    }
}
