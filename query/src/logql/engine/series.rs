//! Series on the grid of a query: one optional value a step.
use std::cmp::Ordering;
use std::collections::HashMap;

use trine_store::model::Labels;

use crate::error::{Error, Result};
use crate::logql::plan::Grid;
use crate::memory::{Charge, labels_bytes};
use crate::stop::Stop;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) labels: Labels,
    pub(super) values: Vec<Option<f64>>,
}

impl Series {
    /// One value at every step, without labels.
    pub(super) fn constant(value: f64, steps: usize) -> Self {
        Self { labels: Labels::empty(), values: vec![Some(value); steps] }
    }
}

impl Series {
    /// What the series weighs.
    pub(super) fn weight(&self) -> u64 {
        size_of_val(self.values.as_slice()) as u64 + labels_bytes(&self.labels)
    }
}

/// What a series weighs besides its values and its labels' bytes.
const SERIES_BYTES: u64 = 128;

/// An evaluation in progress: what it holds, and when it must end.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) held: Charge,
    pub(super) stop: Stop,
    pub(super) grid: Grid,
}

impl Work {
    /// Charges `count` series of the grid before they are made.
    pub(super) fn hold_series(&mut self, count: usize) -> Result<()> {
        let series = (self.grid.steps * size_of::<Option<f64>>()) as u64 + SERIES_BYTES;
        Ok(self.held.add((count as u64).saturating_mul(series))?)
    }

    /// Charges bytes until the expression is evaluated.
    pub(super) fn hold(&mut self, bytes: u64) -> Result<()> {
        Ok(self.held.add(bytes)?)
    }
}

/// Collects values by labels; two values of one label set at one step are an error.
#[derive(Debug)]
pub(super) struct Collector<'w> {
    work: &'w mut Work,
    positions: HashMap<Labels, usize>,
    series: Vec<Series>,
}

impl<'w> Collector<'w> {
    pub(super) fn new(work: &'w mut Work) -> Self {
        Self { work, positions: HashMap::new(), series: Vec::new() }
    }

    pub(super) fn position(&mut self, labels: Labels) -> Result<usize> {
        if let Some(at) = self.positions.get(&labels) {
            return Ok(*at);
        }
        self.work.stop.check()?;
        self.work.hold_series(1)?;
        self.work.hold(labels_bytes(&labels))?;
        self.series.push(Series { labels: labels.clone(), values: vec![None; self.work.grid.steps] });
        self.positions.insert(labels, self.series.len() - 1);
        Ok(self.series.len() - 1)
    }

    pub(super) fn put(&mut self, at: usize, step: usize, value: f64) -> Result<()> {
        let series = &mut self.series[at];
        if series.values[step].replace(value).is_some() {
            return Err(Error::Execution {
                message: format!(
                    "multiple matches for labels: grouping labels must ensure unique matches: {}",
                    series.labels
                ),
            });
        }
        Ok(())
    }

    /// The series that have a value.
    pub(super) fn finish(self) -> Vec<Series> {
        self.series.into_iter().filter(|s| s.values.iter().any(Option::is_some)).collect()
    }
}

/// Orders label sets by their pairs, as answers list them; the order of [`Labels`] itself is that of its encoding.
pub(super) fn by_pairs(a: &Labels, b: &Labels) -> Ordering {
    a.iter().cmp(b.iter())
}

/// The labels whose names `keep` holds for.
pub(super) fn project(labels: &Labels, keep: impl Fn(&str) -> bool) -> Labels {
    // Names of a label set are unique, so a subset of them builds.
    Labels::from_pairs(labels.iter().filter(|(n, _)| keep(n))).unwrap_or_else(|_| Labels::empty())
}
