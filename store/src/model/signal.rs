//! Signals, slots, and the canonical hash that maps keys to slots.
//!
//! The hash is xxh3-64 with seed 0 over `varint(len tenant) tenant key`. It routes and never identifies.
use xxhash_rust::xxh3::Xxh3;

/// Number of fixed slots. A table in the metadata group maps slots to shards, so shards split without rehashing.
pub const SLOTS: u16 = 4096;

/// One of [`SLOTS`] slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u16);

/// Which of the three partitions of a shard a fact belongs to. The numbers are on disk: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Signal {
    Metrics = 1,
    Logs = 2,
    Traces = 3,
}

impl Signal {
    pub const ALL: [Signal; 3] = [Signal::Metrics, Signal::Logs, Signal::Traces];

    pub fn from_u8(v: u8) -> Option<Self> {
        match v {
            1 => Some(Self::Metrics),
            2 => Some(Self::Logs),
            3 => Some(Self::Traces),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Traces => "traces",
        }
    }
}

/// xxh3-64 of a tenant and a canonical key (see the module's doc).
pub fn key_hash(tenant: &str, key: &[u8]) -> u64 {
    let mut h = Xxh3::new();
    // As `put_uvarint` writes it, without its allocation: this runs for every series of a request.
    let mut left = tenant.len();
    while left >= 0x80 {
        h.update(&[(left as u8) | 0x80]);
        left >>= 7;
    }
    h.update(&[left as u8]);
    h.update(tenant.as_bytes());
    h.update(key);
    h.digest()
}

/// Slot of a hash: its top 12 bits.
pub fn slot_of_hash(hash: u64) -> Slot {
    Slot((hash >> 52) as u16)
}

/// Slot of a metric series or log stream, by its canonical labels ([`crate::model::Labels::as_bytes`]).
pub fn slot_of_key(tenant: &str, key: &[u8]) -> Slot {
    slot_of_hash(key_hash(tenant, key))
}

/// Slot of a trace: a trace lives whole in one shard.
pub fn slot_of_trace(tenant: &str, trace_id: &[u8; 16]) -> Slot {
    slot_of_hash(key_hash(tenant, trace_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    /// These values are in every cluster's data: a change here needs a migration.
    #[test]
    fn the_canonical_hash_is_fixed() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "node")]).unwrap();
        assert_eq!(labels.as_bytes(), b"\x08__name__\x02up\x03job\x04node");
        assert_eq!(key_hash("default", labels.as_bytes()), 0x524e_3e03_ae62_d767);
        assert_eq!(slot_of_trace("default", &[7; 16]).0, 2851);
    }
}
