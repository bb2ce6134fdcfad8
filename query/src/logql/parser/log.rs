//! Selectors, pipelines and label filters.
use trine_store::index::{MatchOp, Matcher};
use trine_store::re2;

use super::super::ast::{
    Compare, Extraction, LabelFilter, LabelFormat, LabelPick, LineFilter, LineOp, LineTerm, LogExpr, Stage,
};
use super::super::lexer::Token;
use super::cursor::Cursor;
use super::meaning;
use super::metric::DEPTH_MAX;
use crate::error::Result;

/// `{a="b", c=~"d"}`.
pub(super) fn selector(c: &mut Cursor<'_>) -> Result<LogExpr> {
    c.expect_op("{", "")?;
    let mut matchers = Vec::new();
    if c.eat_op("}") {
        return Ok(LogExpr { matchers, stages: Vec::new() });
    }
    loop {
        let expecting = if matchers.is_empty() { "IDENTIFIER or }" } else { "IDENTIFIER" };
        let name = c.expect_ident(expecting)?;
        matchers.push(matcher(c, name)?);
        if c.eat_op("}") {
            return Ok(LogExpr { matchers, stages: Vec::new() });
        }
        c.expect_op(",", "} or ,")?;
    }
}

/// The rest of a matcher after its name.
fn matcher(c: &mut Cursor<'_>, name: String) -> Result<Matcher> {
    let op = match_op(c.peek()).ok_or_else(|| c.unexpected("= or =~ or !~ or !="))?;
    c.take();
    let value = c.expect_string()?;
    Matcher::new(name, op, value).map_err(|e| meaning(&e.to_string()))
}

fn match_op(token: &Token) -> Option<MatchOp> {
    match token {
        Token::Op("=") => Some(MatchOp::Eq),
        Token::Op("!=") => Some(MatchOp::NotEq),
        Token::Op("=~") => Some(MatchOp::Regex),
        Token::Op("!~") => Some(MatchOp::NotRegex),
        _ => None,
    }
}

/// Appends the stages that follow, up to an `unwrap` or whatever is no stage.
pub(super) fn stages(c: &mut Cursor<'_>, out: &mut Vec<Stage>) -> Result<()> {
    loop {
        if let Some(op) = line_op(c.peek()) {
            c.take();
            out.push(Stage::LineFilter(line_filter(c, op)?));
            continue;
        }
        if !c.is_op("|") || matches!(c.peek_at(1), Token::Keyword("unwrap")) {
            return Ok(());
        }
        c.take();
        out.push(stage(c)?);
    }
}

fn line_op(token: &Token) -> Option<LineOp> {
    match token {
        Token::Op("|=") => Some(LineOp::Contains),
        Token::Op("!=") => Some(LineOp::NotContains),
        Token::Op("|~") => Some(LineOp::Regex),
        Token::Op("!~") => Some(LineOp::NotRegex),
        Token::Op("|>") => Some(LineOp::Pattern),
        Token::Op("!>") => Some(LineOp::NotPattern),
        _ => None,
    }
}

fn line_filter(c: &mut Cursor<'_>, op: LineOp) -> Result<LineFilter> {
    let mut terms = Vec::new();
    loop {
        terms.push(line_term(c)?);
        if !c.eat_keyword("or") {
            return Ok(LineFilter { op, terms });
        }
    }
}

fn line_term(c: &mut Cursor<'_>) -> Result<LineTerm> {
    if matches!(c.peek(), Token::Function(f) if f == "ip") {
        return Ok(LineTerm::Ip(ip_call(c)?));
    }
    if !matches!(c.peek(), Token::Str(_)) {
        return Err(c.unexpected("STRING or ip"));
    }
    // The pattern of `|~` is compiled when the query runs; Loki accepts a broken one here.
    Ok(LineTerm::Text(c.expect_string()?))
}

fn ip_call(c: &mut Cursor<'_>) -> Result<String> {
    c.take();
    c.expect_op("(", "(")?;
    let pattern = c.expect_string()?;
    c.expect_op(")", ")")?;
    Ok(pattern)
}

/// A stage after its pipe.
fn stage(c: &mut Cursor<'_>) -> Result<Stage> {
    let Token::Keyword(keyword) = *c.peek() else {
        return Ok(Stage::LabelFilter(label_filter(c, 0)?));
    };
    let known =
        ["json", "logfmt", "regexp", "pattern", "unpack", "line_format", "label_format", "decolorize", "drop", "keep"];
    if !known.contains(&keyword) {
        return Err(c.unexpected(""));
    }
    c.take();
    match keyword {
        "json" => Ok(Stage::Json(extractions(c)?)),
        "logfmt" => logfmt(c),
        "regexp" => regexp(c),
        "pattern" => Ok(Stage::Pattern(c.expect_string()?)),
        "unpack" => Ok(Stage::Unpack),
        "line_format" => Ok(Stage::LineFormat(c.expect_string()?)),
        "label_format" => Ok(Stage::LabelFormat(label_formats(c)?)),
        "decolorize" => Ok(Stage::Decolorize),
        "drop" => Ok(Stage::Drop(picks(c)?)),
        _ => Ok(Stage::Keep(picks(c)?)),
    }
}

fn logfmt(c: &mut Cursor<'_>) -> Result<Stage> {
    let (mut strict, mut keep_empty) = (false, false);
    while let Token::Flag(flag) = c.peek() {
        match flag.as_str() {
            "strict" => strict = true,
            _ => keep_empty = true,
        }
        c.take();
    }
    Ok(Stage::Logfmt { strict, keep_empty, fields: extractions(c)? })
}

fn regexp(c: &mut Cursor<'_>) -> Result<Stage> {
    let pattern = c.expect_string()?;
    let regex = re2::compile(&pattern).map_err(|e| meaning(&format!("error parsing regexp: {e}")))?;
    if regex.capture_names().flatten().next().is_none() {
        return Err(meaning("at least one named capture must be supplied"));
    }
    Ok(Stage::Regexp(pattern))
}

/// `a="path", b`: empty when no name follows.
fn extractions(c: &mut Cursor<'_>) -> Result<Vec<Extraction>> {
    let mut out = Vec::new();
    while let Token::Ident(_) = c.peek() {
        let label = c.expect_ident("IDENTIFIER")?;
        let expression = if c.eat_op("=") { c.expect_string()? } else { label.clone() };
        out.push(Extraction { label, expression });
        if !c.eat_op(",") {
            return Ok(out);
        }
        if !matches!(c.peek(), Token::Ident(_)) {
            return Err(c.unexpected("IDENTIFIER"));
        }
    }
    Ok(out)
}

fn label_formats(c: &mut Cursor<'_>) -> Result<Vec<LabelFormat>> {
    let mut out: Vec<LabelFormat> = Vec::new();
    loop {
        let to = c.expect_ident("IDENTIFIER")?;
        c.expect_op("=", "=")?;
        if out.iter().any(|f| f.target() == to) {
            return Err(meaning(&format!("multiple label name '{to}' not allowed in a single format operation")));
        }
        if let Token::Str(_) = c.peek() {
            out.push(LabelFormat::Template { to, template: c.expect_string()? });
        } else {
            out.push(LabelFormat::Rename { to, from: c.expect_ident("STRING or IDENTIFIER")? });
        }
        if !c.eat_op(",") {
            return Ok(out);
        }
    }
}

fn picks(c: &mut Cursor<'_>) -> Result<Vec<LabelPick>> {
    let mut out = Vec::new();
    loop {
        let name = c.expect_ident("IDENTIFIER")?;
        out.push(match match_op(c.peek()) {
            Some(_) => LabelPick::Match(matcher(c, name)?),
            None => LabelPick::Name(name),
        });
        if !c.eat_op(",") {
            return Ok(out);
        }
    }
}

/// Filters joined by `or`; `and`, a comma and mere juxtaposition bind tighter.
pub(super) fn label_filter(c: &mut Cursor<'_>, depth: usize) -> Result<LabelFilter> {
    let mut left = filter_conjunction(c, depth)?;
    while c.eat_keyword("or") {
        let right = filter_conjunction(c, depth)?;
        left = LabelFilter::Or(Box::new(left), Box::new(right));
    }
    Ok(left)
}

fn filter_conjunction(c: &mut Cursor<'_>, depth: usize) -> Result<LabelFilter> {
    let mut left = filter_atom(c, depth)?;
    loop {
        let joined = c.eat_keyword("and") || c.eat_op(",");
        let juxtaposed = matches!(c.peek(), Token::Ident(_)) || c.is_op("(");
        if !joined && !juxtaposed {
            return Ok(left);
        }
        let right = filter_atom(c, depth)?;
        left = LabelFilter::And(Box::new(left), Box::new(right));
    }
}

fn filter_atom(c: &mut Cursor<'_>, depth: usize) -> Result<LabelFilter> {
    if depth > DEPTH_MAX {
        return Err(meaning("nesting is too deep"));
    }
    if c.eat_op("(") {
        let inner = label_filter(c, depth + 1)?;
        c.expect_op(")", "")?;
        return Ok(inner);
    }
    let label = c.expect_ident("")?;
    let Token::Op(op) = *c.peek() else {
        return Err(c.unexpected(""));
    };
    if op == "=~" || op == "!~" {
        return Ok(LabelFilter::Match(matcher(c, label)?));
    }
    let Some(compare) = compare_op(op) else {
        return Err(c.unexpected(""));
    };
    match (op, c.peek_at(1)) {
        ("=" | "!=", Token::Str(_)) => return Ok(LabelFilter::Match(matcher(c, label)?)),
        ("=" | "!=", Token::Function(f)) if f == "ip" => {
            c.take();
            return Ok(LabelFilter::Ip { label, negated: op == "!=", pattern: ip_call(c)? });
        }
        _ => {}
    }
    c.take();
    filter_value(c, label, compare)
}

fn compare_op(op: &str) -> Option<Compare> {
    Some(match op {
        "=" | "==" => Compare::Eq,
        "!=" => Compare::NotEq,
        ">" => Compare::Gt,
        ">=" => Compare::Ge,
        "<" => Compare::Lt,
        "<=" => Compare::Le,
        _ => return None,
    })
}

/// The number, duration or size of a filter, with its sign.
fn filter_value(c: &mut Cursor<'_>, label: String, op: Compare) -> Result<LabelFilter> {
    let mut negative = false;
    if matches!(c.peek_at(1), Token::Number(_) | Token::DurationNs(_)) {
        negative = c.is_op("-");
        if negative || c.is_op("+") {
            c.take();
        }
    }
    match c.peek().clone() {
        Token::Number(text) => {
            c.take();
            let value = number(&text)?;
            Ok(LabelFilter::Number { label, op, value: if negative { -value } else { value } })
        }
        Token::DurationNs(ns) => {
            c.take();
            Ok(LabelFilter::Duration { label, op, ns: if negative { -ns } else { ns } })
        }
        Token::Bytes(bytes) => {
            c.take();
            Ok(LabelFilter::Bytes { label, op, bytes })
        }
        _ => Err(c.unexpected("")),
    }
}

/// The value of a number token; one beyond the largest float is none.
pub(super) fn number(text: &str) -> Result<f64> {
    let bad = |why: &str| {
        meaning(&format!("unable to parse literal as a float: strconv.ParseFloat: parsing \"{text}\": {why}"))
    };
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(bad("value out of range")),
        Err(_) => Err(bad("invalid syntax")),
    }
}
