//! Expressions over one span, with their regexes compiled.
use regex::Regex;

use super::lookup::At;
use super::value::{Val, arithmetic, compare, matches};
use crate::error::{Error, Result};
use crate::traceql::ast::{BinaryOp, Field, FieldExpr, Intrinsic, Static, UnaryOp};
use crate::traceql::validate::compile;

/// A compiled [`FieldExpr`]. A run of left-grouped operators is a list, so that a long query needs no deep stack.
#[derive(Clone, Debug)]
pub(crate) enum Expr {
    Static(Static),
    Field(Field),
    Not(Box<Expr>),
    Neg(Box<Expr>),
    /// `first`, then each step applied to what the steps before it gave.
    Steps {
        first: Box<Expr>,
        steps: Vec<Step>,
    },
}

/// An operator and its right side.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    And(Expr),
    Or(Expr),
    /// `= nil` when `absent`, else `!= nil`.
    NilTest {
        absent: bool,
    },
    Match {
        regex: Regex,
        negated: bool,
    },
    Compare(BinaryOp, Expr),
    Arithmetic(BinaryOp, Expr),
}

fn is_nil(expr: &FieldExpr) -> bool {
    matches!(expr, FieldExpr::Static(Static::Nil))
}

impl Expr {
    /// [`Error::Parse`] for a regex that does not compile.
    pub(crate) fn compile(expr: &FieldExpr) -> Result<Self> {
        let mut spine = Vec::new();
        let mut at = expr;
        while let FieldExpr::Binary { op, left, right } = at {
            // `nil = x` is `x = nil`.
            let turned = matches!(op, BinaryOp::Eq | BinaryOp::NotEq) && is_nil(left) && !is_nil(right);
            let (left, right) = if turned { (right, left) } else { (left, right) };
            spine.push((*op, &**left, &**right));
            at = left;
        }
        let mut first = Self::operand(at)?;
        if let Some((_, _, right)) = spine.last() {
            first = first.padded(right);
        }
        if spine.is_empty() {
            return Ok(first);
        }
        let steps =
            spine.iter().rev().map(|(op, left, right)| Step::compile(*op, left, right)).collect::<Result<_>>()?;
        Ok(Self::Steps { first: Box::new(first), steps })
    }

    /// An expression that is no binary one.
    fn operand(expr: &FieldExpr) -> Result<Self> {
        Ok(match expr {
            FieldExpr::Static(value) => Self::Static(value.clone()),
            FieldExpr::Field(field) => Self::Field(field.clone()),
            FieldExpr::Unary { op: UnaryOp::Not, expr } => Self::Not(Box::new(Self::compile(expr)?)),
            FieldExpr::Unary { op: UnaryOp::Neg, expr } => Self::Neg(Box::new(Self::compile(expr)?)),
            FieldExpr::Binary { .. } => Self::compile(expr)?,
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
            Self::Steps { first, steps } => {
                let mut value = first.eval(at)?;
                for step in steps {
                    value = step.apply(value, at)?;
                }
                value
            }
        })
    }

    /// Whether the span passes a filter.
    pub(crate) fn holds(&self, at: At<'_>) -> Result<bool> {
        Ok(self.eval(at)?.is_true())
    }
}

impl Step {
    fn compile(op: BinaryOp, left: &FieldExpr, right: &FieldExpr) -> Result<Self> {
        if matches!(op, BinaryOp::Eq | BinaryOp::NotEq) && is_nil(right) {
            return Ok(Self::NilTest { absent: op == BinaryOp::Eq });
        }
        if let (BinaryOp::Regex | BinaryOp::NotRegex, FieldExpr::Static(Static::Str(pattern))) = (op, right) {
            let regex = compile(pattern).map_err(|e| Error::Parse {
                message: format!("invalid TraceQL query: invalid regex: {pattern}: error parsing regexp: {e}"),
            })?;
            return Ok(Self::Match { regex, negated: op == BinaryOp::NotRegex });
        }
        let right = Expr::compile(right)?.padded(left);
        Ok(match op {
            BinaryOp::And => Self::And(right),
            BinaryOp::Or => Self::Or(right),
            op if op.is_arithmetic() => Self::Arithmetic(op, right),
            op => Self::Compare(op, right),
        })
    }

    fn apply<'a>(&'a self, left: Val<'a>, at: At<'a>) -> Result<Val<'a>> {
        Ok(match self {
            Self::And(right) => Val::Bool(left.is_true() && right.holds(at)?),
            Self::Or(right) => Val::Bool(left.is_true() || right.holds(at)?),
            Self::NilTest { absent } => Val::Bool((left == Val::Nil) == *absent),
            Self::Match { regex, negated } => Val::Bool(matches(&left, regex, *negated)),
            Self::Compare(op, right) => Val::Bool(compare(*op, &left, &right.eval(at)?)),
            Self::Arithmetic(op, right) => arithmetic(*op, &left, &right.eval(at)?)?,
        })
    }
}
