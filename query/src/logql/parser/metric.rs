//! Metric expressions: range and vector aggregations, binary operations, functions, literals.
use trine_store::re2;

use super::super::ast::{
    AggregateOp, BinaryExpr, BinaryOp, Compare, Conversion, Expr, Group, Grouping, LogExpr, Matching, MetricExpr,
    RangeExpr, RangeOp, Unwrap,
};
use super::super::lexer::Token;
use super::cursor::Cursor;
use super::{log, meaning};
use crate::error::Result;

/// Deepest nesting of parentheses and calls.
pub(super) const DEPTH_MAX: usize = 100;

/// Any expression: operands joined by binary operators.
pub(super) fn expr(c: &mut Cursor<'_>, depth: usize) -> Result<Expr> {
    binary(c, depth, 0)
}

/// Operators of at least `min` precedence; `^` is right associative, all others left.
fn binary(c: &mut Cursor<'_>, depth: usize, min: u8) -> Result<Expr> {
    let mut lhs = operand(c, depth)?;
    while let Some(op) = binary_op(c.peek()) {
        if op.precedence() < min {
            break;
        }
        c.take();
        let return_bool = c.eat_keyword("bool");
        let matching = matching(c)?;
        let next = op.precedence() + u8::from(op != BinaryOp::Pow);
        let rhs = binary(c, depth + 1, next)?;
        lhs = Expr::Metric(join(op, return_bool, matching, lhs, rhs)?);
    }
    Ok(lhs)
}

fn binary_op(token: &Token) -> Option<BinaryOp> {
    Some(match token {
        Token::Keyword("or") => BinaryOp::Or,
        Token::Keyword("and") => BinaryOp::And,
        Token::Keyword("unless") => BinaryOp::Unless,
        Token::Op("+") => BinaryOp::Add,
        Token::Op("-") => BinaryOp::Sub,
        Token::Op("*") => BinaryOp::Mul,
        Token::Op("/") => BinaryOp::Div,
        Token::Op("%") => BinaryOp::Mod,
        Token::Op("^") => BinaryOp::Pow,
        Token::Op("==") => BinaryOp::Compare(Compare::Eq),
        Token::Op("!=") => BinaryOp::Compare(Compare::NotEq),
        Token::Op(">") => BinaryOp::Compare(Compare::Gt),
        Token::Op(">=") => BinaryOp::Compare(Compare::Ge),
        Token::Op("<") => BinaryOp::Compare(Compare::Lt),
        Token::Op("<=") => BinaryOp::Compare(Compare::Le),
        _ => return None,
    })
}

fn matching(c: &mut Cursor<'_>) -> Result<Option<Matching>> {
    let on = c.is_keyword("on");
    if !on && !c.is_keyword("ignoring") {
        return Ok(None);
    }
    c.take();
    let labels = label_list(c)?;
    let left = c.is_keyword("group_left");
    if !left && !c.is_keyword("group_right") {
        return Ok(Some(Matching { on, labels, group: None }));
    }
    c.take();
    // A parenthesis that holds names is the list of labels; otherwise it opens the right-hand side.
    let has_list = c.is_op("(")
        && match (c.peek_at(1), c.peek_at(2)) {
            (Token::Op(")"), _) => true,
            (Token::Ident(_), Token::Op(op)) => *op == "," || *op == ")",
            _ => false,
        };
    let include = if has_list { label_list(c)? } else { Vec::new() };
    Ok(Some(Matching { on, labels, group: Some(Group { left, include }) }))
}

/// Checks both sides and folds operations on two literals.
fn join(op: BinaryOp, return_bool: bool, matching: Option<Matching>, lhs: Expr, rhs: Expr) -> Result<MetricExpr> {
    let lhs = leg(lhs, "left", op)?;
    let rhs = leg(rhs, "right", op)?;
    for (side, expr) in [("left", &lhs), ("right", &rhs)] {
        if let (true, MetricExpr::Literal(value)) = (op.is_set(), expr) {
            return Err(meaning(&format!(
                "unexpected literal for {side} leg of logical/set binary operation ({}): {value:.6}",
                op.as_str()
            )));
        }
    }
    if let (MetricExpr::Literal(a), MetricExpr::Literal(b)) = (&lhs, &rhs) {
        return Ok(MetricExpr::Literal(op.apply(*a, *b)));
    }
    Ok(MetricExpr::Binary(Box::new(BinaryExpr { op, return_bool, matching, lhs, rhs })))
}

fn leg(expr: Expr, side: &str, op: BinaryOp) -> Result<MetricExpr> {
    match expr {
        Expr::Metric(metric) => Ok(metric),
        Expr::Log(log) => {
            let kind = if log.stages.is_empty() { "MatchersExpr" } else { "PipelineExpr" };
            Err(meaning(&format!(
                "unexpected type for {side} leg of binary operation ({}): *syntax.{kind}",
                op.as_str()
            )))
        }
    }
}

fn operand(c: &mut Cursor<'_>, depth: usize) -> Result<Expr> {
    if depth > DEPTH_MAX {
        return Err(meaning("nesting is too deep"));
    }
    match c.peek().clone() {
        Token::Op("{") => {
            let mut log = log::selector(c)?;
            log::stages(c, &mut log.stages)?;
            // Only an unwrap is left standing behind a pipe; it has no place outside a range aggregation.
            if c.eat_op("|") { Err(c.unexpected("")) } else { Ok(Expr::Log(log)) }
        }
        Token::Op("(") => {
            c.take();
            let inner = expr(c, depth + 1)?;
            c.expect_op(")", "")?;
            Ok(inner)
        }
        Token::Number(_) | Token::Op("+" | "-") => signed_number(c).map(|v| Expr::Metric(MetricExpr::Literal(v))),
        Token::Function(name) => function(c, &name, depth).map(Expr::Metric),
        _ => Err(c.unexpected("")),
    }
}

fn signed_number(c: &mut Cursor<'_>) -> Result<f64> {
    let negative = c.is_op("-");
    if negative || c.is_op("+") {
        c.take();
    }
    let Token::Number(text) = c.peek().clone() else {
        return Err(c.unexpected("NUMBER"));
    };
    c.take();
    let value = log::number(&text)?;
    Ok(if negative { -value } else { value })
}

fn function(c: &mut Cursor<'_>, name: &str, depth: usize) -> Result<MetricExpr> {
    if let Some(op) = RangeOp::from_name(name) {
        return range_aggregation(c, op).map(MetricExpr::Range);
    }
    if let Some(op) = AggregateOp::from_name(name) {
        return vector_aggregation(c, op, depth);
    }
    match name {
        "vector" => {
            c.take();
            c.expect_op("(", "(")?;
            let value = signed_number(c)?;
            c.expect_op(")", ")")?;
            Ok(MetricExpr::Vector(value))
        }
        "label_replace" => label_replace(c, depth),
        _ => Err(c.unexpected("")),
    }
}

fn label_replace(c: &mut Cursor<'_>, depth: usize) -> Result<MetricExpr> {
    c.take();
    c.expect_op("(", "(")?;
    let inner = metric(c, depth)?;
    let mut text = || -> Result<String> {
        c.expect_op(",", ",")?;
        c.expect_string()
    };
    let (dst, replacement, src, regex) = (text()?, text()?, text()?, text()?);
    c.expect_op(")", ")")?;
    re2::translate(&format!("^(?:{regex})$"))
        .map_err(|e| meaning(&format!("invalid regex in label_replace: error parsing regexp: {e}")))?;
    Ok(MetricExpr::LabelReplace { expr: Box::new(inner), dst, replacement, src, regex })
}

/// An operand of a function: a metric expression.
fn metric(c: &mut Cursor<'_>, depth: usize) -> Result<MetricExpr> {
    match expr(c, depth + 1)? {
        Expr::Metric(metric) => Ok(metric),
        // A log query is complete here, so it is the next token that has no place.
        Expr::Log(_) => Err(c.unexpected("")),
    }
}

fn label_list(c: &mut Cursor<'_>) -> Result<Vec<String>> {
    c.expect_op("(", "(")?;
    let mut labels = Vec::new();
    if c.eat_op(")") {
        return Ok(labels);
    }
    loop {
        labels.push(c.expect_ident(if labels.is_empty() { "IDENTIFIER or )" } else { "IDENTIFIER" })?);
        if c.eat_op(")") {
            return Ok(labels);
        }
        c.expect_op(",", ", or )")?;
    }
}

fn grouping(c: &mut Cursor<'_>) -> Result<Option<Grouping>> {
    let without = c.is_keyword("without");
    if !without && !c.is_keyword("by") {
        return Ok(None);
    }
    c.take();
    Ok(Some(Grouping { without, labels: label_list(c)? }))
}

fn vector_aggregation(c: &mut Cursor<'_>, op: AggregateOp, depth: usize) -> Result<MetricExpr> {
    c.take();
    let before = grouping(c)?;
    c.expect_op("(", "")?;
    let parameter = match (c.peek(), c.peek_at(1)) {
        (Token::Number(text), Token::Op(",")) => {
            let text = text.clone();
            c.take();
            c.take();
            Some(text)
        }
        _ => None,
    };
    let inner = metric(c, depth)?;
    c.expect_op(")", "")?;
    let after = if before.is_none() { grouping(c)? } else { None };
    let grouping = before.or(after);
    let k = aggregate_parameter(op, parameter.as_deref())?;
    match op {
        AggregateOp::Sort | AggregateOp::SortDesc if grouping.is_some() => {
            Err(meaning("sort and sort_desc doesn't allow grouping by"))
        }
        AggregateOp::ApproxTopK if grouping.is_some() => {
            Err(meaning("grouping not allowed for approx_topk aggregation"))
        }
        _ => Ok(MetricExpr::Aggregate { op, k, grouping, expr: Box::new(inner) }),
    }
}

fn aggregate_parameter(op: AggregateOp, text: Option<&str>) -> Result<Option<u64>> {
    let name = op.as_str();
    let takes_k = matches!(op, AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::ApproxTopK);
    match (takes_k, text) {
        (true, None) => Err(meaning(&format!("parameter required for operation {name}"))),
        (true, Some(text)) => match text.parse::<u64>() {
            Ok(0) => Err(meaning(&format!("invalid parameter (must be greater than 0) {name}({text}"))),
            Ok(k) => Ok(Some(k)),
            Err(_) => Err(meaning(&format!("invalid parameter {name}({text},"))),
        },
        (false, Some(text)) => Err(meaning(&format!("unsupported parameter for operation {name}({text},"))),
        (false, None) => Ok(None),
    }
}

fn range_aggregation(c: &mut Cursor<'_>, op: RangeOp) -> Result<RangeExpr> {
    c.take();
    c.expect_op("(", "")?;
    let param = match c.peek() {
        Token::Number(_) | Token::Op("-" | "+") => {
            let value = signed_number(c)?;
            c.expect_op(",", ",")?;
            Some(value)
        }
        _ => None,
    };
    let mut window = Window::default();
    let log = log_range(c, &mut window, param.is_none(), 0)?;
    c.expect_op(")", "")?;
    let grouping = grouping(c)?;
    let Some(range_ns) = window.range_ns else {
        return Err(meaning("a range is required"));
    };
    let range = RangeExpr { op, param, log, unwrap: window.unwrap, range_ns, offset_ns: window.offset_ns, grouping };
    check_range(&range)?;
    Ok(range)
}

/// What a log range has besides its selector and stages.
#[derive(Default)]
struct Window {
    range_ns: Option<i64>,
    offset_ns: i64,
    unwrap: Option<Unwrap>,
}

/// A selector with its range before or after the pipeline, in any number of parentheses.
fn log_range(c: &mut Cursor<'_>, window: &mut Window, first: bool, depth: usize) -> Result<LogExpr> {
    if depth > DEPTH_MAX {
        return Err(meaning("nesting is too deep"));
    }
    let mut log = if c.eat_op("(") {
        let log = log_range(c, window, false, depth + 1)?;
        c.expect_op(")", "")?;
        log
    } else if c.is_op("{") {
        log::selector(c)?
    } else {
        return Err(c.unexpected(if first { "NUMBER or { or (" } else { "{ or (" }));
    };
    range_and_offset(c, window)?;
    if window.unwrap.is_none() {
        log::stages(c, &mut log.stages)?;
        if c.is_op("|") {
            window.unwrap = Some(unwrap(c)?);
        }
    }
    range_and_offset(c, window)?;
    let inside = depth > 0 && c.is_op(")");
    if window.range_ns.is_none() && !inside {
        return Err(c.unexpected(""));
    }
    Ok(log)
}

fn range_and_offset(c: &mut Cursor<'_>, window: &mut Window) -> Result<()> {
    let Token::RangeNs(ns) = *c.peek() else { return Ok(()) };
    if window.range_ns.is_some() {
        return Err(c.unexpected(""));
    }
    c.take();
    window.range_ns = Some(ns);
    if c.eat_keyword("offset") {
        let negative = c.eat_op("-");
        let Token::DurationNs(ns) = *c.peek() else {
            return Err(c.unexpected("DURATION"));
        };
        c.take();
        window.offset_ns = if negative { -ns } else { ns };
    }
    Ok(())
}

fn unwrap(c: &mut Cursor<'_>) -> Result<Unwrap> {
    c.expect_op("|", "")?;
    c.take();
    let conversion = match c.peek() {
        Token::Function(f) => match f.as_str() {
            "bytes" => Some(Conversion::Bytes),
            "duration" => Some(Conversion::Duration),
            "duration_seconds" => Some(Conversion::DurationSeconds),
            _ => return Err(c.unexpected("")),
        },
        _ => None,
    };
    let label = if conversion.is_some() {
        c.take();
        c.expect_op("(", "(")?;
        let label = c.expect_ident("IDENTIFIER")?;
        c.expect_op(")", ")")?;
        label
    } else {
        c.expect_ident("IDENTIFIER or BYTES_CONV or DURATION_CONV or DURATION_SECONDS_CONV")?
    };
    let mut filters = Vec::new();
    while c.eat_op("|") {
        filters.push(log::label_filter(c, 0)?);
    }
    Ok(Unwrap { label, conversion, filters })
}

/// Which operations go with an unwrap, a parameter and a grouping.
fn check_range(range: &RangeExpr) -> Result<()> {
    use RangeOp::*;
    let op = range.op;
    let name = op.as_str();
    let refuse = |message: String| -> Result<()> { Err(meaning(&message)) };
    match (op == Quantile, range.param) {
        (true, None) => return refuse(format!("parameter required for operation {name}")),
        (false, Some(param)) => return refuse(format!("parameter {param} not supported for operation {name}")),
        _ => {}
    }
    if range.grouping.is_some() && !matches!(op, Avg | Stddev | Stdvar | Quantile | Max | Min | First | Last) {
        return refuse(format!("grouping not allowed for {name} aggregation"));
    }
    match range.unwrap {
        Some(_) if matches!(op, Count | Bytes | BytesRate) => refuse(format!("invalid aggregation {name} with unwrap")),
        None if !matches!(op, Count | Bytes | BytesRate | Rate | Absent) => {
            refuse(format!("invalid aggregation {name} without unwrap"))
        }
        _ => Ok(()),
    }
}
