//! Durations: literals, and Prometheus' duration expressions.
use super::{Parse, Parser, fail};
use crate::promql::ast::{BinaryOp, DurationExpr};
use crate::promql::lexer::Tok;

/// Seconds that fit into nanoseconds of an i64.
const SECONDS_MAX: f64 = 9_223_372_036.0;

/// Operators in one chain: a duration is a small thing.
const OPERATORS_MAX: usize = 20;

impl Parser<'_> {
    pub(super) fn starts_duration(&self) -> Parse<bool> {
        let token = self.peek()?;
        let is_word = ["step", "range", "max_of", "min_of"].iter().any(|w| token.is_keyword(w));
        Ok(is_word || matches!(token.tok, Tok::Number | Tok::Duration | Tok::Add | Tok::Sub | Tok::LeftParen))
    }

    /// The duration of a range or step: a literal must be above zero.
    pub(super) fn positive_duration(&mut self) -> Parse<DurationExpr> {
        let token = self.peek()?;
        let duration = self.duration(0)?;
        if let DurationExpr::Literal { seconds, .. } = duration
            && (seconds <= 0.0 || seconds.is_nan())
        {
            return fail(token.span, "duration must be greater than 0");
        }
        Ok(duration)
    }

    /// What follows `offset`: operators only inside parentheses.
    pub(super) fn offset_duration(&mut self) -> Parse<DurationExpr> {
        if !self.starts_duration()? {
            return self.unexpected("offset", "number, duration, step(), or range()");
        }
        self.duration_operand(BinaryOp::Pow.precedence() + 1)
    }

    fn duration(&mut self, min: u8) -> Parse<DurationExpr> {
        self.deeper()?;
        let mut operators = 0;
        let mut lhs = self.duration_operand(BinaryOp::Pow.precedence())?;
        loop {
            let token = self.peek()?;
            let op = match token.tok {
                Tok::Add => BinaryOp::Add,
                Tok::Sub => BinaryOp::Sub,
                Tok::Mul => BinaryOp::Mul,
                Tok::Div => BinaryOp::Div,
                Tok::Mod => BinaryOp::Mod,
                Tok::Pow => BinaryOp::Pow,
                _ => break,
            };
            if op.precedence() < min {
                break;
            }
            self.next()?;
            operators += 1;
            if operators > OPERATORS_MAX {
                return fail(token.span, "expression is nested too deeply");
            }
            let rhs = self.duration(if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 })?;
            let is_zero = matches!(rhs, DurationExpr::Literal { seconds, .. } if seconds == 0.0);
            match op {
                BinaryOp::Div if is_zero => return fail(token.span, "division by zero"),
                BinaryOp::Mod if is_zero => return fail(token.span, "modulo by zero"),
                _ => {}
            }
            lhs = DurationExpr::Binary(op, Box::new(lhs), Box::new(rhs));
        }
        self.nesting -= 1;
        Ok(lhs)
    }

    fn offset_operand(&mut self, min: u8) -> Parse<DurationExpr> {
        self.deeper()?;
        let operand = self.duration_operand(min)?;
        self.nesting -= 1;
        Ok(operand)
    }

    /// One operand; `min` is how tightly an operator must bind to belong to a signed operand.
    fn duration_operand(&mut self, min: u8) -> Parse<DurationExpr> {
        let token = self.peek()?;
        if matches!(token.tok, Tok::Add | Tok::Sub) {
            self.next()?;
            let inner = if min > BinaryOp::Pow.precedence() { self.offset_operand(min)? } else { self.duration(min)? };
            return Ok(match (token.tok, inner) {
                (Tok::Add, inner) => inner,
                (_, DurationExpr::Literal { seconds, unit }) => DurationExpr::Literal { seconds: -seconds, unit },
                (_, inner) => DurationExpr::Neg(Box::new(inner)),
            });
        }
        match token.tok {
            Tok::Number | Tok::Duration => {
                let (seconds, unit) = self.number()?;
                if !(-SECONDS_MAX..=SECONDS_MAX).contains(&seconds) {
                    return fail(token.span, "duration out of range");
                }
                Ok(DurationExpr::Literal { seconds, unit })
            }
            Tok::LeftParen => {
                self.next()?;
                let inner = self.duration(0)?;
                self.expect(Tok::RightParen, "", "")?;
                Ok(DurationExpr::Paren(Box::new(inner)))
            }
            Tok::Ident => self.duration_call(),
            _ => self.unexpected("", ""),
        }
    }

    fn duration_call(&mut self) -> Parse<DurationExpr> {
        let token = self.next()?;
        self.expect(Tok::LeftParen, "subquery or range selector", "number, duration, step(), or range()")?;
        let out = if token.is_keyword("step") {
            DurationExpr::Step
        } else if token.is_keyword("range") {
            DurationExpr::Range
        } else {
            let a = Box::new(self.duration(0)?);
            self.expect(Tok::Comma, "", "")?;
            let b = Box::new(self.duration(0)?);
            if token.is_keyword("min_of") { DurationExpr::MinOf(a, b) } else { DurationExpr::MaxOf(a, b) }
        };
        self.expect(Tok::RightParen, "", "")?;
        Ok(out)
    }
}
