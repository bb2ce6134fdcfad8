//! Extremes of windows that slide over one series: each sample is looked at a bounded number of times, however long the windows.
//!
//! The positions that may still become the extreme of a later window wait in a deque, each better than all behind it ("ascending
//! minima", R. Harter 2001; D. Lemire, "Streaming maximum-minimum filter", 2006). NaN is better than nothing only.
use std::collections::VecDeque;
use std::ops::Range;

/// Finds one extreme after the other; windows neither begin nor end before the one before.
#[derive(Debug, Default)]
pub(super) struct Extremes {
    /// Positions, rising; their values are strictly worse or equal from one to the next, none is NaN.
    candidates: VecDeque<u32>,
    /// The last position that is NaN.
    last_nan: Option<u32>,
    /// Positions before this were looked at.
    seen: u32,
}

impl Extremes {
    /// The best value of the window by `is_better`, the first among equals, and the last NaN where there is nothing else; `None` of an empty
    /// window.
    pub(super) fn of(&mut self, vs: &[f64], window: Range<usize>, is_better: impl Fn(f64, f64) -> bool) -> Option<f64> {
        let value = |position: u32| vs[position as usize];
        for position in self.seen..window.end as u32 {
            let new = value(position);
            if new.is_nan() {
                self.last_nan = Some(position);
                continue;
            }
            while self.candidates.back().is_some_and(|last| is_better(new, value(*last))) {
                self.candidates.pop_back();
            }
            self.candidates.push_back(position);
        }
        self.seen = self.seen.max(window.end as u32);
        while self.candidates.front().is_some_and(|first| (*first as usize) < window.start) {
            self.candidates.pop_front();
        }
        let best = self.candidates.front().copied();
        best.or(self.last_nan.filter(|nan| window.contains(&(*nan as usize)))).map(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::promql::functions::over_time;

    proptest! {
        #[test]
        fn every_window_has_the_extreme_that_it_has_alone(
            values in prop::collection::vec(prop_oneof![Just(f64::NAN), Just(0.0), Just(-0.0), Just(f64::INFINITY), -3.0f64..3.0, (-2i32..2).prop_map(f64::from)], 0..60),
            steps in prop::collection::vec((0usize..4, 0usize..6), 0..40),
        ) {
            let (mut low, mut high) = (Extremes::default(), Extremes::default());
            let (mut from, mut to) = (0, 0);
            for (begin, end) in steps {
                to = (to + end).min(values.len());
                from = (from + begin).min(to);
                let window = &values[from..to];
                let alone = |f: fn(&[f64]) -> f64| (!window.is_empty()).then(|| f(window).to_bits());
                prop_assert_eq!(low.of(&values, from..to, |a, b| a < b).map(f64::to_bits), alone(over_time::min));
                prop_assert_eq!(high.of(&values, from..to, |a, b| a > b).map(f64::to_bits), alone(over_time::max));
            }
        }
    }
}
