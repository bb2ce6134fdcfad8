//! Label filters: text, numbers, durations, sizes, addresses.
use trine_store::index::Matcher;

use super::super::ast::{Compare, LabelFilter};
use super::super::units::{parse_bytes, parse_duration_ns};
use super::EntryLabels;
use super::ip::IpSet;
use crate::error::Result;

const FILTER_ERROR: &str = "LabelFilterErr";

/// A compiled label filter.
#[derive(Debug)]
pub(in super::super) enum Filter {
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
    Match(Matcher),
    Number { label: String, op: Compare, value: f64 },
    Duration { label: String, op: Compare, ns: i64 },
    Bytes { label: String, op: Compare, bytes: u64 },
    Ip { label: String, negated: bool, set: IpSet },
}

impl Filter {
    pub(in super::super) fn compile(filter: &LabelFilter) -> Result<Self> {
        Ok(match filter {
            LabelFilter::And(a, b) => Self::And(Box::new(Self::compile(a)?), Box::new(Self::compile(b)?)),
            LabelFilter::Or(a, b) => Self::Or(Box::new(Self::compile(a)?), Box::new(Self::compile(b)?)),
            LabelFilter::Match(matcher) => Self::Match(matcher.clone()),
            LabelFilter::Number { label, op, value } => Self::Number { label: label.clone(), op: *op, value: *value },
            LabelFilter::Duration { label, op, ns } => Self::Duration { label: label.clone(), op: *op, ns: *ns },
            LabelFilter::Bytes { label, op, bytes } => Self::Bytes { label: label.clone(), op: *op, bytes: *bytes },
            LabelFilter::Ip { label, negated, pattern } => {
                Self::Ip { label: label.clone(), negated: *negated, set: IpSet::parse(pattern)? }
            }
        })
    }

    /// Whether the entry stays. An entry whose value cannot be read stays, with an error; one without the label goes.
    pub(in super::super) fn keeps(&self, labels: &mut EntryLabels) -> bool {
        match self {
            Self::And(a, b) => a.keeps(labels) && b.keeps(labels),
            Self::Or(a, b) => a.keeps(labels) || b.keeps(labels),
            Self::Match(matcher) => matcher.matches(labels.get(&matcher.name).unwrap_or("")),
            Self::Number { label, op, value } => {
                typed(labels, label, |text| text.trim().parse::<f64>().ok().map(|v| op.holds(&v, value)))
            }
            Self::Duration { label, op, ns } => {
                typed(labels, label, |text| parse_duration_ns(text).map(|v| op.holds(&v, ns)))
            }
            Self::Bytes { label, op, bytes } => {
                typed(labels, label, |text| parse_bytes(text).map(|v| op.holds(&v, bytes)))
            }
            // As for typed values: an error passes, an absent label does not, whatever the operator.
            Self::Ip { label, negated, set } => {
                labels.has_error() || labels.get(label).is_some_and(|v| (set.contains(v) == Some(true)) != *negated)
            }
        }
    }
}

/// Applies `test` to the value of `label`; `None` of it means that the value is of another type.
fn typed(labels: &mut EntryLabels, label: &str, test: impl Fn(&str) -> Option<bool>) -> bool {
    if labels.has_error() {
        return true;
    }
    let Some(value) = labels.get(label) else { return false };
    if let Some(holds) = test(value) {
        return holds;
    }
    let details = format!("cannot read the value of {label}: {value:?}");
    labels.set_error(FILTER_ERROR, &details);
    true
}
