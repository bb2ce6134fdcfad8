//! A histogram as text, as `count_values` labels it.
use std::fmt;

use super::{Bucket, Histogram};
use crate::promql::numbers::format_general;

/// Prometheus' notation: `{count:4, sum:5, (0.5,1]:1, (1,2]:3}`, without empty buckets.
impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", format_general(self.count), format_general(self.sum))?;
        let negative = self.negative.iter().rev().map(|(i, c)| self.negative_bucket(i, c));
        let zero = std::iter::once(self.zero_bucket());
        let positive = self.positive.iter().map(|(i, c)| self.positive_bucket(i, c));
        for bucket in negative.chain(zero).chain(positive).filter(|b| b.count != 0.0) {
            write!(f, ", {bucket}")?;
        }
        f.write_str("}")
    }
}

/// `(lower,upper]:count`, with the bracket of each bound.
impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) =
            (if self.lower_inclusive { '[' } else { '(' }, if self.upper_inclusive { ']' } else { ')' });
        let [lower, upper, count] = [self.lower, self.upper, self.count].map(format_general);
        write!(f, "{open}{lower},{upper}{close}:{count}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::Buckets;
    use super::super::tests::of;

    #[test]
    fn as_prometheus_prints_it() {
        let mut h = of(&[1.0, 0.0, 2.0]);
        h.negative = Buckets { index: vec![1], count: vec![3.0] };
        (h.zero_threshold, h.zero_count, h.sum) = (0.001, 2.0, -1.5);
        assert_eq!(h.to_string(), "{count:3, sum:-1.5, [-2,-1):3, [-0.001,0.001]:2, (0.5,1]:1, (2,4]:2}");
    }
}
