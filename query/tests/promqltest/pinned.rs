//! Evals with all selectors pinned to a time by `@`: then they are the same at any time, as Prometheus' own runner checks.
use trine_query::promql::ast::{At, Expr};
use trine_query::promql::parser::parse;
use trine_query::promql::text;

use crate::script::{Eval, When};

/// Functions whose result varies though their arguments do not.
const VARYING: [&str; 15] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "end",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "timestamp",
];

/// The eval of an instant query, pinned to its time and asked at others; none for what varies anyway.
pub(crate) fn evals(eval: &Eval) -> Vec<Eval> {
    let (When::Instant { time_ms }, Ok(mut expr)) = (eval.when, parse(&eval.query)) else { return Vec::new() };
    if !pin(&mut expr, At::Time(time_ms)) {
        return Vec::new();
    }
    let times = if time_ms == 0 {
        vec![-1_000_000, 0, 1_000_000]
    } else {
        vec![-10 * time_ms, 0, time_ms / 5, time_ms, 10 * time_ms]
    };
    let at = |time_ms| Eval { query: text(&expr), when: When::Instant { time_ms }, ..eval.clone() };
    times.into_iter().map(at).collect()
}

/// Whether the expression, pinned, is the same at any time. Inside of a pinned subquery there is nothing to do.
fn pin(expr: &mut Expr, at: At) -> bool {
    let set = |shift: &mut Option<At>| {
        if !matches!(shift, Some(At::Time(_))) {
            *shift = Some(at);
        }
    };
    match expr {
        Expr::Number { .. } | Expr::String { .. } => true,
        Expr::Vector(selector) | Expr::Matrix { selector, .. } => {
            set(&mut selector.shift.at);
            true
        }
        Expr::Subquery { expr, shift, .. } => {
            set(&mut shift.at);
            !varies(expr)
        }
        Expr::Unary { expr, .. } | Expr::Paren { expr, .. } => pin(expr, at),
        Expr::Binary { lhs, rhs, .. } => {
            let (lhs, rhs) = (pin(lhs, at), pin(rhs, at));
            lhs && rhs
        }
        Expr::Aggregate { expr, param, .. } => {
            let param = param.as_mut().is_none_or(|param| pin(param, at));
            pin(expr, at) && param
        }
        Expr::Call { function, args, .. } => {
            let pinned: Vec<bool> = args.iter_mut().map(|arg| pin(arg, at)).collect();
            !pinned.contains(&false) && !VARYING.contains(&function.name)
        }
    }
}

/// Whether a function that varies is called.
fn varies(expr: &Expr) -> bool {
    match expr {
        Expr::Number { .. } | Expr::String { .. } | Expr::Vector(_) | Expr::Matrix { .. } => false,
        Expr::Subquery { expr, .. } | Expr::Unary { expr, .. } | Expr::Paren { expr, .. } => varies(expr),
        Expr::Binary { lhs, rhs, .. } => varies(lhs) || varies(rhs),
        Expr::Aggregate { expr, param, .. } => varies(expr) || param.as_ref().is_some_and(|p| varies(p)),
        Expr::Call { function, args, .. } => VARYING.contains(&function.name) || args.iter().any(varies),
    }
}
