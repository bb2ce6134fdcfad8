//! What every matching trace must have, in the terms of the storage's statistics. Never excludes a match; used to skip.
use trine_store::model::{Scope, intrinsic};
use trine_store::rows::{AttrCondition, AttrTest};

use crate::traceql::ast::{
    AttributeScope, BinaryOp, Body, Field, FieldExpr, Form, Intrinsic, Pipeline, Query, SpansetExpr, SpansetOp, Stage,
    Static,
};

/// Alternatives of conjunctions, one of which some span of a match satisfies. `None`: nothing is known.
type Needed = Option<Vec<Vec<AttrCondition>>>;

/// Beyond this many alternatives the statistics are not asked.
const ALTERNATIVES_MAX: usize = 64;

/// Alternatives for a scan; empty when nothing can be skipped.
pub(crate) fn of_query(query: &Query) -> Vec<Vec<AttrCondition>> {
    match &query.body {
        Body::Spans(pipeline) => of_pipeline(pipeline).unwrap_or_default(),
        Body::ScalarPipelines { .. } | Body::Metrics(_) => Vec::new(),
    }
}

fn of_pipeline(pipeline: &Pipeline) -> Needed {
    match pipeline.stages.first()? {
        Stage::Spanset(expr) => of_set(expr),
        Stage::Scalar { .. } | Stage::By(_) | Stage::Coalesce | Stage::Select(_) => None,
    }
}

fn of_set(expr: &SpansetExpr) -> Needed {
    match expr {
        SpansetExpr::Filter(filter) => of_expr(filter.as_ref()?),
        SpansetExpr::Pipeline(pipeline) => of_pipeline(pipeline),
        SpansetExpr::Op { op: SpansetOp::Or, left, right } => either(of_set(left), of_set(right)),
        SpansetExpr::Op { op: SpansetOp::Relation(_, Form::Not), right, .. } => of_set(right),
        // Spans of both sides must be there: the side with fewer alternatives says more.
        SpansetExpr::Op { left, right, .. } => fewer(of_set(left), of_set(right)),
    }
}

/// The same over one span.
pub(crate) fn of_expr(expr: &FieldExpr) -> Needed {
    match expr {
        FieldExpr::Binary { op: BinaryOp::And, left, right } => both(of_expr(left), of_expr(right)),
        FieldExpr::Binary { op: BinaryOp::Or, left, right } => either(of_expr(left), of_expr(right)),
        FieldExpr::Binary { op, left, right } => match (&**left, &**right) {
            (FieldExpr::Field(field), FieldExpr::Static(value)) => of_comparison(field, *op, value),
            (FieldExpr::Static(value), FieldExpr::Field(field)) => of_comparison(field, mirrored(*op), value),
            _ => None,
        },
        FieldExpr::Field(field) => of_comparison(field, BinaryOp::Eq, &Static::Bool(true)),
        FieldExpr::Static(_) | FieldExpr::Unary { .. } => None,
    }
}

fn either(left: Needed, right: Needed) -> Needed {
    let (mut left, right) = (left?, right?);
    left.extend(right);
    (left.len() <= ALTERNATIVES_MAX).then_some(left)
}

fn fewer(left: Needed, right: Needed) -> Needed {
    match (left, right) {
        (Some(l), Some(r)) => Some(if r.len() < l.len() { r } else { l }),
        (l, r) => l.or(r),
    }
}

fn both(left: Needed, right: Needed) -> Needed {
    match (left, right) {
        (Some(l), Some(r)) if l.len() * r.len() <= ALTERNATIVES_MAX => {
            let pair = |a: &Vec<AttrCondition>| r.iter().map(|b| [a.as_slice(), b].concat()).collect::<Vec<_>>();
            Some(l.iter().flat_map(pair).collect())
        }
        (l, r) => fewer(l, r),
    }
}

fn mirrored(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Less => BinaryOp::Greater,
        BinaryOp::LessEq => BinaryOp::GreaterEq,
        BinaryOp::Greater => BinaryOp::Less,
        BinaryOp::GreaterEq => BinaryOp::LessEq,
        op => op,
    }
}

fn of_comparison(field: &Field, op: BinaryOp, value: &Static) -> Needed {
    if !op.is_comparison() || (*value == Static::Nil && op != BinaryOp::NotEq) {
        return None;
    }
    match field {
        Field::Attribute { parent: true, .. } => None,
        Field::Attribute { scope, name, .. } => of_attribute(*scope, name, op, value),
        Field::Intrinsic { intrinsic, .. } => of_intrinsic(*intrinsic, op, value).map(|c| vec![vec![c]]),
    }
}

fn of_attribute(scope: AttributeScope, name: &str, op: BinaryOp, value: &Static) -> Needed {
    let has_blob = |column: &str| {
        vec![AttrCondition { scope: Some(Scope::Intrinsic), key: column.to_owned(), test: AttrTest::Exists }]
    };
    let test = |scope| vec![AttrCondition { scope, key: name.to_owned(), test: attribute_test(op, value) }];
    Some(match scope {
        AttributeScope::Span => vec![test(Some(Scope::Record))],
        AttributeScope::Resource => vec![test(Some(Scope::Resource))],
        AttributeScope::Instrumentation => vec![test(Some(Scope::Instrumentation))],
        AttributeScope::Event => vec![has_blob(intrinsic::EVENTS)],
        AttributeScope::Link => vec![has_blob(intrinsic::LINKS)],
        AttributeScope::Any => vec![test(None), has_blob(intrinsic::EVENTS), has_blob(intrinsic::LINKS)],
    })
}

/// A test that values of any type that satisfies the comparison pass.
fn attribute_test(op: BinaryOp, value: &Static) -> AttrTest {
    match (op, value) {
        (BinaryOp::Eq, Static::Str(s)) => AttrTest::StrIn(vec![s.clone()]),
        (BinaryOp::Eq, Static::Bool(b)) => AttrTest::Bool(*b),
        (op, Static::Int(i) | Static::Duration(i)) => number(op, *i as f64),
        (op, Static::Float(f)) => number(op, *f),
        _ => AttrTest::Exists,
    }
}

fn number(op: BinaryOp, value: f64) -> AttrTest {
    let (min, max) = match op {
        BinaryOp::Eq => (value, value),
        BinaryOp::Less | BinaryOp::LessEq => (f64::NEG_INFINITY, value),
        BinaryOp::Greater | BinaryOp::GreaterEq => (value, f64::INFINITY),
        _ => return AttrTest::Exists,
    };
    AttrTest::Number { min, max }
}

/// Intrinsics are absent where they are zero, so only what excludes zero says anything.
fn of_intrinsic(field: Intrinsic, op: BinaryOp, value: &Static) -> Option<AttrCondition> {
    let on = |key: &str, test| Some(AttrCondition { scope: Some(Scope::Intrinsic), key: key.to_owned(), test });
    let text = |key: &str| match (op, value) {
        (BinaryOp::Eq, Static::Str(s)) if !s.is_empty() => on(key, AttrTest::StrIn(vec![s.clone()])),
        _ => None,
    };
    match field {
        Intrinsic::Name => text(intrinsic::NAME),
        Intrinsic::StatusMessage => text(intrinsic::STATUS_MESSAGE),
        Intrinsic::InstrumentationName => text(intrinsic::SCOPE_NAME),
        Intrinsic::InstrumentationVersion => text(intrinsic::SCOPE_VERSION),
        Intrinsic::EventName | Intrinsic::EventTimeSinceStart => on(intrinsic::EVENTS, AttrTest::Exists),
        Intrinsic::LinkSpanId | Intrinsic::LinkTraceId => on(intrinsic::LINKS, AttrTest::Exists),
        Intrinsic::Status => match (op, value) {
            (BinaryOp::Eq, Static::Status(s)) if *s as i64 != 0 => on(intrinsic::STATUS_CODE, exactly(*s as i64)),
            _ => None,
        },
        Intrinsic::Kind => match (op, value) {
            (BinaryOp::Eq, Static::Kind(k)) if *k as i64 != 0 => on(intrinsic::KIND, exactly(*k as i64)),
            _ => None,
        },
        Intrinsic::Duration => match (op, value) {
            (BinaryOp::Greater | BinaryOp::GreaterEq | BinaryOp::Eq, Static::Int(ns) | Static::Duration(ns))
                if *ns > 0 =>
            {
                on(intrinsic::DURATION_NS, AttrTest::Int { min: *ns, max: i64::MAX })
            }
            _ => None,
        },
        _ => None,
    }
}

fn exactly(value: i64) -> AttrTest {
    AttrTest::Int { min: value, max: value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traceql::parser::parse;

    #[test]
    fn conditions_of_queries() {
        let shape = |text: &str| -> Vec<usize> { of_query(&parse(text).unwrap()).iter().map(Vec::len).collect() };
        for (text, expected) in [
            ("{}", vec![]),
            ("{ span.a = 1 }", vec![1]),
            ("{ .a = 1 }", vec![1, 1, 1]),
            ("{ span.a = 1 && resource.b = \"x\" }", vec![2]),
            ("{ span.a = 1 || name = \"x\" }", vec![1, 1]),
            ("{ span.a = 1 || rootName = \"x\" }", vec![]),
            ("{ span.a = nil }", vec![]),
            ("{ status = unset }", vec![]),
            ("{ status = error } >> { .a = 1 }", vec![1]),
            ("{ span.a = 1 } !>> {}", vec![]),
            ("{} >> { span.a = 1 }", vec![1]),
            ("by(span.a)", vec![]),
            ("({ span.a != nil } | count() > 2) || { duration > 2s }", vec![1, 1]),
        ] {
            assert_eq!(shape(text), expected, "{text}");
        }
    }
}
