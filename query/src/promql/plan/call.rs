//! Function calls of a plan.
use trine_store::index::{MatchOp, Matcher};
use trine_store::model::Labels;

use super::{Grid, Node, Planner, RangeCall, SelectKind, unsupported};
use crate::error::{Error, Result};
use crate::promql::ast::{AggregateOp, Expr, Selector, Span};
use crate::promql::functions::extended::Extension;
use crate::promql::functions::range::RangeFn;
use crate::promql::labels;
use crate::promql::parser::METRIC_NAME;

/// Functions that need no more of histograms than count and sum.
const STATS: [&str; 3] = ["histogram_avg", "histogram_count", "histogram_sum"];
/// Functions that need whole histograms, whatever is around them.
const WHOLE: [&str; 3] = ["histogram_fraction", "histogram_quantile", "histogram_quantiles"];

impl Planner {
    pub(super) fn call(&mut self, name: &'static str, args: &[Expr], span: Span, grid: &Grid) -> Result<Node> {
        let (stats, whole) = (usize::from(STATS.contains(&name)), usize::from(WHOLE.contains(&name)));
        self.stats += stats;
        self.whole += whole;
        let node = self.call_of(name, args, span, grid);
        self.stats -= stats;
        self.whole -= whole;
        node
    }

    fn call_of(&mut self, name: &'static str, args: &[Expr], span: Span, grid: &Grid) -> Result<Node> {
        let seconds = |ms: i64| Node::Number(ms as f64 / 1000.0);
        // Over anything but a selector these are about the step, not about samples.
        let of_sample = match name {
            "timestamp" => Some(RangeFn::InstantTimestamp),
            "start_timestamp" => Some(RangeFn::StartTimestamp),
            _ => None,
        };
        if let (Some(function), Some(Expr::Vector(selector))) = (of_sample, args.first().map(Expr::unparen)) {
            return self.instant(selector, function, grid);
        }
        match name {
            "time" => Ok(Node::Time),
            "pi" => Ok(Node::Number(std::f64::consts::PI)),
            "start" => Ok(seconds(self.request.start_ms)),
            "end" => Ok(seconds(self.request.end_ms)),
            "step" => Ok(seconds(self.request.step_ms)),
            "range" => Ok(seconds(self.request.end_ms.saturating_sub(self.request.start_ms))),
            "info" => self.info(args, grid),
            "absent" => self.absent(&args[0], grid),
            "absent_over_time" => {
                let first_select = self.selects.len();
                let node = self.range_call(RangeFn::Present, &args[0], &[], grid)?;
                self.push_presence(&node, first_select);
                Ok(Node::Absent { expr: Box::new(node), labels: absent_labels(&args[0]) })
            }
            _ => match RangeFn::from_name(name) {
                Some(function) => {
                    let is_range = |e: &&Expr| e.value_type() == crate::promql::ast::ValueType::Matrix;
                    let range = args.iter().find(is_range).unwrap_or(&args[0]);
                    let params: Vec<&Expr> = args.iter().filter(|a| !is_range(a)).collect();
                    self.range_call(function, range, &params, grid)
                }
                None => {
                    let nodes = args.iter().map(|a| self.node(a, grid)).collect::<Result<_>>()?;
                    Ok(Node::Call { name, args: nodes, span, spans: args.iter().map(Expr::span).collect() })
                }
            },
        }
    }

    fn absent(&mut self, arg: &Expr, grid: &Grid) -> Result<Node> {
        let first_select = self.selects.len();
        let expr = self.node(arg, grid)?;
        self.push_presence(&expr, first_select);
        Ok(Node::Absent { expr: Box::new(expr), labels: absent_labels(arg) })
    }

    /// Whether there is any series is all that matters: let the shards say so.
    fn push_presence(&mut self, node: &Node, first_select: usize) {
        if matches!(node, Node::Fetched { .. }) && self.selects.len() == first_select + 1 {
            self.selects[first_select].push_group(AggregateOp::Group, false, &[], Span::default());
        }
    }

    fn range_call(&mut self, function: RangeFn, range: &Expr, params: &[&Expr], grid: &Grid) -> Result<Node> {
        let span = range.span();
        match range.unparen() {
            Expr::Matrix { selector, range, .. } => {
                let mut windows = self.range_windows(selector, range, grid)?;
                windows.extension = extension(selector, function)?;
                let constants: Option<Vec<f64>> = params.iter().map(|p| constant(p)).collect();
                // Smoothing and quantiles judge their parameters where the warning can be worded.
                match constants {
                    Some(constants) if !matches!(function, RangeFn::Smoothing) && is_quiet(function, &constants) => {
                        self.pushed(selector, function, windows, constants)
                    }
                    _ => {
                        let select = self.add(selector, &windows, SelectKind::Raw);
                        let params = params.iter().map(|p| self.node(p, grid)).collect::<Result<_>>()?;
                        Ok(Node::Ranged { select, call: RangeCall { function, windows, params, span } })
                    }
                }
            }
            subquery @ Expr::Subquery { .. } => {
                let (inner, inner_grid, windows) = self.subquery(subquery, grid)?;
                let params = params.iter().map(|p| self.node(p, grid)).collect::<Result<_>>()?;
                let call = RangeCall { function, windows, params, span };
                Ok(Node::Subquery { inner: Box::new(inner), inner_grid, call })
            }
            _ => unsupported("a range that is neither a selector nor a subquery"),
        }
    }
}

/// How the selector treats the edges of its range; refuses functions that this is not for.
fn extension(selector: &Selector, function: RangeFn) -> Result<Extension> {
    let extension = Extension::of(selector.anchored, selector.smoothed);
    let name = function.name();
    if extension == Extension::None || extension.functions().contains(&name) {
        return Ok(extension);
    }
    let (word, functions) = (if selector.anchored { "anchored" } else { "smoothed" }, extension.functions().join(", "));
    let message = format!("{word} modifier can only be used with: {functions} - not with {name}");
    Err(Error::Execution { message })
}

fn is_quiet(function: RangeFn, params: &[f64]) -> bool {
    function != RangeFn::Quantile || params.iter().all(|q| (0.0..=1.0).contains(q))
}

/// The value of a scalar expression that is the same at every step.
fn constant(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Number { value, .. } => Some(*value),
        Expr::Paren { expr, .. } => constant(expr),
        Expr::Unary { negative, expr, .. } => constant(expr).map(|v| if *negative { -v } else { v }),
        Expr::Binary { op, lhs, rhs, .. } => crate::promql::eval::scalar_binary(*op, constant(lhs)?, constant(rhs)?),
        _ => None,
    }
}

/// Labels of the series that `absent` makes up: those that the selector fixes.
fn absent_labels(arg: &Expr) -> Labels {
    let matchers: &[Matcher] = match arg.unparen() {
        Expr::Vector(selector) | Expr::Matrix { selector, .. } => &selector.matchers,
        _ => &[],
    };
    let mut out = Labels::empty();
    let mut seen: Vec<&str> = Vec::new();
    for m in matchers.iter().filter(|m| m.name != METRIC_NAME) {
        if m.op == MatchOp::Eq && !seen.contains(&m.name.as_str()) {
            out = labels::set(&out, &m.name, &m.value);
            seen.push(&m.name);
        } else {
            out = labels::set(&out, &m.name, "");
        }
    }
    out
}
