//! The syntax tree as JSON, as Prometheus' `parse_query` answers it: durations in ms, numbers as text.
use serde_json::{Value, json};
use trine_store::index::Matcher;

use super::ast::{At, Cardinality, DurationExpr, Expr, Matching, Selector, Shift, ValueType};
use super::numbers::format_number;

/// The JSON of an expression.
pub(super) fn json(expr: &Expr) -> Value {
    match expr {
        Expr::Number { value, .. } => json!({"type": "numberLiteral", "val": format_number(*value)}),
        Expr::String { value, .. } => json!({"type": "stringLiteral", "val": value}),
        Expr::Vector(selector) => selector_json("vectorSelector", selector),
        Expr::Matrix { selector, range, .. } => {
            let mut out = selector_json("matrixSelector", selector);
            put_duration(&mut out, "range", "rangeExpr", Some(range));
            out
        }
        Expr::Subquery { expr, range, step, shift, .. } => {
            let mut out = json!({"type": "subquery", "expr": json(expr)});
            put_duration(&mut out, "range", "rangeExpr", Some(range));
            put_duration(&mut out, "step", "stepExpr", step.as_ref());
            put_shift(&mut out, shift);
            out
        }
        Expr::Unary { negative, expr, .. } => {
            json!({"type": "unaryExpr", "op": if *negative { "-" } else { "+" }, "expr": json(expr)})
        }
        Expr::Paren { expr, .. } => json!({"type": "parenExpr", "expr": json(expr)}),
        Expr::Binary { op, lhs, rhs, is_bool, matching, .. } => json!({
            "type": "binaryExpr",
            "op": op.as_str(),
            "lhs": json(lhs),
            "rhs": json(rhs),
            "matching": matching.as_ref().map(matching_json),
            "bool": is_bool,
        }),
        Expr::Aggregate { op, expr, param, grouping, without, .. } => json!({
            "type": "aggregation",
            "op": op.as_str(),
            "expr": json(expr),
            "param": param.as_ref().map(|p| json(p)),
            "grouping": grouping,
            "without": without,
        }),
        Expr::Call { function, args, .. } => json!({
            "type": "call",
            "func": {
                "name": function.name,
                "argTypes": function.args.iter().map(|t| type_name(*t)).collect::<Vec<_>>(),
                "variadic": function.variadic,
                "returnType": type_name(function.returns),
            },
            "args": args.iter().map(json).collect::<Vec<_>>(),
        }),
    }
}

fn type_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Scalar => "scalar",
        ValueType::Vector => "vector",
        ValueType::Matrix => "matrix",
        ValueType::String => "string",
    }
}

fn matching_json(m: &Matching) -> Value {
    let cardinality = match m.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    json!({
        "card": cardinality,
        "labels": m.labels,
        "on": m.on,
        "include": m.include,
        "fillValues": {"lhs": m.fill_left, "rhs": m.fill_right},
    })
}

fn matcher_json(m: &Matcher) -> Value {
    json!({"name": m.name, "value": m.value, "type": m.op.as_str()})
}

fn selector_json(kind: &str, s: &Selector) -> Value {
    let mut out = json!({
        "type": kind,
        "name": s.name.as_deref().unwrap_or_default(),
        "matchers": s.matchers.iter().map(matcher_json).collect::<Vec<_>>(),
        "anchored": s.anchored,
        "smoothed": s.smoothed,
    });
    put_shift(&mut out, &s.shift);
    out
}

fn put_shift(out: &mut Value, shift: &Shift) {
    put_duration(out, "offset", "offsetExpr", shift.offset.as_ref());
    (out["timestamp"], out["startOrEnd"]) = match shift.at {
        Some(At::Time(ms)) => (json!(ms), Value::Null),
        Some(At::Start) => (Value::Null, json!("start")),
        Some(At::End) => (Value::Null, json!("end")),
        None => (Value::Null, Value::Null),
    };
}

/// A literal in ms, or 0 and the expression that gives it.
fn put_duration(out: &mut Value, name: &str, expr_name: &str, duration: Option<&DurationExpr>) {
    (out[name], out[expr_name]) = match duration {
        None => (json!(0), Value::Null),
        Some(DurationExpr::Literal { seconds, .. }) => (json!((seconds * 1000.0).round() as i64), Value::Null),
        Some(expr) => (json!(0), duration_json(expr, false)),
    };
}

fn duration_json(duration: &DurationExpr, wrapped: bool) -> Value {
    let node = |op: &str, lhs: Option<&DurationExpr>, rhs: Option<&DurationExpr>| {
        json!({
            "type": "durationExpr",
            "op": op,
            "lhs": lhs.map(|d| duration_json(d, false)),
            "rhs": rhs.map(|d| duration_json(d, false)),
            "wrapped": wrapped,
        })
    };
    match duration {
        // A literal in parentheses is written as a sum of one.
        DurationExpr::Literal { .. } if wrapped => node("+", None, Some(duration)),
        DurationExpr::Literal { seconds, unit } => {
            json!({"type": "numberLiteral", "val": format_number(*seconds), "duration": unit})
        }
        DurationExpr::Step => node("step", None, None),
        DurationExpr::Range => node("range", None, None),
        DurationExpr::Neg(inner) => node("-", None, Some(inner)),
        DurationExpr::Binary(op, a, b) => node(op.as_str(), Some(a), Some(b)),
        DurationExpr::MinOf(a, b) => node("min_of", Some(a), Some(b)),
        DurationExpr::MaxOf(a, b) => node("max_of", Some(a), Some(b)),
        DurationExpr::Paren(inner) => duration_json(inner, true),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::promql::parse_tree;

    #[test]
    fn trees_as_prometheus_shows_them() {
        assert_eq!(parse_tree("1").unwrap(), json!({"type": "numberLiteral", "val": "1"}));
        let selector = json!({
            "type": "matrixSelector", "name": "foo", "range": 300_000, "rangeExpr": null,
            "offset": 60_000, "offsetExpr": null, "timestamp": 2000, "startOrEnd": null,
            "anchored": false, "smoothed": false,
            "matchers": [
                {"name": "a", "value": "x", "type": "!~"},
                {"name": "__name__", "value": "foo", "type": "="},
            ],
        });
        assert_eq!(parse_tree("foo{a!~'x'}[5m] offset 1m @ 2").unwrap(), selector);
        let minus = parse_tree("-foo").unwrap();
        assert_eq!(
            (&minus["type"], &minus["op"], &minus["expr"]["name"]),
            (&json!("unaryExpr"), &json!("-"), &json!("foo"))
        );
        let sum = parse_tree("sum by (a) (topk(2, x)) + on (b) group_left (c) y").unwrap();
        assert_eq!(sum["lhs"]["grouping"], json!(["a"]));
        assert_eq!(sum["lhs"]["expr"]["param"]["val"], json!("2"));
        assert_eq!(
            sum["matching"],
            json!({"card": "many-to-one", "labels": ["b"], "on": true, "include": ["c"],
                   "fillValues": {"lhs": null, "rhs": null}})
        );
        let call = parse_tree("max_over_time(x[(step() * 2):1m] @ end())").unwrap();
        let subquery = &call["args"][0];
        assert_eq!((&subquery["range"], &subquery["step"]), (&json!(0), &json!(60_000)));
        assert_eq!((&subquery["rangeExpr"]["op"], &subquery["rangeExpr"]["wrapped"]), (&json!("*"), &json!(true)));
        assert_eq!(subquery["startOrEnd"], json!("end"));
        assert_eq!(call["func"]["argTypes"], json!(["matrix"]));
    }
}
