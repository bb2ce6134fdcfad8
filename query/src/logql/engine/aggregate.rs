//! Vector aggregations.
use std::cmp::Ordering;
use std::collections::HashMap;

use trine_store::model::Labels;

use super::series::{Series, Work, by_pairs, project};
use crate::error::{Error, Result};
use crate::logql::ast::{AggregateOp, Grouping};
use crate::memory::labels_bytes;

/// What a series weighs while it is grouped, besides its group's labels.
const GROUPED_BYTES: u64 = 96;

pub(super) fn aggregate(
    op: AggregateOp,
    k: Option<u64>,
    grouping: Option<&Grouping>,
    input: Vec<Series>,
    work: &mut Work,
) -> Result<Vec<Series>> {
    // A group for each series at most.
    work.hold(input.iter().map(|s| labels_bytes(&s.labels) + GROUPED_BYTES).sum())?;
    let k = k.map_or(usize::MAX, |k| usize::try_from(k).unwrap_or(usize::MAX));
    match op {
        AggregateOp::TopK => ranked(k, true, grouping, input, work),
        AggregateOp::BottomK => ranked(k, false, grouping, input, work),
        AggregateOp::Sort => Ok(sorted(input, false)),
        AggregateOp::SortDesc => Ok(sorted(input, true)),
        AggregateOp::ApproxTopK => Err(Error::Unsupported { what: "approx_topk".to_owned() }),
        _ => {
            let groups = grouped(input, grouping);
            work.hold_series(groups.len())?;
            let reduced = |(labels, members): (Labels, Vec<Series>)| {
                work.stop.check()?;
                Ok(reduce(op, labels, &members))
            };
            groups.into_iter().map(reduced).collect()
        }
    }
}

/// Input by the labels of its group, in the order of the groups' first members.
fn grouped(input: Vec<Series>, grouping: Option<&Grouping>) -> Vec<(Labels, Vec<Series>)> {
    let mut positions: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<(Labels, Vec<Series>)> = Vec::new();
    for series in input {
        let labels = group_labels(&series.labels, grouping);
        let at = *positions.entry(labels).or_insert_with_key(|labels| {
            groups.push((labels.clone(), Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push(series);
    }
    groups
}

fn group_labels(labels: &Labels, grouping: Option<&Grouping>) -> Labels {
    match grouping {
        None => Labels::empty(),
        Some(g) => project(labels, |name| g.labels.iter().any(|l| l == name) != g.without),
    }
}

fn reduce(op: AggregateOp, labels: Labels, members: &[Series]) -> Series {
    let steps = members.first().map_or(0, |s| s.values.len());
    let values = (0..steps).map(|step| {
        let mut values = members.iter().filter_map(|s| s.values[step]).peekable();
        values.peek()?;
        Some(reduce_step(op, values))
    });
    Series { labels, values: values.collect() }
}

/// The aggregate of at least one value.
fn reduce_step(op: AggregateOp, values: impl Iterator<Item = f64>) -> f64 {
    let (mut count, mut sum, mut mean, mut squares) = (0.0, 0.0, 0.0, 0.0);
    let (mut min, mut max) = (f64::NAN, f64::NAN);
    for value in values {
        count += 1.0;
        sum += value;
        let delta = value - mean;
        mean += delta / count;
        squares += delta * (value - mean);
        if min.is_nan() || value < min {
            min = value;
        }
        if max.is_nan() || value > max {
            max = value;
        }
    }
    match op {
        AggregateOp::Sum => sum,
        AggregateOp::Avg => mean,
        AggregateOp::Min => min,
        AggregateOp::Max => max,
        AggregateOp::Stdvar => squares / count,
        AggregateOp::Stddev => (squares / count).sqrt(),
        _ => count,
    }
}

/// By value, not-a-number last in either direction.
fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ if descending => b.total_cmp(&a),
        _ => a.total_cmp(&b),
    }
}

/// The `k` largest or smallest of each group at every step; series in the order of the first step.
fn ranked(
    k: usize,
    largest: bool,
    grouping: Option<&Grouping>,
    input: Vec<Series>,
    work: &mut Work,
) -> Result<Vec<Series>> {
    let mut out = Vec::new();
    for (_, mut members) in grouped(input, grouping) {
        let steps = members.first().map_or(0, |s| s.values.len());
        for step in 0..steps {
            work.stop.check()?;
            let mut ranks: Vec<(usize, f64)> =
                members.iter().enumerate().filter_map(|(i, s)| Some((i, s.values[step]?))).collect();
            // Equal values are ranked by labels, so that the answer does not depend on the order of arrival.
            ranks.sort_by(|a, b| {
                by_value(a.1, b.1, largest).then_with(|| by_pairs(&members[a.0].labels, &members[b.0].labels))
            });
            for (i, _) in ranks.into_iter().skip(k) {
                members[i].values[step] = None;
            }
        }
        members.retain(|s| s.values.iter().any(Option::is_some));
        out.extend(members);
    }
    Ok(sorted(out, largest))
}

/// By the value of the first step, which is the only one of an instant query.
fn sorted(mut input: Vec<Series>, descending: bool) -> Vec<Series> {
    let first = |s: &Series| s.values.first().copied().flatten().unwrap_or(f64::NAN);
    input.sort_by(|a, b| by_value(first(a), first(b), descending).then_with(|| by_pairs(&a.labels, &b.labels)));
    input
}
