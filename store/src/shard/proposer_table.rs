//! The leader's copy of a shard's reference table.
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::codec;
use crate::entry::WriteEntryBuilder;
use crate::model::{Attrs, Labels, Signal};
use crate::part::{DefRef, PartRef};

/// Which definitions the shard's log already knows.
///
/// Definitions are known by 128 bits: the hash that they come with, and another of their key under a seed of table, signal and tenant,
/// which no client can guess. The key itself is in the log, and in the head of every replica.
#[derive(Debug)]
pub struct ProposerTable {
    id: u64,
    refs: HashTable<Known>,
}

/// A definition that is in the log.
#[derive(Debug)]
struct Known {
    digest: Digest,
    reference: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Digest([u64; 2]);

impl Digest {
    fn of(def: &DefRef<'_>, seed: u64) -> Self {
        Self([xxh3_64_with_seed(def.key, seed), def.hash])
    }
}

impl ProposerTable {
    /// `id` must be new, since it names this table in the log, and nothing that a client can guess.
    pub fn new(id: u64) -> Self {
        Self { id, refs: HashTable::new() }
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    /// Number of references.
    pub fn len(&self) -> u32 {
        self.refs.len() as u32
    }

    pub fn is_empty(&self) -> bool {
        self.refs.is_empty()
    }

    /// Adds a part to an entry: known definitions become references, new ones are checked and defined in the entry. An
    /// error is a key that no replica could apply; nothing was added then.
    pub fn add(&mut self, entry: &mut WriteEntryBuilder, part: &PartRef<'_>) -> Result<(), codec::Error> {
        let seed = xxh3_64_with_seed(part.tenant.as_bytes(), self.id.wrapping_add(part.signal as u64));
        let mut refs = Vec::with_capacity(part.defs.len());
        let mut unknown = Vec::new();
        for (position, def) in part.defs.iter().enumerate() {
            let digest = Digest::of(def, seed);
            let known = self.find(digest);
            if known.is_none() {
                check_key(part.signal, def.key)?;
                unknown.push((position, digest));
            }
            refs.push(known.unwrap_or_default());
        }
        for (position, digest) in unknown {
            // A part may define a key twice.
            refs[position] = self.find(digest).unwrap_or_else(|| {
                let def = &part.defs[position];
                entry.define(part.signal, part.tenant, def.hash, def.key);
                self.define(digest)
            });
        }
        entry.part(part, &refs);
        Ok(())
    }

    fn find(&self, digest: Digest) -> Option<u32> {
        self.refs.find(digest.0[0], |known| known.digest == digest).map(|known| known.reference)
    }

    fn define(&mut self, digest: Digest) -> u32 {
        let reference = self.len();
        self.refs.insert_unique(digest.0[0], Known { digest, reference }, |known| known.digest.0[0]);
        reference
    }
}

/// Whether heads take a key.
fn check_key(signal: Signal, key: &[u8]) -> Result<(), codec::Error> {
    match signal {
        Signal::Metrics | Signal::Logs => Labels::decode(key).map(drop),
        Signal::Traces => Attrs::decode(key).map(drop),
    }
}
