//! Time columns that are stored once: the series of one scrape share theirs.
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Finds equal time columns by a 128-bit hash under a seed of its own, so that nobody can prepare a collision.
#[derive(Debug)]
pub(super) struct TimesTable {
    ids: HashMap<u128, u32>,
    seed: u64,
    bytes: Vec<u8>,
}

impl TimesTable {
    pub(super) fn new() -> Self {
        Self { ids: HashMap::new(), seed: RandomState::new().build_hasher().finish(), bytes: Vec::new() }
    }

    /// The id of an equal column seen before, or a new one (the count of columns so far) and `true`.
    pub(super) fn intern(&mut self, times_ms: &[i64]) -> (u32, bool) {
        self.bytes.clear();
        times_ms.iter().for_each(|t| self.bytes.extend_from_slice(&t.to_le_bytes()));
        let next = self.ids.len() as u32;
        let id = *self.ids.entry(xxh3_128_with_seed(&self.bytes, self.seed)).or_insert(next);
        (id, id == next)
    }
}
