//! What `rate`, `increase` and `delta` take from the times of their windows: how far they extrapolate.

/// Of one window: the same for all series that have its times. In seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edges {
    /// From the first to the last sample.
    sampled: f64,
    /// How far to extrapolate.
    to_start: f64,
    to_end: f64,
    /// What the change is divided by in the end.
    divisor: f64,
    /// By what the change is multiplied, unless the series would have been below zero.
    factor: f64,
}

/// Distances in a window, in ms, of whole numbers.
#[derive(Clone, Copy, Debug)]
struct Distances {
    /// From the first to the last sample.
    sampled: f64,
    /// From the edges to the samples next to them.
    start: f64,
    end: f64,
    /// From a sample to the next; none are 0 samples or one.
    gaps: f64,
}

impl Distances {
    /// Of the times in a window from `start_ms`, which is outside, to `end_ms`.
    #[inline]
    fn of(ts: &[i64], (start_ms, end_ms): (i64, i64)) -> Self {
        match ts {
            [first, .., last] => Self {
                sampled: (last - first) as f64,
                start: (first - start_ms) as f64,
                end: (end_ms - last) as f64,
                gaps: (ts.len() - 1) as f64,
            },
            _ => Self { sampled: 0.0, start: 0.0, end: 0.0, gaps: 0.0 },
        }
    }

    /// Without a branch, so that many are settled at once.
    #[inline]
    fn settle(self, divisor: f64) -> Edges {
        let (sampled, start, end) = (self.sampled / 1000.0, self.start / 1000.0, self.end / 1000.0);
        let spacing = sampled / self.gaps;
        let (threshold, half) = (spacing * 1.1, spacing / 2.0);
        let to_start = if start >= threshold { half } else { start };
        let to_end = if end >= threshold { half } else { end };
        let factor = factor_of(sampled, to_start, to_end) / divisor;
        Edges { sampled, to_start, to_end, divisor, factor }
    }
}

#[inline]
fn factor_of(sampled: f64, to_start: f64, to_end: f64) -> f64 {
    let factor = (sampled + to_start + to_end) / sampled;
    if sampled == 0.0 { 1.0 } else { factor }
}

/// What the change over a window of so many ms is divided by.
fn divisor_of(range_ms: i64, per_second: bool) -> f64 {
    if per_second { range_ms as f64 / 1000.0 } else { 1.0 }
}

impl Edges {
    /// Of the times of the samples in a window from `start_ms`, which is outside, to `end_ms`; `None` of fewer than two.
    pub fn of(ts: &[i64], window: (i64, i64), per_second: bool) -> Option<Self> {
        let distances = Distances::of(ts, window);
        (distances.gaps > 0.0).then(|| distances.settle(divisor_of(window.1 - window.0, per_second)))
    }

    /// The change between the samples, extrapolated; `first` is the value of the first of them.
    #[inline]
    pub fn extrapolate(&self, change: f64, first: f64, is_counter: bool) -> f64 {
        if is_counter && change > 0.0 && first >= 0.0 {
            // A counter was zero once: do not extrapolate to before that.
            let to_zero = self.sampled * (first / change);
            if to_zero < self.to_start {
                return change * (factor_of(self.sampled, to_zero, self.to_end) / self.divisor);
            }
        }
        change * self.factor
    }
}

/// The edges of many windows of one length, as columns, which are settled together.
#[derive(Clone, Debug, Default)]
pub struct EdgesColumn {
    /// In ms until they are settled.
    sampled: Vec<f64>,
    to_start: Vec<f64>,
    to_end: Vec<f64>,
    gaps: Vec<f64>,
    factor: Vec<f64>,
    divisor: f64,
}

impl EdgesColumn {
    /// Memory of so many windows, in bytes.
    pub fn bytes(windows: usize) -> usize {
        5 * windows * size_of::<f64>()
    }

    /// Begins anew, with windows of `range_ms`.
    pub fn begin(&mut self, range_ms: i64, per_second: bool) {
        let Self { sampled, to_start, to_end, gaps, factor, divisor } = self;
        [sampled, to_start, to_end, gaps, factor].into_iter().for_each(Vec::clear);
        *divisor = divisor_of(range_ms, per_second);
    }

    /// Adds a window, as [`Edges::of`].
    #[inline]
    pub fn push(&mut self, ts: &[i64], window: (i64, i64)) {
        let Distances { sampled, start, end, gaps } = Distances::of(ts, window);
        self.sampled.push(sampled);
        self.to_start.push(start);
        self.to_end.push(end);
        self.gaps.push(gaps);
    }

    /// Once all windows are there.
    pub fn settle(&mut self) {
        let Self { sampled, to_start, to_end, gaps, factor, divisor } = self;
        factor.resize(sampled.len(), 0.0);
        let columns = sampled.iter_mut().zip(to_start).zip(to_end).zip(&*gaps).zip(factor);
        for ((((sampled, start), end), gaps), factor) in columns {
            let distances = Distances { sampled: *sampled, start: *start, end: *end, gaps: *gaps };
            let edges = distances.settle(*divisor);
            (*sampled, *start, *end, *factor) = (edges.sampled, edges.to_start, edges.to_end, edges.factor);
        }
    }

    /// Of each window; `None` where it has fewer than two samples.
    pub fn iter(&self) -> impl Iterator<Item = Option<Edges>> {
        let columns = self.sampled.iter().zip(&self.to_start).zip(&self.to_end).zip(&self.gaps).zip(&self.factor);
        columns.map(|((((sampled, to_start), to_end), gaps), factor)| {
            let (divisor, factor) = (self.divisor, *factor);
            (*gaps > 0.0).then_some(Edges { sampled: *sampled, to_start: *to_start, to_end: *to_end, divisor, factor })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Windows that are settled together are each as if alone, to the bit.
        #[test]
        fn columns_are_each_as_if_alone(
            windows in prop::collection::vec((prop::collection::btree_set(1i64..200_000, 0..9), 0i64..50_000), 0..40),
            per_second: bool,
        ) {
            let mut column = EdgesColumn::default();
            column.begin(200_000, per_second);
            let mut alone = Vec::new();
            for (ts, start) in &windows {
                let ts: Vec<i64> = ts.iter().map(|t| t + start).collect();
                let window = (*start, start + 200_000);
                column.push(&ts, window);
                alone.push(Edges::of(&ts, window, per_second));
            }
            column.settle();
            prop_assert_eq!(column.iter().collect::<Vec<_>>(), alone);
        }
    }
}
