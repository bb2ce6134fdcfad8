//! Metrics queries: first stages, `topk`/`bottomk`, filters and arithmetic.
use super::field::binary_op;
use super::node::Node;
use super::{Parsed, Parser};
use crate::traceql::ast::{BinaryOp, MetricsExpr, MetricsFunction, Pipeline, ScalarExpr, SpansetExpr, Static};
use crate::traceql::lexer::TokenKind;

impl Parser {
    /// A first-stage function, if one follows.
    pub(super) fn metrics_function(&mut self) -> Parsed<Option<MetricsFunction>> {
        let TokenKind::Word(word) = self.peek() else { return Ok(None) };
        let word = word.clone();
        let on_field: Option<fn(_) -> MetricsFunction> = match word.as_str() {
            "min_over_time" => Some(MetricsFunction::MinOverTime),
            "max_over_time" => Some(MetricsFunction::MaxOverTime),
            "avg_over_time" => Some(MetricsFunction::AvgOverTime),
            "sum_over_time" => Some(MetricsFunction::SumOverTime),
            "histogram_over_time" => Some(MetricsFunction::HistogramOverTime),
            "rate" | "count_over_time" | "quantile_over_time" | "compare" => None,
            _ => return Ok(None),
        };
        self.next();
        self.expect("(")?;
        let function = match on_field {
            Some(make) => make(self.field()?),
            None => match word.as_str() {
                "rate" => MetricsFunction::Rate,
                "count_over_time" => MetricsFunction::CountOverTime,
                "quantile_over_time" => self.quantile()?,
                _ => self.compare()?,
            },
        };
        self.expect(")")?;
        Ok(Some(function))
    }

    fn quantile(&mut self) -> Parsed<MetricsFunction> {
        let field = self.field()?;
        let mut quantiles = Vec::new();
        self.expect(",")?;
        loop {
            match self.next() {
                TokenKind::Static(Static::Float(q)) => quantiles.push(q),
                TokenKind::Static(Static::Int(q)) => quantiles.push(q as f64),
                _ => return self.unexpected_last(),
            }
            if !self.take_sign(",") {
                break;
            }
        }
        Ok(MetricsFunction::QuantileOverTime(field, quantiles))
    }

    fn compare(&mut self) -> Parsed<MetricsFunction> {
        let SpansetExpr::Filter(selection) = self.filter()? else { return self.unexpected_last() };
        let mut numbers = Vec::new();
        while self.take_sign(",") {
            match self.next() {
                TokenKind::Static(Static::Int(n)) if numbers.len() < 3 => numbers.push(n),
                _ => return self.unexpected_last(),
            }
        }
        Ok(MetricsFunction::Compare(selection, numbers))
    }

    /// `by (…)` and filters after a first stage.
    pub(super) fn metrics_aggregate(&mut self, pipeline: Pipeline, function: MetricsFunction) -> Parsed<MetricsExpr> {
        let is_compare = matches!(function, MetricsFunction::Compare(..));
        let by = if !is_compare && self.take_word("by") { self.fields_in_parens()? } else { Vec::new() };
        self.filters(MetricsExpr::Aggregate { pipeline, function, by })
    }

    /// `topk(n)` or `bottomk(n)`, and filters after it.
    pub(super) fn rank(&mut self, input: MetricsExpr) -> Parsed<MetricsExpr> {
        let bottom = self.is_word("bottomk");
        if !bottom && !self.is_word("topk") {
            return self.unexpected();
        }
        self.next();
        self.expect("(")?;
        let TokenKind::Static(Static::Int(n)) = self.next() else { return self.unexpected_last() };
        self.expect(")")?;
        self.filters(MetricsExpr::Rank { input: Box::new(input), bottom, n })
    }

    /// Comparisons with a constant, any number of them.
    fn filters(&mut self, mut input: MetricsExpr) -> Parsed<MetricsExpr> {
        loop {
            let TokenKind::Sign(sign) = *self.peek() else { return Ok(input) };
            let Some(op) = binary_op(sign).filter(|op| op.is_scalar_comparison()) else { return Ok(input) };
            self.next();
            self.count_operator()?;
            let at = self.at;
            let Node::Number(value) = self.number()? else { return self.unexpected_at(at) };
            let Some(value) = folded(&value) else { return self.unexpected_at(at) };
            input = MetricsExpr::Filter { input: Box::new(input), op, value };
        }
    }

    fn number(&mut self) -> Parsed<Node> {
        self.nested(|p| p.binary(BinaryOp::Add.precedence()))
    }

    /// Arithmetic with, or a comparison of, series.
    pub(super) fn combine_metrics(&mut self, op: BinaryOp, at: usize, left: Node, right: Node) -> Parsed<Node> {
        let number = |value: &ScalarExpr| folded(value).filter(|v| !matches!(v, Static::Duration(_)));
        let has_math = matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div);
        let sides = match (left, right) {
            (Node::Metrics(input), Node::Number(value)) if op.is_comparison() => {
                let Some(value) = folded(&value) else { return self.unexpected_at(at) };
                return Ok(Node::Metrics(MetricsExpr::Filter { input: Box::new(input), op, value }));
            }
            (Node::Metrics(left), Node::Metrics(right)) if has_math => Some((left, right)),
            (Node::Metrics(left), Node::Number(right)) if has_math => {
                number(&right).map(|n| (left, MetricsExpr::Number(n)))
            }
            (Node::Number(left), Node::Metrics(right)) if has_math => {
                number(&left).map(|n| (MetricsExpr::Number(n), right))
            }
            _ => None,
        };
        let Some((left, right)) = sides else { return self.unexpected_at(at) };
        Ok(Node::Metrics(MetricsExpr::Math { op, left: Box::new(left), right: Box::new(right) }))
    }
}

/// The number that an expression of numbers yields; durations only alone, and only finite results.
fn folded(expr: &ScalarExpr) -> Option<Static> {
    match expr {
        ScalarExpr::Static(value) => Some(value.clone()),
        ScalarExpr::Aggregate(_) => None,
        ScalarExpr::Binary { op, left, right } => fold(*op, &folded(left)?, &folded(right)?),
    }
}

fn fold(op: BinaryOp, left: &Static, right: &Static) -> Option<Static> {
    if let (Static::Int(a), Static::Int(b)) = (left, right) {
        let exact = match op {
            BinaryOp::Add => a.checked_add(*b),
            BinaryOp::Sub => a.checked_sub(*b),
            BinaryOp::Mul => a.checked_mul(*b),
            BinaryOp::Div if a.checked_rem(*b) == Some(0) => a.checked_div(*b),
            _ => None,
        };
        if let Some(value) = exact {
            return Some(Static::Int(value));
        }
    }
    let number = |v: &Static| match v {
        Static::Int(i) => Some(*i as f64),
        Static::Float(f) => Some(*f),
        _ => None,
    };
    let (a, b) = (number(left)?, number(right)?);
    let value = match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        _ => return None,
    };
    value.is_finite().then_some(Static::Float(value))
}
