//! Series that agents have spelled out before: from the bytes of their labels, equal with each scrape, to their identity.
//!
//! Checking, sorting and encoding labels is most of the work of remote write 1.0; what was found for some bytes holds for
//! ever. Bytes are told apart by xxh3-128 under a seed of the process and the tenant, as parts are (P3). There is a young
//! and an old generation: when the young one is full the old one is dropped, so that series that are not sent any more
//! leave by themselves. A decoder takes the read lock for many series at a time, and writes what it has learned behind its
//! request: agents that send what they always send never write.
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use hashbrown::HashTable;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// Memory of an entry beside its key: the entry, its part of the table, and the allocation of the key.
const ENTRY_BYTES: usize = 72;

/// Series that are looked for under one lock: few enough that a writer soon has its turn.
const FINDS_LOCKED: u32 = 256;
/// What one request learns at most: its bytes lie beside the cache until the end of the request. What is left is learned when it is
/// sent again.
const LEARNED_BYTES_MAX: usize = 2 << 20;
/// Series of the old generation that one request takes over.
const AGED_MAX: usize = 16 << 10;

/// What label bytes are known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LabelDigest([u64; 2]);

/// A series that was seen.
#[derive(Debug)]
struct Known {
    digest: LabelDigest,
    hash: u64,
    key: Box<[u8]>,
}

impl Known {
    fn bytes(&self) -> usize {
        self.key.len() + ENTRY_BYTES
    }
}

#[derive(Debug, Default)]
struct Generation {
    series: HashTable<Known>,
    bytes: usize,
}

impl Generation {
    fn find(&self, digest: LabelDigest) -> Option<&Known> {
        self.series.find(digest.0[0], |known| known.digest == digest)
    }

    fn take(&mut self, digest: LabelDigest) -> Option<Known> {
        let entry = self.series.find_entry(digest.0[0], |known| known.digest == digest).ok()?;
        let (known, _) = entry.remove();
        self.bytes -= known.bytes();
        Some(known)
    }

    fn add(&mut self, known: Known) {
        self.bytes += known.bytes();
        self.series.insert_unique(known.digest.0[0], known, |known| known.digest.0[0]);
    }
}

#[derive(Debug, Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

impl Generations {
    /// Keeps a series; the generations change when the young one has `bytes_max`.
    fn keep(&mut self, known: Known, bytes_max: usize) {
        if self.young.find(known.digest).is_some() {
            return;
        }
        if self.young.bytes + known.bytes() > bytes_max {
            self.old = std::mem::take(&mut self.young);
        }
        if known.bytes() <= bytes_max {
            self.young.add(known);
        }
    }
}

/// The series that were seen last, up to a number of bytes.
#[derive(Debug)]
pub(crate) struct SeriesCache {
    seed: u64,
    series: RwLock<Generations>,
    /// Of one generation.
    bytes_max: usize,
}

impl SeriesCache {
    /// At most about `bytes_max` of memory; 0 keeps nothing.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { seed: rand::random(), series: RwLock::default(), bytes_max: bytes_max / 2 }
    }

    /// Looks for the series of one request of a tenant.
    pub(super) fn open(&self, tenant: &str) -> Lookup<'_> {
        Lookup {
            cache: self,
            seed: xxh3_64_with_seed(tenant.as_bytes(), self.seed),
            series: None,
            finds_left: 0,
            learned: Generation::default(),
            aged: Vec::new(),
        }
    }
}

/// What a request looks for, and what it finds out.
#[derive(Debug)]
pub(super) struct Lookup<'c> {
    cache: &'c SeriesCache,
    /// The tenant's.
    seed: u64,
    series: Option<RwLockReadGuard<'c, Generations>>,
    /// Series that are looked for before the lock is given back.
    finds_left: u32,
    learned: Generation,
    /// Found in the old generation.
    aged: Vec<LabelDigest>,
}

impl Lookup<'_> {
    /// The digest of a series' encoded labels.
    pub(super) fn digest(&self, labels: &[u8]) -> LabelDigest {
        let digest = xxh3_128_with_seed(labels, self.seed);
        LabelDigest([digest as u64, (digest >> 64) as u64])
    }

    /// Hash and canonical labels, if they are known.
    pub(super) fn find(&mut self, digest: LabelDigest) -> Option<(u64, &[u8])> {
        let Self { cache, series, finds_left, aged, .. } = self;
        if *finds_left == 0 {
            // Given back first: a lock that is taken twice by one may wait for a writer that waits for the first.
            drop(series.take());
            *finds_left = FINDS_LOCKED;
        }
        *finds_left -= 1;
        let series = series.get_or_insert_with(|| cache.series.read().unwrap_or_else(PoisonError::into_inner));
        let known = match series.young.find(digest) {
            Some(known) => known,
            None => {
                let known = series.old.find(digest)?;
                if aged.len() < AGED_MAX {
                    aged.push(digest);
                }
                known
            }
        };
        Some((known.hash, &known.key))
    }

    /// Notes what was found for a digest, as long as there is room for it.
    pub(super) fn learn(&mut self, digest: LabelDigest, hash: u64, key: &[u8]) {
        let bytes = self.learned.bytes + key.len() + ENTRY_BYTES;
        if bytes <= self.cache.bytes_max.min(LEARNED_BYTES_MAX) && self.learned.find(digest).is_none() {
            self.learned.add(Known { digest, hash, key: key.into() });
        }
    }

    /// Keeps what was learned.
    pub(super) fn close(self) {
        let Self { cache, series, learned, aged, .. } = self;
        drop(series);
        if learned.bytes == 0 && aged.is_empty() {
            return;
        }
        let mut series = cache.series.write().unwrap_or_else(PoisonError::into_inner);
        for digest in aged {
            if let Some(known) = series.old.take(digest) {
                series.keep(known, cache.bytes_max);
            }
        }
        for known in learned.series {
            series.keep(known, cache.bytes_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(cache: &SeriesCache) -> usize {
        let series = cache.series.read().unwrap();
        series.young.bytes + series.old.bytes
    }

    fn keep(cache: &SeriesCache, tenant: &str, labels: &[u8], hash: u64, key: &[u8]) {
        let mut lookup = cache.open(tenant);
        lookup.learn(lookup.digest(labels), hash, key);
        lookup.close();
    }

    fn find(cache: &SeriesCache, tenant: &str, labels: &[u8]) -> Option<(u64, Vec<u8>)> {
        let mut lookup = cache.open(tenant);
        let found = lookup.find(lookup.digest(labels)).map(|(hash, key)| (hash, key.to_vec()));
        lookup.close();
        found
    }

    #[test]
    fn tenants_and_labels_are_told_apart() {
        let cache = SeriesCache::new(1 << 20);
        keep(&cache, "a", b"x", 7, b"key");
        assert_eq!(find(&cache, "a", b"x"), Some((7, b"key".to_vec())));
        assert_eq!(find(&cache, "b", b"x"), None);
        assert_eq!(find(&cache, "a", b"y"), None);
        let other = SeriesCache::new(1 << 20);
        assert_ne!(cache.open("a").digest(b"x"), other.open("a").digest(b"x"), "seeded by the process");
    }

    #[test]
    fn what_is_used_stays_and_the_bound_holds() {
        let cache = SeriesCache::new(16 << 10);
        keep(&cache, "t", b"always", 0, &[b'k'; 100]);
        let mut forgotten = 0;
        for i in 1..2_000u64 {
            keep(&cache, "t", &i.to_be_bytes(), i, &[b'k'; 100]);
            assert_eq!(find(&cache, "t", b"always").map(|(hash, _)| hash), Some(0), "used all the time, after {i}");
            forgotten += u64::from(find(&cache, "t", &(i / 2 + 1).to_be_bytes()).is_none());
            assert!(bytes(&cache) <= 16 << 10);
        }
        assert!(forgotten > 1_000, "{forgotten}");
        let nothing = SeriesCache::new(0);
        keep(&nothing, "t", b"x", 1, b"key");
        assert_eq!((find(&nothing, "t", b"x"), bytes(&nothing)), (None, 0));
    }

    #[test]
    fn a_series_that_is_sent_twice_or_by_two_at_once_is_kept_once() {
        let cache = SeriesCache::new(1 << 20);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut lookup = cache.open("t");
                    (0..100).for_each(|_| lookup.learn(lookup.digest(b"labels"), 3, b"key"));
                    lookup.close();
                });
            }
        });
        assert_eq!(bytes(&cache), 3 + ENTRY_BYTES);
    }
}
