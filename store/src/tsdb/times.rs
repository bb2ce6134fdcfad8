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
    /// The column asked for last, and its id: neighbours often share theirs.
    last: (Vec<i64>, u32),
}

impl TimesTable {
    pub(super) fn new() -> Self {
        Self {
            ids: HashMap::new(),
            seed: RandomState::new().build_hasher().finish(),
            bytes: Vec::new(),
            last: (Vec::new(), 0),
        }
    }

    /// The id of an equal column seen before, or a new one (the count of columns so far) and `true`.
    pub(super) fn intern(&mut self, times_ms: &[i64]) -> (u32, bool) {
        if !self.ids.is_empty() && self.last.0 == times_ms {
            return (self.last.1, false);
        }
        self.bytes.clear();
        times_ms.iter().for_each(|t| self.bytes.extend_from_slice(&t.to_le_bytes()));
        let next = self.ids.len() as u32;
        let id = *self.ids.entry(xxh3_128_with_seed(&self.bytes, self.seed)).or_insert(next);
        self.last.0.clear();
        self.last.0.extend_from_slice(times_ms);
        self.last.1 = id;
        (id, id == next)
    }
}
