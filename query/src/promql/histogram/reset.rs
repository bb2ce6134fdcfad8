//! Counter resets: found by comparison, and the hints that a series' samples carry when they are read.
use super::{Buckets, Histogram, ResetHint, bound};

impl Histogram {
    /// Whether a counter was reset between `previous` and this: any count fell, or the layout changed as only a new
    /// counter's does. Believes a hint that says so or denies it.
    pub fn is_reset_after(&self, previous: &Self) -> bool {
        match self.hint {
            ResetHint::Reset => true,
            ResetHint::NotReset => false,
            ResetHint::Unknown | ResetHint::Gauge => self.fell_below(previous),
        }
    }

    fn fell_below(&self, previous: &Self) -> bool {
        if self.count < previous.count {
            return true;
        }
        if self.is_custom() {
            if !previous.is_custom() {
                return true;
            }
            if self.bounds() != previous.bounds() {
                return self.fell_below_on_common_bounds(previous);
            }
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero, threshold) = previous.zero_at(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < zero {
            return true;
        }
        let reduced;
        let previous = if previous.schema == self.schema {
            previous
        } else {
            reduced = previous.to_schema(self.schema);
            &reduced
        };
        self.side_fell(&self.positive, &previous.positive) || self.side_fell(&self.negative, &previous.negative)
    }

    /// Whether a bucket outside the zero bucket fell or is gone.
    fn side_fell(&self, now: &Buckets, before: &Buckets) -> bool {
        let in_zero = |index: i32| {
            self.zero_threshold != 0.0 && !self.is_custom() && bound(index, self.schema, &[]) <= self.zero_threshold
        };
        let mut at = 0;
        for (index, count) in before.iter().skip_while(|(index, _)| in_zero(*index)) {
            while at < now.index.len() && now.index[at] < index {
                at += 1;
            }
            let found = now.index.get(at).filter(|i| **i == index).map(|_| now.count[at]);
            let fell = match found {
                Some(now) => now < count,
                None => count != 0.0,
            };
            if fell {
                return true;
            }
        }
        false
    }

    /// Compares what lies between the bounds that both have.
    fn fell_below_on_common_bounds(&self, previous: &Self) -> bool {
        let (mut now, mut before) = (Rollup::new(self), Rollup::new(previous));
        let common = self.bounds().iter().copied().filter(|b| previous.bounds().contains(b));
        common.chain([f64::INFINITY]).any(|bound| now.up_to(bound) < before.up_to(bound))
    }
}

/// Counts of custom buckets, added up from bound to bound.
struct Rollup<'a> {
    histogram: &'a Histogram,
    at: usize,
}

impl<'a> Rollup<'a> {
    fn new(histogram: &'a Histogram) -> Self {
        Self { histogram, at: 0 }
    }

    fn up_to(&mut self, limit: f64) -> f64 {
        let side = &self.histogram.positive;
        let mut sum = 0.0;
        while self.at < side.index.len()
            && bound(side.index[self.at], self.histogram.schema, self.histogram.bounds()) <= limit
        {
            sum += side.count[self.at];
            self.at += 1;
        }
        sum
    }
}

/// What was seen of a series before its next histogram.
#[derive(Clone, Debug, Default)]
pub(in crate::promql) struct Seen {
    /// The last histogram that is not stale, unless a float or gauge came between.
    counter: Option<Histogram>,
    stale: bool,
    /// The last histogram of a statistics reader, whatever came between.
    stats: Option<Histogram>,
}

impl Seen {
    /// A float or its stale marker: what comes next begins anew.
    pub(in crate::promql) fn float(&mut self) {
        self.counter = None;
    }

    /// A histogram as the writer sent it. `counts` says that a statistics reader would have looked at it.
    pub(in crate::promql) fn histogram(&mut self, h: &Histogram, counts: bool) {
        self.next_hint(h);
        if counts && !h.is_stale() {
            self.stats = Some(h.clone());
        }
    }

    /// The hint of the next histogram: only neighbours that are really here say that there was no reset. What a writer
    /// says of a reset is left for comparison to find, as Prometheus leaves it.
    fn next_hint(&mut self, h: &Histogram) -> ResetHint {
        if h.hint == ResetHint::Gauge {
            self.counter = None;
            return ResetHint::Gauge;
        }
        if h.is_stale() {
            self.stale = true;
            return ResetHint::Unknown;
        }
        let continues = |last: &Histogram| {
            h.hint != ResetHint::Reset
                && h.schema == last.schema
                && h.zero_threshold == last.zero_threshold
                && h.bounds() == last.bounds()
                && !h.fell_below(last)
        };
        let not_reset = !self.stale && self.counter.as_ref().is_some_and(continues);
        self.stale = false;
        self.counter = Some(h.clone());
        if not_reset { ResetHint::NotReset } else { ResetHint::Unknown }
    }

    /// As [`Self::next_hint`], but whoever reads statistics only compares at once, since the buckets are gone later.
    fn next_stats_hint(&mut self, h: &Histogram) -> ResetHint {
        let hint = self.next_hint(h);
        if h.is_stale() {
            return hint;
        }
        let last = self.stats.replace(h.clone());
        match (hint, last) {
            (ResetHint::Unknown, Some(last)) if h.fell_below(&last) => ResetHint::Reset,
            (ResetHint::Unknown, Some(_)) => ResetHint::NotReset,
            (hint, _) => hint,
        }
    }
}

/// Replaces the hints of a series' histograms, which came from its writers, by what their neighbours say, and with
/// `stats_only` the histograms by their statistics. Both lists rise in time; `float_times` are the series' floats.
pub(in crate::promql) fn settle_hints(
    mut seen: Seen,
    float_times: &[i64],
    times: &[i64],
    histograms: &mut [Histogram],
    stats_only: bool,
) {
    let mut floats = float_times.iter().peekable();
    for (time, h) in times.iter().zip(histograms) {
        while floats.next_if(|t| *t < time).is_some() {
            seen.float();
        }
        let hint = if stats_only { seen.next_stats_hint(h) } else { seen.next_hint(h) };
        if stats_only {
            *h = h.stats_only();
        }
        h.hint = hint;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::CUSTOM;
    use super::super::tests::of;
    use super::*;

    #[test]
    fn resets_are_found() {
        let base = of(&[2.0, 4.0]);
        let grown = of(&[2.0, 5.0, 1.0]);
        assert!(!grown.is_reset_after(&base));
        assert!(base.is_reset_after(&grown));
        // The total grew, a bucket fell.
        assert!(of(&[1.0, 9.0]).is_reset_after(&base));
        assert!(!of(&[1.0, 9.0]).with_hint(ResetHint::NotReset).is_reset_after(&base));
        let finer = Histogram { schema: 1, ..of(&[9.0, 9.0]) };
        assert!(finer.is_reset_after(&base) && !of(&[9.0, 9.0]).is_reset_after(&Histogram { schema: 1, ..of(&[1.0]) }));
        let custom = |bounds: &[f64], counts: &[f64]| Histogram {
            schema: CUSTOM,
            custom: Some(Arc::from(bounds)),
            ..of(counts)
        };
        let before = custom(&[1.0, 2.0], &[3.0, 1.0]);
        assert!(!custom(&[2.0], &[4.0, 0.0]).is_reset_after(&before));
        assert!(custom(&[2.0], &[3.0, 9.0]).is_reset_after(&before));
    }

    #[test]
    fn hints_come_from_neighbours() {
        use ResetHint::{Gauge, NotReset, Reset, Unknown};
        let stale = Histogram { sum: f64::from_bits(trine_store::model::STALE_NAN_BITS), ..Histogram::default() };
        let all = [
            of(&[1.0]),
            of(&[2.0]),
            of(&[1.0]).with_hint(NotReset),
            of(&[3.0]),
            of(&[9.0]).with_hint(Gauge),
            of(&[9.0]),
            of(&[10.0]),
            stale,
            of(&[11.0]),
        ];
        let times: Vec<i64> = (0..all.len() as i64).map(|t| t * 10).collect();
        let hints = |floats: &[i64], stats_only| {
            let mut h = all.to_vec();
            settle_hints(Seen::default(), floats, &times, &mut h, stats_only);
            h.iter().map(|h| h.hint).collect::<Vec<_>>()
        };
        let plain = [Unknown, NotReset, Unknown, NotReset, Gauge, Unknown, NotReset, Unknown, Unknown];
        assert_eq!(hints(&[], false), plain);
        assert_eq!(hints(&[5], false)[1], Unknown);
        let stats = [Unknown, NotReset, Reset, NotReset, Gauge, NotReset, NotReset, Unknown, NotReset];
        assert_eq!(hints(&[], true), stats);
    }
}
