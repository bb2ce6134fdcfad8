//! Compares an answer with what a script expects.
use regex::Regex;
use trine_query::promql::{Answer, MatrixSeries, Value};
use trine_query::{Error, Result};
use trine_store::model::Labels;

use crate::script::{Eval, Expected, Item, When};

pub(crate) enum Outcome {
    Passed,
    Unsupported,
    Wrong(String),
}

/// Relative difference that Prometheus' own runner allows.
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

fn wrong(why: impl Into<String>) -> Outcome {
    Outcome::Wrong(why.into())
}

pub(crate) fn check(eval: &Eval, answer: Result<Answer>) -> Outcome {
    let answer = match answer {
        Err(Error::Unsupported { .. }) => return Outcome::Unsupported,
        Err(error) => return check_failure(eval, &error.to_string()),
        Ok(answer) => answer,
    };
    if eval.expects("fail").next().is_some() {
        return wrong(format!("should have failed, got {:?}", answer.value));
    }
    for (kind, none, texts) in [("warn", "no_warn", &answer.warnings), ("info", "no_info", &answer.infos)] {
        if eval.expects(none).next().is_some() && !texts.is_empty() {
            return wrong(format!("unexpected {kind} {texts:?}"));
        }
        for e in eval.expects(kind) {
            let found = texts.iter().any(|t| matches_text(e.text.as_ref(), t));
            if !found {
                return wrong(format!("no {kind} {:?} among {texts:?}", e.text));
            }
        }
    }
    check_value(eval, &answer.value)
}

fn check_failure(eval: &Eval, message: &str) -> Outcome {
    match eval.expects("fail").next() {
        None => wrong(format!("failed: {message}")),
        Some(e) if matches_text(e.text.as_ref(), message) => Outcome::Passed,
        Some(e) => wrong(format!("failed with {message:?}, expected {:?}", e.text)),
    }
}

fn matches_text(expected: Option<&(String, String)>, text: &str) -> bool {
    match expected {
        None => true,
        Some((how, want)) if how == "regex" => Regex::new(want).unwrap().is_match(text),
        Some((_, want)) => want == text || text.ends_with(&format!("parse error: {want}")),
    }
}

fn check_value(eval: &Eval, value: &Value) -> Outcome {
    match (&eval.expected, value, eval.when) {
        (Expected::Scalar(want), Value::Scalar(_, got), _) => {
            if same(*want, *got) {
                Outcome::Passed
            } else {
                wrong(format!("expected {want}, got {got}"))
            }
        }
        (Expected::Text(want), Value::String(_, got), _) if want == got => Outcome::Passed,
        (Expected::Vectors(want), Value::Vector(got), _) => {
            let ordered = eval.expects("ordered").next().is_some();
            let got: Vec<(&Labels, Vec<(i64, f64)>)> =
                got.iter().map(|s| (&s.labels, vec![(s.time_ms, s.value)])).collect();
            let time_ms = got.first().map_or(0, |(_, p)| p[0].0);
            check_series(want, &got, time_ms, 1, ordered)
        }
        (Expected::Vectors(want), Value::Matrix(got), When::Range { start_ms, step_ms, .. }) => {
            check_series(want, &of_matrix(got), start_ms, step_ms, false)
        }
        (Expected::Matrix { series: want, start_ms, step_ms }, Value::Matrix(got), When::Instant { .. }) => {
            check_series(want, &of_matrix(got), *start_ms, *step_ms, false)
        }
        (want, got, _) => wrong(format!("expected {want:?}, got {got:?}")),
    }
}

fn of_matrix(series: &[MatrixSeries]) -> Vec<(&Labels, Vec<(i64, f64)>)> {
    series.iter().map(|s| (&s.labels, s.points.clone())).collect()
}

fn check_series(
    want: &[(Labels, Vec<Item>)],
    got: &[(&Labels, Vec<(i64, f64)>)],
    start_ms: i64,
    step_ms: i64,
    ordered: bool,
) -> Outcome {
    // A series of which nothing is expected need not be there.
    let want: Vec<&(Labels, Vec<Item>)> =
        want.iter().filter(|(_, items)| items.iter().any(|i| *i != Item::Missing)).collect();
    if want.len() != got.len() {
        return wrong(format!("expected {} series {want:?}, got {got:?}", want.len()));
    }
    for (position, (labels, items)) in want.iter().enumerate() {
        let found = if ordered {
            got.get(position).filter(|(l, _)| *l == labels)
        } else {
            got.iter().find(|(l, _)| *l == labels)
        };
        let Some((_, points)) = found else {
            return wrong(format!("no series {labels} (at its place), got {got:?}"));
        };
        let mut expected = Vec::new();
        for (i, item) in items.iter().enumerate() {
            match item {
                Item::Missing | Item::Stale => {}
                Item::Float(v) => expected.push((start_ms + i as i64 * step_ms, *v)),
                Item::Histogram => return wrong(format!("expected a histogram for {labels}, got {points:?}")),
            }
        }
        let all_same =
            expected.len() == points.len() && expected.iter().zip(points).all(|(a, b)| a.0 == b.0 && same(a.1, b.1));
        if !all_same {
            return wrong(format!("{labels}: expected {expected:?}, got {points:?}"));
        }
    }
    Outcome::Passed
}

/// The answer of a range query around `time_ms` must show there what the instant query must show.
pub(crate) fn check_inside_range(eval: &Eval, time_ms: i64, answer: Result<Answer>) -> Outcome {
    let answer = match answer {
        // The range touches other samples, which may be ones that are not known yet.
        Err(Error::Unsupported { .. }) => return Outcome::Passed,
        Err(Error::Execution { .. }) => return Outcome::Passed,
        Err(error) => return wrong(format!("as range: {error}")),
        Ok(answer) => answer,
    };
    let Value::Matrix(series) = &answer.value else { return wrong("as range: not a matrix") };
    let at_time: Vec<(&Labels, Vec<(i64, f64)>)> = series
        .iter()
        .filter_map(|s| s.points.iter().find(|(t, _)| *t == time_ms).map(|p| (&s.labels, vec![*p])))
        .collect();
    let want = match &eval.expected {
        Expected::Scalar(v) => vec![(Labels::empty(), vec![Item::Float(*v)])],
        Expected::Vectors(want) => want.clone(),
        Expected::Text(_) | Expected::Matrix { .. } => return Outcome::Passed,
    };
    match check_series(&want, &at_time, time_ms, 1, false) {
        Outcome::Wrong(why) => wrong(format!("as range: {why}")),
        other => other,
    }
}
