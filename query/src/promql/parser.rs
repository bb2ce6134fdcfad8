//! The query text to a checked [`Expr`], with errors in Prometheus' words: `line:col: parse error: …`.
mod duration;
mod selector;

use trine_store::index::Matcher;

use super::ast::{AggregateOp, BinaryOp, Cardinality, Expr, Matching, Span, ValueType, line_col};
use super::check;
use super::lexer::{SyntaxError, Tok, Token, tokens};
use super::numbers;
use super::signature;
use crate::error::{Error, Result};

/// Deepest nesting in the text; bounds the parser's own stack.
const NESTING_MAX: usize = 100;
/// Height of the tree, to which chains of operators add; bounds the stack of every walk over it.
const HEIGHT_MAX: usize = 250;

pub(super) use selector::METRIC_NAME;

pub(super) type Parse<T> = std::result::Result<T, SyntaxError>;

/// Parses and type-checks a query. Errors: [`Error::Parse`].
pub fn parse(query: &str) -> Result<Expr> {
    let worded = |e: SyntaxError| word(query, &e);
    let mut parser = Parser::new(query);
    let expr = parser.whole().map_err(worded)?;
    check::check(query, &expr).map_err(worded)?;
    Ok(expr)
}

/// The matchers of a metric selector, as in `match[]`. Errors: [`Error::Parse`].
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>> {
    let worded = |e: SyntaxError| word(text, &e);
    let mut parser = Parser::new(text);
    let selector = parser.only_selector().map_err(worded)?;
    let expr = Expr::Vector(selector);
    check::check(text, &expr).map_err(worded)?;
    let Expr::Vector(selector) = expr else { unreachable!("built as a selector above") };
    Ok(selector.matchers)
}

fn word(query: &str, error: &SyntaxError) -> Error {
    let place = match line_col(query, error.span.start) {
        _ if query.is_empty() => "unknown position".to_owned(),
        (line, column) => format!("{line}:{column}"),
    };
    Error::Parse { message: format!("{place}: parse error: {}", error.message) }
}

pub(super) fn fail<T>(span: Span, message: impl Into<String>) -> Parse<T> {
    Err(SyntaxError { message: message.into(), span })
}

pub(super) struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    /// What stopped the lexer; reported once the parser gets there.
    lexer_error: Option<SyntaxError>,
    at: usize,
    nesting: usize,
    /// Of the expression that was parsed last.
    height: usize,
}

impl<'a> Parser<'a> {
    fn new(query: &'a str) -> Self {
        let (tokens, lexer_error) = tokens(query);
        Self { tokens, lexer_error, at: 0, nesting: 0, height: 0 }
    }

    fn peek(&self) -> Parse<Token<'a>> {
        match (self.tokens.get(self.at), &self.lexer_error) {
            (Some(token), _) => Ok(*token),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => fail(Span::default(), "unexpected end of input"),
        }
    }

    fn next(&mut self) -> Parse<Token<'a>> {
        let token = self.peek()?;
        if token.tok != Tok::Eof {
            self.at += 1;
        }
        Ok(token)
    }

    /// Takes the next token if it is `tok`.
    fn accept(&mut self, tok: Tok) -> Parse<Option<Token<'a>>> {
        let token = self.peek()?;
        if token.tok == tok { self.next().map(Some) } else { Ok(None) }
    }

    /// Takes the next token if it is the keyword.
    fn accept_word(&mut self, word: &str) -> Parse<bool> {
        let found = self.peek()?.is_keyword(word);
        if found {
            self.next()?;
        }
        Ok(found)
    }

    fn expect(&mut self, tok: Tok, context: &str, expected: &str) -> Parse<Token<'a>> {
        match self.accept(tok)? {
            Some(token) => Ok(token),
            None => self.unexpected(context, expected),
        }
    }

    /// `unexpected <token> in <context>, expected <expected>`.
    fn unexpected<T>(&self, context: &str, expected: &str) -> Parse<T> {
        let token = self.peek()?;
        let mut message = format!("unexpected {}", token.describe());
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        fail(token.span, message)
    }

    /// End of the token before the next one.
    fn last_end(&self) -> usize {
        self.at.checked_sub(1).and_then(|i| self.tokens.get(i)).map_or(0, |t| t.span.end)
    }

    fn deeper(&mut self) -> Parse<()> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX { fail(self.peek()?.span, "expression is nested too deeply") } else { Ok(()) }
    }

    /// Notes that an expression over parts of at most `height` was parsed.
    fn over(&mut self, height: usize) -> Parse<()> {
        self.height = height + 1;
        if self.height > HEIGHT_MAX { fail(self.peek()?.span, "expression is nested too deeply") } else { Ok(()) }
    }

    fn whole(&mut self) -> Parse<Expr> {
        if self.peek()?.tok == Tok::Eof {
            return fail(Span::default(), "no expression found in input");
        }
        let expr = self.expr(0)?;
        if self.peek()?.tok != Tok::Eof {
            return self.unexpected("", "");
        }
        Ok(expr)
    }

    /// An expression of operators that bind at least as tightly as `min`.
    fn expr(&mut self, min: u8) -> Parse<Expr> {
        self.deeper()?;
        let mut lhs = self.operand()?;
        while let Some(op) = binary_op(&self.peek()?) {
            if op.precedence() < min {
                break;
            }
            let height = self.height;
            let op_span = self.next()?.span;
            let (is_bool, matching) = self.modifiers()?;
            let rhs = self.expr(if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 })?;
            self.over(height.max(self.height))?;
            lhs =
                Expr::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs), is_bool, matching: Some(matching), op_span };
            settle(&mut lhs);
        }
        self.nesting -= 1;
        Ok(lhs)
    }

    fn operand(&mut self) -> Parse<Expr> {
        let token = self.peek()?;
        let negative = match token.tok {
            Tok::Sub => true,
            Tok::Add => false,
            _ => {
                let primary = self.primary()?;
                return self.postfix(primary);
            }
        };
        self.next()?;
        let inner = self.expr(BinaryOp::Pow.precedence())?;
        self.over(self.height)?;
        let span = token.span.to(inner.span());
        Ok(match inner {
            Expr::Number { value, unit, .. } => {
                Expr::Number { value: if negative { -value } else { value }, unit, span }
            }
            inner => Expr::Unary { negative, expr: Box::new(inner), span },
        })
    }

    fn primary(&mut self) -> Parse<Expr> {
        let token = self.peek()?;
        self.height = 1;
        match token.tok {
            Tok::Number | Tok::Duration => {
                let (value, unit) = self.number()?;
                Ok(Expr::Number { value, unit, span: token.span })
            }
            Tok::Str => {
                self.next()?;
                Ok(Expr::String { value: unquote(&token)?, span: token.span })
            }
            Tok::LeftParen => {
                self.next()?;
                let expr = self.expr(0)?;
                self.over(self.height)?;
                let close = self.expect(Tok::RightParen, "", "")?;
                Ok(Expr::Paren { expr: Box::new(expr), span: token.span.to(close.span) })
            }
            Tok::LeftBrace => self.selector(None).map(Expr::Vector),
            Tok::MetricIdent => {
                self.next()?;
                self.selector(Some(token)).map(Expr::Vector)
            }
            Tok::Ident => self.named(token),
            _ => self.unexpected("", ""),
        }
    }

    /// What starts with a name: an aggregation, a call, or a selector.
    fn named(&mut self, token: Token<'a>) -> Parse<Expr> {
        let not_a_metric = ["bool", "on", "ignoring", "group_left", "group_right", "atan2"];
        if not_a_metric.iter().any(|k| token.is_keyword(k)) {
            return self.unexpected("", "");
        }
        self.next()?;
        let after = self.peek()?;
        let aggregate = token.keyword().and_then(|k| AggregateOp::ALL.into_iter().find(|op| op.as_str() == k));
        if let Some(op) = aggregate
            && (after.tok == Tok::LeftParen || after.is_keyword("by") || after.is_keyword("without"))
        {
            return self.aggregate(op, token.span);
        }
        if after.tok == Tok::LeftParen {
            return self.call(token);
        }
        self.selector(Some(token)).map(Expr::Vector)
    }

    fn aggregate(&mut self, op: AggregateOp, start: Span) -> Parse<Expr> {
        let before = self.grouping()?;
        let mut args = self.arguments()?;
        let modifier = match before {
            Some(modifier) => Some(modifier),
            None => self.grouping()?,
        };
        let (without, grouping) = modifier.unwrap_or_default();
        let span = Span::new(start.start, self.last_end());
        if args.is_empty() {
            return fail(span, "no arguments for aggregate expression provided");
        }
        let desired = if op.has_param() { 2 } else { 1 };
        if args.len() != desired {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {desired}, got {}",
                args.len()
            );
            return fail(span, message);
        }
        let expr = Box::new(args.remove(desired - 1));
        let param = args.pop().map(Box::new);
        Ok(Expr::Aggregate { op, expr, param, grouping, without, span })
    }

    /// `by (…)` or `without (…)`: whether it is `without`, and the labels.
    fn grouping(&mut self) -> Parse<Option<(bool, Vec<String>)>> {
        let without = if self.accept_word("by")? {
            false
        } else if self.accept_word("without")? {
            true
        } else {
            return Ok(None);
        };
        Ok(Some((without, self.grouping_labels()?)))
    }

    fn grouping_labels(&mut self) -> Parse<Vec<String>> {
        self.expect(Tok::LeftParen, "grouping opts", "\"(\"")?;
        let mut labels = Vec::new();
        while self.accept(Tok::RightParen)?.is_none() {
            let token = self.peek()?;
            let label = match token.tok {
                Tok::Ident => token.text.to_owned(),
                Tok::Str => unquote(&token)?,
                _ => return self.unexpected("grouping opts", "label"),
            };
            self.next()?;
            if label.is_empty() {
                return fail(token.span, "invalid label name for grouping: \"\"");
            }
            labels.push(label);
            if self.accept(Tok::Comma)?.is_none() && self.peek()?.tok != Tok::RightParen {
                return self.unexpected("grouping opts", "\",\" or \")\"");
            }
        }
        Ok(labels)
    }

    fn arguments(&mut self) -> Parse<Vec<Expr>> {
        self.expect(Tok::LeftParen, "aggregation", "")?;
        let mut args = Vec::new();
        let mut height = 0;
        if self.accept(Tok::RightParen)?.is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expr(0)?);
            height = height.max(self.height);
            let Some(comma) = self.accept(Tok::Comma)? else { break };
            if self.peek()?.tok == Tok::RightParen {
                return fail(comma.span, "trailing commas not allowed in function call args");
            }
        }
        self.over(height)?;
        self.expect(Tok::RightParen, "", "")?;
        Ok(args)
    }

    fn call(&mut self, name: Token<'a>) -> Parse<Expr> {
        let lower = name.text.to_ascii_lowercase();
        let known = name.keyword().map_or(name.text, |_| lower.as_str());
        let mut args = self.arguments()?;
        if known == "info"
            && let Some(Expr::Vector(selector)) = args.get_mut(1)
        {
            selector.allows_empty = true;
        }
        let span = Span::new(name.span.start, self.last_end());
        match signature::find(known) {
            Some(function) => Ok(Expr::Call { function, args, span }),
            None => fail(name.span, format!("unknown function with name {:?}", name.text)),
        }
    }

    /// `bool`, `on`/`ignoring`, `group_left`/`group_right`, `fill…` after a binary operator.
    fn modifiers(&mut self) -> Parse<(bool, Matching)> {
        let mut matching = Matching::default();
        let is_bool = self.accept_word("bool")?;
        let on = self.accept_word("on")?;
        if on || self.accept_word("ignoring")? {
            matching.on = on;
            matching.labels = self.grouping_labels()?;
            let left = self.accept_word("group_left")?;
            if left || self.accept_word("group_right")? {
                matching.cardinality = if left { Cardinality::ManyToOne } else { Cardinality::OneToMany };
                if self.peek()?.tok == Tok::LeftParen {
                    matching.include = self.grouping_labels()?;
                }
            }
        }
        self.fills(&mut matching)?;
        Ok((is_bool, matching))
    }

    fn fills(&mut self, matching: &mut Matching) -> Parse<()> {
        let is_open = |p: &Self| p.tokens.get(p.at + 1).is_some_and(|t| t.tok == Tok::LeftParen);
        if self.peek()?.is_keyword("fill") && is_open(self) {
            self.next()?;
            let value = self.fill_value()?;
            matching.fill_left = Some(value);
            matching.fill_right = Some(value);
            return Ok(());
        }
        for _ in 0..2 {
            if self.peek()?.is_keyword("fill_left") && is_open(self) && matching.fill_left.is_none() {
                self.next()?;
                matching.fill_left = Some(self.fill_value()?);
            } else if self.peek()?.is_keyword("fill_right") && is_open(self) && matching.fill_right.is_none() {
                self.next()?;
                matching.fill_right = Some(self.fill_value()?);
            }
        }
        Ok(())
    }

    fn fill_value(&mut self) -> Parse<f64> {
        self.expect(Tok::LeftParen, "", "")?;
        let (value, _) = self.signed_number()?;
        self.expect(Tok::RightParen, "", "")?;
        Ok(value)
    }

    fn signed_number(&mut self) -> Parse<(f64, bool)> {
        let negative = self.accept(Tok::Sub)?.is_some();
        if !negative {
            self.accept(Tok::Add)?;
        }
        let (value, unit) = self.number()?;
        Ok((if negative { -value } else { value }, unit))
    }

    /// A number or a duration in seconds, and whether it had units.
    fn number(&mut self) -> Parse<(f64, bool)> {
        let token = self.peek()?;
        match token.tok {
            Tok::Number => {
                self.next()?;
                match numbers::parse_number(token.text) {
                    Some(value) => Ok((value, false)),
                    None => fail(token.span, format!("error parsing number: {:?}", token.text)),
                }
            }
            Tok::Duration => {
                self.next()?;
                match numbers::parse_duration_ms(token.text) {
                    Ok(ms) => Ok((ms as f64 / 1000.0, true)),
                    Err(reason) => fail(token.span, reason),
                }
            }
            _ => self.unexpected("", ""),
        }
    }
}

pub(super) fn unquote(token: &Token<'_>) -> Parse<String> {
    match numbers::unquote(token.text) {
        Some(text) => Ok(text),
        None => fail(token.span, format!("error unquoting string {:?}: invalid syntax", token.text)),
    }
}

fn binary_op(token: &Token<'_>) -> Option<BinaryOp> {
    use BinaryOp as Op;
    Some(match token.tok {
        Tok::Add => Op::Add,
        Tok::Sub => Op::Sub,
        Tok::Mul => Op::Mul,
        Tok::Div => Op::Div,
        Tok::Mod => Op::Mod,
        Tok::Pow => Op::Pow,
        Tok::Equal => Op::Eq,
        Tok::NotEqual => Op::NotEq,
        Tok::Less => Op::Less,
        Tok::LessEq => Op::LessEq,
        Tok::Greater => Op::Greater,
        Tok::GreaterEq => Op::GreaterEq,
        Tok::TrimUpper => Op::TrimUpper,
        Tok::TrimLower => Op::TrimLower,
        Tok::Ident => match token.keyword()? {
            "and" => Op::And,
            "or" => Op::Or,
            "unless" => Op::Unless,
            "atan2" => Op::Atan2,
            _ => return None,
        },
        _ => return None,
    })
}

/// Set operators match many to many; scalars do not match at all. Misplaced modifiers stay, for [`check`] to refuse.
fn settle(expr: &mut Expr) {
    let Expr::Binary { op, lhs, rhs, matching, .. } = expr else { return };
    let vectors = lhs.value_type() == ValueType::Vector && rhs.value_type() == ValueType::Vector;
    let Some(m) = matching else { return };
    if op.is_set() && m.cardinality == Cardinality::OneToOne {
        m.cardinality = Cardinality::ManyToMany;
    }
    if !vectors && m.labels.is_empty() && m.fill_left.is_none() && m.fill_right.is_none() {
        *matching = None;
    }
}
