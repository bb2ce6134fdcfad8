//! A function at every step of a grid, over one series after the other.
//!
//! Series of one scrape have the same times, and are neighbours: where the windows lie in the times, and what rates take from
//! them, is found once for all neighbours that have them.
use std::ops::Range;

use super::ABSENT;
use super::edges::EdgesColumn;
use super::extended::{self, Extension};
use super::extremes::Extremes;
use super::range::{RangeFn, Windows};
use super::rate::Drops;

/// Evaluates one function over a grid of steps.
#[derive(Clone, Debug)]
pub struct Slider {
    function: RangeFn,
    windows: Windows,
    /// Of each step, what its window reaches over: times behind the first and up to the second.
    reaches: Vec<(i64, i64)>,
    /// The times of the series before, to which the rest belongs.
    times_ms: Vec<i64>,
    /// Of each step, the positions of its window's samples; none before the first series.
    spans: Vec<Range<u32>>,
    /// Of each step, where the function extrapolates.
    edges: EdgesColumn,
}

impl Slider {
    pub fn new(function: RangeFn, windows: Windows) -> Self {
        let reaches = (0..windows.count).map(|step| windows.reach(&windows.at(step))).collect();
        Self { function, windows, reaches, times_ms: Vec::new(), spans: Vec::new(), edges: EdgesColumn::default() }
    }

    /// Memory for series of at most `samples` samples, in bytes.
    pub fn bytes(steps: usize, samples: u64) -> u64 {
        let of_steps = steps * (size_of::<(i64, i64)>() + size_of::<Range<u32>>()) + EdgesColumn::bytes(steps);
        of_steps as u64 + samples * size_of::<i64>() as u64
    }

    /// Appends the function's result at every step over the series with the times `ts`, which rise strictly, and the values `vs`;
    /// [`ABSENT`] where it has none. `params(step)` gives its parameters.
    pub fn eval_into<'p>(&mut self, ts: &[i64], vs: &[f64], params: impl Fn(usize) -> &'p [f64], out: &mut Vec<f64>) {
        if self.times_ms != ts || self.spans.is_empty() {
            self.lay_over(ts);
        }
        let Self { function, windows, spans, edges, .. } = self;
        let (function, extension) = (*function, windows.extension);
        let steps = spans.iter().map(|span| span.start as usize..span.end as usize);
        match function {
            _ if extension != Extension::None => out.extend(steps.zip(0..).map(|(span, step)| {
                let window = windows.at(step);
                extended::eval(function, extension, &ts[span.clone()], &vs[span], &window).unwrap_or(ABSENT)
            })),
            RangeFn::Rate | RangeFn::Increase | RangeFn::Delta => {
                let is_counter = function != RangeFn::Delta;
                // What looks at all samples of a window to find few that matter finds those once.
                let mut drops = Drops::of(vs, is_counter);
                out.extend(steps.zip(edges.iter()).map(|(span, edges)| match edges {
                    Some(edges) => {
                        let of_window = &vs[span.clone()];
                        edges.extrapolate(drops.change(of_window, span.start), of_window[0], is_counter)
                    }
                    None => ABSENT,
                }));
            }
            RangeFn::Instant => {
                out.extend(steps.map(|span| if span.is_empty() { ABSENT } else { vs[span.end - 1] }));
            }
            RangeFn::Max | RangeFn::Min => {
                let mut extremes = Extremes::default();
                let best = |new: f64, old: f64| if function == RangeFn::Max { new > old } else { new < old };
                out.extend(steps.map(|span| extremes.of(vs, span, best).unwrap_or(ABSENT)));
            }
            _ => out.extend(steps.zip(0..).map(|(span, step)| {
                let window = windows.at(step);
                function.eval(&ts[span.clone()], &vs[span], &window, params(step)).unwrap_or(ABSENT)
            })),
        }
    }

    /// Finds the windows in other times.
    fn lay_over(&mut self, ts: &[i64]) {
        self.times_ms.clear();
        self.times_ms.extend_from_slice(ts);
        self.spans.clear();
        self.edges.begin(self.windows.range_ms, self.function == RangeFn::Rate);
        let extrapolates = matches!(self.function, RangeFn::Rate | RangeFn::Increase | RangeFn::Delta)
            && self.windows.extension == Extension::None;
        let (mut from, mut to) = (0, 0);
        for &(after, end) in &self.reaches {
            while to < ts.len() && ts[to] <= end {
                to += 1;
            }
            while from < to && ts[from] <= after {
                from += 1;
            }
            self.spans.push(from as u32..to as u32);
            if extrapolates {
                self.edges.push(&ts[from..to], (after, end));
            }
        }
        self.edges.settle();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::promql::functions::is_absent;

    fn grid(first_ms: i64, range_ms: i64) -> Windows {
        Windows {
            first_end_ms: first_ms,
            end_step_ms: 10,
            count: 3,
            range_ms,
            first_eval_ms: first_ms,
            eval_step_ms: 10,
            extension: Extension::None,
            lookback_ms: 0,
        }
    }

    fn eval(slider: &mut Slider, ts: &[i64], vs: &[f64]) -> Vec<f64> {
        let mut out = Vec::new();
        slider.eval_into(ts, vs, |_| &[], &mut out);
        out
    }

    #[test]
    fn windows_are_open_on_the_left() {
        let windows = grid(20, 10);
        let counts = eval(&mut Slider::new(RangeFn::Count, windows), &[10, 20, 25, 30], &[1.0; 4]);
        assert_eq!(counts[..2], [1.0, 2.0]);
        assert!(is_absent(counts[2]));
        assert_eq!(windows.span_ms(), (11, 40));
    }

    #[test]
    fn a_stale_marker_ends_an_instant_selector() {
        let got = eval(&mut Slider::new(RangeFn::Instant, grid(10, 300)), &[5, 15], &[7.0, ABSENT]);
        assert_eq!(got[0], 7.0);
        assert!(is_absent(got[1]) && is_absent(got[2]));
    }

    proptest! {
        /// Series after series, with the times of the one before or others, gives what each window gives alone, to the bit.
        #[test]
        fn neighbours_are_each_as_if_alone(
            columns in prop::collection::vec(prop::collection::btree_set(0i64..120, 0..30), 1..3),
            series in prop::collection::vec((0usize..3, prop::collection::vec(-10.0f64..50.0, 30)), 1..6),
            range_ms in 1i64..60,
            is_fixed: bool,
        ) {
            let windows = Windows {
                end_step_ms: if is_fixed { 0 } else { 7 },
                count: 9,
                ..grid(30, range_ms)
            };
            for function in [RangeFn::Rate, RangeFn::Increase, RangeFn::Delta, RangeFn::Instant, RangeFn::Max, RangeFn::Min, RangeFn::Deriv] {
                let mut slider = Slider::new(function, windows);
                for (column, values) in &series {
                    let ts: Vec<i64> = columns[column % columns.len()].iter().copied().collect();
                    let vs = &values[..ts.len()];
                    let slid = eval(&mut slider, &ts, vs);
                    let alone = (0..windows.count).map(|step| {
                        let window = windows.at(step);
                        let (after, end) = windows.reach(&window);
                        let span = ts.partition_point(|t| *t <= after)..ts.partition_point(|t| *t <= end);
                        function.eval(&ts[span.clone()], &vs[span], &window, &[]).unwrap_or(ABSENT).to_bits()
                    });
                    let slid: Vec<u64> = slid.into_iter().map(f64::to_bits).collect();
                    prop_assert_eq!(slid, alone.collect::<Vec<u64>>(), "{:?}", function);
                }
            }
        }
    }
}
