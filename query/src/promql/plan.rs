//! A checked query to a plan: which samples to ask for and what to evaluate where.
mod call;
mod duration;
mod info;
mod select;

use std::sync::Arc;

use trine_store::index::Matcher;
use trine_store::model::Labels;

use super::ast::{AggregateOp, BinaryOp, Expr, Matching, Span};
use super::functions::extended::Extension;
use super::functions::range::{RangeFn, Windows};
use crate::error::{Error, Result};

pub(super) use select::{SelectKind, SelectPlan};

/// Times at which an expression is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub start_ms: i64,
    /// At least 1.
    pub step_ms: i64,
    pub count: usize,
}

impl Grid {
    /// Times from `start_ms` to `end_ms`, both possible.
    pub(super) fn new(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let step_ms = step_ms.max(1);
        let count = if end_ms < start_ms { 0 } else { (end_ms.saturating_sub(start_ms) / step_ms) as usize + 1 };
        Self { start_ms, step_ms, count }
    }

    pub(super) fn at(&self, step: usize) -> i64 {
        self.start_ms.saturating_add(self.step_ms.saturating_mul(step as i64))
    }
}

/// The request that a plan is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub start_ms: i64,
    pub end_ms: i64,
    /// 0 for an instant query.
    pub step_ms: i64,
    pub lookback_ms: i64,
    /// Samples that the query may read or hold.
    pub samples_max: u64,
}

/// One operation of a plan. Every node but the strings and ranges has a value at each step of its grid.
#[derive(Debug)]
pub(super) enum Node {
    Number(f64),
    Text(String),
    /// `time()`.
    Time,
    /// Series or groups that come back evaluated; a single step stands for all steps.
    Fetched {
        select: usize,
        drop_name: bool,
    },
    /// A function of a range whose parameters change from step to step, over raw samples.
    Ranged {
        select: usize,
        call: RangeCall,
    },
    /// A function of a range over a subquery.
    Subquery {
        inner: Box<Node>,
        inner_grid: Grid,
        call: RangeCall,
    },
    /// Raw samples as the answer of an instant query.
    RawMatrix {
        select: usize,
        windows: Windows,
    },
    /// A subquery as the answer of an instant query.
    SubqueryMatrix {
        inner: Box<Node>,
        inner_grid: Grid,
    },
    /// 1 where no series has a value.
    Absent {
        expr: Box<Node>,
        labels: Labels,
    },
    /// `info()`: labels of info metrics joined to series; its position in [`Plan::infos`].
    Info(usize),
    Negate(Box<Node>),
    Binary(Box<BinaryNode>),
    Aggregate(Box<AggregateNode>),
    /// A function of vectors and scalars, by name; `spans` are the arguments'.
    Call {
        name: &'static str,
        args: Vec<Node>,
        span: Span,
        spans: Vec<Span>,
    },
}

impl Node {
    /// Whether evaluating it takes about as many operations as there are series and steps, given the text is short.
    pub(super) fn is_light(&self) -> bool {
        match self {
            Self::Number(_) | Self::Text(_) | Self::Time | Self::Fetched { .. } | Self::RawMatrix { .. } => true,
            Self::Negate(inner) => inner.is_light(),
            Self::Binary(binary) => binary.lhs.is_light() && binary.rhs.is_light(),
            // A column for each value there is.
            Self::Aggregate(aggregate) if aggregate.op == AggregateOp::CountValues => false,
            Self::Aggregate(aggregate) => {
                aggregate.expr.is_light() && aggregate.param.as_ref().is_none_or(Self::is_light)
            }
            // Patterns to compile, and labels that grow.
            Self::Call { name: "label_replace" | "label_join", .. } => false,
            Self::Call { args, .. } => args.iter().all(Self::is_light),
            Self::Ranged { .. }
            | Self::Subquery { .. }
            | Self::SubqueryMatrix { .. }
            | Self::Absent { .. }
            | Self::Info(_) => false,
        }
    }
}

/// A function of a range, where its result is computed on the asking node.
#[derive(Debug)]
pub(super) struct RangeCall {
    pub function: RangeFn,
    pub windows: Windows,
    pub params: Vec<Node>,
    /// Of the range argument.
    pub span: Span,
}

/// `info()`. Which info series are asked for depends on the series that they are joined to.
#[derive(Debug)]
pub(super) struct InfoPlan {
    pub base: Node,
    pub grid: Grid,
    /// The info series, by the times of their samples, before they are narrowed down to those that can be joined.
    pub select: SelectPlan,
    /// Matchers of the info metrics' names.
    pub names: Vec<Matcher>,
    /// Matchers of the labels to join; all labels if there is none.
    pub data: Vec<Matcher>,
}

#[derive(Debug)]
pub(super) struct BinaryNode {
    pub op: BinaryOp,
    pub lhs: Node,
    pub rhs: Node,
    pub is_bool: bool,
    /// Between two vectors.
    pub matching: Option<Matching>,
    pub span: Span,
}

#[derive(Debug)]
pub(super) struct AggregateNode {
    pub op: AggregateOp,
    pub expr: Node,
    pub param: Option<Node>,
    pub grouping: Vec<String>,
    pub without: bool,
    pub span: Span,
    /// Of what is aggregated.
    pub expr_span: Span,
    pub param_span: Span,
}

/// A plan: the selectors to ask for in one fragment, what to ask for once parts of the tree are evaluated, and the tree over all.
#[derive(Debug)]
pub(super) struct Plan {
    pub root: Node,
    pub grid: Grid,
    pub selects: Vec<SelectPlan>,
    /// The inner ones before those around them.
    pub infos: Vec<Arc<InfoPlan>>,
}

/// Plans a checked expression. Errors: [`Error::Unsupported`], [`Error::Parse`] for a duration out of range.
pub(super) fn plan(expr: &Expr, request: &Request) -> Result<Plan> {
    let grid = if request.step_ms == 0 {
        Grid { start_ms: request.start_ms, step_ms: 1, count: 1 }
    } else {
        Grid::new(request.start_ms, request.end_ms, request.step_ms)
    };
    let mut planner = Planner { request: *request, selects: Vec::new(), infos: Vec::new(), stats: 0, whole: 0 };
    let root = planner.root(expr, &grid)?;
    Ok(Plan { root, grid, selects: planner.selects, infos: planner.infos })
}

struct Planner {
    request: Request,
    selects: Vec<SelectPlan>,
    infos: Vec<Arc<InfoPlan>>,
    /// Calls around the present node that need no more of histograms than count and sum.
    stats: usize,
    /// Calls, operators and subqueries around it that need whole histograms.
    whole: usize,
}

fn unsupported<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::Unsupported { what: what.into() })
}

impl Planner {
    fn root(&mut self, expr: &Expr, grid: &Grid) -> Result<Node> {
        match expr.unparen() {
            Expr::Matrix { selector, range, .. } => {
                let mut windows = self.range_windows(selector, range, grid)?;
                windows.extension = Extension::of(selector.anchored, selector.smoothed);
                let select = self.add(selector, &windows, SelectKind::Raw);
                Ok(Node::RawMatrix { select, windows })
            }
            Expr::Subquery { .. } => {
                let (inner, inner_grid, _) = self.subquery(expr.unparen(), grid)?;
                Ok(Node::SubqueryMatrix { inner: Box::new(inner), inner_grid })
            }
            other => self.node(other, grid),
        }
    }

    fn node(&mut self, expr: &Expr, grid: &Grid) -> Result<Node> {
        match expr {
            Expr::Number { value, .. } => Ok(Node::Number(*value)),
            Expr::String { value, .. } => Ok(Node::Text(value.clone())),
            Expr::Paren { expr, .. } => self.node(expr, grid),
            Expr::Unary { negative: false, expr, .. } => self.node(expr, grid),
            Expr::Unary { expr, .. } => Ok(Node::Negate(Box::new(self.node(expr, grid)?))),
            Expr::Vector(selector) => self.instant(selector, RangeFn::Instant, grid),
            Expr::Binary { .. } => self.binary(expr, grid),
            Expr::Aggregate { .. } => self.aggregate(expr, grid),
            Expr::Call { function, args, span } => self.call(function.name, args, *span, grid),
            Expr::Matrix { .. } | Expr::Subquery { .. } => unsupported("a range vector outside a function call"),
        }
    }

    fn binary(&mut self, expr: &Expr, grid: &Grid) -> Result<Node> {
        let Expr::Binary { op, lhs, rhs, is_bool, matching, .. } = expr else {
            return unsupported("another expression in place of a binary one");
        };
        let trims = usize::from(matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower));
        self.whole += trims;
        let (lhs, rhs) = (self.node(lhs, grid)?, self.node(rhs, grid)?);
        self.whole -= trims;
        Ok(Node::Binary(Box::new(BinaryNode {
            op: *op,
            lhs,
            rhs,
            is_bool: *is_bool,
            matching: matching.clone(),
            span: expr.span(),
        })))
    }

    fn aggregate(&mut self, expr: &Expr, grid: &Grid) -> Result<Node> {
        let Expr::Aggregate { op, expr: inner, param, grouping, without, span } = expr else {
            return unsupported("another expression in place of an aggregation");
        };
        let first_select = self.selects.len();
        let node = self.node(inner, grid)?;
        if let Node::Fetched { drop_name, .. } = node
            && self.selects.len() == first_select + 1
            && self.selects[first_select].push_group(*op, *without, grouping, inner.span())
        {
            return Ok(Node::Fetched { select: first_select, drop_name });
        }
        Ok(Node::Aggregate(Box::new(AggregateNode {
            op: *op,
            expr: node,
            param: param.as_ref().map(|p| self.node(p, grid)).transpose()?,
            grouping: grouping.clone(),
            without: *without,
            span: *span,
            expr_span: inner.span(),
            param_span: param.as_ref().map_or(Span::default(), |p| p.span()),
        })))
    }

    /// The inside of a subquery, its own grid, and the windows over it that `grid` asks for.
    fn subquery(&mut self, expr: &Expr, grid: &Grid) -> Result<(Node, Grid, Windows)> {
        let Expr::Subquery { expr, range, step, shift, .. } = expr else {
            return unsupported("another expression in place of a subquery");
        };
        let range_ms = self.range_ms(range)?;
        let step_ms = match step {
            Some(step) => self.range_ms(step)?,
            None => super::SUBQUERY_STEP_MS,
        };
        let windows = self.windows(shift, range_ms, grid)?;
        let (min_ms, max_ms) = windows.span_ms();
        // The first multiple of the step after the open left edge.
        let edge = min_ms.saturating_sub(1);
        let mut start_ms = edge / step_ms * step_ms;
        if start_ms <= edge {
            start_ms = start_ms.saturating_add(step_ms);
        }
        let inner_grid = Grid::new(start_ms, max_ms, step_ms);
        if inner_grid.count as u64 > self.request.samples_max {
            return Err(super::local::too_many_samples());
        }
        self.whole += 1;
        let inner = self.node(expr, &inner_grid)?;
        self.whole -= 1;
        Ok((inner, inner_grid, windows))
    }
}

#[cfg(test)]
mod tests {
    use super::super::parser::parse;
    use super::*;

    const REQUEST: Request =
        Request { start_ms: 600_000, end_ms: 1_200_000, step_ms: 60_000, lookback_ms: 300_000, samples_max: 1_000_000 };

    fn selects(query: &str) -> Vec<SelectPlan> {
        plan(&parse(query).unwrap(), &REQUEST).unwrap().selects
    }

    #[test]
    fn per_series_functions_and_aggregations_run_beside_the_data() {
        use SelectKind::{Groups, Raw, Steps};
        let is = |query: &str, matches: fn(&SelectKind) -> bool| {
            assert!(selects(query).iter().all(|s| matches(&s.kind)), "{query}");
        };
        for query in ["m", "rate(m[5m])", "predict_linear(m[1h], 4 * 3600)", "topk(3, m)", "m + m", "abs(m)"] {
            is(query, |k| matches!(k, Steps { .. }));
        }
        for query in [
            "sum by (a) (rate(m[5m]))",
            "count(m)",
            "avg(m offset 1h)",
            "absent(m)",
            "absent_over_time(m[5m])",
            "max(m) / min(m)",
        ] {
            is(query, |k| matches!(k, Groups { .. }));
        }
        is("quantile_over_time(scalar(1 + vector(1)), m[5m])", |k| matches!(k, Raw));
    }

    #[test]
    fn whole_histograms_are_asked_for_only_where_they_matter() {
        let stats = |query: &str| selects(query).iter().map(|s| s.stats_only).collect::<Vec<_>>();
        for (query, want) in [
            ("histogram_count(m)", &[true][..]),
            ("histogram_sum(sum(rate(m[5m])))", &[true]),
            ("m", &[false]),
            ("histogram_avg(m) + histogram_quantile(0.5, m)", &[true, false]),
            ("histogram_count(m </ 3)", &[false]),
            ("histogram_count(max_over_time(m[5m:1m]))", &[false]),
        ] {
            assert_eq!(stats(query), want, "{query}");
        }
    }

    #[test]
    fn requests_reach_exactly_as_far_as_the_query_looks() {
        for (query, span) in [
            ("m", (300_001, 1_200_000)),
            ("m offset 1m", (240_001, 1_140_000)),
            ("rate(m[1m])", (540_001, 1_200_000)),
            ("rate(m[1m] @ 60)", (1, 60_000)),
            ("m @ end()", (900_001, 1_200_000)),
            ("max_over_time(m[2m:1m])", (240_001, 1_200_000)),
            ("increase(m[1m] anchored)", (240_001, 1_200_000)),
            ("m smoothed", (300_001, 1_500_000)),
        ] {
            assert_eq!(selects(query)[0].windows.span_ms(), span, "{query}");
        }
        // With a fixed window one step stands for all.
        assert_eq!(selects("m @ 60")[0].windows.count, 1);
        assert_eq!(selects("m")[0].windows.count, 11);
    }
}
