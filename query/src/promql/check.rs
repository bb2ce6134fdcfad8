//! Type checking, with Prometheus' messages and in its order.
use super::ast::{Cardinality, Expr, Matching, Selector, Span, ValueType};
use super::lexer::SyntaxError;
use super::parser::METRIC_NAME;
use super::parser::{Parse, fail};

/// Refuses an expression whose types or modifiers do not fit.
pub(super) fn check(query: &str, expr: &Expr) -> Parse<()> {
    match expr {
        Expr::Number { .. } | Expr::String { .. } => Ok(()),
        Expr::Vector(selector) => check_selector(selector),
        Expr::Matrix { selector, .. } => check_selector(selector),
        Expr::Paren { expr, .. } => check(query, expr),
        Expr::Subquery { expr: inner, span, .. } => {
            check(query, inner)?;
            match inner.value_type() {
                ValueType::Vector => Ok(()),
                other => {
                    fail(*span, format!("subquery is only allowed on instant vector, got {} instead", short(other)))
                }
            }
        }
        Expr::Unary { expr: inner, span, .. } => {
            check(query, inner)?;
            match inner.value_type() {
                ValueType::Scalar | ValueType::Vector => Ok(()),
                other => fail(
                    *span,
                    format!(
                        "unary expression only allowed on expressions of type scalar or instant vector, got {:?}",
                        other.to_string()
                    ),
                ),
            }
        }
        Expr::Aggregate { op, expr: inner, param, .. } => {
            expect(query, inner, ValueType::Vector, "aggregation expression")?;
            match param {
                Some(param) if *op == super::ast::AggregateOp::CountValues => {
                    expect(query, param, ValueType::String, "aggregation parameter")
                }
                Some(param) => expect(query, param, ValueType::Scalar, "aggregation parameter"),
                None => Ok(()),
            }
        }
        Expr::Call { .. } => check_call(query, expr),
        Expr::Binary { .. } => check_binary(query, expr),
    }
}

/// The type's name in Go, which one message uses.
fn short(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Scalar => "scalar",
        ValueType::Vector => "vector",
        ValueType::Matrix => "matrix",
        ValueType::String => "string",
    }
}

fn expect(query: &str, expr: &Expr, want: ValueType, context: &str) -> Parse<()> {
    check(query, expr)?;
    let got = expr.value_type();
    if got == want { Ok(()) } else { fail(expr.span(), format!("expected type {want} in {context}, got {got}")) }
}

fn check_selector(selector: &Selector) -> Parse<()> {
    if let Some(name) = &selector.name {
        let twice = selector.matchers.iter().rev().skip(1).find(|m| m.name == METRIC_NAME);
        return match twice {
            Some(m) => fail(selector.span, format!("metric name must not be set twice: {name:?} or {:?}", m.value)),
            None => Ok(()),
        };
    }
    if !selector.allows_empty && selector.matchers.iter().all(|m| m.matches_empty()) {
        return fail(selector.span, "vector selector must contain at least one non-empty matcher");
    }
    Ok(())
}

fn check_call(query: &str, expr: &Expr) -> Parse<()> {
    let Expr::Call { function, args, span } = expr else { return Ok(()) };
    let name = function.name;
    let wanted = function.args.len();
    let count = args.len();
    if function.variadic == 0 && count != wanted {
        return fail(*span, format!("expected {wanted} argument(s) in call to {name:?}, got {count}"));
    }
    if function.variadic != 0 {
        let least = wanted - 1;
        let most = least + usize::try_from(function.variadic).unwrap_or(usize::MAX - least);
        if count < least {
            return fail(*span, format!("expected at least {least} argument(s) in call to {name:?}, got {count}"));
        }
        if count > most {
            return fail(*span, format!("expected at most {most} argument(s) in call to {name:?}, got {count}"));
        }
    }
    for (i, arg) in args.iter().enumerate() {
        let want = function.args[i.min(wanted.saturating_sub(1))];
        if name == "info" && i == 1 {
            check_info_selector(arg)?;
            continue;
        }
        check(query, arg)?;
        let got = arg.value_type();
        if got != want {
            return fail(arg.span(), format!("expected type {want} in call to function {name:?}, got {got}"));
        }
    }
    Ok(())
}

fn check_info_selector(arg: &Expr) -> Parse<()> {
    match arg {
        Expr::Vector(selector) if selector.name.is_none() => Ok(()),
        Expr::Vector(selector) => fail(selector.span, "expected label selectors only, got vector selector instead"),
        other if other.value_type() != ValueType::Vector => {
            let got = other.value_type();
            fail(other.span(), format!("expected type instant vector in call to function \"info\", got {got}"))
        }
        other => fail(other.span(), "expected label selectors only"),
    }
}

fn check_binary(query: &str, expr: &Expr) -> Parse<()> {
    let Expr::Binary { op, lhs, rhs, is_bool, matching, op_span } = expr else { return Ok(()) };
    check(query, lhs)?;
    check(query, rhs)?;
    let (lt, rt) = (lhs.value_type(), rhs.value_type());
    if *is_bool && !op.is_comparison() {
        return fail(*op_span, "bool modifier can only be used on comparison operators");
    }
    if op.is_comparison() && !is_bool && lt == ValueType::Scalar && rt == ValueType::Scalar {
        return fail(*op_span, "comparisons between scalars must use BOOL modifier");
    }
    if let Some(m) = matching
        && m.on
        && let Some(label) = m.labels.iter().find(|l| m.include.contains(l))
    {
        return fail(*op_span, format!("label {label:?} must not occur in ON and GROUP clause at once"));
    }
    for (side, side_type) in [(lhs, lt), (rhs, rt)] {
        if !matches!(side_type, ValueType::Scalar | ValueType::Vector) {
            return fail(side.span(), "binary expression must contain only scalar and instant vector types");
        }
    }
    let both_vectors = lt == ValueType::Vector && rt == ValueType::Vector;
    if let Some(m) = matching {
        check_matching(m, op.is_set(), both_vectors, op.as_str(), expr.span())?;
    }
    if !both_vectors && op.is_set() {
        let message = format!("set operator {:?} not allowed in binary scalar expression", op.as_str());
        return fail(expr.span(), message);
    }
    Ok(())
}

fn check_matching(m: &Matching, is_set: bool, both_vectors: bool, op: &str, span: Span) -> Result<(), SyntaxError> {
    let fills = m.fill_left.is_some() || m.fill_right.is_some();
    if !both_vectors {
        if !m.labels.is_empty() {
            return fail(span, "vector matching only allowed between instant vectors");
        }
        if fills {
            return fail(span, "filling in missing series only allowed between instant vectors");
        }
        return Ok(());
    }
    if is_set {
        if matches!(m.cardinality, Cardinality::OneToMany | Cardinality::ManyToOne) {
            return fail(span, format!("no grouping allowed for {op:?} operation"));
        }
        if fills {
            return fail(span, "filling in missing series not allowed for set operators");
        }
    }
    Ok(())
}
