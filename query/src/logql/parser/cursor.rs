//! The place in the tokens, and the errors that name it.
use super::super::lexer::{Spanned, Token, error_at, lex};
use crate::error::{Error, Result};

pub(super) struct Cursor<'a> {
    text: &'a str,
    tokens: Vec<Spanned>,
    next: usize,
    keywords_name_labels: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, keywords_name_labels: bool) -> Self {
        Self { text, tokens: lex(text), next: 0, keywords_name_labels }
    }

    pub(super) fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    /// The token `ahead` places further; the last one for all places after the end.
    pub(super) fn peek_at(&self, ahead: usize) -> &Token {
        let last = self.tokens.len() - 1;
        &self.tokens[(self.next + ahead).min(last)].token
    }

    /// Returns the token and moves on, but never past the last one.
    pub(super) fn take(&mut self) -> Token {
        let token = self.peek().clone();
        if self.next + 1 < self.tokens.len() {
            self.next += 1;
        }
        token
    }

    pub(super) fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Token::Op(o) if *o == op)
    }

    pub(super) fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self.peek(), Token::Keyword(k) if *k == keyword)
    }

    pub(super) fn eat_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        if found {
            self.take();
        }
        found
    }

    pub(super) fn eat_keyword(&mut self, keyword: &str) -> bool {
        let found = self.is_keyword(keyword);
        if found {
            self.take();
        }
        found
    }

    /// Takes `op`; `expecting` is what the error lists, empty for nothing.
    pub(super) fn expect_op(&mut self, op: &str, expecting: &str) -> Result<()> {
        if self.eat_op(op) { Ok(()) } else { Err(self.unexpected(expecting)) }
    }

    pub(super) fn expect_string(&mut self) -> Result<String> {
        if let Token::Str(text) = self.peek() {
            let text = text.clone();
            self.take();
            return Ok(text);
        }
        Err(self.unexpected("STRING"))
    }

    pub(super) fn expect_ident(&mut self, expecting: &str) -> Result<String> {
        if let Token::Ident(name) = self.peek() {
            let name = name.clone();
            self.take();
            return Ok(name);
        }
        if let (Token::Keyword(name), true) = (self.peek(), self.keywords_name_labels) {
            let name = (*name).to_owned();
            self.take();
            return Ok(name);
        }
        Err(self.unexpected(expecting))
    }

    /// The error that the next token does not fit here.
    pub(super) fn unexpected(&self, expecting: &str) -> Error {
        let at = self.tokens[self.next].at;
        match self.peek() {
            Token::Broken(message) if message.starts_with("missing closing") => {
                Error::Parse { message: format!("parse error at line 0, col {}: {message}", at + 1) }
            }
            Token::Broken(message) => error_at(self.text, at, message),
            token => {
                let mut message = format!("syntax error: unexpected {}", token.name());
                if !expecting.is_empty() {
                    message.push_str(", expecting ");
                    message.push_str(expecting);
                }
                error_at(self.text, at, &message)
            }
        }
    }
}
