//! Expressions over one span.
use super::{Parsed, Parser};
use crate::traceql::ast::{BinaryOp, FieldExpr, Static, UnaryOp};
use crate::traceql::lexer::TokenKind;

/// `!` takes operands that bind at least this tightly: more than `+`, less than `*`.
const NOT_PRECEDENCE: u8 = 5;

impl Parser {
    pub(super) fn field_expr(&mut self) -> Parsed<FieldExpr> {
        self.nested(|p| p.field_binary(1))
    }

    fn field_binary(&mut self, least: u8) -> Parsed<FieldExpr> {
        let mut left = self.field_unary()?;
        loop {
            let TokenKind::Sign(sign) = *self.peek() else { return Ok(left) };
            let Some(op) = binary_op(sign).filter(|op| op.precedence() >= least) else { return Ok(left) };
            self.next();
            self.count_operator()?;
            // Only `^` groups to the right.
            let right = if op == BinaryOp::Pow {
                self.nested(|p| p.field_binary(op.precedence()))?
            } else {
                self.nested(|p| p.field_binary(op.precedence() + 1))?
            };
            left = FieldExpr::Binary { op, left: Box::new(left), right: Box::new(right) };
        }
    }

    fn field_unary(&mut self) -> Parsed<FieldExpr> {
        if self.take_sign("!") {
            let expr = self.nested(|p| p.field_binary(NOT_PRECEDENCE))?;
            return Ok(FieldExpr::Unary { op: UnaryOp::Not, expr: Box::new(expr) });
        }
        if self.take_sign("-") {
            let expr = self.nested(Self::field_unary)?;
            return Ok(match expr {
                FieldExpr::Static(value) => match negated(value.clone()) {
                    Some(value) => FieldExpr::Static(value),
                    None => FieldExpr::Unary { op: UnaryOp::Neg, expr: Box::new(FieldExpr::Static(value)) },
                },
                expr => FieldExpr::Unary { op: UnaryOp::Neg, expr: Box::new(expr) },
            });
        }
        match self.peek() {
            TokenKind::Sign("(") => self.nested(Self::field_in_parens),
            TokenKind::Static(_) | TokenKind::Field(_) => Ok(match self.next() {
                TokenKind::Static(value) => FieldExpr::Static(value),
                TokenKind::Field(field) => FieldExpr::Field(field),
                _ => return self.unexpected_last(),
            }),
            _ => self.unexpected(),
        }
    }
}

/// The number with its sign turned; `None` when it is not a number.
pub(super) fn negated(value: Static) -> Option<Static> {
    match value {
        Static::Int(i) => Some(Static::Int(i.wrapping_neg())),
        Static::Float(f) => Some(Static::Float(-f)),
        Static::Duration(ns) => Some(Static::Duration(ns.saturating_neg())),
        Static::Nil | Static::Bool(_) | Static::Str(_) | Static::Status(_) | Static::Kind(_) => None,
    }
}

/// Operator between field expressions or scalars.
pub(super) fn binary_op(sign: &str) -> Option<BinaryOp> {
    use BinaryOp::*;
    Some(match sign {
        "&&" => And,
        "||" => Or,
        "=" => Eq,
        "!=" => NotEq,
        "<" => Less,
        "<=" => LessEq,
        ">" => Greater,
        ">=" => GreaterEq,
        "=~" => Regex,
        "!~" => NotRegex,
        "+" => Add,
        "-" => Sub,
        "*" => Mul,
        "/" => Div,
        "%" => Mod,
        "^" => Pow,
        _ => return None,
    })
}
