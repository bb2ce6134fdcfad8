//! Compensated sums (Kahan with Neumaier's improvement), step for step as Prometheus' `kahansum`.

/// A sum and its compensation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    pub sum: f64,
    pub compensation: f64,
}

impl Sum {
    /// Adds `value`.
    #[inline]
    pub fn add(&mut self, value: f64) {
        let t = self.sum + value;
        if t.is_infinite() {
            self.compensation = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.compensation += (self.sum - t) + value;
        } else {
            self.compensation += (value - t) + self.sum;
        }
        self.sum = t;
    }

    /// Adds another compensated sum.
    pub fn merge(&mut self, other: Self) {
        self.add(other.sum);
        if self.sum.is_finite() {
            self.compensation += other.compensation;
        }
    }

    /// The sum with its compensation; an infinite sum as it is.
    pub fn value(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.compensation }
    }
}

/// A running mean: a compensated sum, or once that overflows, an incremental mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mean {
    pub count: f64,
    /// The sum of the values, or their mean once `incremental`.
    pub total: Sum,
    pub incremental: bool,
}

impl Mean {
    /// Adds `value`.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.total.sum = value;
            return;
        }
        if !self.incremental {
            let mut next = self.total;
            next.add(value);
            if !next.sum.is_infinite() {
                self.total = next;
                return;
            }
            self.switch_to_incremental(self.count - 1.0);
        }
        let q = (self.count - 1.0) / self.count;
        self.total.sum *= q;
        self.total.compensation *= q;
        self.total.add(value / self.count);
    }

    fn switch_to_incremental(&mut self, count: f64) {
        self.incremental = true;
        self.total.sum /= count;
        self.total.compensation /= count;
    }

    /// Adds all values of another mean.
    pub fn merge(&mut self, mut other: Self) {
        if other.count == 0.0 {
            return;
        }
        if self.count == 0.0 {
            *self = other;
            return;
        }
        if !self.incremental && !other.incremental {
            let mut next = self.total;
            next.merge(other.total);
            if !next.sum.is_infinite() {
                self.total = next;
                self.count += other.count;
                return;
            }
        }
        if !self.incremental {
            self.switch_to_incremental(self.count);
        }
        if !other.incremental {
            other.switch_to_incremental(other.count);
        }
        let count = self.count + other.count;
        self.total.sum *= self.count / count;
        self.total.compensation *= self.count / count;
        self.total.add(other.total.sum * (other.count / count));
        self.total.compensation += other.total.compensation * (other.count / count);
        self.count = count;
    }

    /// The mean; NaN without values.
    pub fn value(self) -> f64 {
        if self.incremental {
            self.total.sum + self.total.compensation
        } else {
            self.total.sum / self.count + self.total.compensation / self.count
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[f64]) -> Mean {
        let mut mean = Mean::default();
        values.iter().for_each(|v| mean.add(*v));
        mean
    }

    #[test]
    fn small_terms_survive_large_ones() {
        let mut sum = Sum::default();
        [1e100, 1.0, -1e100].into_iter().for_each(|v| sum.add(v));
        assert_eq!(sum.value(), 1.0);
    }

    #[test]
    fn a_mean_survives_overflow_and_merging() {
        let values = [f64::MAX, f64::MAX, f64::MAX / 2.0];
        let whole = mean(&values).value();
        assert!((whole / f64::MAX - 2.5 / 3.0).abs() < 1e-12);
        let mut halves = mean(&values[..1]);
        halves.merge(mean(&values[1..]));
        assert!((halves.value() / whole - 1.0).abs() < 1e-12);
    }

    #[test]
    fn merged_sums_keep_their_compensation() {
        let mut a = Sum::default();
        [1e16, 1.0].into_iter().for_each(|v| a.add(v));
        let mut b = Sum::default();
        [1.0, -1e16].into_iter().for_each(|v| b.add(v));
        a.merge(b);
        assert_eq!(a.value(), 2.0);
    }
}
