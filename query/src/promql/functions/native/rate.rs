//! `rate`, `increase`, `delta`, `irate` and `idelta` of histograms, and of counters with start timestamps. After
//! Prometheus' `extrapolatedRate`, `histogramRate` and `instantValue`.
use std::sync::Arc;

use super::{Note, Notes, Out, Point, Points, Value};
use crate::promql::functions::range::Window;
use crate::promql::histogram::{Histogram, ResetHint};

/// A start timestamp says that the counter began anew between two samples.
pub(super) fn is_start_reset(prev: (i64, i64), curr: (i64, i64)) -> bool {
    let ((prev_start, prev_time), (start, time)) = (prev, curr);
    if start == 0 || start >= time || start < prev_time {
        return false;
    }
    // At the previous sample itself: a delta, unless that one's start is unknown or makes no sense.
    start > prev_time || (prev_start != 0 && prev_start < prev_time)
}

fn overlaps(prev: (i64, i64), start: i64) -> bool {
    start != 0 && start < prev.1 && start != prev.0
}

/// (start, time) of the samples; 0 for an unknown start.
fn spans(ts: &[i64], starts: &[i64]) -> Vec<(i64, i64)> {
    ts.iter().enumerate().map(|(i, t)| (starts.get(i).copied().unwrap_or(0), *t)).collect()
}

/// `(is_counter, per_second)` tell the three functions apart.
pub(super) fn extrapolated(
    points: &Points<'_>,
    window: &Window,
    (is_counter, per_second): (bool, bool),
    notes: &mut Notes,
) -> Option<Out> {
    if !points.ts.is_empty() && !points.hs.is_empty() {
        notes.add(Note::MixedFloatsHistograms);
        return None;
    }
    let of_floats = points.hs.is_empty();
    let (ts, starts) = if of_floats { (points.ts, points.starts) } else { (points.hts, points.hstarts) };
    let starts = if is_counter { starts } else { &[] };
    let spans = spans(ts, starts);
    let (first, last) = (*ts.first()?, *ts.last()?);
    let (mut float, mut histogram) = (0.0, None);
    if of_floats {
        float = float_change(points.vs, &spans, is_counter, notes);
    } else if points.hs.len() > 1 {
        histogram = Some(histogram_change(points.hs, &spans, is_counter, notes)?);
    }
    let begin = window.end_ms - window.range_ms;
    let mut to_start = (first - begin) as f64 / 1000.0;
    let mut to_end = (window.end_ms - last) as f64 / 1000.0;
    let mut sampled = (last - first) as f64 / 1000.0;
    let spacing = if ts.len() > 1 { sampled / (ts.len() - 1) as f64 } else { 0.0 };
    let threshold = spacing * 1.1;
    let start = spans[0].0;
    if start != 0 && start > begin && start < first {
        // The counter was zero at its start, so there is nothing to extrapolate on the left.
        to_start = 0.0;
        sampled = (last - start) as f64 / 1000.0;
        if of_floats {
            float += points.vs[0];
        } else {
            match &mut histogram {
                None => histogram = Some(Histogram::clone(&points.hs[0])),
                Some(h) => add(h, &points.hs[0], notes)?,
            }
        }
    } else if ts.len() == 1 {
        return None;
    } else {
        if to_start >= threshold {
            to_start = spacing / 2.0;
        }
        if is_counter {
            let (rise, from) = match &histogram {
                None => (float, points.vs[0]),
                Some(h) => (h.count, points.hs[0].count),
            };
            if rise > 0.0 && from >= 0.0 {
                let to_zero = sampled * (from / rise);
                to_start = if to_zero < to_start { to_zero } else { to_start };
            }
        }
    }
    if to_end >= threshold {
        to_end = spacing / 2.0;
    }
    let mut factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
    if per_second {
        factor /= window.range_ms as f64 / 1000.0;
    }
    Some(match histogram {
        None => Out::Float(float * factor),
        Some(mut h) => {
            h.mul(factor);
            Out::of(h)
        }
    })
}

/// Adds with the notes that a function of a range makes of it.
pub(super) fn add(total: &mut Histogram, other: &Histogram, notes: &mut Notes) -> Option<()> {
    let outcome = total.add(other).map_err(|_| notes.add(Note::MixedExponentialCustom)).ok()?;
    notes.reconciled(outcome, Note::ReconciledAddition);
    Some(())
}

/// As [`add`].
pub(super) fn sub(total: &mut Histogram, other: &Histogram, notes: &mut Notes) -> Option<()> {
    let outcome = total.sub(other).map_err(|_| notes.add(Note::MixedExponentialCustom)).ok()?;
    notes.reconciled(outcome, Note::ReconciledSubtraction);
    Some(())
}

fn float_change(vs: &[f64], spans: &[(i64, i64)], is_counter: bool, notes: &mut Notes) -> f64 {
    let mut change = vs[vs.len() - 1] - vs[0];
    if is_counter {
        note_overlap(spans, notes);
        for i in 1..vs.len() {
            if vs[i] < vs[i - 1] || is_start_reset(spans[i - 1], spans[i]) {
                change += vs[i - 1];
            }
        }
    }
    change
}

/// Once a series and window.
fn note_overlap(spans: &[(i64, i64)], notes: &mut Notes) {
    if spans.windows(2).any(|w| overlaps(w[0], w[1].0)) {
        notes.add(Note::StartOverlap);
    }
}

/// The change from the first to the last of at least two histograms.
fn histogram_change(
    hs: &[Arc<Histogram>],
    spans: &[(i64, i64)],
    is_counter: bool,
    notes: &mut Notes,
) -> Option<Histogram> {
    let (first, last) = (&hs[0], &hs[hs.len() - 1]);
    let is_gauge = |h: &Histogram| h.hint == ResetHint::Gauge;
    // After a reset the first histogram does not matter, however its buckets are laid out.
    let empty;
    let mut prev: &Histogram = first;
    if is_counter && (is_start_reset(spans[0], spans[1]) || hs[1].is_reset_after(first)) {
        empty = Histogram { schema: hs[1].schema, custom: hs[1].custom.clone(), ..Histogram::default() };
        prev = &empty;
    }
    let custom = prev.is_custom();
    let between = if is_counter { &hs[1..hs.len() - 1] } else { &[] };
    let mixed_between = last.is_custom() == custom && between.iter().any(|h| h.is_custom() != custom);
    if is_counter && !mixed_between && (is_gauge(first) || is_gauge(last) || between.iter().any(|h| is_gauge(h))) {
        notes.add(Note::NotCounter);
    }
    if mixed_between || last.is_custom() != custom {
        notes.add(Note::MixedExponentialCustom);
        return None;
    }
    let schema = between.iter().map(|h| h.schema).fold(prev.schema.min(last.schema), i32::min);
    let mut change = last.to_schema(schema);
    sub(&mut change, prev, notes)?;
    if is_counter {
        note_overlap(spans, notes);
        for i in 1..hs.len() {
            if is_start_reset(spans[i - 1], spans[i]) || hs[i].is_reset_after(prev) {
                add(&mut change, prev, notes)?;
            }
            prev = &hs[i];
        }
    } else if !is_gauge(first) || !is_gauge(last) {
        notes.add(Note::NotGauge);
    }
    change.hint = ResetHint::Gauge;
    Some(change.compacted())
}

/// From the last two samples.
pub(super) fn instant(points: &Points<'_>, is_rate: bool, notes: &mut Notes) -> Option<Out> {
    let (floats, histograms) = (points.ts.len(), points.hs.len());
    let mut last: Vec<Point<'_>> = (floats.saturating_sub(2)..floats).map(|i| points.float(i)).collect();
    last.extend((histograms.saturating_sub(2)..histograms).map(|i| points.histogram(i)));
    last.sort_by_key(|p| p.time_ms);
    let [.., prev, curr] = last.as_slice() else { return None };
    let interval = curr.time_ms - prev.time_ms;
    if interval == 0 {
        return None;
    }
    let seconds = interval as f64 / 1000.0;
    let started = is_start_reset((prev.start_ms, prev.time_ms), (curr.start_ms, curr.time_ms));
    match (prev.value, curr.value) {
        (Value::Float(a), Value::Float(b)) => {
            let is_reset = is_rate && (b < a || started);
            let change = if is_reset { b } else { b - a };
            Some(Out::Float(if is_rate { change / seconds } else { change }))
        }
        (Value::Histogram(a), Value::Histogram(b)) => {
            let gauges = [a, b].map(|h| h.hint == ResetHint::Gauge);
            if is_rate && gauges.contains(&true) {
                notes.add(Note::NotCounter);
            }
            if !is_rate && gauges.contains(&false) {
                notes.add(Note::NotGauge);
            }
            let mut change = Histogram::clone(b);
            if !is_rate || !(started || b.is_reset_after(a)) {
                sub(&mut change, a, notes)?;
            }
            change.hint = ResetHint::Gauge;
            change.compact();
            if is_rate {
                change.div(seconds);
            }
            Some(Out::of(change))
        }
        (Value::Float(_), Value::Histogram(_)) | (Value::Histogram(_), Value::Float(_)) => {
            notes.add(Note::MixedFloatsHistograms);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_that_mean_a_reset() {
        for (prev, curr, want) in [
            ((0, 100), (0, 200), false),
            ((50, 100), (150, 200), true),
            ((50, 100), (100, 200), true),
            ((0, 100), (100, 200), false),
            ((100, 100), (100, 200), false),
            ((150, 100), (100, 200), false),
            ((50, 100), (50, 200), false),
            ((50, 100), (200, 200), false),
        ] {
            assert_eq!(is_start_reset(prev, curr), want, "{prev:?} {curr:?}");
        }
        assert!(overlaps((10, 100), 20) && !overlaps((20, 100), 20) && !overlaps((10, 100), 100));
    }
}
