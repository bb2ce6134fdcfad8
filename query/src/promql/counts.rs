//! How many samples each step of a query looks at, and how many of them are new to it: the statistics of a query, counted as
//! Prometheus 3.14 does (`util/stats`, `TestQueryStatistics`), which is about what the query means, not about what it cost.
//!
//! An instant selector looks at one sample of each series, a range selector at all in its window. A histogram counts for its size.
//! New to a step is what the window of the step before did not have. What `@` fixes is looked at by every step and new to the first. Of
//! a subquery the outer windows look at its points; what the subquery itself reads is new to the first step whose window has the point.
use super::functions::is_absent;
use super::functions::native::{Column, Samples};
use super::functions::range::Windows;
use super::plan::Grid;

/// Samples by step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// Looked at by each step.
    pub queryable: Vec<u64>,
    /// Of them those that the step before did not look at.
    pub read: Vec<u64>,
}

impl StepCounts {
    pub(super) fn new(steps: usize) -> Self {
        Self { queryable: vec![0; steps], read: vec![0; steps] }
    }

    /// Memory of the counts of so many steps, in bytes.
    pub(super) fn bytes(steps: usize) -> u64 {
        2 * (steps * size_of::<u64>()) as u64
    }

    pub fn queryable_sum(&self) -> u64 {
        self.queryable.iter().sum()
    }

    pub fn read_sum(&self) -> u64 {
        self.read.iter().sum()
    }

    /// Adds counts of the same grid, or of the one step that stands for all of them.
    pub(super) fn add(&mut self, other: &Self) {
        match (other.queryable.as_slice(), other.read.as_slice()) {
            ([of_each], [of_first]) => {
                self.queryable.iter_mut().for_each(|count| *count += of_each);
                self.read_at(0, *of_first);
            }
            (queryable, read) => {
                self.queryable.iter_mut().zip(queryable).for_each(|(count, other)| *count += other);
                self.read.iter_mut().zip(read).for_each(|(count, other)| *count += other);
            }
        }
    }

    fn read_at(&mut self, step: usize, samples: u64) {
        if let Some(count) = self.read.get_mut(step) {
            *count += samples;
        }
    }

    /// An instant selector's series, by what it has at each step.
    pub(super) fn instants(&mut self, column: &Column) {
        let floats = column.values.iter().enumerate().filter(|(_, v)| !is_absent(**v)).map(|(step, _)| (step, 1));
        let histograms = column.histograms.iter().map(|(step, h)| (step, h.weight()));
        for (step, weight) in floats.chain(histograms) {
            if let Some(count) = self.queryable.get_mut(step) {
                *count += weight;
                self.read[step] += weight;
            }
        }
    }

    /// The samples of a series, without stale markers, in the windows of each step.
    pub(super) fn windows(&mut self, samples: &Samples, windows: &Windows) {
        self.weigh(&samples.times_ms, |_| 1, windows, true);
        self.weigh(&samples.histogram_times_ms, |at| samples.histograms[at].weight(), windows, true);
    }

    /// Points of a subquery in the windows over it: what it read is counted by [`StepCounts::subquery`].
    pub(super) fn points(&mut self, points: &Samples, windows: &Windows) {
        self.weigh(&points.times_ms, |_| 1, windows, false);
        self.weigh(&points.histogram_times_ms, |at| points.histograms[at].weight(), windows, false);
    }

    /// Samples at `times_ms`, which rise, with their weights.
    fn weigh(&mut self, times_ms: &[i64], weight: impl Fn(usize) -> u64, windows: &Windows, are_read: bool) {
        if times_ms.is_empty() {
            return;
        }
        let is_fixed = windows.end_step_ms == 0;
        let (mut from, mut to, mut inside) = (0, 0, 0);
        for step in 0..self.queryable.len().min(windows.count) {
            let (after_ms, end_ms) = windows.reach(&windows.at(step));
            let first_new = to;
            while to < times_ms.len() && times_ms[to] <= end_ms {
                inside += weight(to);
                to += 1;
            }
            while from < to && times_ms[from] <= after_ms {
                inside -= weight(from);
                from += 1;
            }
            self.queryable[step] += inside;
            if are_read && (step == 0 || !is_fixed) {
                self.read[step] += (first_new.max(from)..to).map(&weight).sum::<u64>();
            }
        }
    }

    /// What a subquery read over its own grid, for the steps of these counts, by the windows over it.
    pub(super) fn subquery(&mut self, inner: &Self, grid: &Grid, windows: &Windows) {
        let steps = self.read.len().min(windows.count);
        if steps <= 1 || windows.end_step_ms == 0 {
            return self.read_at(0, inner.read_sum());
        }
        for (at, samples) in inner.read.iter().enumerate().filter(|(_, samples)| **samples > 0) {
            let behind_ms = grid.at(at).saturating_sub(windows.first_end_ms).max(0);
            let step = (behind_ms as u64).div_ceil(windows.end_step_ms.unsigned_abs()) as usize;
            let step = step.min(steps - 1);
            // Between two windows nobody looks.
            let (after_ms, _) = windows.reach(&windows.at(step));
            if grid.at(at) > after_ms {
                self.read_at(step, *samples);
            }
        }
    }

    /// What a subquery read and looked at, where its points are the answer of an instant query.
    pub(super) fn whole(&mut self, inner: &Self) {
        if let Some(count) = self.queryable.last_mut() {
            *count += inner.queryable_sum();
        }
        self.read_at(0, inner.read_sum());
    }
}

#[cfg(test)]
mod tests {
    use super::super::functions::extended::Extension;
    use super::*;

    fn windows(first_end_ms: i64, end_step_ms: i64, count: usize, range_ms: i64) -> Windows {
        Windows {
            first_end_ms,
            end_step_ms,
            count,
            range_ms,
            first_eval_ms: first_end_ms,
            eval_step_ms: end_step_ms,
            extension: Extension::None,
            lookback_ms: 0,
        }
    }

    fn every_10s(count: i64) -> Samples {
        let times_ms: Vec<i64> = (0..count).map(|n| n * 10_000).collect();
        Samples { values: vec![1.0; times_ms.len()], times_ms, ..Samples::default() }
    }

    #[test]
    fn windows_that_overlap_read_only_what_is_new() {
        let mut counts = StepCounts::new(4);
        counts.windows(&every_10s(100), &windows(201_000, 5_000, 4, 60_000));
        assert_eq!(counts, StepCounts { queryable: vec![6; 4], read: vec![6, 0, 1, 0] });
        let mut counts = StepCounts::new(2);
        counts.windows(&every_10s(100), &windows(201_000, 60_000, 2, 30_000));
        assert_eq!(counts, StepCounts { queryable: vec![3; 2], read: vec![3; 2] });
    }

    #[test]
    fn what_is_fixed_is_read_once() {
        let mut counts = StepCounts::new(3);
        counts.windows(&every_10s(100), &windows(30_000, 0, 3, 60_000));
        assert_eq!(counts, StepCounts { queryable: vec![4; 3], read: vec![4, 0, 0] });
        let mut all = StepCounts::new(3);
        all.add(&StepCounts { queryable: vec![4], read: vec![4] });
        assert_eq!(all, counts);
    }

    #[test]
    fn a_subquery_reads_for_the_first_window_that_has_its_point() {
        let grid = Grid { start_ms: 180_000, step_ms: 10_000, count: 9 };
        let inner = StepCounts { queryable: vec![1; 9], read: vec![1; 9] };
        let mut counts = StepCounts::new(2);
        counts.subquery(&inner, &grid, &windows(201_000, 60_000, 2, 30_000));
        assert_eq!(counts.read, [3, 3]);
        let mut counts = StepCounts::new(1);
        counts.whole(&inner);
        assert_eq!(counts, StepCounts { queryable: vec![9], read: vec![9] });
    }
}
