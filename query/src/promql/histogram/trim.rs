//! `</` and `>/`: what a histogram holds below or above a value.
use super::{Bucket, Histogram};

/// Which observations stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Below,
    Above,
}

/// What stays of a bucket, and the value that stands for it in the sum.
struct Kept {
    count: f64,
    middle: f64,
}

impl Histogram {
    /// Leaves the observations below or above `limit`; those in the bucket around it are interpolated. Count and sum are
    /// estimated anew if anything went.
    #[must_use]
    pub fn trimmed(mut self, limit: f64, keep: Keep) -> Self {
        let linear = self.is_custom();
        let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
        let mut populated = [false; 2];
        for (side, is_positive) in [(0, true), (1, false)] {
            let buckets: Vec<Bucket> = if is_positive {
                self.positive.iter().map(|(i, c)| self.positive_bucket(i, c)).collect()
            } else {
                self.negative.iter().map(|(i, c)| self.negative_bucket(i, c)).collect()
            };
            let counts = if is_positive { &mut self.positive.count } else { &mut self.negative.count };
            for (b, slot) in buckets.iter().zip(counts).filter(|(b, _)| b.count != 0.0) {
                populated[side] = true;
                let kept = trim(b, limit, keep, is_positive, linear);
                count += kept.count;
                sum += kept.middle * kept.count;
                changed |= *slot != kept.count;
                *slot = kept.count;
            }
        }
        if self.zero_count > 0.0 {
            let kept = trim_zero(&self.zero_bucket(), limit, keep, populated);
            count += kept.count;
            sum += kept.middle * kept.count;
            changed |= self.zero_count != kept.count;
            self.zero_count = kept.count;
        }
        if changed {
            (self.count, self.sum) = (count, sum);
            self.compact();
        }
        self
    }
}

fn trim(b: &Bucket, limit: f64, keep: Keep, is_positive: bool, linear: bool) -> Kept {
    let (all, some) = match keep {
        Keep::Below => (b.upper <= limit, b.lower < limit),
        Keep::Above => (b.lower >= limit, b.upper > limit),
    };
    if all {
        return Kept { count: b.count, middle: middle(b.lower, b.upper, is_positive, linear) };
    }
    if !some {
        return Kept { count: 0.0, middle: 0.0 };
    }
    if b.lower == f64::NEG_INFINITY || b.upper == f64::INFINITY {
        return trim_endless(b, limit, keep);
    }
    let below = b.count * b.fraction_below(limit, linear);
    match keep {
        Keep::Below => Kept { count: below, middle: middle(b.lower, limit, is_positive, linear) },
        Keep::Above => Kept { count: b.count - below, middle: middle(limit, b.upper, is_positive, linear) },
    }
}

/// Of a bucket without an end, which `limit` lies in, little is known.
fn trim_endless(b: &Bucket, limit: f64, keep: Keep) -> Kept {
    let finite = |v: f64| if v.is_infinite() { 0.0 } else { v };
    if b.lower == f64::NEG_INFINITY {
        let nothing = Kept { count: 0.0, middle: finite(b.upper) };
        return match keep {
            Keep::Below if limit >= b.upper => Kept { count: b.count, middle: 0.0 },
            // With a positive end the bucket is taken to begin at zero.
            Keep::Below if limit > 0.0 && b.upper > 0.0 && b.upper.is_finite() => {
                Kept { count: b.count * limit / b.upper, middle: limit / 2.0 }
            }
            Keep::Below if b.upper <= 0.0 => Kept { count: b.count, middle: limit },
            Keep::Above if limit <= b.lower => Kept { count: b.count, middle: 0.0 },
            Keep::Above if limit >= 0.0 && b.upper > limit && b.upper.is_finite() => {
                Kept { count: b.count * (1.0 - limit / b.upper), middle: (limit + b.upper) / 2.0 }
            }
            Keep::Below | Keep::Above => nothing,
        };
    }
    match keep {
        Keep::Above if limit >= b.lower => Kept { count: b.count, middle: limit },
        Keep::Below | Keep::Above => Kept { count: 0.0, middle: finite(b.lower) },
    }
}

/// `populated` are the positive and the negative side.
fn trim_zero(b: &Bucket, limit: f64, keep: Keep, populated: [bool; 2]) -> Kept {
    let [positive, negative] = populated;
    let upper = if negative && !positive { 0.0 } else { b.upper };
    let lower = if positive && !negative { 0.0 } else { b.lower };
    let all = Kept { count: b.count, middle: (lower + upper) / 2.0 };
    let nothing = Kept { count: 0.0, middle: 0.0 };
    let width = upper - lower;
    match keep {
        Keep::Below if limit <= lower => nothing,
        Keep::Below if limit >= upper => all,
        Keep::Below => Kept { count: b.count * ((limit - lower) / width), middle: (lower + limit) / 2.0 },
        Keep::Above if limit <= lower => all,
        Keep::Above if limit >= upper => nothing,
        Keep::Above => Kept { count: b.count * ((upper - limit) / width), middle: (limit + upper) / 2.0 },
    }
}

fn middle(lower: f64, upper: f64, is_positive: bool, linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) if linear => (lower + upper) / 2.0,
        (false, false) => {
            let mean = (lower * upper).abs().sqrt();
            if is_positive { mean } else { -mean }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::of;
    use super::*;

    #[test]
    fn trims_at_bounds_and_within() {
        let h = of(&[1.0, 2.0, 4.0]);
        let below = h.clone().trimmed(2.0, Keep::Below);
        assert_eq!((below.count, below.positive.index.len()), (3.0, 2));
        let above = h.clone().trimmed(2f64.sqrt(), Keep::Above);
        assert!((above.count - 5.0).abs() < 1e-12);
        // Nothing went, so the exact sum stays.
        assert_eq!(h.clone().trimmed(100.0, Keep::Below), h);
    }
}
