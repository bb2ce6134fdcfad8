//! What is on disk for each stream, as the writer knows it: marks, bounds, and which segments its entries are in.
//!
//! Follows the records in the order in which they are written, while [`super::index`] runs ahead with what is enqueued.
//! So it can say what a new segment's roster must hold and which segments nobody needs.
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::Mark;
use super::format::encode_roster;

/// Entries `base..next` exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) base: u64,
    pub(super) next: u64,
}

impl Extent {
    /// Whether an append at `first` leaves no hole. A stream that never had an entry may begin anywhere.
    pub(super) fn accepts(&self, first: u64, count: u64) -> bool {
        (first == self.next || self.is_fresh()) && first.checked_add(count).is_some()
    }

    fn is_fresh(&self) -> bool {
        self.base == 0 && self.next == 0
    }

    pub(super) fn append(&mut self, first: u64, count: u64) {
        debug_assert!(self.accepts(first, count));
        if self.is_fresh() {
            self.base = first;
        }
        self.next = first + count;
    }

    pub(super) fn truncate(&mut self, index: u64) {
        self.next = self.next.min(index).max(self.base);
    }

    /// Drops everything before `base`, which may lie beyond the end.
    pub(super) fn purge_to(&mut self, base: u64) {
        self.base = self.base.max(base);
        self.next = self.next.max(self.base);
    }
}

/// The newest value of each mark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks([Option<Bytes>; 3]);

impl Marks {
    pub(super) fn get(&self, mark: Mark) -> Option<&Bytes> {
        self.0[mark as usize - 1].as_ref()
    }

    pub(super) fn set(&mut self, mark: Mark, value: Bytes) {
        self.0[mark as usize - 1] = Some(value);
    }
}

/// Consecutive entries of a stream in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    generation: u64,
    from: u64,
    to: u64,
    bytes: u64,
}

impl Run {
    /// Keeps `from..to` of this run; its bytes shrink in proportion, since they only rank streams.
    fn clamp(&mut self, from: u64, to: u64) {
        let had = self.to - self.from;
        self.from = self.from.max(from);
        self.to = self.to.min(to).max(self.from);
        if had > 0 {
            self.bytes = (u128::from(self.bytes) * u128::from(self.to - self.from) / u128::from(had)) as u64;
        }
    }
}

/// One stream as it is on disk.
#[derive(Clone, Debug, Default)]
pub(super) struct LedgerStream {
    /// Records written for this stream since it was created.
    pub(super) chain: u64,
    pub(super) extent: Extent,
    pub(super) marks: Marks,
    pub(super) corrupt: bool,
    runs: VecDeque<Run>,
}

impl LedgerStream {
    /// Counts the entry at `extent.next` into segment `generation`.
    pub(super) fn append(&mut self, index: u64, generation: u64, bytes: u64) {
        self.extent.append(index, 1);
        match self.runs.back_mut() {
            Some(run) if run.generation == generation && run.to == index => {
                run.to = index + 1;
                run.bytes += bytes;
            }
            _ => self.runs.push_back(Run { generation, from: index, to: index + 1, bytes }),
        }
    }

    pub(super) fn truncate(&mut self, index: u64) {
        self.extent.truncate(index);
        while let Some(run) = self.runs.back_mut() {
            if run.from < index {
                run.clamp(0, index);
                break;
            }
            self.runs.pop_back();
        }
    }

    pub(super) fn purge_to(&mut self, base: u64) {
        self.extent.purge_to(base);
        while let Some(run) = self.runs.front_mut() {
            if run.to > base {
                run.clamp(base, u64::MAX);
                break;
            }
            self.runs.pop_front();
        }
    }

    /// Forgets where entries are.
    pub(super) fn forget_runs(&mut self) {
        self.runs.clear();
    }
}

/// All streams, by id so that rosters have one order.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) streams: BTreeMap<u64, LedgerStream>,
}

impl Ledger {
    /// The stream, created when it is new, with its chain counted up for a record that is about to be written.
    pub(super) fn next_record(&mut self, stream: u64) -> &mut LedgerStream {
        let entry = self.streams.entry(stream).or_default();
        entry.chain += 1;
        entry
    }

    pub(super) fn roster(&self) -> Vec<u8> {
        encode_roster(self.streams.iter().map(|(id, s)| (*id, s.chain, s.extent, s.corrupt, &s.marks)))
    }

    /// The oldest segment that still holds an entry of some stream.
    pub(super) fn oldest_needed(&self) -> Option<u64> {
        self.streams.values().filter_map(|s| s.runs.front()).map(|run| run.generation).min()
    }

    /// Streams with entries in segments up to `generation`: the one that pins the oldest segment first, among equals the
    /// one with the most bytes in those segments.
    pub(super) fn pinning(&self, generation: u64) -> Vec<(u64, u64)> {
        let mut found: Vec<(u64, u64, u64)> = Vec::new();
        for (id, stream) in &self.streams {
            let mut old = stream.runs.iter().take_while(|run| run.generation <= generation).peekable();
            if let Some(oldest) = old.peek().map(|run| run.generation) {
                found.push((oldest, *id, old.map(|run| run.bytes).sum()));
            }
        }
        found.sort_unstable_by_key(|(oldest, id, bytes)| (*oldest, u64::MAX - bytes, *id));
        found.into_iter().map(|(_, id, bytes)| (id, bytes)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_leave_no_hole() {
        let mut e = Extent::default();
        assert!(e.accepts(5, 2));
        e.append(5, 2);
        let cases = [(4, false), (5, false), (7, true), (8, false)];
        for (first, ok) in cases {
            assert_eq!(e.accepts(first, 1), ok, "{first}");
        }
        e.truncate(6);
        assert_eq!(e, Extent { base: 5, next: 6 });
        e.truncate(1);
        assert_eq!(e, Extent { base: 5, next: 5 });
        e.purge_to(10);
        assert_eq!(e, Extent { base: 10, next: 10 });
        assert!(!e.accepts(11, 1));
        assert!(!Extent { base: 0, next: u64::MAX }.accepts(u64::MAX, 1));
    }

    #[test]
    fn the_oldest_needed_segment_follows_truncate_and_purge() {
        let mut l = Ledger::default();
        for index in 1..=10 {
            l.next_record(1).append(index, 1 + index / 4, 100);
        }
        l.next_record(2).append(1, 2, 50);
        assert_eq!(l.oldest_needed(), Some(1));
        assert_eq!(l.pinning(2), vec![(1, 700), (2, 50)]);
        l.next_record(1).purge_to(5);
        assert_eq!(l.oldest_needed(), Some(2));
        assert_eq!(l.pinning(2), vec![(1, 300), (2, 50)]);
        l.next_record(1).truncate(5);
        l.next_record(1).append(5, 9, 10);
        assert_eq!(l.pinning(8), vec![(2, 50)]);
        l.streams.remove(&2);
        assert_eq!(l.oldest_needed(), Some(9));
    }
}
