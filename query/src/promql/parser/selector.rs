//! Selectors and what may stand behind an expression: ranges, subqueries, `offset`, `@`, `anchored`, `smoothed`.
use trine_store::index::{MatchOp, Matcher};

use super::{Parse, Parser, fail, unquote};
use crate::promql::ast::{At, Expr, Selector, Shift, Span};
use crate::promql::lexer::{Tok, Token};
use crate::promql::numbers::format_number;

pub(in crate::promql) const METRIC_NAME: &str = "__name__";

impl<'a> Parser<'a> {
    /// A whole input that is one selector without modifiers.
    pub(super) fn only_selector(&mut self) -> Parse<Selector> {
        let token = self.peek()?;
        let name = match token.tok {
            Tok::Ident | Tok::MetricIdent => Some(self.next()?),
            Tok::LeftBrace => None,
            _ => return self.unexpected("", ""),
        };
        let selector = self.selector(name)?;
        if self.peek()?.tok != Tok::Eof {
            return self.unexpected("", "");
        }
        Ok(selector)
    }

    /// A selector whose name, if it has one before the braces, is taken already.
    pub(super) fn selector(&mut self, name: Option<Token<'a>>) -> Parse<Selector> {
        let start = match name {
            Some(token) => token.span.start,
            None => self.peek()?.span.start,
        };
        let mut matchers = Vec::new();
        if self.accept(Tok::LeftBrace)?.is_some() {
            self.matchers(&mut matchers)?;
        }
        let name = name.map(|t| t.text.to_owned());
        if let Some(name) = &name {
            matchers.push(matcher(METRIC_NAME, MatchOp::Eq, name.clone(), Span::new(start, start))?);
        }
        Ok(Selector {
            name,
            matchers,
            shift: Shift::default(),
            anchored: false,
            smoothed: false,
            allows_empty: false,
            span: Span::new(start, self.last_end()),
        })
    }

    fn matchers(&mut self, out: &mut Vec<Matcher>) -> Parse<()> {
        while self.accept(Tok::RightBrace)?.is_none() {
            let label = self.peek()?;
            match label.tok {
                Tok::Ident => {
                    self.next()?;
                    let Some(m) = self.comparison(label.text.to_owned(), label.span)? else {
                        return self.unexpected("label matching", "label matching operator");
                    };
                    out.push(m);
                }
                Tok::Str => {
                    self.next()?;
                    let text = unquote(&label)?;
                    match self.comparison(text.clone(), label.span)? {
                        Some(m) => out.push(m),
                        None => out.push(matcher(METRIC_NAME, MatchOp::Eq, text, label.span)?),
                    }
                }
                _ => return self.unexpected("label matching", "identifier or \"}\""),
            }
            if self.accept(Tok::Comma)?.is_none() && self.peek()?.tok != Tok::RightBrace {
                return self.unexpected("label matching", "\",\" or \"}\"");
            }
        }
        Ok(())
    }

    /// The operator and value after a label name, if there is an operator.
    fn comparison(&mut self, name: String, span: Span) -> Parse<Option<Matcher>> {
        let op = match self.peek()?.tok {
            Tok::Assign => MatchOp::Eq,
            Tok::NotEqual => MatchOp::NotEq,
            Tok::AssignRegex => MatchOp::Regex,
            Tok::NotRegex => MatchOp::NotRegex,
            _ => return Ok(None),
        };
        self.next()?;
        let value = self.expect(Tok::Str, "label matching", "string")?;
        matcher(&name, op, unquote(&value)?, span).map(Some)
    }

    pub(super) fn postfix(&mut self, mut expr: Expr) -> Parse<Expr> {
        loop {
            let token = self.peek()?;
            if token.tok == Tok::LeftBracket {
                self.over(self.height)?;
                expr = self.brackets(expr)?;
            } else if token.tok == Tok::At {
                self.next()?;
                let at = self.at_modifier(&expr)?;
                self.shift(&mut expr, "@ modifier", |shift, span| match shift.at.replace(at) {
                    None => Ok(()),
                    Some(_) => fail(span, "@ <timestamp> may not be set multiple times"),
                })?;
            } else if token.is_keyword("offset") {
                self.next()?;
                let offset = self.offset_duration()?;
                self.shift(&mut expr, "offset modifier", |shift, span| match shift.offset.replace(offset) {
                    None => Ok(()),
                    Some(_) => fail(span, "offset may not be set multiple times"),
                })?;
            } else if token.is_keyword("anchored") || token.is_keyword("smoothed") {
                self.next()?;
                extend(&mut expr, token.is_keyword("anchored"))?;
            } else {
                return Ok(expr);
            }
        }
    }

    fn at_modifier(&mut self, expr: &Expr) -> Parse<At> {
        let token = self.peek()?;
        for (word, at) in [("start", At::Start), ("end", At::End)] {
            if token.is_keyword(word) {
                self.next()?;
                self.expect(Tok::LeftParen, "@", "timestamp")?;
                self.expect(Tok::RightParen, "@", "timestamp")?;
                return Ok(at);
            }
        }
        if !matches!(token.tok, Tok::Add | Tok::Sub | Tok::Number | Tok::Duration) {
            return self.unexpected("@", "timestamp");
        }
        let (seconds, _) = self.signed_number()?;
        if !seconds.is_finite() || seconds.abs() >= i64::MAX as f64 {
            let text = if seconds.is_finite() { format!("{seconds:.6}") } else { format_number(seconds) };
            return fail(expr.span(), format!("timestamp out of bounds for @ modifier: {text}"));
        }
        Ok(At::Time((seconds * 1000.0).round() as i64))
    }

    fn shift(&mut self, expr: &mut Expr, what: &str, set: impl FnOnce(&mut Shift, Span) -> Parse<()>) -> Parse<()> {
        let whole = expr.span();
        let end = self.last_end();
        let (shift, span) = match expr {
            Expr::Vector(selector) => (&mut selector.shift, &mut selector.span),
            Expr::Matrix { selector, span, .. } => (&mut selector.shift, span),
            Expr::Subquery { shift, span, .. } => (shift, span),
            other => {
                let message = format!(
                    "{what} must be preceded by an instant vector selector or range vector selector or a subquery"
                );
                return fail(other.span(), message);
            }
        };
        set(shift, whole)?;
        span.end = end;
        Ok(())
    }

    fn brackets(&mut self, expr: Expr) -> Parse<Expr> {
        let open = self.next()?;
        if !self.starts_duration()? {
            return self.unexpected("subquery or range selector", "number, duration, step(), or range()");
        }
        let range = self.positive_duration()?;
        let colon = self.accept(Tok::Colon)?.is_some();
        if !colon && self.peek()?.tok != Tok::RightBracket {
            return self.unexpected("subquery or range", "\":\" or \"]\"");
        }
        if colon {
            let step = match self.peek()?.tok {
                Tok::RightBracket => None,
                _ if self.starts_duration()? => Some(self.positive_duration()?),
                _ => return self.unexpected("subquery selector", "number, duration, step(), range(), or \"]\""),
            };
            let close = self.expect(Tok::RightBracket, "subquery selector", "\"]\"")?;
            let span = Span::new(expr.span().start, close.span.end);
            return Ok(Expr::Subquery { expr: Box::new(expr), range, step, shift: Shift::default(), span });
        }
        let close = self.next()?;
        let Expr::Vector(selector) = expr else {
            return fail(open.span, "ranges only allowed for vector selectors");
        };
        if selector.shift.offset.is_some() {
            return fail(open.span, "no offset modifiers allowed before range");
        }
        if selector.shift.at.is_some() {
            return fail(open.span, "no @ modifiers allowed before range");
        }
        let span = Span::new(selector.span.start, close.span.end);
        Ok(Expr::Matrix { selector, range, span })
    }
}

fn matcher(name: &str, op: MatchOp, value: String, span: Span) -> Parse<Matcher> {
    match Matcher::new(name, op, value) {
        Ok(matcher) => Ok(matcher),
        Err(error) => fail(span, error.to_string()),
    }
}

fn extend(expr: &mut Expr, anchored: bool) -> Parse<()> {
    let word = if anchored { "anchored" } else { "smoothed" };
    let span = expr.span();
    let selector = match expr {
        Expr::Vector(selector) | Expr::Matrix { selector, .. } => selector,
        Expr::Subquery { .. } => return fail(span, format!("{word} modifier is not supported for subqueries")),
        _ => return fail(span, format!("{word} modifier not implemented")),
    };
    *(if anchored { &mut selector.anchored } else { &mut selector.smoothed }) = true;
    if selector.anchored && selector.smoothed {
        return fail(span, "anchored and smoothed modifiers cannot be used together");
    }
    Ok(())
}
