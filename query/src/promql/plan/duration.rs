//! Durations and shifts of a plan in milliseconds.
use super::{Grid, Planner};
use crate::error::{Error, Result};
use crate::promql::ast::{At, BinaryOp, DurationExpr, Selector, Shift};
use crate::promql::functions::extended::Extension;
use crate::promql::functions::math;
use crate::promql::functions::range::Windows;

/// Seconds that fit into nanoseconds of an i64.
const SECONDS_MAX: f64 = 9_223_372_036.0;

fn invalid<T>(message: &str) -> Result<T> {
    Err(Error::Parse { message: message.to_owned() })
}

impl Planner {
    fn seconds(&self, duration: &DurationExpr) -> Result<f64> {
        Ok(match duration {
            DurationExpr::Literal { seconds, .. } => *seconds,
            DurationExpr::Step => self.request.step_ms as f64 / 1000.0,
            DurationExpr::Range => self.request.end_ms.saturating_sub(self.request.start_ms) as f64 / 1000.0,
            DurationExpr::Neg(inner) => -self.seconds(inner)?,
            DurationExpr::Paren(inner) => self.seconds(inner)?,
            DurationExpr::MinOf(a, b) => math::min(self.seconds(a)?, self.seconds(b)?),
            DurationExpr::MaxOf(a, b) => math::max(self.seconds(a)?, self.seconds(b)?),
            DurationExpr::Binary(op, a, b) => {
                let (a, b) = (self.seconds(a)?, self.seconds(b)?);
                match op {
                    BinaryOp::Add => a + b,
                    BinaryOp::Sub => a - b,
                    BinaryOp::Mul => a * b,
                    BinaryOp::Div if b == 0.0 => return invalid("division by zero"),
                    BinaryOp::Div => a / b,
                    BinaryOp::Mod if b == 0.0 => return invalid("modulo by zero"),
                    BinaryOp::Mod => a % b,
                    BinaryOp::Pow => a.powf(b),
                    _ => return invalid("unexpected duration expression operator"),
                }
            }
        })
    }

    fn ms(&self, duration: &DurationExpr) -> Result<i64> {
        let seconds = self.seconds(duration)?;
        if !seconds.is_finite() {
            return invalid("duration is NaN or infinite");
        }
        if seconds.abs() > SECONDS_MAX {
            return invalid("duration is out of range");
        }
        // A literal is rounded to nanoseconds, an expression cut to milliseconds, as in Prometheus.
        Ok(match duration {
            DurationExpr::Literal { .. } => ((seconds * 1e9).round() as i64) / 1_000_000,
            _ => (seconds * 1000.0) as i64,
        })
    }

    /// Length of a range or step: above zero.
    pub(super) fn range_ms(&self, duration: &DurationExpr) -> Result<i64> {
        match self.ms(duration)? {
            ms if ms > 0 => Ok(ms),
            _ => invalid("duration must be greater than 0"),
        }
    }

    /// The windows of `range_ms` that a selector or subquery with this shift sees on `grid`.
    pub(super) fn windows(&self, shift: &Shift, range_ms: i64, grid: &Grid) -> Result<Windows> {
        let offset_ms = shift.offset.as_ref().map(|o| self.ms(o)).transpose()?.unwrap_or(0);
        let fixed_ms = shift.at.map(|at| match at {
            At::Time(ms) => ms,
            At::Start => self.request.start_ms,
            At::End => self.request.end_ms,
        });
        Ok(Windows {
            first_end_ms: fixed_ms.unwrap_or(grid.start_ms).saturating_sub(offset_ms),
            end_step_ms: if fixed_ms.is_some() { 0 } else { grid.step_ms },
            count: grid.count,
            range_ms,
            first_eval_ms: grid.start_ms,
            eval_step_ms: grid.step_ms,
            extension: Extension::None,
            lookback_ms: self.request.lookback_ms,
        })
    }

    pub(super) fn range_windows(&self, selector: &Selector, range: &DurationExpr, grid: &Grid) -> Result<Windows> {
        self.windows(&selector.shift, self.range_ms(range)?, grid)
    }
}
