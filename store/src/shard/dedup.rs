//! The window of parts that were applied lately, so that a retry is recognised (P3).
use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::codec::{Error, Reader, put_uvarint};
use crate::shard::PartOutcome;

/// Counts of a remembered part; which conflicts there were is not remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Remembered {
    accepted: u32,
    repeated: u32,
    conflicts_count: u32,
}

/// Digests of the parts of the last entries, with their outcome. Bounded in entries and in parts, never in time, so that
/// it is the same on every replica.
#[derive(Clone, Debug, Default)]
pub struct DedupWindow {
    /// Digests in the order of their entries: (entry index, digest).
    order: VecDeque<(u64, u128)>,
    outcomes: HashMap<u128, Remembered>,
}

impl DedupWindow {
    /// Entries that the window reaches back.
    pub const ENTRIES_MAX: u64 = 4096;
    /// Parts that the window holds at most.
    pub const PARTS_MAX: usize = 16_384;

    /// The outcome of a part that was applied before.
    pub fn get(&self, digest: u128) -> Option<PartOutcome> {
        self.outcomes.get(&digest).map(|r| PartOutcome {
            accepted: r.accepted,
            repeated: r.repeated,
            conflicts_count: r.conflicts_count,
            conflicts: Vec::new(),
        })
    }

    /// Remembers a part of the entry at `index` and forgets what falls out of the window.
    pub fn insert(&mut self, index: u64, digest: u128, outcome: &PartOutcome) {
        let PartOutcome { accepted, repeated, conflicts_count, .. } = *outcome;
        self.outcomes.insert(digest, Remembered { accepted, repeated, conflicts_count });
        self.order.push_back((index, digest));
        while let Some(&(oldest, digest)) = self.order.front() {
            if self.order.len() <= Self::PARTS_MAX && oldest.saturating_add(Self::ENTRIES_MAX) > index {
                break;
            }
            self.order.pop_front();
            self.outcomes.remove(&digest);
        }
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// `count (index digest(u128) accepted repeated conflicts)*`, in order.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_uvarint(out, self.order.len() as u64);
        for (index, digest) in &self.order {
            let r = self.outcomes[digest];
            put_uvarint(out, *index);
            out.extend_from_slice(&digest.to_le_bytes());
            for v in [r.accepted, r.repeated, r.conflicts_count] {
                put_uvarint(out, u64::from(v));
            }
        }
    }

    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Error> {
        let n = r.count(20, "window count")?;
        let mut window = Self::default();
        for _ in 0..n {
            let index = r.uvarint("entry index")?;
            let digest = r.u128("digest")?;
            let mut counts = [0; 3];
            for count in &mut counts {
                let at = r.position();
                *count =
                    u32::try_from(r.uvarint("count")?).map_err(|_| Error::Invalid { what: "outcome count", at })?;
            }
            let [accepted, repeated, conflicts_count] = counts;
            window.outcomes.insert(digest, Remembered { accepted, repeated, conflicts_count });
            window.order.push_back((index, digest));
        }
        Ok(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_within_the_window_only_and_comes_back() {
        let mut w = DedupWindow::default();
        let outcome = PartOutcome { accepted: 5, ..PartOutcome::default() };
        w.insert(1, 11, &outcome);
        w.insert(2, 22, &outcome);
        assert_eq!(w.get(11).unwrap().accepted, 5);
        let mut bytes = Vec::new();
        w.encode(&mut bytes);
        let back = DedupWindow::decode(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(back.get(22), w.get(22));
        w.insert(1 + DedupWindow::ENTRIES_MAX, 33, &outcome);
        assert!(w.get(11).is_none() && w.get(22).is_some());
    }

    #[test]
    fn bounded_in_parts() {
        let mut w = DedupWindow::default();
        for i in 0..DedupWindow::PARTS_MAX as u128 + 10 {
            w.insert(1, i, &PartOutcome::default());
        }
        assert_eq!(w.len(), DedupWindow::PARTS_MAX);
    }
}
