//! Buckets at other resolutions: by position, as spans, merged.
use std::collections::BTreeMap;

use super::{Histogram, SCHEMA_MAX, Side};

/// Gaps up to this long are filled with empty buckets instead of opening a span.
const GAP_MAX: i64 = 2;

/// Position of a bucket at a resolution that is `steps` coarser: 2^steps buckets, with upper bounds included, become one.
pub(crate) fn coarser(index: i64, steps: u32) -> i64 {
    ((index - 1) >> steps.min(62)) + 1
}

impl Side {
    /// Counts of an integer histogram by position.
    pub(crate) fn by_index(&self) -> BTreeMap<i64, i64> {
        let mut out = BTreeMap::new();
        let (mut at, mut counts) = (0i64, self.absolute().into_iter());
        for (offset, length) in &self.spans {
            at = at.saturating_add(*offset);
            for _ in 0..*length {
                let Some(count) = counts.next() else { return out };
                out.insert(at, count);
                at += 1;
            }
        }
        out
    }

    /// Spans and deltas of counts by position.
    pub(crate) fn of_index(counts: &BTreeMap<i64, i64>) -> Self {
        let mut side = Self::default();
        let (mut next, mut last_count) = (0i64, 0i64);
        for (index, count) in counts {
            let gap = *index - next;
            match side.spans.last_mut() {
                Some(span) if (0..=GAP_MAX).contains(&gap) => {
                    for _ in 0..gap {
                        side.deltas.push(-last_count);
                        last_count = 0;
                    }
                    span.1 += gap as u64 + 1;
                }
                _ => side.spans.push((gap, 1)),
            }
            side.deltas.push(count - last_count);
            (last_count, next) = (*count, index + 1);
        }
        side
    }

    /// The same observations in coarser buckets; of a float histogram, too.
    fn reduced(&self, steps: u32) -> Self {
        if !self.counts.is_empty() {
            return self.reduced_floats(steps);
        }
        let mut counts = BTreeMap::new();
        for (index, count) in self.by_index() {
            *counts.entry(coarser(index, steps)).or_insert(0) += count;
        }
        Self::of_index(&counts)
    }

    fn reduced_floats(&self, steps: u32) -> Self {
        let mut counts: BTreeMap<i64, f64> = BTreeMap::new();
        let (mut at, mut all) = (0i64, self.counts.iter());
        for (offset, length) in &self.spans {
            at = at.saturating_add(*offset);
            for count in all.by_ref().take(usize::try_from(*length).unwrap_or(usize::MAX)) {
                *counts.entry(coarser(at, steps)).or_insert(0.0) += count;
                at += 1;
            }
        }
        // The layout is that of integers; gaps that it fills are empty.
        let layout = Self::of_index(&counts.keys().map(|index| (*index, 1)).collect());
        let filled = layout.by_index().into_keys().map(|index| counts.get(&index).copied().unwrap_or(0.0)).collect();
        Self { spans: layout.spans, deltas: Vec::new(), counts: filled }
    }
}

impl Histogram {
    /// The same observations at the finest resolution that is kept.
    pub(crate) fn reduced(&self) -> Self {
        let steps = u32::try_from(self.schema - SCHEMA_MAX).unwrap_or(0);
        Self {
            schema: self.schema.min(SCHEMA_MAX),
            positive: self.positive.reduced(steps),
            negative: self.negative.reduced(steps),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_are_merged_at_their_upper_bounds() {
        for (index, steps, expected) in
            [(1, 1, 1), (2, 1, 1), (3, 1, 2), (0, 1, 0), (-1, 1, 0), (-2, 1, -1), (5, 2, 2), (-7, 62, 0)]
        {
            assert_eq!(coarser(index, steps), expected, "{index} by {steps}");
        }
        let floats = Side { spans: vec![(1, 2), (5, 1)], deltas: vec![], counts: vec![0.5, 1.0, 2.0] };
        let reduced = floats.reduced(1);
        assert_eq!((reduced.spans, reduced.counts), (vec![(1, 4)], vec![1.5, 0.0, 0.0, 2.0]));
    }

    proptest! {
        #[test]
        fn layouts_come_back(counts in prop::collection::btree_map(-50i64..50, 1i64..9, 0..30)) {
            let side = Side::of_index(&counts);
            let back: BTreeMap<i64, i64> = side.by_index().into_iter().filter(|(_, n)| *n != 0).collect();
            prop_assert_eq!(back, counts.clone());
            prop_assert_eq!(side.spans.iter().map(|s| s.1).sum::<u64>() as usize, side.deltas.len());
            let sum: i64 = side.reduced(3).absolute().iter().sum();
            prop_assert_eq!(sum, counts.values().sum::<i64>());
        }
    }
}
