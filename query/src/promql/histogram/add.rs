//! Sums and differences of histograms, with Kahan's compensation, over differing schemas, zero buckets and bounds.
use std::sync::Arc;

use super::{Buckets, Histogram, ResetHint, bound};
use crate::promql::functions::kahan::Sum;

/// Exponential and custom buckets have nothing in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incompatible;

/// What was noticed while two histograms were joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// One says that the counter was reset, the other that it was not.
    pub resets_collide: bool,
    /// Custom bounds differed; those that both have are left.
    pub bounds_reconciled: bool,
}

/// A histogram under summation, and what rounding has cost each of its numbers.
#[derive(Clone, Debug)]
pub struct Compensated {
    pub total: Histogram,
    lost: Lost,
}

/// As long as the buckets are.
#[derive(Clone, Debug, Default)]
struct Lost {
    zero_count: f64,
    count: f64,
    sum: f64,
    positive: Vec<f64>,
    negative: Vec<f64>,
}

fn add_to(total: &mut f64, lost: &mut f64, value: f64) {
    let mut sum = Sum { sum: *total, compensation: *lost };
    sum.add(value);
    (*total, *lost) = (sum.sum, sum.compensation);
}

/// Index of the bucket of a lower resolution that holds this one.
fn target_index(index: i32, from: i32, to: i32) -> i32 {
    (index.wrapping_sub(1) >> (from - to).clamp(0, 31)).wrapping_add(1)
}

/// Merges buckets into those of a lower resolution.
fn reduce(buckets: &mut Buckets, lost: &mut Vec<f64>, from: i32, to: i32) {
    let (mut out, mut out_lost) = (Buckets::default(), Vec::new());
    for (i, (index, count)) in buckets.iter().enumerate() {
        let index = target_index(index, from, to);
        match (out.index.last(), out.count.last_mut(), out_lost.last_mut()) {
            (Some(last), Some(total), Some(total_lost)) if *last == index => {
                add_to(total, total_lost, count);
                add_to(total, total_lost, lost[i]);
            }
            _ => {
                out.push(index, count);
                out_lost.push(lost[i]);
            }
        }
    }
    (*buckets, *lost) = (out, out_lost);
}

impl Histogram {
    /// Adds `other`. Unchanged on error.
    pub fn add(&mut self, other: &Self) -> Result<Outcome, Incompatible> {
        self.join(other, 1.0)
    }

    /// Subtracts `other`. Unchanged on error.
    pub fn sub(&mut self, other: &Self) -> Result<Outcome, Incompatible> {
        self.join(other, -1.0)
    }

    fn join(&mut self, other: &Self, sign: f64) -> Result<Outcome, Incompatible> {
        let mut both = Compensated::new(std::mem::take(self));
        let outcome = both.join(other, sign);
        *self = both.total;
        outcome
    }

    /// A copy with a resolution that is at most this one's. Custom buckets stay as they are.
    #[must_use]
    pub fn to_schema(&self, schema: i32) -> Self {
        if schema >= self.schema || self.is_custom() {
            return self.clone();
        }
        let mut out = Compensated::new(self.clone());
        out.reduce_to(schema);
        out.total.with_hint(ResetHint::Unknown)
    }

    /// The hint of a sum; whether the hints contradict each other.
    fn join_hint(&mut self, other: ResetHint) -> bool {
        use ResetHint::{Gauge, Unknown};
        match (self.hint, other) {
            (own, other) if own == other => {}
            (Gauge, _) | (Unknown, Unknown) => {}
            (_, Gauge) => self.hint = Gauge,
            (Unknown, _) => {}
            (_, Unknown) => self.hint = Unknown,
            _ => {
                self.hint = Unknown;
                return true;
            }
        }
        false
    }

    /// What the zero bucket would hold with a threshold that is at least its own, and the threshold that it would then
    /// have: the next one that cuts no populated bucket.
    pub(super) fn zero_at(&self, threshold: f64) -> (f64, f64) {
        let (sum, threshold) = self.zero_with(&Lost::default(), threshold);
        (sum.sum, threshold)
    }

    fn zero_with(&self, lost: &Lost, mut threshold: f64) -> (Sum, f64) {
        let own = Sum { sum: self.zero_count, compensation: lost.zero_count };
        if threshold == self.zero_threshold {
            return (own, threshold);
        }
        'again: loop {
            let mut zero = own;
            for (i, (index, count)) in self.positive.iter().enumerate() {
                let b = self.positive_bucket(index, count);
                if b.lower >= threshold {
                    break;
                }
                zero.add(count);
                zero.add(lost.positive.get(i).copied().unwrap_or(0.0));
                if b.upper > threshold {
                    if count != 0.0 {
                        threshold = b.upper;
                    }
                    break;
                }
            }
            for (i, (index, count)) in self.negative.iter().enumerate() {
                let b = self.negative_bucket(index, count);
                if b.upper <= -threshold {
                    break;
                }
                zero.add(count);
                zero.add(lost.negative.get(i).copied().unwrap_or(0.0));
                if b.lower < -threshold {
                    if count != 0.0 {
                        // The positive side must be looked at again with the wider threshold.
                        threshold = -b.lower;
                        continue 'again;
                    }
                    break;
                }
            }
            return (zero, threshold);
        }
    }
}

impl Compensated {
    pub fn new(total: Histogram) -> Self {
        let lost = Lost {
            positive: vec![0.0; total.positive.index.len()],
            negative: vec![0.0; total.negative.index.len()],
            ..Lost::default()
        };
        Self { total, lost }
    }

    /// Adds `other`. Unchanged on error.
    pub fn add(&mut self, other: &Histogram) -> Result<Outcome, Incompatible> {
        self.join(other, 1.0)
    }

    pub fn mul(&mut self, factor: f64) {
        self.total.mul(factor);
        self.lost.scale(|v| v * factor);
    }

    pub fn div(&mut self, divisor: f64) {
        self.total.div(divisor);
        self.lost.scale(|v| v / divisor);
    }

    pub fn has_overflow(&self) -> bool {
        self.total.has_overflow()
    }

    /// The total with what was lost.
    pub fn value(mut self) -> Histogram {
        let (t, lost) = (&mut self.total, &self.lost);
        t.zero_count += lost.zero_count;
        t.count += lost.count;
        t.sum += lost.sum;
        t.positive.count.iter_mut().zip(&lost.positive).for_each(|(c, l)| *c += l);
        t.negative.count.iter_mut().zip(&lost.negative).for_each(|(c, l)| *c += l);
        self.total
    }

    fn join(&mut self, other: &Histogram, sign: f64) -> Result<Outcome, Incompatible> {
        if self.total.is_custom() != other.is_custom() {
            return Err(Incompatible);
        }
        let resets_collide = self.total.join_hint(other.hint);
        let custom = other.is_custom();
        if !custom {
            let zero = self.reconcile_zero(other);
            add_to(&mut self.total.zero_count, &mut self.lost.zero_count, sign * zero);
        }
        add_to(&mut self.total.count, &mut self.lost.count, sign * other.count);
        add_to(&mut self.total.sum, &mut self.lost.sum, sign * other.sum);
        let bounds_reconciled = custom && self.total.bounds() != other.bounds();
        if bounds_reconciled {
            self.join_on_common_bounds(other, sign);
        } else {
            self.join_buckets(other, sign);
        }
        Ok(Outcome { resets_collide, bounds_reconciled })
    }

    /// Widens this zero bucket to one that cuts no populated bucket of either histogram; what the other's would hold.
    fn reconcile_zero(&mut self, other: &Histogram) -> f64 {
        let (mut zero, mut threshold) = (other.zero_count, other.zero_threshold);
        while threshold != self.total.zero_threshold {
            if self.total.zero_threshold > threshold {
                (zero, threshold) = other.zero_at(self.total.zero_threshold);
            }
            if threshold > self.total.zero_threshold {
                let (own, widened) = self.total.zero_with(&self.lost, threshold);
                (self.total.zero_count, self.lost.zero_count) = (own.sum, own.compensation);
                self.total.zero_threshold = widened;
                self.drop_buckets_in_zero();
            }
        }
        zero
    }

    fn drop_buckets_in_zero(&mut self) {
        let zero = self.total.zero_threshold;
        let h = &self.total;
        let positive: Vec<bool> = h.positive.iter().map(|(i, c)| h.positive_bucket(i, c).lower >= zero).collect();
        let negative: Vec<bool> = h.negative.iter().map(|(i, c)| h.negative_bucket(i, c).upper <= -zero).collect();
        for (side, lost, outside) in [
            (&mut self.total.positive, &mut self.lost.positive, positive),
            (&mut self.total.negative, &mut self.lost.negative, negative),
        ] {
            let kept = |i: &usize| outside[*i] && (side.count[*i] != 0.0 || lost[*i] != 0.0);
            let kept: Vec<usize> = (0..outside.len()).filter(kept).collect();
            *lost = kept.iter().map(|i| lost[*i]).collect();
            *side = Buckets {
                index: kept.iter().map(|i| side.index[*i]).collect(),
                count: kept.iter().map(|i| side.count[*i]).collect(),
            };
        }
    }

    fn reduce_to(&mut self, schema: i32) {
        let from = self.total.schema;
        reduce(&mut self.total.positive, &mut self.lost.positive, from, schema);
        reduce(&mut self.total.negative, &mut self.lost.negative, from, schema);
        self.total.schema = schema;
    }

    fn join_buckets(&mut self, other: &Histogram, sign: f64) {
        let own_schema = self.total.schema;
        if other.schema < own_schema {
            self.reduce_to(other.schema);
        }
        let (schema, zero, custom) = (self.total.schema, self.total.zero_threshold, self.total.is_custom());
        let in_zero = |index: i32| !custom && bound(index, schema, &[]) <= zero;
        for (own, lost, theirs) in [
            (&mut self.total.positive, &mut self.lost.positive, &other.positive),
            (&mut self.total.negative, &mut self.lost.negative, &other.negative),
        ] {
            if theirs.is_empty() {
                continue;
            }
            let mut theirs_lost = vec![0.0; theirs.index.len()];
            let mut reduced = None;
            if other.schema > schema {
                let mut copy = theirs.clone();
                reduce(&mut copy, &mut theirs_lost, other.schema, schema);
                reduced = Some(copy);
            }
            let theirs = reduced.as_ref().unwrap_or(theirs);
            let skip = theirs.index.iter().take_while(|i| in_zero(**i)).count();
            join_side(own, lost, (&theirs.index[skip..], &theirs.count[skip..], &theirs_lost[skip..]), sign);
        }
    }

    /// Maps both to the bounds that both have, and joins them there.
    fn join_on_common_bounds(&mut self, other: &Histogram, sign: f64) {
        let common: Vec<f64> = self.total.bounds().iter().copied().filter(|b| other.bounds().contains(b)).collect();
        let mut cells = vec![Sum::default(); common.len() + 1];
        let cell_of = |bounds: &[f64], index: i32| {
            let own = usize::try_from(index).ok().and_then(|i| bounds.get(i));
            own.map_or(common.len(), |bound| common.partition_point(|c| c < bound))
        };
        for (i, (index, count)) in self.total.positive.iter().enumerate() {
            let cell = &mut cells[cell_of(self.total.bounds(), index)];
            cell.add(count);
            cell.add(self.lost.positive[i]);
        }
        for (index, count) in other.positive.iter() {
            cells[cell_of(other.bounds(), index)].add(sign * count);
        }
        let mut out = Buckets::default();
        self.lost.positive.clear();
        for (i, cell) in cells.iter().enumerate().filter(|(_, c)| c.sum != 0.0 || c.compensation != 0.0) {
            out.push(i as i32, cell.sum);
            self.lost.positive.push(cell.compensation);
        }
        self.total.positive = out;
        self.total.custom = Some(Arc::from(common));
    }
}

impl Lost {
    fn scale(&mut self, f: impl Fn(f64) -> f64) {
        for v in [&mut self.zero_count, &mut self.count, &mut self.sum] {
            *v = f(*v);
        }
        self.positive.iter_mut().chain(&mut self.negative).for_each(|v| *v = f(*v));
    }
}

/// Joins two rising lists of buckets of one resolution.
fn join_side(own: &mut Buckets, lost: &mut Vec<f64>, theirs: (&[i32], &[f64], &[f64]), sign: f64) {
    let (index, count, their_lost) = theirs;
    if own.index == index {
        for i in 0..index.len() {
            add_to(&mut own.count[i], &mut lost[i], sign * count[i]);
            add_to(&mut own.count[i], &mut lost[i], sign * their_lost[i]);
        }
        return;
    }
    let mut out = Buckets::default();
    let mut out_lost = Vec::with_capacity(own.index.len().max(index.len()));
    let (mut a, mut b) = (0, 0);
    while a < own.index.len() || b < index.len() {
        let take_own = b >= index.len() || (a < own.index.len() && own.index[a] <= index[b]);
        let both = take_own && b < index.len() && own.index[a] == index[b];
        if take_own {
            let (mut total, mut total_lost) = (own.count[a], lost[a]);
            if both {
                add_to(&mut total, &mut total_lost, sign * count[b]);
                add_to(&mut total, &mut total_lost, sign * their_lost[b]);
                b += 1;
            }
            out.push(own.index[a], total);
            out_lost.push(total_lost);
            a += 1;
        } else {
            out.push(index[b], sign * count[b]);
            out_lost.push(sign * their_lost[b]);
            b += 1;
        }
    }
    (*own, *lost) = (out, out_lost);
}

#[cfg(test)]
mod tests {
    use super::super::CUSTOM;
    use super::super::tests::of;
    use super::*;

    fn custom(bounds: &[f64], counts: &[f64]) -> Histogram {
        Histogram { schema: CUSTOM, custom: Some(Arc::from(bounds)), ..of(counts) }
    }

    #[test]
    fn buckets_are_joined_by_index() {
        let mut a = of(&[1.0, 2.0]);
        let mut b = of(&[5.0]);
        b.positive.index = vec![3];
        a.add(&b).unwrap();
        assert_eq!(
            (a.count, &a.positive.index[..], &a.positive.count[..]),
            (8.0, &[0, 1, 3][..], &[1.0, 2.0, 5.0][..])
        );
        a.sub(&b).unwrap();
        assert_eq!(a.compacted().positive.count, [1.0, 2.0]);
    }

    #[test]
    fn the_lower_resolution_wins() {
        let low = Histogram { schema: -1, ..of(&[1.0, 1.0]) };
        let high = of(&[1.0, 1.0, 1.0]);
        for (mut a, b) in [(low.clone(), high.clone()), (high, low)] {
            a.add(&b).unwrap();
            assert_eq!((a.schema, &a.positive.count[..]), (-1, &[2.0, 3.0][..]));
        }
    }

    #[test]
    fn a_wider_zero_bucket_takes_buckets_in() {
        let mut a = of(&[1.0, 2.0, 4.0]);
        let b = Histogram { zero_threshold: 1.5, zero_count: 8.0, count: 8.0, ..Histogram::default() };
        a.add(&b).unwrap();
        // The threshold lies within a populated bucket, so it is moved to that one's end.
        assert_eq!((a.zero_threshold, a.zero_count, a.count), (2.0, 11.0, 15.0));
        assert_eq!((&a.positive.index[..], &a.positive.count[..]), (&[2][..], &[4.0][..]));
    }

    #[test]
    fn custom_bounds_are_reconciled() {
        let mut a = custom(&[1.0, 2.0, 5.0], &[1.0, 2.0, 3.0, 4.0]);
        let outcome = a.add(&custom(&[2.0, 3.0, 5.0], &[10.0, 20.0, 30.0, 40.0])).unwrap();
        assert!(outcome.bounds_reconciled);
        assert_eq!(a.bounds(), [2.0, 5.0]);
        assert_eq!(a.positive.count, [13.0, 53.0, 44.0]);
        assert_eq!(a.add(&of(&[1.0])), Err(Incompatible));
        assert_eq!(a.count, 110.0);
    }

    #[test]
    fn hints_of_sums() {
        use ResetHint::{Gauge, NotReset, Reset, Unknown};
        for (a, b, hint, collide) in [
            (Reset, Reset, Reset, false),
            (Reset, NotReset, Unknown, true),
            (Unknown, Reset, Unknown, false),
            (NotReset, Gauge, Gauge, false),
        ] {
            let mut h = of(&[1.0]).with_hint(a);
            let outcome = h.add(&of(&[1.0]).with_hint(b)).unwrap();
            assert_eq!((h.hint, outcome.resets_collide), (hint, collide), "{a:?} {b:?}");
        }
    }

    #[test]
    fn small_terms_survive_large_ones() {
        let mut sum = Compensated::new(of(&[1.0]));
        for v in [1e100, 1.0, -1e100] {
            sum.add(&of(&[v])).unwrap();
        }
        let value = sum.value();
        assert_eq!((value.count, value.positive.count[0]), (2.0, 2.0));
    }
}
