//! What of a metric query runs beside the data. Both sides derive it from the same text, so it needs no message of its own.
use super::ast::{AggregateOp, Grouping, MetricExpr, RangeExpr, RangeOp};
use crate::error::{Error, Result};

/// Instants at which a metric query is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) start_ns: i64,
    pub(super) step_ns: i64,
    pub(super) steps: usize,
}

impl Grid {
    pub(super) fn time_ns(&self, step: usize) -> i64 {
        self.start_ns.saturating_add(self.step_ns.saturating_mul(step as i64))
    }

    /// The steps whose window `(t - range, t]` holds `time_ns`, if any: first and last.
    pub(super) fn steps_of(&self, time_ns: i64, range_ns: i64) -> Option<(usize, usize)> {
        let (start, step) = (i128::from(self.start_ns), i128::from(self.step_ns.max(1)));
        let time = i128::from(time_ns);
        let first = (time - start + step - 1).div_euclid(step).max(0);
        let last = (time + i128::from(range_ns) - 1 - start).div_euclid(step).min(self.steps as i128 - 1);
        (first <= last).then_some((first as usize, last as usize))
    }
}

/// What is kept of a series for each step, so that parts from several shards merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StateKind {
    /// Number of entries.
    Count,
    /// Bytes of lines.
    Bytes,
    /// Sum of unwrapped values.
    Sum,
    /// Sum and count.
    Avg,
    Min,
    Max,
    /// Count, mean, sum of squared distances.
    Variance,
    First,
    Last,
    /// The samples themselves.
    Samples,
}

/// The part of a query that one fragment answers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RangePlan {
    pub(super) range: RangeExpr,
    pub(super) kind: StateKind,
    /// Grouping of a vector aggregation that merges exactly as the states do and is answered along with the range.
    pub(super) outer: Option<Grouping>,
}

impl RangePlan {
    /// The plan of a range aggregation, or of a vector aggregation that folds into one; `None` for any other expression.
    pub(super) fn of(expr: &MetricExpr) -> Result<Option<Self>> {
        match expr {
            MetricExpr::Range(range) => Ok(Some(Self { range: range.clone(), kind: state_kind(range)?, outer: None })),
            MetricExpr::Aggregate { op, grouping, expr, .. } => {
                let MetricExpr::Range(range) = expr.as_ref() else { return Ok(None) };
                let kind = state_kind(range)?;
                let folds = match op {
                    AggregateOp::Sum => {
                        matches!(kind, StateKind::Count | StateKind::Bytes | StateKind::Sum)
                            && range.op != RangeOp::Absent
                    }
                    AggregateOp::Min => kind == StateKind::Min,
                    AggregateOp::Max => kind == StateKind::Max,
                    _ => false,
                };
                let outer = grouping.clone().unwrap_or_default();
                Ok(folds.then(|| Self { range: range.clone(), kind, outer: Some(outer) }))
            }
            _ => Ok(None),
        }
    }
}

fn state_kind(range: &RangeExpr) -> Result<StateKind> {
    Ok(match range.op {
        RangeOp::Count | RangeOp::Absent => StateKind::Count,
        RangeOp::Rate if range.unwrap.is_none() => StateKind::Count,
        RangeOp::Rate | RangeOp::Sum => StateKind::Sum,
        RangeOp::Bytes | RangeOp::BytesRate => StateKind::Bytes,
        RangeOp::Avg => StateKind::Avg,
        RangeOp::Min => StateKind::Min,
        RangeOp::Max => StateKind::Max,
        RangeOp::Stddev | RangeOp::Stdvar => StateKind::Variance,
        RangeOp::First => StateKind::First,
        RangeOp::Last => StateKind::Last,
        RangeOp::Quantile => StateKind::Samples,
        RangeOp::RateCounter => return Err(Error::Unsupported { what: "rate_counter".to_owned() }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_exclude_their_start_and_include_their_end() {
        let grid = Grid { start_ns: 100, step_ns: 10, steps: 4 };
        // Steps at 100, 110, 120, 130 with windows of 20.
        for (time, expected) in [
            (80, None),
            (81, Some((0, 0))),
            (90, Some((0, 0))),
            (91, Some((0, 1))),
            (100, Some((0, 1))),
            (101, Some((1, 2))),
            (130, Some((3, 3))),
            (131, None),
        ] {
            assert_eq!(grid.steps_of(time, 20), expected, "{time}");
        }
        assert_eq!(Grid { start_ns: i64::MAX, step_ns: i64::MAX, steps: 1 }.steps_of(i64::MAX, i64::MAX), Some((0, 0)));
    }
}
