//! Native histograms as classic ones: counts of what is no larger than each bound.
//!
//! With bounds of their own nothing is lost. Of exponential ones a sample has the bounds of the buckets that it has, and where a
//! bucket has no neighbour its lower bound, too, so that nobody interpolates over the gap; that bounds come and go, and which of
//! a negative bucket's bounds belongs to it, is lost.
use trine_query::promql::chunk::histogram::{CUSTOM, Native};

/// A bound, and the count of what is no larger.
pub(super) type Bucket = (f64, f64);

/// The buckets without the last one, whose bound is infinite; bounds rise.
pub(super) fn buckets(h: &Native) -> Vec<Bucket> {
    let mut out = Cumulative::default();
    if h.schema == CUSTOM {
        let mut counts = h.positive.iter().peekable();
        for (at, bound) in (0i64..).zip(&h.custom) {
            out.add(*bound, counts.next_if(|(index, _)| *index == at).map_or(0.0, |(_, count)| *count));
        }
        return out.buckets;
    }
    for (index, count) in h.negative.iter().rev() {
        out.begin(-bound(*index, h.schema));
        out.add(-bound(index - 1, h.schema), *count);
    }
    if h.zero > 0.0 {
        if !h.negative.is_empty() {
            out.begin(-h.zero_threshold);
        }
        out.add(h.zero_threshold, h.zero);
    }
    for (index, count) in &h.positive {
        out.begin(bound(index - 1, h.schema));
        out.add(bound(*index, h.schema), *count);
    }
    out.buckets
}

/// Upper bound of an exponential bucket.
fn bound(index: i64, schema: i64) -> f64 {
    let exponent = index as f64 * (-(schema as f64)).exp2();
    // The last bucket before the one of what is larger ends at the largest number.
    if exponent == 1024.0 { f64::MAX } else { exponent.exp2() }
}

#[derive(Debug, Default)]
struct Cumulative {
    buckets: Vec<Bucket>,
    count: f64,
}

impl Cumulative {
    /// A bound that nothing more has been counted up to.
    fn begin(&mut self, bound: f64) {
        self.add(bound, 0.0);
    }

    fn add(&mut self, bound: f64, count: f64) {
        self.count += count;
        match self.buckets.last_mut() {
            // Where a zero bucket reaches into others, the wider bound has it all.
            Some((last, sum)) if bound <= *last => *sum = self.count,
            _ if bound.is_finite() => self.buckets.push((bound, self.count)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_their_own_stay() {
        let h = Native {
            schema: CUSTOM,
            count: 9.0,
            custom: vec![0.5, 1.0, 2.0],
            positive: vec![(0, 3.0), (2, 1.0), (3, 5.0)],
            ..Native::default()
        };
        assert_eq!(buckets(&h), [(0.5, 3.0), (1.0, 3.0), (2.0, 4.0)]);
        assert_eq!(buckets(&Native { schema: CUSTOM, custom: vec![1.0], ..Native::default() }), [(1.0, 0.0)]);
    }

    #[test]
    fn exponential_buckets_begin_where_they_do() {
        let positive = vec![(0, 1.0), (1, 2.0), (4, 3.0)];
        let h = Native { positive: positive.clone(), ..Native::default() };
        let expected = [(0.5, 0.0), (1.0, 1.0), (2.0, 3.0), (8.0, 3.0), (16.0, 6.0)];
        assert_eq!(buckets(&h), expected);
        let fine = Native { schema: 1, positive: vec![(2, 1.0)], ..Native::default() };
        assert_eq!(buckets(&fine), [(2f64.sqrt(), 0.0), (2.0, 1.0)]);
        let h = Native {
            zero: 5.0,
            zero_threshold: 0.25,
            positive,
            negative: vec![(1, 7.0), (3, 1.0)],
            ..Native::default()
        };
        let expected = [
            (-8.0, 0.0),
            (-4.0, 1.0),
            (-2.0, 1.0),
            (-1.0, 8.0),
            (-0.25, 8.0),
            (0.25, 13.0),
            (0.5, 13.0),
            (1.0, 14.0),
            (2.0, 16.0),
            (8.0, 16.0),
            (16.0, 19.0),
        ];
        assert_eq!(buckets(&h), expected);
    }

    #[test]
    fn odd_bounds_still_rise() {
        // The zero bucket reaches beyond the first positive one; the last one has no finite bound.
        let h = Native {
            zero: 1.0,
            zero_threshold: 3.0,
            positive: vec![(1, 1.0), (2, 1.0), (1024, 1.0), (1025, 1.0)],
            ..Native::default()
        };
        assert_eq!(buckets(&h), [(3.0, 2.0), (4.0, 3.0), (2f64.powi(1023), 3.0), (f64::MAX, 4.0)]);
        assert_eq!(buckets(&Native::default()), []);
    }
}
