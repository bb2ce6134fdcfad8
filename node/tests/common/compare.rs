//! Comparing Prometheus answers.
use std::collections::BTreeMap;

use serde_json::Value;

/// Largest relative difference between two sums of the same numbers in different orders.
const RELATIVE: f64 = 1e-9;

/// Equal within [`RELATIVE`]; NaN equals NaN.
fn close_enough(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= RELATIVE * a.abs().max(b.abs())
}

/// Asserts that two Prometheus answers (the whole envelope) hold the same series, times and values.
#[track_caller]
pub(crate) fn assert_vectors_agree(what: &str, ours: &Value, theirs: &Value) {
    assert_eq!(ours["status"], "success", "{what}: {ours}");
    assert_eq!(ours["data"]["resultType"], theirs["data"]["resultType"], "{what}");
    let (ours, theirs) = (series(ours), series(theirs));
    let names = |s: &BTreeMap<String, Vec<(i64, f64)>>| s.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs), "{what}: series differ");
    for (labels, expected) in &theirs {
        let got = &ours[labels];
        let times = |points: &[(i64, f64)]| points.iter().map(|p| p.0).collect::<Vec<_>>();
        assert_eq!(times(got), times(expected), "{what}: times of {labels} differ");
        for (got, expected) in got.iter().zip(expected) {
            assert!(close_enough(got.1, expected.1), "{what}: {labels}: {got:?}, Prometheus says {expected:?}");
        }
    }
}

/// Points (ms, value) by the JSON of their labels, which both sides write in order.
fn series(answer: &Value) -> BTreeMap<String, Vec<(i64, f64)>> {
    let result = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("no result: {answer}"));
    if answer["data"]["resultType"] == "scalar" {
        return [(String::new(), vec![point(&answer["data"]["result"])])].into();
    }
    result
        .iter()
        .map(|s| {
            let points = match s.get("values").and_then(Value::as_array) {
                Some(values) => values.iter().map(point).collect(),
                None => vec![point(&s["value"])],
            };
            (s["metric"].to_string(), points)
        })
        .collect()
}

fn point(pair: &Value) -> (i64, f64) {
    let seconds = pair[0].as_f64().unwrap_or_else(|| panic!("not a point: {pair}"));
    let value = pair[1].as_str().and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("not a point: {pair}"));
    ((seconds * 1000.0).round() as i64, value)
}
