//! Everything outside braces: span sets, pipelines, scalars and metrics share operators and parentheses, so they are read
//! as one kind of node whose sort decides what an operator means.
use super::field::{binary_op, negated};
use super::{Parsed, Parser};
use crate::traceql::ast::{
    Aggregate, AggregateOp, BinaryOp, Form, MetricsExpr, Pipeline, Relation, ScalarExpr, ScalarPipeline, SpansetExpr,
    SpansetOp, Stage,
};
use crate::traceql::lexer::TokenKind;

pub(super) enum Node {
    Spanset(SpansetExpr),
    /// More than one stage, or one that is no span set.
    Pipeline(Pipeline),
    ScalarFilter {
        op: BinaryOp,
        left: ScalarExpr,
        right: ScalarExpr,
    },
    /// Numbers only.
    Number(ScalarExpr),
    /// Has an aggregate.
    Scalar(ScalarExpr),
    ScalarPipeline(ScalarPipeline),
    ScalarPipelines {
        op: BinaryOp,
        left: ScalarPipeline,
        right: ScalarPipeline,
    },
    Metrics(MetricsExpr),
}

impl Node {
    /// As stages; `None` when it does not yield span sets.
    pub(super) fn into_pipeline(self) -> Option<Pipeline> {
        match self {
            Self::Spanset(expr) => Some(Pipeline { stages: vec![Stage::Spanset(expr)] }),
            Self::Pipeline(pipeline) => Some(pipeline),
            Self::ScalarFilter { op, left, right } => {
                Some(Pipeline { stages: vec![Stage::Scalar { op, left, right }] })
            }
            Self::Number(_)
            | Self::Scalar(_)
            | Self::ScalarPipeline(_)
            | Self::ScalarPipelines { .. }
            | Self::Metrics(_) => None,
        }
    }
}

impl Parser {
    /// An expression and the stages after it.
    pub(super) fn pipe(&mut self) -> Parsed<Node> {
        let mut node = self.nested(|p| p.binary(1))?;
        while self.take_sign("|") {
            self.count_operator()?;
            node = self.stage(node)?;
        }
        Ok(node)
    }

    /// One stage after `|`.
    fn stage(&mut self, input: Node) -> Parsed<Node> {
        if let Node::Metrics(input) = input {
            return self.rank(input).map(Node::Metrics);
        }
        let Some(mut pipeline) = input.into_pipeline() else { return self.unexpected() };
        if let Some(function) = self.metrics_function()? {
            return self.metrics_aggregate(pipeline, function).map(Node::Metrics);
        }
        let from = self.at;
        let stage = if self.take_word("coalesce") {
            self.expect("(")?;
            self.expect(")")?;
            Stage::Coalesce
        } else if self.take_word("select") {
            Stage::Select(self.fields_in_parens()?)
        } else if self.take_word("by") {
            Stage::By(self.field_in_parens()?)
        } else {
            match self.nested(|p| p.binary(1))? {
                Node::Spanset(expr) => Stage::Spanset(expr),
                Node::ScalarFilter { op, left, right } => Stage::Scalar { op, left, right },
                Node::Scalar(ScalarExpr::Aggregate(aggregate)) => {
                    // Only the end of a pipeline in parentheses.
                    return if self.is_sign(")") {
                        Ok(Node::ScalarPipeline(ScalarPipeline::Aggregate(pipeline, aggregate)))
                    } else {
                        self.unexpected()
                    };
                }
                _ => return self.unexpected_at(from),
            }
        };
        pipeline.stages.push(stage);
        Ok(Node::Pipeline(pipeline))
    }

    pub(super) fn binary(&mut self, least: u8) -> Parsed<Node> {
        let mut left = self.primary()?;
        loop {
            let TokenKind::Sign(sign) = *self.peek() else { return Ok(left) };
            let precedence = match (binary_op(sign), spanset_op(sign)) {
                (Some(op), _) => op.precedence(),
                (None, Some(_)) => BinaryOp::Eq.precedence(),
                (None, None) => return Ok(left),
            };
            if precedence < least {
                return Ok(left);
            }
            let at = self.at;
            self.next();
            self.count_operator()?;
            let least_right = if sign == "^" { precedence } else { precedence + 1 };
            let right = self.nested(|p| p.binary(least_right))?;
            left = self.combine(sign, at, left, right)?;
        }
    }

    /// Joins two nodes by the operator at token `at`, if it is defined for their sorts.
    fn combine(&mut self, sign: &str, at: usize, left: Node, right: Node) -> Parsed<Node> {
        if let (Node::Spanset(left), Node::Spanset(right)) = (&left, &right) {
            let Some(op) = spanset_op(sign) else { return self.unexpected_at(at) };
            let (left, right) = (Box::new(left.clone()), Box::new(right.clone()));
            return Ok(Node::Spanset(SpansetExpr::Op { op, left, right }));
        }
        let Some(op) = binary_op(sign).filter(|op| op.is_arithmetic() || op.is_scalar_comparison()) else {
            return self.unexpected_at(at);
        };
        match (left, right) {
            (Node::Number(left), Node::Number(right)) if op.is_arithmetic() => {
                Ok(Node::Number(ScalarExpr::Binary { op, left: Box::new(left), right: Box::new(right) }))
            }
            (Node::Number(left) | Node::Scalar(left), Node::Number(right) | Node::Scalar(right))
                if has_aggregate(&left) || has_aggregate(&right) =>
            {
                Ok(if op.is_arithmetic() {
                    Node::Scalar(ScalarExpr::Binary { op, left: Box::new(left), right: Box::new(right) })
                } else {
                    Node::ScalarFilter { op, left, right }
                })
            }
            (Node::ScalarPipeline(left), Node::ScalarPipeline(right)) => Ok(if op.is_arithmetic() {
                Node::ScalarPipeline(ScalarPipeline::Binary { op, left: Box::new(left), right: Box::new(right) })
            } else {
                Node::ScalarPipelines { op, left, right }
            }),
            (Node::ScalarPipeline(left), Node::Number(ScalarExpr::Static(right))) if op.is_comparison() => {
                Ok(Node::ScalarPipelines { op, left, right: ScalarPipeline::Static(right) })
            }
            (left, right) => self.combine_metrics(op, at, left, right),
        }
    }

    fn primary(&mut self) -> Parsed<Node> {
        match self.peek() {
            TokenKind::Sign("{") => self.filter().map(Node::Spanset),
            TokenKind::Sign("(") => self.nested(Self::parens),
            TokenKind::Sign("-") => {
                self.next();
                match self.next() {
                    TokenKind::Static(value) if value.is_number() => match negated(value) {
                        Some(value) => Ok(Node::Number(ScalarExpr::Static(value))),
                        None => self.unexpected_last(),
                    },
                    _ => self.unexpected_last(),
                }
            }
            TokenKind::Static(value) if value.is_number() => {
                let value = value.clone();
                self.next();
                Ok(Node::Number(ScalarExpr::Static(value)))
            }
            TokenKind::Word(word) if word == "by" => {
                self.next();
                let stages = vec![Stage::By(self.field_in_parens()?)];
                Ok(Node::Pipeline(Pipeline { stages }))
            }
            TokenKind::Word(_) => self.aggregate().map(|a| Node::Scalar(ScalarExpr::Aggregate(a))),
            TokenKind::Static(_) | TokenKind::Field(_) | TokenKind::Sign(_) | TokenKind::End => self.unexpected(),
        }
    }

    fn parens(&mut self) -> Parsed<Node> {
        self.expect("(")?;
        let node = self.pipe()?;
        let close = self.at;
        self.expect(")")?;
        match node {
            Node::Pipeline(pipeline) => Ok(Node::Spanset(SpansetExpr::Pipeline(pipeline))),
            Node::ScalarFilter { op, left, right } => {
                Ok(Node::Spanset(SpansetExpr::Pipeline(Pipeline { stages: vec![Stage::Scalar { op, left, right }] })))
            }
            Node::ScalarPipelines { .. } => self.unexpected_at(close),
            node => Ok(node),
        }
    }

    fn aggregate(&mut self) -> Parsed<Aggregate> {
        let op = match self.peek() {
            TokenKind::Word(word) => aggregate_op(word),
            _ => None,
        };
        let Some(op) = op else { return self.unexpected() };
        self.next();
        if op == AggregateOp::Count {
            self.expect("(")?;
            self.expect(")")?;
            return Ok(Aggregate { op, expr: None });
        }
        Ok(Aggregate { op, expr: Some(self.field_in_parens()?) })
    }
}

fn aggregate_op(word: &str) -> Option<AggregateOp> {
    Some(match word {
        "count" => AggregateOp::Count,
        "avg" => AggregateOp::Avg,
        "min" => AggregateOp::Min,
        "max" => AggregateOp::Max,
        "sum" => AggregateOp::Sum,
        _ => return None,
    })
}

fn has_aggregate(expr: &ScalarExpr) -> bool {
    match expr {
        ScalarExpr::Static(_) => false,
        ScalarExpr::Aggregate(_) => true,
        ScalarExpr::Binary { left, right, .. } => has_aggregate(left) || has_aggregate(right),
    }
}

/// Operator between span sets.
fn spanset_op(sign: &str) -> Option<SpansetOp> {
    let relation = |text: &str| {
        Some(match text {
            ">" => Relation::Child,
            ">>" => Relation::Descendant,
            "<" => Relation::Parent,
            "<<" => Relation::Ancestor,
            "~" => Relation::Sibling,
            _ => return None,
        })
    };
    match sign {
        "&&" => Some(SpansetOp::And),
        "||" => Some(SpansetOp::Or),
        _ => {
            let (form, text) = match sign.as_bytes().first()? {
                b'!' => (Form::Not, &sign[1..]),
                b'&' => (Form::Union, &sign[1..]),
                _ => (Form::Plain, sign),
            };
            relation(text).map(|relation| SpansetOp::Relation(relation, form))
        }
    }
}
