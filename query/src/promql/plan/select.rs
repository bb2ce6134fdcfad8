//! Selectors of a plan: what is asked of the shards, and what is pushed down with it.
use trine_store::index::Matcher;

use super::{Grid, Node, Planner};
use crate::error::Result;
use crate::promql::ast::{AggregateOp, Selector, Span};
use crate::promql::fragment::{self, Partial, Steps};
use crate::promql::functions::extended::Extension;
use crate::promql::functions::range::{RangeFn, Windows};

/// What comes back for a selector.
#[derive(Clone, Debug)]
pub(in crate::promql) enum SelectKind {
    /// Samples.
    Raw,
    /// A step vector for each series.
    Steps { function: RangeFn, params: Vec<f64> },
    /// Partial aggregates of step vectors.
    Groups { function: RangeFn, params: Vec<f64>, partial: Partial, without: bool, labels: Vec<String> },
}

/// One selector of a plan.
#[derive(Clone, Debug)]
pub(in crate::promql) struct SelectPlan {
    pub matchers: Vec<Matcher>,
    pub windows: Windows,
    pub kind: SelectKind,
    pub span: Span,
    /// Of the expression that is aggregated with it.
    pub expr_span: Span,
    /// Of histograms only count and sum are needed.
    pub stats_only: bool,
}

impl SelectPlan {
    /// Turns step vectors into partial aggregates, if the aggregation can be merged from parts.
    pub(super) fn push_group(&mut self, op: AggregateOp, without: bool, labels: &[String], expr_span: Span) -> bool {
        let SelectKind::Steps { function, params } = &self.kind else { return false };
        let Some(partial) = Partial::of(op) else { return false };
        let (function, params) = (*function, params.clone());
        self.kind = SelectKind::Groups { function, params, partial, without, labels: labels.to_vec() };
        self.expr_span = expr_span;
        true
    }

    /// The message to the shards.
    pub(in crate::promql) fn message(&self) -> fragment::Select {
        let (min_ms, max_ms) = self.windows.span_ms();
        let steps = |function: &RangeFn, params: &Vec<f64>| Some(Steps::new(*function, &self.windows, params.clone()));
        let (steps, group) = match &self.kind {
            SelectKind::Raw => (None, None),
            SelectKind::Steps { function, params } => (steps(function, params), None),
            SelectKind::Groups { function, params, partial, without, labels } => (
                steps(function, params),
                Some(fragment::Group { partial: *partial as u32, without: *without, labels: labels.clone() }),
            ),
        };
        let matchers = fragment::put_matchers(&self.matchers);
        fragment::Select { matchers, min_ms, max_ms, steps, group, stats_only: self.stats_only }
    }
}

impl Planner {
    /// Adds a selector and returns its position.
    pub(super) fn add(&mut self, selector: &Selector, windows: &Windows, kind: SelectKind) -> usize {
        self.selects.push(self.select(selector, windows, kind));
        self.selects.len() - 1
    }

    pub(super) fn select(&self, selector: &Selector, windows: &Windows, kind: SelectKind) -> SelectPlan {
        SelectPlan {
            matchers: selector.matchers.clone(),
            windows: *windows,
            kind,
            span: selector.span,
            expr_span: selector.span,
            stats_only: self.stats > 0 && self.whole == 0,
        }
    }

    /// An instant selector with one of the instant functions. `anchored` means nothing to it, `smoothed` nothing but for
    /// its values.
    pub(super) fn instant(&mut self, selector: &Selector, function: RangeFn, grid: &Grid) -> Result<Node> {
        let mut windows = self.windows(&selector.shift, self.request.lookback_ms, grid)?;
        if selector.smoothed && function == RangeFn::Instant {
            // It looks for samples on both sides of the step, as far as the lookback.
            (windows.extension, windows.range_ms) = (Extension::Smoothed, 0);
        }
        self.pushed(selector, function, windows, Vec::new())
    }

    /// A function of a range with constant parameters, evaluated beside the data.
    pub(super) fn pushed(
        &mut self,
        selector: &Selector,
        function: RangeFn,
        mut windows: Windows,
        params: Vec<f64>,
    ) -> Result<Node> {
        // With a fixed window one step stands for all, unless the function looks at the step's own time.
        if windows.end_step_ms == 0 && function != RangeFn::PredictLinear {
            windows.count = windows.count.min(1);
        }
        let select = self.add(selector, &windows, SelectKind::Steps { function, params });
        Ok(Node::Fetched { select, drop_name: !function.keeps_name() })
    }
}
