//! `sum_over_time` and `avg_over_time` of histograms.
use std::sync::Arc;

use super::{Note, Notes, Out, Points};
use crate::promql::functions::over_time;
use crate::promql::histogram::{Compensated, Histogram, Outcome, ResetHint};

/// The kind that all samples are of; `None` without samples, and with a note if there are both.
fn only_kind<'a>(points: &Points<'a>, notes: &mut Notes) -> Option<Result<&'a [f64], &'a [Arc<Histogram>]>> {
    match (points.vs.is_empty(), points.hs.is_empty()) {
        (true, true) => None,
        (false, true) => Some(Ok(points.vs)),
        (true, false) => Some(Err(points.hs)),
        (false, false) => {
            notes.add(Note::MixedFloatsHistograms);
            None
        }
    }
}

pub(super) fn sum(points: &Points<'_>, notes: &mut Notes) -> Option<Out> {
    match only_kind(points, notes)? {
        Ok(floats) => Some(Out::Float(over_time::sum(floats))),
        Err(histograms) => {
            let mut total = Running::new(&histograms[0]);
            for h in &histograms[1..] {
                total.add_to_sum(h).map_err(|()| notes.add(Note::MixedExponentialCustom)).ok()?;
            }
            total.tell(notes);
            Some(Out::of(total.sum()))
        }
    }
}

pub(super) fn avg(points: &Points<'_>, notes: &mut Notes) -> Option<Out> {
    match only_kind(points, notes)? {
        Ok(floats) => Some(Out::Float(over_time::avg(floats))),
        Err(histograms) => {
            let mut total = Running::new(&histograms[0]);
            for h in &histograms[1..] {
                total.add_to_mean(h).map_err(|()| notes.add(Note::MixedExponentialCustom)).ok()?;
            }
            total.tell(notes);
            Some(Out::of(total.mean()))
        }
    }
}

/// A running sum or mean of histograms; the mean is a sum until that overflows.
#[derive(Clone, Debug)]
pub(in crate::promql) struct Running {
    total: Compensated,
    count: f64,
    incremental: bool,
    reset: bool,
    not_reset: bool,
    reconciled: bool,
}

impl Running {
    pub(in crate::promql) fn new(first: &Histogram) -> Self {
        let mut out = Self {
            total: Compensated::new(first.clone()),
            count: 1.0,
            incremental: false,
            reset: false,
            not_reset: false,
            reconciled: false,
        };
        out.see(first.hint);
        out
    }

    fn see(&mut self, hint: ResetHint) {
        self.reset |= hint == ResetHint::Reset;
        self.not_reset |= hint == ResetHint::NotReset;
    }

    fn joined(&mut self, outcome: Outcome) {
        self.reconciled |= outcome.bounds_reconciled;
    }

    /// Fails for a mix of exponential and custom buckets.
    pub(in crate::promql) fn add_to_sum(&mut self, h: &Histogram) -> Result<(), ()> {
        self.see(h.hint);
        let outcome = self.total.add(h).map_err(drop)?;
        self.joined(outcome);
        Ok(())
    }

    /// As [`Self::add_to_sum`].
    pub(in crate::promql) fn add_to_mean(&mut self, h: &Histogram) -> Result<(), ()> {
        self.see(h.hint);
        self.count += 1.0;
        if !self.incremental {
            let mut next = self.total.clone();
            let outcome = next.add(h).map_err(drop)?;
            self.joined(outcome);
            if !next.has_overflow() {
                self.total = next;
                return Ok(());
            }
            self.incremental = true;
            self.total.div(self.count - 1.0);
        }
        self.total.mul((self.count - 1.0) / self.count);
        let mut part = h.clone();
        part.div(self.count);
        let outcome = self.total.add(&part).map_err(drop)?;
        self.joined(outcome);
        Ok(())
    }

    pub(in crate::promql) fn tell(&self, notes: &mut Notes) {
        if self.resets_collide() {
            notes.add(Note::ResetsCollideInAggregation);
        }
        if self.reconciled {
            notes.add(Note::ReconciledAggregation);
        }
    }

    fn resets_collide(&self) -> bool {
        self.reset && self.not_reset
    }

    pub(in crate::promql) fn sum(self) -> Histogram {
        self.total.value()
    }

    pub(in crate::promql) fn mean(mut self) -> Histogram {
        if !self.incremental {
            self.total.div(self.count);
        }
        self.total.value()
    }
}
