//! Native histograms as scripts write them: `{{schema:1 sum:2 count:3 buckets:[1 2]}}`.
use std::sync::Arc;

use trine_query::promql::histogram::{Buckets, CUSTOM, Histogram, ResetHint};

use crate::script::number;

/// A histogram, and whether its text says what its reset hint is.
pub(crate) fn parse(text: &str) -> (Histogram, bool) {
    let inner =
        text.strip_prefix("{{").and_then(|t| t.strip_suffix("}}")).unwrap_or_else(|| panic!("histogram {text}"));
    let mut h = Histogram::default();
    let (mut hint_is_set, mut custom) = (false, Vec::new());
    let (mut positive, mut negative) = ((0, Vec::new()), (0, Vec::new()));
    for (key, value) in fields(inner) {
        let float = || number(value).unwrap_or_else(|| panic!("{key} {value} in {text}"));
        let list =
            || value.trim_matches(['[', ']']).split_whitespace().map(|v| number(v).unwrap()).collect::<Vec<f64>>();
        match key {
            "schema" => h.schema = value.parse().unwrap(),
            "sum" => h.sum = float(),
            "count" => h.count = float(),
            "z_bucket" => h.zero_count = float(),
            "z_bucket_w" => h.zero_threshold = float(),
            "custom_values" => custom = list(),
            "buckets" => positive.1 = list(),
            "n_buckets" => negative.1 = list(),
            "offset" => positive.0 = value.parse().unwrap(),
            "n_offset" => negative.0 = value.parse().unwrap(),
            "counter_reset_hint" => {
                hint_is_set = true;
                h.hint = match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    other => panic!("hint {other} in {text}"),
                };
            }
            other => panic!("{other} in {text}"),
        }
    }
    let side = |(offset, count): (i32, Vec<f64>)| Buckets { index: (offset..).take(count.len()).collect(), count };
    (h.positive, h.negative) = (side(positive), side(negative));
    h.custom = (h.schema == CUSTOM).then(|| Arc::from(custom));
    (h, hint_is_set)
}

/// `key:value` pairs; a value in brackets holds spaces.
fn fields(text: &str) -> Vec<(&str, &str)> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while let Some((key, after)) = rest.split_once(':') {
        let end = if after.starts_with('[') {
            after.find(']').unwrap() + 1
        } else {
            after.find(char::is_whitespace).unwrap_or(after.len())
        };
        out.push((key, &after[..end]));
        rest = after[end..].trim_start();
    }
    out
}

/// `first`, and the next `times` of the series that grows or shrinks by `step`.
pub(crate) fn series(first: Histogram, step: &Histogram, times: usize, shrinks: bool) -> Vec<Histogram> {
    let mut out = vec![first];
    for _ in 0..times {
        let mut next = out[out.len() - 1].clone();
        let joined = if shrinks { next.sub(step) } else { next.add(step) };
        joined.expect("a series of histograms of one kind");
        out.push(next);
    }
    out
}
