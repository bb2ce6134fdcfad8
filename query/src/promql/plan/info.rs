//! `info()`: which info metrics to ask for, and when.
use std::sync::Arc;

use trine_store::index::{MatchOp, Matcher};

use super::select::SelectKind;
use super::{Grid, InfoPlan, Node, Planner, unsupported};
use crate::error::Result;
use crate::promql::ast::{Expr, Selector, Shift};
use crate::promql::functions::range::RangeFn;
use crate::promql::parser::METRIC_NAME;

impl Planner {
    pub(super) fn info(&mut self, args: &[Expr], grid: &Grid) -> Result<Node> {
        let data: Vec<Matcher> = match args.get(1) {
            Some(Expr::Vector(selector)) => selector.matchers.clone(),
            Some(_) => return unsupported("info() with another second argument than a selector"),
            None => Vec::new(),
        };
        let (names, data): (Vec<Matcher>, Vec<Matcher>) = data.into_iter().partition(|m| m.name == METRIC_NAME);
        let Some(names) = effective_names(names) else { return unsupported("this selection of info metrics") };
        let base = self.node(&args[0], grid)?;
        // Info series are read as of the time of the first selector inside.
        let shift = first_shift(&args[0]).unwrap_or_default();
        let mut windows = self.windows(&shift, self.request.lookback_ms, grid)?;
        if windows.end_step_ms == 0 {
            windows.count = windows.count.min(1);
        }
        let selector = Selector {
            name: None,
            matchers: names.iter().chain(&data).cloned().collect(),
            shift,
            anchored: false,
            smoothed: false,
            allows_empty: true,
            span: args.get(1).unwrap_or(&args[0]).span(),
        };
        let kind = SelectKind::Steps { function: RangeFn::InfoTimestamp, params: Vec::new() };
        let select = self.select(&selector, &windows, kind);
        self.infos.push(Arc::new(InfoPlan { base, grid: *grid, select, names, data }));
        Ok(Node::Info(self.infos.len() - 1))
    }
}

/// `target_info` unless the selector says otherwise; anything named `…_info` if it only excludes.
fn effective_names(mut names: Vec<Matcher>) -> Option<Vec<Matcher>> {
    if names.is_empty() {
        return Some(vec![Matcher::new(METRIC_NAME, MatchOp::Eq, "target_info").ok()?]);
    }
    if !names.iter().any(|m| matches!(m.op, MatchOp::Eq | MatchOp::Regex)) {
        names.insert(0, Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info").ok()?);
    }
    Some(names)
}

/// `@` and `offset` of the first selector, and of the subqueries around it until one has an `@`.
fn first_shift(expr: &Expr) -> Option<Shift> {
    match expr {
        Expr::Vector(selector) | Expr::Matrix { selector, .. } => Some(selector.shift.clone()),
        Expr::Number { .. } | Expr::String { .. } => None,
        Expr::Unary { expr, .. } | Expr::Paren { expr, .. } => first_shift(expr),
        Expr::Binary { lhs, rhs, .. } => first_shift(lhs).or_else(|| first_shift(rhs)),
        Expr::Aggregate { expr, param, .. } => {
            first_shift(expr).or_else(|| param.as_ref().and_then(|p| first_shift(p)))
        }
        Expr::Call { args, .. } => args.iter().find_map(first_shift),
        Expr::Subquery { expr, shift, .. } => {
            let mut inner = first_shift(expr)?;
            if inner.at.is_none() {
                inner.at = shift.at;
                inner.offset = add(inner.offset, shift.offset.clone());
            }
            Some(inner)
        }
    }
}

fn add(
    a: Option<crate::promql::ast::DurationExpr>,
    b: Option<crate::promql::ast::DurationExpr>,
) -> Option<crate::promql::ast::DurationExpr> {
    use crate::promql::ast::{BinaryOp, DurationExpr};
    match (a, b) {
        (Some(a), Some(b)) => Some(DurationExpr::Binary(BinaryOp::Add, Box::new(a), Box::new(b))),
        (a, b) => a.or(b),
    }
}
