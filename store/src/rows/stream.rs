//! A stream: what rows have in common. Log streams are label sets, span streams a resource and instrumentation scope.
use std::sync::{Arc, OnceLock};

use crate::codec::Error;
use crate::model::signal::{Slot, slot_of_hash};
use crate::model::{Attr, Attrs, Labels, Scope, Signal, Value};

/// Position of a stream in one head's definitions. Valid until the head's seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamRef(pub u32);

/// The key of a stream in its signal's form.
#[derive(Clone, Debug, PartialEq, Eq)]
enum StreamKey {
    Labels(Labels),
    Attrs(Attrs),
}

/// One stream of one tenant. Shared by `Arc`; identity is the key's bytes.
#[derive(Debug)]
pub struct StreamInfo {
    hash: u64,
    key: StreamKey,
    attrs: OnceLock<Vec<Attr>>,
}

impl StreamInfo {
    /// Checks that `key` is canonical for `signal` and takes a copy. `hash` is the key's canonical hash.
    pub fn new(signal: Signal, hash: u64, key: &[u8]) -> Result<Self, Error> {
        let key = match signal {
            Signal::Logs | Signal::Metrics => StreamKey::Labels(Labels::decode(key)?),
            Signal::Traces => StreamKey::Attrs(Attrs::decode(key)?),
        };
        Ok(Self { hash, key, attrs: OnceLock::new() })
    }

    /// [`crate::model::signal::key_hash`] of tenant and key, as the definition carried it.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Slot of the stream's hash.
    pub fn slot(&self) -> Slot {
        slot_of_hash(self.hash)
    }

    /// Canonical bytes: the stream's identity within its tenant.
    pub fn key(&self) -> &[u8] {
        match &self.key {
            StreamKey::Labels(labels) => labels.as_bytes(),
            StreamKey::Attrs(attrs) => attrs.as_bytes(),
        }
    }

    /// Labels of a log stream; `None` for a span stream.
    pub fn labels(&self) -> Option<&Labels> {
        match &self.key {
            StreamKey::Labels(labels) => Some(labels),
            StreamKey::Attrs(_) => None,
        }
    }

    /// Resource and instrumentation-scope attributes of a span stream in their order; empty for a log stream.
    pub fn attrs(&self) -> &[Attr] {
        match &self.key {
            StreamKey::Labels(_) => &[],
            StreamKey::Attrs(attrs) => self.attrs.get_or_init(|| attrs.to_vec()),
        }
    }

    /// First attribute of a span stream with this scope and key.
    pub fn attr(&self, scope: Scope, key: &str) -> Option<&Value> {
        self.attrs().iter().find(|a| a.scope == scope && a.key == key).map(|a| &a.value)
    }
}

impl PartialEq for StreamInfo {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
impl Eq for StreamInfo {}

/// A stream with what is known of its rows in a selection, without decompressing.
#[derive(Clone, Debug)]
pub struct StreamStats {
    pub stream: Arc<StreamInfo>,
    /// Rows before natural-key deduplication; an upper bound when a granule reaches beyond the time range.
    pub rows: u64,
    /// Raw body bytes of those rows.
    pub body_bytes: u64,
    /// Time of the first and last row in ns, both inclusive.
    pub min_ns: i64,
    pub max_ns: i64,
}

/// Size of a selection, as Loki's `index/stats` reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectionStats {
    /// Canonical hash of each stream: one that is spread is in several shards.
    pub hashes: Vec<u64>,
    /// Granules and tail batches that hold rows of the selection.
    pub chunks: u64,
    /// Raw body bytes.
    pub bytes: u64,
    pub entries: u64,
}
