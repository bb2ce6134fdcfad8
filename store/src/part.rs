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

use crate::codec::{Error, Reader, put_bytes, put_uvarint};
use crate::model::{Signal, TENANT_BYTES_MAX};

/// Version byte of an encoded part.
pub const PART_VERSION: u8 = 1;
/// A router closes a part at this many encoded body bytes, so that a log entry of several parts stays under 128 KiB.
pub const PART_BODY_BYTES_TARGET: usize = 48 << 10;

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

/// Collects definitions; shared by the builders of the signals.
#[derive(Debug)]
struct Envelope {
    signal: Signal,
    tenant: String,
    defs: Vec<u8>,
    defs_count: u32,
    facts_count: u32,
    assigned_ns: i64,
}

impl Envelope {
    fn new(signal: Signal, tenant: &str) -> Self {
        Self { signal, tenant: tenant.to_owned(), defs: Vec::new(), defs_count: 0, facts_count: 0, assigned_ns: 0 }
    }

    fn define(&mut self, hash: u64, key: &[u8]) -> u32 {
        self.defs.extend_from_slice(&hash.to_le_bytes());
        put_bytes(&mut self.defs, key);
        self.defs_count += 1;
        self.defs_count - 1
    }

    /// Begins the next part of the same signal and tenant in the same buffers.
    fn clear(&mut self) {
        self.defs.clear();
        self.defs_count = 0;
        self.facts_count = 0;
        self.assigned_ns = 0;
    }

    fn finish(&self, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.defs.len() + body.len() + self.tenant.len() + 64);
        out.push(PART_VERSION);
        out.push(self.signal as u8);
        put_bytes(&mut out, self.tenant.as_bytes());
        let digest_at = out.len();
        out.extend_from_slice(&[0; 24]);
        let stamped_end = out.len();
        out.extend_from_slice(&self.facts_count.to_le_bytes());
        put_uvarint(&mut out, u64::from(self.defs_count));
        out.extend_from_slice(&self.defs);
        put_bytes(&mut out, body);
        // The digest and the assigned time are still zero here, so a retry with a later stamp has the same digest.
        let digest = xxh3_128(&out);
        out[digest_at..digest_at + 16].copy_from_slice(&digest.to_le_bytes());
        out[digest_at + 16..stamped_end].copy_from_slice(&self.assigned_ns.to_le_bytes());
        out
    }
}
