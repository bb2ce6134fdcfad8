//! Partial aggregates over sealed data, kept by segment of the step grid for whoever asks again.
//!
//! A dashboard asks the same question over and over, each time a little later. What a shard's series give at steps whose windows
//! reach nothing but immutable blocks follows from the question and the blocks alone. Segments are numbered by absolute time, so that
//! the next question has the same ones, and are kept under all that they follow from: nothing has to be taken back, a block that
//! was replaced is simply not asked for any more.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use trine_store::model::Labels;

use crate::memory::labels_bytes;

/// Memory of an entry besides its key and its groups.
const ENTRY_BYTES: u64 = 160;
/// A segment takes at most this part of the cache: one of many groups does not push all others out.
const SHARE_MAX: u64 = 8;

/// The groups of a partial aggregation at the steps of one segment.
#[derive(Debug)]
pub(super) struct Segment {
    /// Labels and step columns of each group that has a value at any of the steps.
    pub(super) groups: Vec<(Labels, Vec<Vec<f64>>)>,
    /// Samples that it was made of, about.
    pub(super) samples: u64,
}

impl Segment {
    fn bytes(&self) -> u64 {
        let of_columns =
            |columns: &Vec<Vec<f64>>| columns.iter().map(|c| size_of_val(c.as_slice()) as u64 + 24).sum::<u64>();
        self.groups.iter().map(|(labels, columns)| labels_bytes(labels) + of_columns(columns) + 24).sum()
    }
}

/// The segments that were used last, up to a number of bytes. Clones share them.
///
/// There is a young and an old generation: when the young one is full the old one is dropped, and what is used moves to the
/// young one.
#[derive(Clone, Debug)]
pub struct SegmentCache {
    generations: Arc<Mutex<Generations>>,
    asked: Arc<Asked>,
    /// Of one generation.
    bytes_max: u64,
}

/// How often a segment was asked for, and was there.
#[derive(Debug, Default)]
struct Asked {
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug, Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    segments: HashMap<Box<[u8]>, Arc<Segment>>,
    bytes: u64,
}

impl SegmentCache {
    /// At most about `bytes_max` of memory; 0 keeps nothing.
    pub fn new(bytes_max: u64) -> Self {
        Self { generations: Arc::default(), asked: Arc::default(), bytes_max: bytes_max / 2 }
    }

    /// Memory that is held, about.
    pub fn bytes(&self) -> u64 {
        let generations = self.lock();
        generations.young.bytes + generations.old.bytes
    }

    /// Segments that were there when they were asked for, and those that were not, since the cache was made.
    pub fn hits_and_misses(&self) -> (u64, u64) {
        (self.asked.hits.load(Ordering::Relaxed), self.asked.misses.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Arc<Segment>> {
        let found = self.find(key);
        let count = if found.is_some() { &self.asked.hits } else { &self.asked.misses };
        count.fetch_add(1, Ordering::Relaxed);
        found
    }

    fn find(&self, key: &[u8]) -> Option<Arc<Segment>> {
        let mut generations = self.lock();
        if let Some(segment) = generations.young.segments.get(key) {
            return Some(segment.clone());
        }
        let (key, segment) = generations.old.segments.remove_entry(key)?;
        let bytes = entry_bytes(&key, &segment);
        generations.old.bytes -= bytes;
        generations.keep(key, segment.clone(), bytes, self.bytes_max);
        Some(segment)
    }

    /// Whether a segment of so many bytes would be kept.
    pub(super) fn takes(&self, bytes: u64) -> bool {
        bytes <= self.bytes_max / SHARE_MAX
    }

    pub(super) fn put(&self, key: Vec<u8>, segment: Segment) {
        let bytes = entry_bytes(&key, &segment);
        if self.takes(bytes) {
            self.lock().keep(key.into(), Arc::new(segment), bytes, self.bytes_max);
        }
    }
}

impl Generations {
    fn keep(&mut self, key: Box<[u8]>, segment: Arc<Segment>, bytes: u64, bytes_max: u64) {
        if self.young.bytes + bytes > bytes_max {
            self.old = std::mem::take(&mut self.young);
        }
        if self.young.segments.insert(key, segment).is_none() {
            self.young.bytes += bytes;
        }
    }
}

fn entry_bytes(key: &[u8], segment: &Segment) -> u64 {
    key.len() as u64 + segment.bytes() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(samples: u64) -> Segment {
        Segment { groups: vec![(Labels::empty(), vec![vec![1.0; 64]])], samples }
    }

    #[test]
    fn what_is_used_stays_and_the_bound_holds() {
        let cache = SegmentCache::new(64 << 10);
        cache.put(b"always".to_vec(), segment(0));
        let mut forgotten = 0;
        for i in 1..1_000u64 {
            cache.put(i.to_be_bytes().to_vec(), segment(i));
            assert_eq!(cache.get(b"always").map(|s| s.samples), Some(0), "used all the time, after {i}");
            assert_eq!(cache.get(&i.to_be_bytes()).map(|s| s.samples), Some(i));
            forgotten += u64::from(cache.get(&(i / 2 + 1).to_be_bytes()).is_none());
            assert!(cache.bytes() <= 64 << 10, "{}", cache.bytes());
        }
        assert!(forgotten > 500, "{forgotten}");
    }

    #[test]
    fn one_that_is_large_is_not_kept() {
        let cache = SegmentCache::new(16 << 10);
        cache.put(b"small".to_vec(), segment(1));
        cache.put(b"large".to_vec(), Segment { groups: vec![(Labels::empty(), vec![vec![1.0; 1024]])], samples: 1 });
        assert!(cache.get(b"small").is_some() && cache.get(b"large").is_none());
        let nothing = SegmentCache::new(0);
        nothing.put(b"small".to_vec(), segment(1));
        assert_eq!(nothing.bytes(), 0);
    }
}
