//! `anchored` and `smoothed` ranges with histograms or start timestamps. After Prometheus' `extendedHistogramRate`.
use std::sync::Arc;

use super::rate::{add, sub};
use super::{Note, Notes, Out, Point, Points, change};
use crate::promql::functions::extended::{self, Extension};
use crate::promql::functions::range::{RangeFn, Window};
use crate::promql::histogram::{Histogram, ResetHint};

pub(super) fn eval(
    f: RangeFn,
    extension: Extension,
    points: &Points<'_>,
    window: &Window,
    notes: &mut Notes,
) -> Option<Out> {
    match f {
        RangeFn::Resets => change::resets(&from_anchor(points, window)?),
        RangeFn::Changes => change::changes(&from_anchor(points, window)?),
        _ if points.hs.is_empty() => extended::eval(f, extension, points.ts, points.vs, window).map(Out::Float),
        _ if !points.ts.is_empty() => {
            notes.add(Note::MixedFloatsHistograms);
            None
        }
        RangeFn::Rate | RangeFn::Increase | RangeFn::Delta => {
            let smoothed = extension == Extension::Smoothed;
            let mut change = histogram_change(points, window, smoothed, f != RangeFn::Delta, notes)?;
            if f == RangeFn::Rate {
                change.div(window.range_ms as f64 / 1000.0);
            }
            change.hint = ResetHint::Gauge;
            Some(Out::of(change.compacted()))
        }
        RangeFn::Instant => smoothed_instant(points, window.end_ms, notes),
        _ => None,
    }
}

/// The samples from the last one at or before the range on, if there is one inside.
fn from_anchor<'a>(points: &Points<'a>, window: &Window) -> Option<Vec<Point<'a>>> {
    let mut all = points.merged();
    let inside = all.partition_point(|p| p.time_ms <= window.end_ms - window.range_ms);
    (inside < all.len()).then(|| all.split_off(inside.saturating_sub(1)))
}

/// The histogram of the line through two samples at `t`; a counter that was reset begins at nothing.
fn interpolate(
    (a_time, a): (i64, &Histogram),
    (b_time, b): (i64, &Histogram),
    t: i64,
    is_counter: bool,
    notes: &mut Notes,
) -> Option<Histogram> {
    if t == a_time {
        return Some(a.clone());
    }
    let mut out = b.clone();
    if t == b_time {
        return Some(out);
    }
    let fraction = (t - a_time) as f64 / (b_time - a_time) as f64;
    if is_counter && b.is_reset_after(a) {
        out.mul(fraction);
        return Some(out);
    }
    sub(&mut out, a, notes)?;
    out.mul(fraction);
    add(&mut out, a, notes)?;
    Some(out)
}

fn histogram_change(
    points: &Points<'_>,
    window: &Window,
    smoothed: bool,
    is_counter: bool,
    notes: &mut Notes,
) -> Option<Histogram> {
    let (ts, hs) = (points.hts, points.hs);
    let mut last = ts.len().checked_sub(1)?;
    let (start, end) = (window.end_ms - window.range_ms, window.end_ms);
    let first = ts[..last].partition_point(|t| *t <= start).saturating_sub(1);
    if smoothed {
        last = ts[..last].partition_point(|t| *t < end);
    }
    if ts[last] <= start || (smoothed && ts[first] > end) || first > last {
        return None;
    }
    if !judge(&hs[first..=last], is_counter, notes) {
        return None;
    }
    let sample = |i: usize| (ts[i], &*hs[i]);
    let left = if smoothed && ts[first] < start {
        interpolate(sample(first), sample(first + 1), start, is_counter, notes)?
    } else {
        Histogram::clone(&hs[first])
    };
    let right = if smoothed && last > 0 && ts[last] > end {
        interpolate(sample(last - 1), sample(last), end, is_counter, notes)?
    } else {
        Histogram::clone(&hs[last])
    };
    if !is_counter && (left.hint != ResetHint::Gauge || right.hint != ResetHint::Gauge) {
        notes.add(Note::NotGauge);
    }
    let mut change = right.clone();
    sub(&mut change, &left, notes)?;
    if is_counter {
        // The left edge was interpolated from zero: that reset is counted already.
        let counted = smoothed && ts[first] < start && hs[first + 1].is_reset_after(&hs[first]);
        let correction = resets(hs, (first, last), (&left, &right), counted, notes)?;
        if let Some(correction) = correction {
            add(&mut change, &correction, notes)?;
        }
    }
    Some(change)
}

/// Whether all are of one kind of buckets; notes gauges where a counter is wanted.
fn judge(hs: &[Arc<Histogram>], is_counter: bool, notes: &mut Notes) -> bool {
    for h in hs {
        if h.is_custom() != hs[0].is_custom() {
            notes.add(Note::MixedExponentialCustom);
            return false;
        }
        if is_counter && h.hint == ResetHint::Gauge {
            notes.add(Note::NotCounter);
        }
    }
    true
}

/// What resets between the edges took from the counter. The outer option fails with a note.
fn resets(
    hs: &[Arc<Histogram>],
    (first, last): (usize, usize),
    (left, right): (&Histogram, &Histogram),
    left_is_counted: bool,
    notes: &mut Notes,
) -> Option<Option<Histogram>> {
    let (from, mut prev) = if left_is_counted { (first + 2, &*hs[first + 1]) } else { (first + 1, left) };
    // The right edge stands for the last sample.
    if from > last {
        return Some(None);
    }
    let mut lost: Option<Histogram> = None;
    for h in hs[from..last].iter().map(|h| &**h).chain([right]) {
        if h.is_reset_after(prev) {
            match &mut lost {
                None => lost = Some(prev.clone()),
                Some(lost) => add(lost, prev, notes)?,
            }
        }
        prev = h;
    }
    Some(lost)
}

/// The histogram at `t`: a sample's, one between two samples, or the last one's.
fn smoothed_instant(points: &Points<'_>, t: i64, notes: &mut Notes) -> Option<Out> {
    let (ts, hs) = (points.hts, points.hs);
    let next = ts.partition_point(|s| *s < t);
    let before = next.checked_sub(1);
    match (before, ts.get(next)) {
        (_, Some(time)) if *time == t => Some(Out::Histogram(hs[next].clone())),
        (Some(before), Some(time)) => {
            let (a, b) = (&hs[before], &hs[next]);
            if a.is_custom() != b.is_custom() {
                notes.add(Note::MixedExponentialCustom);
                return None;
            }
            let is_counter = a.hint != ResetHint::Gauge || b.hint != ResetHint::Gauge;
            interpolate((ts[before], a), (*time, b), t, is_counter, notes).map(Out::of)
        }
        // A hint is about two neighbours, and this is none.
        (Some(before), None) => Some(Out::of(Histogram::clone(&hs[before]).with_hint(ResetHint::Unknown))),
        (None, _) => None,
    }
}
