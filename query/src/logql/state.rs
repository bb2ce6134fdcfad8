//! States of one series on the grid: filled beside the data, sent as parts, merged and finished by the asking node.
use super::ast::{RangeExpr, RangeOp};
use super::fragment::{SeriesPart, corrupt};
use super::plan::{Grid, StateKind};
use crate::error::Result;

/// Doubles on the wire for one step, and whether a time goes with them.
fn width(kind: StateKind) -> (usize, bool) {
    match kind {
        StateKind::Count | StateKind::Bytes | StateKind::Sum | StateKind::Min | StateKind::Max => (1, false),
        StateKind::Avg => (2, false),
        StateKind::Variance => (3, false),
        StateKind::First | StateKind::Last => (1, true),
        StateKind::Samples => (1, true),
    }
}

/// Most raw samples in one part.
const SAMPLES_PER_PART: usize = 50_000;

#[derive(Debug)]
pub(super) struct SeriesState {
    kind: StateKind,
    /// For each step, whether anything is there.
    present: Vec<bool>,
    /// `width` values for each step.
    values: Vec<f64>,
    times_ns: Vec<i64>,
    samples: Vec<(i64, f64)>,
}

/// What a raw sample weighs in a list that grows.
pub(super) const SAMPLE_BYTES: u64 = 24;
/// What a state weighs besides its steps and labels, with its place in a list and a map.
const STATE_BYTES: u64 = 256;

impl SeriesState {
    /// What a state of that many steps weighs without its labels and raw samples.
    pub(super) fn weight(kind: StateKind, steps: usize) -> u64 {
        let (width, timed) = width(kind);
        let step = if kind == StateKind::Samples { 0 } else { 1 + 8 * width + if timed { 8 } else { 0 } };
        (step * steps) as u64 + STATE_BYTES
    }

    pub(super) fn new(kind: StateKind, steps: usize) -> Self {
        let samples_only = kind == StateKind::Samples;
        let (width, timed) = width(kind);
        let dense = if samples_only { 0 } else { steps };
        Self {
            kind,
            present: vec![false; dense],
            values: vec![0.0; dense * width],
            times_ns: vec![0; if timed { dense } else { 0 }],
            samples: Vec::new(),
        }
    }

    /// Counts one sample in every step from `first` to `last`, both inclusive.
    pub(super) fn add(&mut self, first: usize, last: usize, time_ns: i64, value: f64) {
        match self.kind {
            StateKind::Samples => self.samples.push((time_ns, value)),
            StateKind::Variance => (first..=last).for_each(|i| self.merge_step(i, &[1.0, value, 0.0], time_ns)),
            StateKind::Avg => (first..=last).for_each(|i| self.merge_step(i, &[value, 1.0], time_ns)),
            _ => (first..=last).for_each(|i| self.merge_step(i, &[value], time_ns)),
        }
    }

    /// Merges the state `other` of one step into the step's state.
    fn merge_step(&mut self, step: usize, other: &[f64], time_ns: i64) {
        let (width, timed) = width(self.kind);
        let at = step * width;
        if !self.present[step] {
            self.present[step] = true;
            self.values[at..at + width].copy_from_slice(other);
            if timed {
                self.times_ns[step] = time_ns;
            }
            return;
        }
        let mine = &mut self.values[at..at + width];
        match self.kind {
            StateKind::Count | StateKind::Bytes | StateKind::Sum => mine[0] += other[0],
            StateKind::Avg => {
                mine[0] += other[0];
                mine[1] += other[1];
            }
            StateKind::Min => {
                if mine[0].is_nan() || other[0] < mine[0] {
                    mine[0] = other[0];
                }
            }
            StateKind::Max => {
                if mine[0].is_nan() || other[0] > mine[0] {
                    mine[0] = other[0];
                }
            }
            StateKind::Variance => merge_variance(mine, other),
            StateKind::First if time_ns < self.times_ns[step] => {
                mine[0] = other[0];
                self.times_ns[step] = time_ns;
            }
            StateKind::Last if time_ns >= self.times_ns[step] => {
                mine[0] = other[0];
                self.times_ns[step] = time_ns;
            }
            StateKind::First | StateKind::Last | StateKind::Samples => {}
        }
    }

    /// What [`Self::parts`] weighs at most.
    pub(super) fn parts_weight(&self) -> u64 {
        let steps = self.present.len() * size_of::<u32>();
        let numbers = self.values.len() + self.times_ns.len() + 2 * self.samples.len();
        (steps + numbers * size_of::<f64>()) as u64
    }

    /// The state as messages; all but raw samples are one.
    pub(super) fn parts(self, labels: &[u8]) -> Vec<SeriesPart> {
        let labels = bytes::Bytes::copy_from_slice(labels);
        if self.kind == StateKind::Samples {
            return self
                .samples
                .chunks(SAMPLES_PER_PART)
                .map(|chunk| SeriesPart {
                    labels: labels.clone(),
                    steps: Vec::new(),
                    values: chunk.iter().map(|s| s.1).collect(),
                    times_ns: chunk.iter().map(|s| s.0).collect(),
                })
                .collect();
        }
        let (width, timed) = width(self.kind);
        let mut part = SeriesPart { labels, ..SeriesPart::default() };
        for step in (0..self.present.len()).filter(|s| self.present[*s]) {
            part.steps.push(step as u32);
            part.values.extend_from_slice(&self.values[step * width..(step + 1) * width]);
            if timed {
                part.times_ns.push(self.times_ns[step]);
            }
        }
        vec![part]
    }

    /// Merges a message. Fails with [`crate::Error::Corrupt`] when it does not fit the grid.
    pub(super) fn merge(&mut self, part: &SeriesPart) -> Result<()> {
        if self.kind == StateKind::Samples {
            if part.times_ns.len() != part.values.len() {
                return Err(corrupt("LogQL series", "times and values differ in number"));
            }
            self.samples.extend(part.times_ns.iter().copied().zip(part.values.iter().copied()));
            return Ok(());
        }
        let (width, timed) = width(self.kind);
        if part.values.len() != part.steps.len() * width || (timed && part.times_ns.len() != part.steps.len()) {
            return Err(corrupt("LogQL series", "steps and values differ in number"));
        }
        for (i, (step, values)) in part.steps.iter().zip(part.values.chunks_exact(width)).enumerate() {
            let step = *step as usize;
            if step >= self.present.len() {
                return Err(corrupt("LogQL series", "step beyond the grid"));
            }
            self.merge_step(step, values, part.times_ns.get(i).copied().unwrap_or(0));
        }
        Ok(())
    }

    /// The values of the range aggregation at every step of the grid.
    pub(super) fn finish(mut self, range: &RangeExpr, grid: &Grid) -> Vec<Option<f64>> {
        if self.kind == StateKind::Samples {
            return self.quantiles(range, grid);
        }
        let (width, _) = width(self.kind);
        let seconds = range.range_ns as f64 / 1e9;
        let one = |values: &[f64]| match range.op {
            RangeOp::Rate | RangeOp::BytesRate => values[0] / seconds,
            RangeOp::Avg => values[0] / values[1],
            RangeOp::Stdvar => values[2] / values[0],
            RangeOp::Stddev => (values[2] / values[0]).sqrt(),
            _ => values[0],
        };
        self.present.iter().zip(self.values.chunks_exact(width)).map(|(present, v)| present.then(|| one(v))).collect()
    }

    fn quantiles(&mut self, range: &RangeExpr, grid: &Grid) -> Vec<Option<f64>> {
        let phi = range.param.unwrap_or(f64::NAN);
        self.samples.sort_by_key(|s| s.0);
        let mut window = Vec::new();
        (0..grid.steps)
            .map(|step| {
                let end = grid.time_ns(step).saturating_sub(range.offset_ns);
                let start = end.saturating_sub(range.range_ns);
                let from = self.samples.partition_point(|s| s.0 <= start);
                let to = self.samples.partition_point(|s| s.0 <= end);
                window.clear();
                window.extend(self.samples[from..to].iter().map(|s| s.1));
                quantile(phi, &mut window)
            })
            .collect()
    }
}

/// Chan's merge of counts, means and sums of squared distances.
fn merge_variance(mine: &mut [f64], other: &[f64]) {
    let count = mine[0] + other[0];
    let delta = other[1] - mine[1];
    mine[2] += other[2] + delta * delta * mine[0] * other[0] / count;
    mine[1] += delta * other[0] / count;
    mine[0] = count;
}

/// The φ-quantile with linear interpolation, as Prometheus has it; `None` without values.
fn quantile(phi: f64, values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    if phi.is_nan() {
        return Some(f64::NAN);
    }
    if phi < 0.0 {
        return Some(f64::NEG_INFINITY);
    }
    if phi > 1.0 {
        return Some(f64::INFINITY);
    }
    values.sort_by(f64::total_cmp);
    let rank = phi * (values.len() - 1) as f64;
    let (lower, weight) = (rank.floor() as usize, rank.fract());
    let upper = (lower + 1).min(values.len() - 1);
    Some(values[lower] * (1.0 - weight) + values[upper] * weight)
}
