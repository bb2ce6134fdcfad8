//! Expressions over one span, with their regexes compiled.
use regex::Regex;

use super::lookup::At;
use super::value::{Val, arithmetic, compare, matches};
use crate::error::{Error, Result};
use crate::traceql::ast::{BinaryOp, Field, FieldExpr, Intrinsic, Static, UnaryOp};
use crate::traceql::validate::compile;

/// A compiled [`FieldExpr`].
#[derive(Clone, Debug)]
pub(crate) enum Expr {
    Static(Static),
    Field(Field),
    Not(Box<Expr>),
    Neg(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    /// `= nil` when `absent`, else `!= nil`.
    NilTest {
        expr: Box<Expr>,
        absent: bool,
    },
    Match {
        expr: Box<Expr>,
        regex: Regex,
        negated: bool,
    },
    Compare {
        op: BinaryOp,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Arithmetic {
        op: BinaryOp,
        left: Box<Expr>,
        right: Box<Expr>,
    },
}

impl Expr {
    /// [`Error::Parse`] for a regex that does not compile.
    pub(crate) fn compile(expr: &FieldExpr) -> Result<Self> {
        let boxed = |e: &FieldExpr| Self::compile(e).map(Box::new);
        Ok(match expr {
            FieldExpr::Static(value) => Self::Static(value.clone()),
            FieldExpr::Field(field) => Self::Field(field.clone()),
            FieldExpr::Unary { op: UnaryOp::Not, expr } => Self::Not(boxed(expr)?),
            FieldExpr::Unary { op: UnaryOp::Neg, expr } => Self::Neg(boxed(expr)?),
            FieldExpr::Binary { op, left, right } => Self::binary(*op, left, right)?,
        })
    }

    fn binary(op: BinaryOp, left: &FieldExpr, right: &FieldExpr) -> Result<Self> {
        let is_nil = |e: &FieldExpr| matches!(e, FieldExpr::Static(Static::Nil));
        if matches!(op, BinaryOp::Eq | BinaryOp::NotEq) && (is_nil(left) || is_nil(right)) {
            let tested = if is_nil(right) { left } else { right };
            return Ok(Self::NilTest { expr: Box::new(Self::compile(tested)?), absent: op == BinaryOp::Eq });
        }
        if let (BinaryOp::Regex | BinaryOp::NotRegex, FieldExpr::Static(Static::Str(pattern))) = (op, right) {
            let regex = compile(pattern).map_err(|e| Error::Parse {
                message: format!("invalid TraceQL query: invalid regex: {pattern}: {e}"),
            })?;
            let expr = Box::new(Self::compile(left)?);
            return Ok(Self::Match { expr, regex, negated: op == BinaryOp::NotRegex });
        }
        let sides = (Box::new(Self::compile(left)?.padded(right)), Box::new(Self::compile(right)?.padded(left)));
        Ok(match (op, sides) {
            (BinaryOp::And, (l, r)) => Self::And(l, r),
            (BinaryOp::Or, (l, r)) => Self::Or(l, r),
            (op, (left, right)) if op.is_arithmetic() => Self::Arithmetic { op, left, right },
            (op, (left, right)) => Self::Compare { op, left, right },
        })
    }

    /// A literal that is compared with an id has the id's digits: lower case, with leading zeros.
    fn padded(self, other: &FieldExpr) -> Self {
        let FieldExpr::Field(Field::Intrinsic { intrinsic, .. }) = other else { return self };
        let digits = match intrinsic {
            Intrinsic::TraceId | Intrinsic::LinkTraceId => 32,
            Intrinsic::SpanId | Intrinsic::ParentId | Intrinsic::LinkSpanId => 16,
            _ => return self,
        };
        match self {
            Self::Static(Static::Str(s)) if !s.is_empty() => {
                Self::Static(Static::Str(format!("{:0>digits$}", s.to_ascii_lowercase())))
            }
            other => other,
        }
    }

    /// The value at one span. Only division of integers by zero fails.
    pub(crate) fn eval<'a>(&'a self, at: At<'a>) -> Result<Val<'a>> {
        Ok(match self {
            Self::Static(value) => Val::from_static(value),
            Self::Field(field) => at.field(field),
            Self::Not(expr) => match expr.eval(at)? {
                Val::Bool(b) => Val::Bool(!b),
                _ => Val::Nil,
            },
            Self::Neg(expr) => match expr.eval(at)? {
                Val::Int(i) => Val::Int(i.wrapping_neg()),
                Val::Duration(ns) => Val::Duration(ns.wrapping_neg()),
                Val::Float(f) => Val::Float(-f),
                _ => Val::Nil,
            },
            Self::And(l, r) => Val::Bool(l.eval(at)?.is_true() && r.eval(at)?.is_true()),
            Self::Or(l, r) => Val::Bool(l.eval(at)?.is_true() || r.eval(at)?.is_true()),
            Self::NilTest { expr, absent } => Val::Bool((expr.eval(at)? == Val::Nil) == *absent),
            Self::Match { expr, regex, negated } => Val::Bool(matches(&expr.eval(at)?, regex, *negated)),
            Self::Compare { op, left, right } => Val::Bool(compare(*op, &left.eval(at)?, &right.eval(at)?)),
            Self::Arithmetic { op, left, right } => arithmetic(*op, &left.eval(at)?, &right.eval(at)?)?,
        })
    }

    /// Whether the span passes a filter.
    pub(crate) fn holds(&self, at: At<'_>) -> Result<bool> {
        Ok(self.eval(at)?.is_true())
    }
}
