//! Printing random trees and reading them back.
use proptest::collection::vec;
use proptest::prelude::*;

use crate::traceql::ast::*;
use crate::traceql::parser::parse;

fn static_value() -> impl Strategy<Value = Static> {
    prop_oneof![
        Just(Static::Nil),
        any::<bool>().prop_map(Static::Bool),
        any::<i64>().prop_map(Static::Int),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| Static::Float(f + 0.0)),
        any::<String>().prop_map(Static::Str),
        (-i64::MAX..i64::MAX).prop_map(Static::Duration),
        prop::sample::select(Status::ALL.to_vec()).prop_map(Static::Status),
        prop::sample::select(Kind::ALL.to_vec()).prop_map(Static::Kind),
    ]
}

fn field() -> impl Strategy<Value = Field> {
    let scopes = [&[AttributeScope::Any][..], &AttributeScope::NAMED].concat();
    let name = prop_oneof!["[a-z][a-z.]{0,8}", any::<String>().prop_filter("empty", |s| !s.is_empty())];
    prop_oneof![
        (prop::sample::select(scopes), name).prop_map(|(scope, name)| Field::Attribute { scope, parent: false, name }),
        prop::sample::select(Intrinsic::all().collect::<Vec<_>>())
            .prop_map(|intrinsic| Field::Intrinsic { intrinsic, scoped: intrinsic.plain().is_none() }),
    ]
}

fn field_expr() -> impl Strategy<Value = FieldExpr> {
    use BinaryOp::*;
    let ops = vec![And, Or, Eq, NotEq, Less, LessEq, Greater, GreaterEq, Regex, NotRegex, Add, Sub, Mul, Div, Mod, Pow];
    let leaf = prop_oneof![static_value().prop_map(FieldExpr::Static), field().prop_map(FieldExpr::Field)];
    leaf.prop_recursive(4, 20, 2, move |inner| {
        let not = inner.clone().prop_map(|e| FieldExpr::Unary { op: UnaryOp::Not, expr: Box::new(e) });
        // A minus before a number is part of the number.
        let neg = inner
            .clone()
            .prop_filter("number", |e| !matches!(e, FieldExpr::Static(v) if v.is_number()))
            .prop_map(|e| FieldExpr::Unary { op: UnaryOp::Neg, expr: Box::new(e) });
        let binary = (prop::sample::select(ops.clone()), inner.clone(), inner)
            .prop_map(|(op, l, r)| FieldExpr::Binary { op, left: Box::new(l), right: Box::new(r) });
        prop_oneof![1 => not, 1 => neg, 4 => binary]
    })
}

fn spanset_op() -> impl Strategy<Value = SpansetOp> {
    let relations = [Relation::Child, Relation::Descendant, Relation::Parent, Relation::Ancestor, Relation::Sibling];
    let relation =
        (prop::sample::select(relations.to_vec()), prop::sample::select(vec![Form::Plain, Form::Not, Form::Union]))
            .prop_map(|(r, f)| SpansetOp::Relation(r, f));
    prop_oneof![Just(SpansetOp::And), Just(SpansetOp::Or), relation]
}

fn spanset() -> impl Strategy<Value = SpansetExpr> {
    prop::option::of(field_expr()).prop_map(SpansetExpr::Filter).prop_recursive(3, 6, 2, |inner| {
        (spanset_op(), inner.clone(), inner).prop_map(|(op, l, r)| SpansetExpr::Op {
            op,
            left: Box::new(l),
            right: Box::new(r),
        })
    })
}

fn stage() -> impl Strategy<Value = Stage> {
    let aggregate = prop_oneof![
        Just(Aggregate { op: AggregateOp::Count, expr: None }),
        field_expr().prop_map(|e| Aggregate { op: AggregateOp::Avg, expr: Some(e) }),
    ];
    prop_oneof![
        spanset().prop_map(Stage::Spanset),
        (aggregate, any::<i64>()).prop_map(|(a, n)| Stage::Scalar {
            op: BinaryOp::GreaterEq,
            left: ScalarExpr::Aggregate(a),
            right: ScalarExpr::Static(Static::Int(n)),
        }),
        field_expr().prop_map(Stage::By),
        Just(Stage::Coalesce),
        vec(field(), 1..4).prop_map(Stage::Select),
    ]
}

proptest! {
    #[test]
    fn printed_trees_come_back(first in spanset(), rest in vec(stage(), 0..3), metrics: bool) {
        let mut stages = vec![Stage::Spanset(first)];
        stages.extend(rest);
        let pipeline = Pipeline { stages };
        let body = if metrics {
            let input = Box::new(MetricsExpr::Aggregate { pipeline, function: MetricsFunction::Rate, by: Vec::new() });
            Body::Metrics(MetricsExpr::Rank { input, bottom: false, n: 5 })
        } else {
            Body::Spans(pipeline)
        };
        let query = Query { body, hints: vec![("sample".to_owned(), Static::Float(0.5))] };
        let text = query.to_string();
        prop_assert_eq!(parse(&text).map_err(|e| format!("{e}: {text}")), Ok(query));
    }

    #[test]
    fn garbage_never_panics(text in r#"[{}()|&<>=!~.a-c"`\\ 0-9smh:,+*/^-]{0,40}"#) {
        let _unchecked = parse(&text);
    }
}
