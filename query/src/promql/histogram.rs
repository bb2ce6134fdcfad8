//! Native histograms with float counts, and what PromQL does with them.
//!
//! Counts are absolute and sparse: a side is a list of bucket indices and a list of counts. Exponential schemas (-4..=8)
//! and custom bounds ([`CUSTOM`]) share the type. The algorithms follow Prometheus' `model/histogram` and
//! `promql/quantile.go`, so that results agree to the last digit that matters.
mod add;
mod quantile;
mod reset;
mod text;
mod trim;
pub mod wire;

use std::sync::Arc;

use trine_store::model::STALE_NAN_BITS;

pub use add::{Compensated, Incompatible, Outcome};
pub use quantile::NanObservations;
pub(super) use reset::{Seen, settle_hints};
pub use trim::Keep;

/// Schema of histograms with bounds of their own.
pub const CUSTOM: i32 = -53;
/// Highest resolution that is evaluated; higher ones are reduced to it.
pub const SCHEMA_MAX: i32 = 8;
/// Lowest resolution.
pub const SCHEMA_MIN: i32 = -4;

/// What is known of a counter's reset between a histogram and the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ResetHint {
    #[default]
    Unknown = 0,
    Reset = 1,
    NotReset = 2,
    /// No counter at all.
    Gauge = 3,
}

impl ResetHint {
    /// By its number in remote write; an unknown number is [`ResetHint::Unknown`].
    pub fn from_i32(number: i32) -> Self {
        [Self::Reset, Self::NotReset, Self::Gauge].into_iter().find(|h| *h as i32 == number).unwrap_or_default()
    }
}

/// Buckets of one sign: `index` strictly rises, `count` is as long.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    pub index: Vec<i32>,
    pub count: Vec<f64>,
}

impl Buckets {
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (i32, f64)> + '_ {
        self.index.iter().copied().zip(self.count.iter().copied())
    }

    pub(super) fn push(&mut self, index: i32, count: f64) {
        self.index.push(index);
        self.count.push(count);
    }

    /// Runs of buckets without a gap.
    fn spans_count(&self) -> usize {
        let gaps = self.index.windows(2).filter(|pair| pair[0].checked_add(1) != Some(pair[1])).count();
        gaps + usize::from(!self.index.is_empty())
    }

    fn map(&mut self, f: impl Fn(f64) -> f64) {
        self.count.iter_mut().for_each(|c| *c = f(*c));
    }

    fn clear(&mut self) {
        self.index.clear();
        self.count.clear();
    }

    fn same_bits(&self, other: &Self) -> bool {
        let bits = |b: &Self| b.count.iter().map(|c| c.to_bits()).collect::<Vec<_>>();
        self.index == other.index && bits(self) == bits(other)
    }
}

/// Bytes that Prometheus counts for a histogram of floats without any bucket.
const GO_BYTES: u64 = 168;

/// A native histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    pub hint: ResetHint,
    pub schema: i32,
    /// Width of the zero bucket; not negative, not NaN.
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub count: f64,
    /// The stale marker's bits make it one.
    pub sum: f64,
    pub positive: Buckets,
    pub negative: Buckets,
    /// Upper bounds, rising, with [`CUSTOM`] only.
    pub custom: Option<Arc<[f64]>>,
}

/// A bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub lower: f64,
    pub upper: f64,
    pub lower_inclusive: bool,
    pub upper_inclusive: bool,
    pub count: f64,
}

impl Bucket {
    /// The part of the bucket's width below `v`, which lies inside its finite bounds.
    fn fraction_below(&self, v: f64, linear: bool) -> f64 {
        if linear {
            return (v - self.lower) / (self.upper - self.lower);
        }
        let (lower, upper, v_log) = (self.lower.abs().log2(), self.upper.abs().log2(), v.abs().log2());
        if v > 0.0 { (v_log - lower) / (upper - lower) } else { 1.0 - (v_log - upper) / (lower - upper) }
    }
}

/// Upper bound of the bucket with this index.
pub(super) fn bound(index: i32, schema: i32, custom: &[f64]) -> f64 {
    if schema == CUSTOM {
        return match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(i) => custom.get(i).copied().unwrap_or(f64::INFINITY),
        };
    }
    let exponent = f64::from(index) * 2f64.powi(-schema);
    // The last bucket before the overflow bucket ends at the largest number.
    if exponent == 1024.0 { f64::MAX } else { exponent.exp2() }
}

impl Histogram {
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM
    }

    pub fn is_stale(&self) -> bool {
        self.sum.to_bits() == STALE_NAN_BITS
    }

    pub fn bounds(&self) -> &[f64] {
        self.custom.as_deref().unwrap_or_default()
    }

    /// What it weighs in memory, without its custom bounds, which are shared.
    pub fn bytes(&self) -> u64 {
        let buckets = self.positive.index.len() + self.negative.index.len();
        (size_of::<Self>() + buckets * (size_of::<i32>() + size_of::<f64>())) as u64
    }

    /// Samples that it counts for in limits and statistics: one for each 16 bytes that Prometheus takes for it and its time, where
    /// spans, buckets and custom bounds take 8 bytes each.
    pub fn weight(&self) -> u64 {
        let parts = [&self.positive, &self.negative].map(|buckets| buckets.index.len() + buckets.spans_count());
        let parts = parts.iter().sum::<usize>() + self.bounds().len();
        (GO_BYTES + 8 * parts as u64 + 8) / 16
    }

    fn positive_bucket(&self, index: i32, count: f64) -> Bucket {
        let custom = self.bounds();
        let (lower, upper) = (bound(index.wrapping_sub(1), self.schema, custom), bound(index, self.schema, custom));
        let (lower_inclusive, upper_inclusive) =
            if self.is_custom() { (index == 0, true) } else { (lower < 0.0, upper > 0.0) };
        Bucket { lower, upper, lower_inclusive, upper_inclusive, count }
    }

    fn negative_bucket(&self, index: i32, count: f64) -> Bucket {
        let b = self.positive_bucket(index, count);
        let (lower, upper) = (-b.upper, -b.lower);
        Bucket { lower, upper, lower_inclusive: lower < 0.0, upper_inclusive: upper > 0.0, count }
    }

    fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    /// All buckets from the lowest to the highest, empty ones too if they are spelled out. Those that reach into the
    /// zero bucket are cut at it.
    pub fn buckets(&self) -> Vec<Bucket> {
        let zero = self.zero_threshold;
        let mut out = Vec::with_capacity(self.positive.index.len() + self.negative.index.len() + 1);
        for (index, count) in self.negative.iter().rev() {
            let mut b = self.negative_bucket(index, count);
            if b.upper < 0.0 && b.upper > -zero {
                b.upper = -zero;
            }
            out.push(b);
        }
        if self.zero_count > 0.0 {
            out.push(self.zero_bucket());
        }
        for (index, count) in self.positive.iter() {
            let mut b = self.positive_bucket(index, count);
            if b.lower > 0.0 && b.lower < zero {
                b.lower = zero;
            }
            out.push(b);
        }
        out
    }

    /// Scales all counts and the sum. A negative factor makes a gauge of it.
    pub fn mul(&mut self, factor: f64) {
        self.scale(|v| v * factor);
        if factor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    /// As [`Self::mul`], dividing. Division by zero leaves no buckets.
    pub fn div(&mut self, divisor: f64) {
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        }
        self.scale(|v| v / divisor);
        if divisor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    fn scale(&mut self, f: impl Fn(f64) -> f64 + Copy) {
        (self.zero_count, self.count, self.sum) = (f(self.zero_count), f(self.count), f(self.sum));
        self.positive.map(f);
        self.negative.map(f);
    }

    /// Removes empty buckets.
    pub fn compact(&mut self) {
        for side in [&mut self.positive, &mut self.negative] {
            if side.count.contains(&0.0) {
                let kept: Vec<(i32, f64)> = side.iter().filter(|(_, count)| *count != 0.0).collect();
                (side.index, side.count) = kept.into_iter().unzip();
            }
        }
    }

    /// [`Self::compact`], in passing.
    #[must_use]
    pub fn compacted(mut self) -> Self {
        self.compact();
        self
    }

    /// The same data, bit for bit and bucket for bucket; hints do not matter.
    pub fn same_data(&self, other: &Self) -> bool {
        self.schema == other.schema
            && self.count.to_bits() == other.count.to_bits()
            && self.sum.to_bits() == other.sum.to_bits()
            && self.bounds() == other.bounds()
            && self.zero_threshold == other.zero_threshold
            && self.zero_count.to_bits() == other.zero_count.to_bits()
            && self.negative.same_bits(&other.negative)
            && self.positive.same_bits(&other.positive)
    }

    /// Only what `histogram_count`, `histogram_sum` and `histogram_avg` need.
    pub(super) fn stats_only(&self) -> Self {
        Self { hint: self.hint, schema: self.schema, count: self.count, sum: self.sum, ..Self::default() }
    }

    /// With another hint.
    pub(super) fn with_hint(mut self, hint: ResetHint) -> Self {
        self.hint = hint;
        self
    }

    fn has_overflow(&self) -> bool {
        let numbers = [self.zero_count, self.count, self.sum];
        let sides = self.positive.count.iter().chain(&self.negative.count);
        numbers.iter().chain(sides).any(|v| v.is_infinite())
    }
}

/// The histograms of a series on a grid of steps. Most series have none; then nothing is allocated.
#[derive(Clone, Debug, Default)]
pub(super) struct HistogramColumn(Option<Vec<Option<Arc<Histogram>>>>);

impl HistogramColumn {
    /// No step has a histogram, for sure.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    #[inline]
    pub(super) fn get(&self, step: usize) -> Option<&Arc<Histogram>> {
        self.0.as_ref()?.get(step)?.as_ref()
    }

    /// Sets a step of a column of `count` steps.
    pub(super) fn set(&mut self, count: usize, step: usize, histogram: Arc<Histogram>) {
        if let Some(slot) = self.0.get_or_insert_with(|| vec![None; count]).get_mut(step) {
            *slot = Some(histogram);
        }
    }

    pub(super) fn remove(&mut self, step: usize) {
        if let Some(slot) = self.0.as_mut().and_then(|steps| steps.get_mut(step)) {
            *slot = None;
        }
    }

    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// Steps that have one.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Arc<Histogram>)> {
        self.0.iter().flatten().enumerate().filter_map(|(step, h)| Some((step, h.as_ref()?)))
    }

    pub(super) fn has_any(&self) -> bool {
        self.iter().next().is_some()
    }

    /// Replaces every histogram.
    pub(super) fn map(&mut self, f: impl Fn(&Histogram) -> Histogram) {
        for slot in self.0.iter_mut().flatten().flatten() {
            *slot = Arc::new(f(slot));
        }
    }

    /// What it weighs; neighbours that are one count once.
    pub(super) fn bytes(&self) -> u64 {
        let Some(steps) = &self.0 else { return 0 };
        let mut last: Option<&Arc<Histogram>> = None;
        let mut bytes = size_of_val(steps.as_slice()) as u64;
        for h in steps.iter().flatten() {
            if !last.is_some_and(|l| Arc::ptr_eq(l, h)) {
                bytes += h.bytes();
            }
            last = Some(h);
        }
        bytes
    }

    /// A column of `count` steps that has the first one everywhere.
    pub(super) fn stretched(self, count: usize) -> Self {
        match self.get(0) {
            Some(h) => Self(Some(vec![Some(h.clone()); count])),
            None => Self(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn of(counts: &[f64]) -> Histogram {
        let positive = Buckets { index: (0..counts.len() as i32).collect(), count: counts.to_vec() };
        let count = counts.iter().sum();
        Histogram { count, sum: count, positive, ..Histogram::default() }
    }

    #[test]
    fn bounds_of_buckets() {
        for (index, schema, want) in
            [(0, 0, 1.0), (1, 0, 2.0), (-1, 0, 0.5), (1, 1, 2f64.sqrt()), (1, -1, 4.0), (1024, 0, f64::MAX)]
        {
            assert_eq!(bound(index, schema, &[]), want, "{index} {schema}");
        }
        let custom = [1.0, 5.0];
        let all = [(-1, f64::NEG_INFINITY), (0, 1.0), (1, 5.0), (2, f64::INFINITY)];
        assert!(all.iter().all(|(index, want)| bound(*index, CUSTOM, &custom) == *want));
    }

    #[test]
    fn buckets_rise_and_end_at_the_zero_bucket() {
        let mut h = of(&[1.0, 2.0]);
        h.negative = Buckets { index: vec![0, 1], count: vec![3.0, 4.0] };
        (h.zero_threshold, h.zero_count) = (0.75, 5.0);
        let bounds: Vec<(f64, f64)> = h.buckets().iter().map(|b| (b.lower, b.upper)).collect();
        assert_eq!(bounds, [(-2.0, -1.0), (-1.0, -0.75), (-0.75, 0.75), (0.75, 1.0), (1.0, 2.0)]);
    }

    #[test]
    fn scaled_and_compacted() {
        let mut h = of(&[1.0, 0.0, 2.0]);
        h.mul(-2.0);
        assert_eq!((h.count, h.hint), (-6.0, ResetHint::Gauge));
        assert_eq!(h.clone().compacted().positive.index, [0, 2]);
        h.div(0.0);
        assert!(h.positive.is_empty() && h.count == f64::NEG_INFINITY);
    }
}
