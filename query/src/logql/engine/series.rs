//! Series on the grid of a query: one optional value a step.
use std::cmp::Ordering;
use std::collections::HashMap;

use trine_store::model::Labels;

use crate::error::{Error, Result};

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

/// Collects values by labels; two values of one label set at one step are an error.
#[derive(Debug)]
pub(super) struct Collector {
    steps: usize,
    positions: HashMap<Labels, usize>,
    series: Vec<Series>,
}

impl Collector {
    pub(super) fn new(steps: usize) -> Self {
        Self { steps, positions: HashMap::new(), series: Vec::new() }
    }

    pub(super) fn position(&mut self, labels: Labels) -> usize {
        if let Some(at) = self.positions.get(&labels) {
            return *at;
        }
        self.series.push(Series { labels: labels.clone(), values: vec![None; self.steps] });
        self.positions.insert(labels, self.series.len() - 1);
        self.series.len() - 1
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
