//! Series that agents have spelled out before: from the bytes of their labels, equal with each scrape, to their identity.
//!
//! Checking, sorting and encoding labels is most of the work of remote write 1.0; what was found for some bytes holds for
//! ever. Bytes are told apart by xxh3-128 under a seed of the process and the tenant, as parts are (P3). The cache has a
//! young and an old generation a stripe: when the young one is full the old one is dropped, so that series that are not
//! sent any more leave by themselves.
use std::sync::{PoisonError, RwLock};

use hashbrown::HashTable;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// Locks that decoders share.
const STRIPES: usize = 64;
/// Memory of an entry beside its key: the entry, its part of the table, and the allocation of the key.
const ENTRY_BYTES: usize = 72;

/// What label bytes are known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LabelDigest([u64; 2]);

/// Seeds the digests of one tenant.
#[derive(Clone, Copy, Debug)]
pub(super) struct TenantSeed(u64);

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
struct Stripe {
    young: Generation,
    old: Generation,
}

impl Stripe {
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
    stripes: Box<[RwLock<Stripe>]>,
    /// Of one generation of one stripe.
    bytes_max: usize,
}

impl SeriesCache {
    /// At most about `bytes_max` of memory; 0 keeps nothing.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            seed: rand::random(),
            stripes: (0..STRIPES).map(|_| RwLock::default()).collect(),
            bytes_max: bytes_max / STRIPES / 2,
        }
    }

    /// What the digests of a tenant begin with.
    pub(super) fn tenant(&self, tenant: &str) -> TenantSeed {
        TenantSeed(xxh3_64_with_seed(tenant.as_bytes(), self.seed))
    }

    /// The digest of a series' encoded labels.
    pub(super) fn digest(tenant: TenantSeed, labels: &[u8]) -> LabelDigest {
        let digest = xxh3_128_with_seed(labels, tenant.0);
        LabelDigest([digest as u64, (digest >> 64) as u64])
    }

    fn stripe(&self, digest: LabelDigest) -> &RwLock<Stripe> {
        &self.stripes[(digest.0[1] >> 32) as usize % STRIPES]
    }

    /// Calls `seen` with hash and canonical labels if they are known.
    pub(super) fn find<R>(&self, digest: LabelDigest, seen: impl FnOnce(u64, &[u8]) -> R) -> Option<R> {
        let stripe = self.stripe(digest);
        let aged = {
            let stripe = stripe.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = stripe.young.find(digest) {
                return Some(seen(known.hash, &known.key));
            }
            stripe.old.find(digest).map(|known| seen(known.hash, &known.key))?
        };
        let mut stripe = stripe.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = stripe.old.take(digest) {
            stripe.keep(known, self.bytes_max);
        }
        Some(aged)
    }

    /// Keeps what was found for a digest.
    pub(super) fn keep(&self, digest: LabelDigest, hash: u64, key: &[u8]) {
        if self.bytes_max > 0 {
            let mut stripe = self.stripe(digest).write().unwrap_or_else(PoisonError::into_inner);
            stripe.keep(Known { digest, hash, key: key.into() }, self.bytes_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(cache: &SeriesCache) -> usize {
        cache.stripes.iter().map(|s| s.read().unwrap()).map(|s| s.young.bytes + s.old.bytes).sum()
    }

    #[test]
    fn tenants_and_labels_are_told_apart() {
        let cache = SeriesCache::new(1 << 20);
        let of = |tenant, labels: &[u8]| SeriesCache::digest(cache.tenant(tenant), labels);
        cache.keep(of("a", b"x"), 7, b"key");
        assert_eq!(cache.find(of("a", b"x"), |hash, key| (hash, key.to_vec())), Some((7, b"key".to_vec())));
        assert_eq!(cache.find(of("b", b"x"), |hash, _| hash), None);
        assert_eq!(cache.find(of("a", b"y"), |hash, _| hash), None);
        let other = SeriesCache::new(1 << 20);
        assert_ne!(of("a", b"x"), SeriesCache::digest(other.tenant("a"), b"x"), "seeded by the process");
    }

    #[test]
    fn what_is_used_stays_and_the_bound_holds() {
        let cache = SeriesCache::new(256 << 10);
        let digest = |i: u64| SeriesCache::digest(cache.tenant("t"), &i.to_be_bytes());
        cache.keep(digest(0), 0, &[b'k'; 100]);
        let mut forgotten = 0;
        for i in 1..20_000 {
            cache.keep(digest(i), i, &[b'k'; 100]);
            assert_eq!(cache.find(digest(0), |hash, _| hash), Some(0), "used all the time, after {i}");
            forgotten += u64::from(cache.find(digest(i / 2 + 1), |hash, _| hash).is_none());
            assert!(bytes(&cache) <= 256 << 10);
        }
        assert!(forgotten > 10_000, "{forgotten}");
        let nothing = SeriesCache::new(0);
        nothing.keep(digest(1), 1, b"key");
        assert_eq!((nothing.find(digest(1), |hash, _| hash), bytes(&nothing)), (None, 0));
    }

    #[test]
    fn a_series_that_is_sent_by_two_at_once_is_kept_once() {
        let cache = SeriesCache::new(1 << 20);
        let digest = SeriesCache::digest(cache.tenant("t"), b"labels");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| cache.keep(digest, 3, b"key")));
            }
        });
        assert_eq!(bytes(&cache), 3 + ENTRY_BYTES);
    }
}
