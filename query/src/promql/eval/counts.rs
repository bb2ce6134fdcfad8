//! Counting samples by step while a plan is evaluated, where statistics are asked for.
use super::Evaluator;
use crate::error::Result;
use crate::promql::counts::StepCounts;
use crate::promql::fetch::RawSeries;
use crate::promql::functions::native::Samples;
use crate::promql::functions::range::Windows;
use crate::promql::plan::Grid;

/// What was counted.
#[derive(Debug)]
pub(in crate::promql) struct Counts {
    /// Of each selector that the shards evaluated.
    of_selects: Vec<StepCounts>,
    /// Of the grid that is being evaluated.
    here: StepCounts,
}

impl Counts {
    /// Of a plan's grid, with what the shards counted.
    pub(in crate::promql) fn new(of_selects: Vec<StepCounts>, grid: &Grid) -> Self {
        Self { of_selects, here: StepCounts::new(grid.count) }
    }

    /// What the shards counted for further selectors.
    pub(in crate::promql) fn extend(&mut self, of_selects: Vec<StepCounts>) {
        self.of_selects.extend(of_selects);
    }

    pub(in crate::promql) fn finish(self) -> StepCounts {
        self.here
    }
}

impl Evaluator {
    pub(super) fn count_fetched(&mut self, select: usize) {
        if let Some(Counts { of_selects, here }) = &mut self.counts
            && let Some(of_select) = of_selects.get(select)
        {
            here.add(of_select);
        }
    }

    /// Samples of a series, without stale markers.
    pub(super) fn count_windows(&mut self, samples: &Samples, windows: &Windows) {
        if let Some(counts) = &mut self.counts {
            counts.here.windows(samples, windows);
        }
    }

    /// Points of a series that a subquery made.
    pub(super) fn count_points(&mut self, points: &Samples, windows: &Windows) {
        if let Some(counts) = &mut self.counts {
            counts.here.points(points, windows);
        }
    }

    /// The answer of an instant query that is a range.
    pub(super) fn count_answer(&mut self, series: &[RawSeries]) {
        if let Some(counts) = &mut self.counts {
            let samples: u64 = series.iter().map(|raw| raw.samples.weight()).sum();
            counts.here.add(&StepCounts { queryable: vec![samples], read: vec![samples] });
        }
    }

    pub(super) fn count_here(&mut self, more: &StepCounts) {
        if let Some(counts) = &mut self.counts {
            counts.here.add(more);
        }
    }

    /// Begins to count for the grid of a subquery; gives what was counted around it.
    pub(super) fn count_inside(&mut self, inner_grid: &Grid) -> Result<Option<StepCounts>> {
        if self.counts.is_none() {
            return Ok(None);
        }
        self.hold(StepCounts::bytes(inner_grid.count))?;
        let inner = StepCounts::new(inner_grid.count);
        Ok(self.counts.as_mut().map(|counts| std::mem::replace(&mut counts.here, inner)))
    }

    /// Goes on with what was counted around; gives what was counted since [`Evaluator::count_inside`].
    pub(super) fn count_apart(&mut self, around: Option<StepCounts>) -> Option<StepCounts> {
        let counts = self.counts.as_mut()?;
        Some(std::mem::replace(&mut counts.here, around?))
    }

    /// Goes on with what was counted around a subquery, and adds what the subquery read for the windows over it.
    pub(super) fn count_subquery(&mut self, around: Option<StepCounts>, (grid, windows): (&Grid, &Windows)) {
        let inner = self.count_apart(around);
        if let (Some(counts), Some(inner)) = (&mut self.counts, inner) {
            counts.here.subquery(&inner, grid, windows);
        }
    }

    /// The same where the subquery is the answer of an instant query.
    pub(super) fn count_subquery_answer(&mut self, around: Option<StepCounts>) {
        let inner = self.count_apart(around);
        if let (Some(counts), Some(inner)) = (&mut self.counts, inner) {
            counts.here.whole(&inner);
        }
    }
}
