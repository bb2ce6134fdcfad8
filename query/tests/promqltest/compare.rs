//! Compares an answer with what a script expects, as Prometheus' own runner does.
use regex::Regex;
use trine_query::promql::histogram::{CUSTOM, Histogram};
use trine_store::model::Labels;

use crate::runner::{Answer, Native, Points, Shown, ShownBucket, Value};
use crate::script::{Eval, Expected, Item, When};

/// Relative difference that is allowed.
const EPSILON: f64 = 1e-6;

fn same(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    if a == b {
        return true;
    }
    let (sum, diff) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < EPSILON * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < EPSILON
}

pub(crate) fn check(eval: &Eval, answer: Result<Answer, String>) -> Result<(), String> {
    let answer = match answer {
        Err(message) => return check_failure(eval, &message),
        Ok(answer) => answer,
    };
    if eval.expects("fail").next().is_some() {
        return Err(format!("should have failed, got {:?}", answer.value));
    }
    for (kind, none, texts) in [("warn", "no_warn", &answer.warnings), ("info", "no_info", &answer.infos)] {
        check_annotations(eval, (kind, none), texts)?;
    }
    check_value(eval, &answer.value)
}

/// Each one that is expected is there; where any is expected, no other is.
fn check_annotations(eval: &Eval, (kind, none): (&str, &str), texts: &[String]) -> Result<(), String> {
    if eval.expects(none).next().is_some() && !texts.is_empty() {
        return Err(format!("unexpected {kind} {texts:?}"));
    }
    for e in eval.expects(kind) {
        if !texts.iter().any(|t| matches_text(e.text.as_ref(), t)) {
            return Err(format!("no {kind} {:?} among {texts:?}", e.text));
        }
    }
    let is_expected = |t: &&String| eval.expects(kind).any(|e| matches_text(e.text.as_ref(), t));
    match texts.iter().find(|t| eval.expects(kind).next().is_some() && !is_expected(t)) {
        Some(text) => Err(format!("unexpected {kind} {text:?}")),
        None => Ok(()),
    }
}

fn check_failure(eval: &Eval, message: &str) -> Result<(), String> {
    match eval.expects("fail").next() {
        None => Err(format!("failed: {message}")),
        Some(e) if matches_text(e.text.as_ref(), message) => Ok(()),
        Some(e) => Err(format!("failed with {message:?}, expected {:?}", e.text)),
    }
}

fn matches_text(expected: Option<&(String, String)>, text: &str) -> bool {
    match expected {
        None => true,
        Some((how, want)) if how == "regex" => Regex::new(want).unwrap().is_match(text),
        Some((_, want)) => want == text || text.ends_with(&format!("parse error: {want}")),
    }
}

fn check_value(eval: &Eval, value: &Value) -> Result<(), String> {
    match (&eval.expected, value, eval.when) {
        (Expected::Scalar(want), Value::Scalar(got), _) if same(*want, *got) => Ok(()),
        (Expected::Text(want), Value::Text(got), _) if want == got => Ok(()),
        (Expected::Vectors(want), Value::Vector(got), When::Instant { time_ms }) => {
            let ordered = eval.expects("ordered").next().is_some();
            check_series(want, got, time_ms, 1, ordered)
        }
        (Expected::Vectors(want), Value::Matrix(got), When::Range { start_ms, step_ms, .. }) => {
            check_sorted(got)?;
            check_series(want, got, start_ms, step_ms, false)
        }
        (Expected::Matrix { series: want, start_ms, step_ms }, Value::Matrix(got), When::Instant { .. }) => {
            check_sorted(got)?;
            check_series(want, got, *start_ms, *step_ms, false)
        }
        (want, got, _) => Err(format!("expected {want:?}, got {got:?}")),
    }
}

fn check_sorted(got: &[Points]) -> Result<(), String> {
    use trine_store::index::compare_labels;
    match got.windows(2).find(|w| compare_labels(w[0].labels.as_bytes(), w[1].labels.as_bytes()).is_ge()) {
        Some(w) => Err(format!("{} comes before {}", w[0].labels, w[1].labels)),
        None => Ok(()),
    }
}

fn check_series(
    want: &[(Labels, Vec<Item>)],
    got: &[Points],
    start_ms: i64,
    step_ms: i64,
    ordered: bool,
) -> Result<(), String> {
    // A series of which nothing is expected need not be there.
    let want: Vec<&(Labels, Vec<Item>)> =
        want.iter().filter(|(_, items)| items.iter().any(|i| *i != Item::Missing)).collect();
    if want.len() != got.len() {
        return Err(format!("expected {} series {want:?}, got {got:?}", want.len()));
    }
    for (position, (labels, items)) in want.iter().enumerate() {
        let found = if ordered {
            got.get(position).filter(|p| p.labels == *labels)
        } else {
            got.iter().find(|p| p.labels == *labels)
        };
        let points = found.ok_or_else(|| format!("no series {labels} (at its place), got {got:?}"))?;
        check_points(items, points, |i| start_ms + i as i64 * step_ms)
            .map_err(|why| format!("{labels}: {why}; expected {items:?}, got {points:?}"))?;
    }
    Ok(())
}

fn check_points(items: &[Item], points: &Points, at: impl Fn(usize) -> i64) -> Result<(), String> {
    let (mut floats, mut histograms) = (points.floats.iter(), points.histograms.iter());
    for (i, item) in items.iter().enumerate() {
        let time_ms = at(i);
        match item {
            Item::Missing | Item::Stale => {}
            Item::Float(want) => match floats.next() {
                Some((t, got)) if *t == time_ms && same(*want, *got) => {}
                other => return Err(format!("expected {want} at {time_ms}, got {other:?}")),
            },
            Item::Histogram(want, hint_is_set) => match histograms.next() {
                Some((t, got)) if *t == time_ms => same_histogram(want, got, *hint_is_set)?,
                other => return Err(format!("expected {want} at {time_ms}, got {other:?}")),
            },
        }
    }
    match (floats.next(), histograms.next()) {
        (None, None) => Ok(()),
        (float, histogram) => Err(format!("too many: {float:?} {histogram:?}")),
    }
}

fn same_histogram(want: &Histogram, got: &Native, hint_is_set: bool) -> Result<(), String> {
    let want = want.clone().compacted();
    let same_whole = |got: &Histogram| (!hint_is_set || want.hint == got.hint) && same_layout(&want, got);
    let whole = got.whole.as_ref().map(|got| Histogram::clone(got).compacted());
    let fits = whole.as_ref().is_none_or(same_whole) && same_numbers(&shown(&want), &got.shown);
    if fits { Ok(()) } else { Err(format!("expected {want:?}, got {got:?}")) }
}

fn same_layout(want: &Histogram, got: &Histogram) -> bool {
    want.schema == got.schema
        && (want.schema != CUSTOM || want.bounds() == got.bounds())
        && want.zero_threshold == got.zero_threshold
        && same(want.zero_count, got.zero_count)
        && want.positive.index == got.positive.index
        && want.negative.index == got.negative.index
}

/// A histogram as the HTTP API shows it.
pub(crate) fn shown(h: &Histogram) -> Shown {
    let bounds = |b: &trine_query::promql::histogram::Bucket| match (b.lower_inclusive, b.upper_inclusive) {
        (true, true) => 3,
        (true, false) => 1,
        (false, true) => 0,
        (false, false) => 2,
    };
    let buckets =
        h.buckets().iter().filter(|b| b.count != 0.0).map(|b| (bounds(b), b.lower, b.upper, b.count)).collect();
    Shown { count: h.count, sum: h.sum, buckets }
}

fn same_numbers(want: &Shown, got: &Shown) -> bool {
    let same_bucket =
        |(a, b): (&ShownBucket, &ShownBucket)| a.0 == b.0 && same(a.1, b.1) && same(a.2, b.2) && same(a.3, b.3);
    same(want.count, got.count)
        && same(want.sum, got.sum)
        && want.buckets.len() == got.buckets.len()
        && want.buckets.iter().zip(&got.buckets).all(same_bucket)
}

/// The answer of a range query around `time_ms` must show there what the instant query must show.
pub(crate) fn check_inside_range(eval: &Eval, time_ms: i64, answer: Result<Answer, String>) -> Result<(), String> {
    let answer = answer.map_err(|message| format!("as range: {message}"))?;
    let Value::Matrix(series) = &answer.value else { return Err("as range: not a matrix".to_owned()) };
    let at_time = |p: &Points| Points {
        labels: p.labels.clone(),
        floats: p.floats.iter().copied().filter(|(t, _)| *t == time_ms).collect(),
        histograms: p.histograms.iter().filter(|(t, _)| *t == time_ms).cloned().collect(),
    };
    let mut at_time: Vec<Points> = series.iter().map(at_time).collect();
    at_time.retain(|p| !p.floats.is_empty() || !p.histograms.is_empty());
    let want = match &eval.expected {
        Expected::Scalar(v) => vec![(Labels::empty(), vec![Item::Float(*v)])],
        Expected::Vectors(want) => want.clone(),
        Expected::Text(_) | Expected::Matrix { .. } => return Ok(()),
    };
    check_series(&want, &at_time, time_ms, 1, false).map_err(|why| format!("as range: {why}"))
}
