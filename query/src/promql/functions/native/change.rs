//! `resets` and `changes` over samples of both kinds.
use super::rate::is_start_reset;
use super::{Out, Point, Value};

pub(super) fn resets(points: &[Point<'_>]) -> Option<Out> {
    let is_reset = |prev: &Point<'_>, curr: &Point<'_>| {
        let started = is_start_reset((prev.start_ms, prev.time_ms), (curr.start_ms, curr.time_ms));
        match (prev.value, curr.value) {
            (Value::Float(a), Value::Float(b)) => b < a || started,
            (Value::Histogram(a), Value::Histogram(b)) => started || b.is_reset_after(a),
            (Value::Float(_), Value::Histogram(_)) | (Value::Histogram(_), Value::Float(_)) => true,
        }
    };
    count(points, is_reset)
}

pub(super) fn changes(points: &[Point<'_>]) -> Option<Out> {
    let is_change = |prev: &Point<'_>, curr: &Point<'_>| match (prev.value, curr.value) {
        (Value::Float(a), Value::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
        (Value::Histogram(a), Value::Histogram(b)) => !b.same_data(a),
        (Value::Float(_), Value::Histogram(_)) | (Value::Histogram(_), Value::Float(_)) => true,
    };
    count(points, is_change)
}

fn count(points: &[Point<'_>], is: impl Fn(&Point<'_>, &Point<'_>) -> bool) -> Option<Out> {
    let pairs = points.windows(2).filter(|w| is(&w[0], &w[1])).count();
    (!points.is_empty()).then_some(Out::Float(pairs as f64))
}
