//! Text to syntax tree, by recursive descent. Accepts the whole grammar; [`super::validate`] then says what makes no sense.
mod field;
mod metrics;
mod node;

use crate::error::{Error, Result};
use crate::traceql::ast::{Body, Field, FieldExpr, Query, SpansetExpr, Static};
use crate::traceql::lexer::{SyntaxError, Token, TokenKind, tokens};

use node::Node;

/// Longest query text in bytes.
pub const QUERY_BYTES_MAX: usize = 131_072;
/// Deepest nesting of parentheses and unary operators.
const DEPTH_MAX: usize = 128;
/// Most binary operators in a query: they bound the depth of the tree.
const OPERATORS_MAX: usize = 500;

type Parsed<T> = std::result::Result<T, SyntaxError>;

/// Parses a query. Errors are [`Error::Parse`] in Tempo's words, with line and column.
pub fn parse(text: &str) -> Result<Query> {
    if text.len() > QUERY_BYTES_MAX {
        let message = format!(
            "TraceQL expression exceeds the configured maximum size of {QUERY_BYTES_MAX} bytes, consider reducing its complexity"
        );
        return Err(Error::Parse { message });
    }
    Parser::new(text).and_then(|mut p| p.query()).map_err(|e| worded(text, &e))
}

/// Parses one attribute or intrinsic, as tag names are given.
pub fn parse_field(text: &str) -> Result<Field> {
    let whole = |p: &mut Parser| match p.next() {
        TokenKind::Field(field) if *p.peek() == TokenKind::End => Ok(field),
        _ => p.unexpected_last(),
    };
    Parser::new(text).and_then(|mut p| whole(&mut p)).map_err(|e| worded(text, &e))
}

fn worded(text: &str, error: &SyntaxError) -> Error {
    let before = &text.as_bytes()[..error.at.min(text.len())];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
    let message = format!("invalid TraceQL query: parse error at line {line}, col {column}: {}", error.message);
    Error::Parse { message }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    operators: usize,
}

impl Parser {
    fn new(text: &str) -> Parsed<Self> {
        Ok(Self { tokens: tokens(text)?, at: 0, depth: 0, operators: 0 })
    }

    fn peek(&self) -> &TokenKind {
        // The last token is End and `next` never moves past it.
        &self.tokens[self.at].kind
    }

    fn next(&mut self) -> TokenKind {
        let kind = self.tokens[self.at].kind.clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        kind
    }

    fn unexpected<T>(&self) -> Parsed<T> {
        self.unexpected_at(self.at)
    }

    /// Complains about the token before the current one.
    fn unexpected_last<T>(&self) -> Parsed<T> {
        self.unexpected_at(self.at.saturating_sub(1))
    }

    fn unexpected_at<T>(&self, at: usize) -> Parsed<T> {
        let token = &self.tokens[at];
        self.fail(token.at, format!("syntax error: unexpected {}", token.kind.describe()))
    }

    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Parsed<T> {
        Err(SyntaxError { message: message.into(), at })
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), TokenKind::Sign(s) if *s == sign)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, sign: &str) -> Parsed<()> {
        if self.take_sign(sign) { Ok(()) } else { self.unexpected() }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), TokenKind::Word(w) if w == word)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.next();
        }
        found
    }

    /// Runs `inner` one level deeper.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == DEPTH_MAX {
            return self.fail(self.tokens[self.at].at, format!("expression is nested deeper than {DEPTH_MAX} levels"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn count_operator(&mut self) -> Parsed<()> {
        self.operators += 1;
        if self.operators > OPERATORS_MAX {
            return self.fail(self.tokens[self.at].at, format!("expression has more than {OPERATORS_MAX} operators"));
        }
        Ok(())
    }

    fn query(&mut self) -> Parsed<Query> {
        let body = match self.pipe()? {
            Node::ScalarPipelines { op, left, right } => Body::ScalarPipelines { op, left, right },
            Node::Metrics(metrics) => Body::Metrics(metrics),
            node @ (Node::Spanset(_) | Node::Pipeline(_) | Node::ScalarFilter { .. }) => match node.into_pipeline() {
                Some(pipeline) => Body::Spans(pipeline),
                None => return self.unexpected(),
            },
            Node::Number(_) | Node::Scalar(_) | Node::ScalarPipeline(_) => return self.unexpected(),
        };
        let mut hints = Vec::new();
        while self.take_word("with") {
            self.hints(&mut hints)?;
        }
        if *self.peek() != TokenKind::End {
            return self.unexpected();
        }
        Ok(Query { body, hints })
    }

    fn hints(&mut self, hints: &mut Vec<(String, Static)>) -> Parsed<()> {
        self.expect("(")?;
        loop {
            let TokenKind::Word(name) = self.next() else { return self.unexpected_last() };
            self.expect("=")?;
            let negative = self.take_sign("-");
            let TokenKind::Static(value) = self.next() else { return self.unexpected_last() };
            let value = if negative { field::negated(value) } else { Some(value) };
            let Some(value) = value else { return self.unexpected_last() };
            hints.push((name, value));
            if !self.take_sign(",") {
                return self.expect(")");
            }
        }
    }

    /// `{ … }`
    fn filter(&mut self) -> Parsed<SpansetExpr> {
        self.expect("{")?;
        if self.take_sign("}") {
            return Ok(SpansetExpr::Filter(None));
        }
        let expr = self.field_expr()?;
        self.expect("}")?;
        Ok(SpansetExpr::Filter(Some(expr)))
    }

    /// `( field expression )`
    fn field_in_parens(&mut self) -> Parsed<FieldExpr> {
        self.expect("(")?;
        let expr = self.field_expr()?;
        self.expect(")")?;
        Ok(expr)
    }

    /// Attributes or intrinsics in parentheses, at least one.
    fn fields_in_parens(&mut self) -> Parsed<Vec<Field>> {
        self.expect("(")?;
        let mut fields = vec![self.field()?];
        while self.take_sign(",") {
            fields.push(self.field()?);
        }
        self.expect(")")?;
        Ok(fields)
    }

    fn field(&mut self) -> Parsed<Field> {
        match self.next() {
            TokenKind::Field(field) => Ok(field),
            _ => self.unexpected_last(),
        }
    }
}
