//! Aggregations that merge from parts, beside the data and on the asking node.
use std::ops::Range;

use super::fragment::Partial;
use super::functions::kahan::{Mean, Sum};
use super::functions::{ABSENT, is_absent};

/// One group's aggregate at every step.
#[derive(Clone, Debug)]
pub(super) enum Cells {
    /// Sums, [`ABSENT`] where the group has no series, and their compensations.
    Sum(Vec<f64>, Vec<f64>),
    Avg(Vec<Mean>),
    /// Counts, extremes, or ones; [`ABSENT`] where the group has no series.
    Plain(Partial, Vec<f64>),
}

impl Cells {
    pub(super) fn new(partial: Partial, steps: usize) -> Self {
        match partial {
            Partial::Sum => Self::Sum(vec![ABSENT; steps], vec![0.0; steps]),
            Partial::Avg => Self::Avg(vec![Mean::default(); steps]),
            Partial::Count | Partial::Min | Partial::Max | Partial::Group => Self::Plain(partial, vec![ABSENT; steps]),
        }
    }

    /// Values that a group of `steps` steps holds.
    pub(super) fn values_count(partial: Partial, steps: usize) -> u64 {
        (partial.columns_count() * steps) as u64
    }

    /// What a group of `steps` steps weighs.
    pub(super) fn bytes(partial: Partial, steps: usize) -> u64 {
        let cell = match partial {
            Partial::Sum => size_of::<Sum>(),
            Partial::Avg => size_of::<Mean>(),
            Partial::Count | Partial::Min | Partial::Max | Partial::Group => size_of::<f64>(),
        };
        (cell * steps) as u64
    }

    /// Adds one series.
    pub(super) fn add(&mut self, values: &[f64]) {
        let present = values.iter().enumerate().filter(|(_, v)| !is_absent(**v));
        match self {
            Self::Sum(sums, compensations) => {
                for ((sum, compensation), v) in sums.iter_mut().zip(compensations).zip(values) {
                    if is_absent(*v) {
                        continue;
                    }
                    if is_absent(*sum) {
                        *sum = *v;
                        continue;
                    }
                    let mut whole = Sum { sum: *sum, compensation: *compensation };
                    whole.add(*v);
                    (*sum, *compensation) = (whole.sum, whole.compensation);
                }
            }
            Self::Avg(cells) => present.for_each(|(i, v)| cells[i].add(*v)),
            Self::Plain(partial, cells) => {
                let partial = *partial;
                for (i, v) in present {
                    let v = if partial == Partial::Count || partial == Partial::Group { 1.0 } else { *v };
                    cells[i] = combine(partial, cells[i], v);
                }
            }
        }
    }

    /// The step columns of this part, as they travel.
    pub(super) fn columns(&self) -> Vec<Vec<f64>> {
        let steps = match self {
            Self::Sum(sums, _) => sums.len(),
            Self::Avg(cells) => cells.len(),
            Self::Plain(_, cells) => cells.len(),
        };
        self.columns_at(0..steps)
    }

    /// The same at some of the steps.
    pub(super) fn columns_at(&self, steps: Range<usize>) -> Vec<Vec<f64>> {
        match self {
            Self::Sum(sums, compensations) => vec![sums[steps.clone()].to_vec(), compensations[steps].to_vec()],
            Self::Avg(cells) => {
                let cells = &cells[steps];
                let column =
                    |f: fn(&Mean) -> f64| cells.iter().map(|c| if c.count == 0.0 { ABSENT } else { f(c) }).collect();
                // A negative count says that the total is a mean already.
                let count = column(|m| if m.incremental { -m.count } else { m.count });
                vec![column(|m| m.total.sum), column(|m| m.total.compensation), count]
            }
            Self::Plain(_, cells) => vec![cells[steps].to_vec()],
        }
    }

    /// Adds columns of another part, from step `first` on; they are [`Partial::columns_count`] and end within this one.
    pub(super) fn merge(&mut self, first: usize, columns: &[Vec<f64>]) {
        match self {
            Self::Sum(sums, compensations) => {
                let mine = sums[first..].iter_mut().zip(&mut compensations[first..]);
                let others = columns[0].iter().zip(&columns[1]).map(|(sum, c)| Sum { sum: *sum, compensation: *c });
                for ((sum, compensation), other) in mine.zip(others).filter(|(_, other)| !is_absent(other.sum)) {
                    let mut whole = Sum { sum: *sum, compensation: *compensation };
                    if is_absent(*sum) {
                        whole = other
                    } else {
                        whole.merge(other)
                    }
                    (*sum, *compensation) = (whole.sum, whole.compensation);
                }
            }
            Self::Avg(cells) => {
                for (i, cell) in cells[first..].iter_mut().enumerate().take(columns[2].len()) {
                    let count = columns[2][i];
                    if !is_absent(count) {
                        let total = Sum { sum: columns[0][i], compensation: columns[1][i] };
                        cell.merge(Mean { count: count.abs(), total, incremental: count < 0.0 });
                    }
                }
            }
            Self::Plain(partial, cells) => {
                for (cell, other) in cells[first..].iter_mut().zip(&columns[0]) {
                    if !is_absent(*other) {
                        *cell = combine(*partial, *cell, *other);
                    }
                }
            }
        }
    }

    /// The aggregate at every step.
    pub(super) fn finish(self) -> Vec<f64> {
        let mut values: Vec<f64> = match self {
            Self::Sum(sums, compensations) => {
                let whole = |(sum, c): (f64, f64)| if is_absent(sum) { sum } else { sum + c };
                sums.into_iter().zip(compensations).map(whole).collect()
            }
            Self::Avg(cells) => cells.into_iter().map(|m| if m.count == 0.0 { ABSENT } else { m.value() }).collect(),
            Self::Plain(_, cells) => cells,
        };
        // Collecting may have kept the room of the wider cells.
        values.shrink_to_fit();
        values
    }
}

fn combine(partial: Partial, cell: f64, other: f64) -> f64 {
    if is_absent(cell) {
        return other;
    }
    match partial {
        Partial::Count => cell + other,
        Partial::Min if cell > other || cell.is_nan() => other,
        Partial::Max if cell < other || cell.is_nan() => other,
        Partial::Min | Partial::Max | Partial::Group | Partial::Sum | Partial::Avg => cell,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Partial; 6] = [Partial::Sum, Partial::Count, Partial::Min, Partial::Max, Partial::Group, Partial::Avg];

    proptest! {
        /// Two halves merged are the whole, for any cut.
        #[test]
        fn parts_merge(values in prop::collection::vec(prop::option::of(-1e9f64..1e9), 0..40), cut in 0usize..40) {
            let values: Vec<f64> = values.into_iter().map(|v| v.unwrap_or(ABSENT)).collect();
            let cut = cut.min(values.len());
            for partial in ALL {
                let of = |values: &[f64]| {
                    let mut cells = Cells::new(partial, 1);
                    values.iter().for_each(|v| cells.add(std::slice::from_ref(v)));
                    cells
                };
                let mut merged = of(&values[..cut]);
                merged.merge(0, &of(&values[cut..]).columns());
                let (merged, whole) = (merged.finish()[0], of(&values).finish()[0]);
                let same = merged.to_bits() == whole.to_bits()
                    || (merged - whole).abs() <= 1e-12 * whole.abs().max(1.0);
                prop_assert!(same, "{partial:?}: {merged} {whole}");
            }
        }
    }
}
