//! Filters of tag requests: queries that somebody is still typing.
use crate::error::{Error, Result};
use crate::traceql::ast::{BinaryOp, Body, FieldExpr, Query, SpansetExpr, Stage};
use crate::traceql::parser::parse;
use crate::traceql::validate::validate;

/// More alternatives than this are refused.
const OR_MAX: usize = 100;

/// The filter in `text`, as a query with one filter stage. Incomplete matchers are dropped; `None` when nothing is left, or
/// when the query is more than one filter.
pub(crate) fn filter(text: &str) -> Result<Option<Query>> {
    let query = match parse(text) {
        Ok(query) => Some(query),
        Err(_) => repaired(text),
    };
    let Some(query) = query.filter(|q| single_filter(q).is_some() && validate(q).is_ok()) else { return Ok(None) };
    if single_filter(&query).map_or(0, alternatives) > OR_MAX {
        let message = format!("invalid TraceQL query: more than {OR_MAX} alternatives in a tag filter");
        return Err(Error::Parse { message });
    }
    Ok(Some(query))
}

fn single_filter(query: &Query) -> Option<&FieldExpr> {
    match &query.body {
        Body::Spans(pipeline) => match pipeline.stages.as_slice() {
            [Stage::Spanset(SpansetExpr::Filter(Some(expr)))] => Some(expr),
            _ => None,
        },
        Body::ScalarPipelines { .. } | Body::Metrics(_) => None,
    }
}

fn alternatives(expr: &FieldExpr) -> usize {
    match expr {
        FieldExpr::Binary { op: BinaryOp::Or, left, right } => alternatives(left) + alternatives(right),
        FieldExpr::Binary { left, right, .. } => alternatives(left).max(alternatives(right)),
        FieldExpr::Unary { expr, .. } => alternatives(expr),
        FieldExpr::Static(_) | FieldExpr::Field(_) => 1,
    }
}

/// The matchers between the first braces that parse by themselves, all of them required. Nothing where there is `||`.
fn repaired(text: &str) -> Option<Query> {
    let inner = &text[text.find('{')? + 1..];
    let inner = inner.rfind('}').map_or(inner, |end| &inner[..end]);
    let pieces = split(inner)?;
    let complete: Vec<&str> = pieces
        .into_iter()
        .filter(|piece| {
            parse(&format!("{{ {piece} }}")).is_ok_and(|q| single_filter(&q).is_some() && validate(&q).is_ok())
        })
        .collect();
    if complete.is_empty() {
        return None;
    }
    parse(&format!("{{ {} }}", complete.join(" && "))).ok()
}

/// Parts between `&&` outside quotes; `None` when there is `||`.
fn split(text: &str) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let (mut start, mut quote, mut escaped) = (0, None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '`') => quote = Some(c),
            (None, '|') if text[at..].starts_with("||") => return None,
            (None, '&') if text[at..].starts_with("&&") && at >= start => {
                parts.push(&text[start..at]);
                start = at + 2;
            }
            (None, _) => {}
        }
    }
    parts.push(text.get(start..)?);
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_complete_is_kept() {
        let shown = |text: &str| filter(text).unwrap().map(|q| q.to_string());
        for (text, expected) in [
            ("{ .a = \"x\" && .b = }", Some("{ .a = \"x\" }")),
            ("{ .a = \"x\" && .b = 1 }", Some("{ (.a = \"x\") && (.b = 1) }")),
            ("{.a=\"x && y\" && name", Some("{ .a = \"x && y\" }")),
            ("{ .a = && span.b != nil && }", Some("{ span.b != nil }")),
            ("{ .a = \"x\" || .b = }", None),
            ("{}", None),
            ("", None),
            ("{ .a = ", None),
            ("{ .a = 1 } >> { .b = 1 }", None),
            ("{ .a = 1 } | count() > 1", None),
            ("&&&{&&&", None),
        ] {
            assert_eq!(shown(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn too_many_alternatives_are_refused() {
        let many = |n: usize| format!("{{ {} }}", vec![".a = 1"; n].join(" || "));
        assert!(filter(&many(100)).unwrap().is_some());
        assert!(filter(&many(101)).is_err());
    }
}
