//! A series as OpenMetrics spells it, and the numbers behind it.
use std::collections::BTreeMap;
use std::fmt::Write;

use super::family::{escaped, is_spelled};

/// Labels of a series, the name among them.
pub(super) type Labels = BTreeMap<String, String>;

/// Of a histogram's buckets.
const BOUND: &str = "le";

/// Name and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spelled {
    name: String,
    /// With commas between them.
    pairs: String,
    has_bound: bool,
}

impl Spelled {
    /// None when a label's name is not of letters, digits and `_`.
    pub(super) fn new(labels: &Labels) -> Option<Self> {
        let name = labels.get("__name__").cloned().unwrap_or_default();
        let mut pairs = String::new();
        for (name, value) in labels.iter().filter(|(name, _)| *name != "__name__") {
            if !is_spelled(name) || name.contains(':') {
                return None;
            }
            let comma = if pairs.is_empty() { "" } else { "," };
            write!(pairs, "{comma}{name}=\"{}\"", escaped(value)).ok()?;
        }
        Some(Self { name, pairs, has_bound: labels.contains_key(BOUND) })
    }

    /// Whether it has a label of the name that buckets need.
    pub(super) fn has_bound(&self) -> bool {
        self.has_bound
    }

    /// The series itself.
    pub(super) fn text(&self) -> String {
        self.part("")
    }

    /// A part of the histogram.
    pub(super) fn part(&self, suffix: &str) -> String {
        match self.pairs.as_str() {
            "" => format!("{}{suffix}", self.name),
            pairs => format!("{}{suffix}{{{pairs}}}", self.name),
        }
    }

    /// A bucket of the histogram.
    pub(super) fn bucket(&self, bound: f64) -> String {
        let comma = if self.pairs.is_empty() { "" } else { "," };
        format!("{}_bucket{{{}{comma}{BOUND}=\"{}\"}}", self.name, self.pairs, bound_text(bound))
    }
}

/// A number as OpenMetrics has it, of as many digits as it needs.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        a if a.is_nan() => "NaN".to_owned(),
        f64::INFINITY => if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned(),
        a if a != 0.0 && !(1e-6..1e21).contains(&a) => format!("{value:e}"),
        _ => value.to_string(),
    }
}

/// A bound is a text: it has a point or an exponent, as in all other exports.
fn bound_text(bound: f64) -> String {
    let text = number(bound);
    if bound.is_finite() && !text.contains(['.', 'e']) { format!("{text}.0") } else { text }
}

/// A time, ms, in seconds.
pub(super) fn seconds(time_ms: i64) -> String {
    let sign = if time_ms < 0 { "-" } else { "" };
    let (seconds, ms) = (time_ms.unsigned_abs() / 1000, time_ms.unsigned_abs() % 1000);
    format!("{sign}{seconds}.{ms:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn numbers_come_back() {
        for value in [0.0, -0.0, 1.5, -3.0, 1e21, 1e-7, f64::MAX, f64::MIN_POSITIVE, 0.1 + 0.2, f64::INFINITY] {
            let text = number(value);
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
        }
        assert_eq!([number(f64::NAN), number(f64::NEG_INFINITY), number(3.0)], ["NaN", "-Inf", "3"]);
        assert_eq!([3.0, -0.5, 1e-9, f64::INFINITY].map(bound_text), ["3.0", "-0.5", "1e-9", "+Inf"]);
        assert_eq!([1_500, -1, 0].map(seconds), ["1.500", "-0.001", "0.000"]);
    }

    #[test]
    fn series_are_spelled_or_not() {
        let spelled = |pairs: &[(&str, &str)]| Spelled::new(&labels(pairs));
        let up = spelled(&[("__name__", "up")]).unwrap();
        assert_eq!([up.text(), up.part("_sum"), up.bucket(2.0)], ["up", "up_sum", "up_bucket{le=\"2.0\"}"]);
        let up = spelled(&[("__name__", "up"), ("a", "x\"y\\"), ("b", "1\n2")]).unwrap();
        assert_eq!(up.text(), "up{a=\"x\\\"y\\\\\",b=\"1\\n2\"}");
        assert_eq!(up.bucket(f64::INFINITY), "up_bucket{a=\"x\\\"y\\\\\",b=\"1\\n2\",le=\"+Inf\"}");
        assert!(!up.has_bound() && spelled(&[("le", "1")]).unwrap().has_bound());
        assert_eq!(spelled(&[("__name__", "up"), ("a.b", "x")]), None);
    }
}
