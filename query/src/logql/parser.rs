//! Recursive descent over the tokens of a query. Errors are in Loki's words: `parse error at line L, col C: …` for syntax,
//! `parse error : …` for meaning. Nesting is bounded, so that no text overflows the stack.
mod cursor;
mod log;
mod metric;
#[cfg(test)]
mod tests;

use trine_store::index::Matcher;

use self::cursor::Cursor;
use super::QUERY_BYTES_MAX;
use super::ast::{Expr, LogExpr, MetricExpr};
use super::lexer::Token;
use crate::error::{Error, Result};

/// Parses and checks a query.
pub fn parse(query: &str) -> Result<Expr> {
    let expr = parse_text(query, false)?;
    match &expr {
        Expr::Log(log) => check_selector(&log.matchers)?,
        Expr::Metric(metric) => check_selectors(metric)?,
    }
    Ok(expr)
}

/// Parses a log query: a selector and a pipeline. A selector that matches every stream is allowed.
pub(super) fn parse_log(query: &str) -> Result<LogExpr> {
    match parse_unchecked(query)? {
        Expr::Log(log) => Ok(log),
        Expr::Metric(_) => Err(meaning("only log selector is supported")),
    }
}

/// Parses the selector of a metadata call: `{a="b"}`. The empty text and `{}` select every stream.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let log = parse_log(text)?;
    if !log.stages.is_empty() {
        return Err(meaning("only label matchers are supported"));
    }
    Ok(log.matchers)
}

/// Parses a query without the check of its selectors: for text that the asking node has checked or made itself.
/// Keywords may stand as label names there, as streams may have such labels.
pub(super) fn parse_unchecked(query: &str) -> Result<Expr> {
    parse_text(query, true)
}

fn parse_text(query: &str, keywords_name_labels: bool) -> Result<Expr> {
    if query.len() > QUERY_BYTES_MAX {
        return Err(meaning(&format!("input size too long ({} > {QUERY_BYTES_MAX})", query.len())));
    }
    let mut cursor = Cursor::new(query, keywords_name_labels);
    let expr = metric::expr(&mut cursor, 0)?;
    if *cursor.peek() != Token::End {
        return Err(cursor.unexpected(""));
    }
    Ok(expr)
}

/// An error that is not about a place in the text.
fn meaning(message: &str) -> Error {
    Error::Parse { message: format!("parse error : {message}") }
}

fn check_selectors(expr: &MetricExpr) -> Result<()> {
    match expr {
        MetricExpr::Range(range) => check_selector(&range.log.matchers),
        MetricExpr::Aggregate { expr, .. } | MetricExpr::LabelReplace { expr, .. } => check_selectors(expr),
        MetricExpr::Binary(binary) => {
            check_selectors(&binary.lhs)?;
            check_selectors(&binary.rhs)
        }
        MetricExpr::Literal(_) | MetricExpr::Vector(_) => Ok(()),
    }
}

fn check_selector(matchers: &[Matcher]) -> Result<()> {
    if matchers.iter().any(|m| !m.matches_empty()) {
        return Ok(());
    }
    Err(meaning(
        "queries require at least one regexp or equality matcher that does not have an empty-compatible value. For \
         instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will",
    ))
}
