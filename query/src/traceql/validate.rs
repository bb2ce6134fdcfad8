//! What parses and still makes no sense, or is not evaluated, in Tempo's words.
use regex::Regex;
use trine_store::re2;

use crate::error::{Error, Result};
use crate::traceql::ast::{
    Aggregate, AttributeScope, BinaryOp, Body, Field, FieldExpr, Intrinsic, MetricsExpr, MetricsFunction, Pipeline,
    Query, ScalarExpr, SpansetExpr, Stage, Static, UnaryOp,
};

/// Most `by` fields of a metrics query; one less where a bucket or quantile label is added.
const GROUPS_MAX: usize = 5;

/// Checks a query. [`Error::Parse`] for nonsense, [`Error::Unsupported`] for what the language has and nobody evaluates.
pub fn validate(query: &Query) -> Result<()> {
    match &query.body {
        Body::Spans(p) => pipeline(p),
        Body::ScalarPipelines { .. } => Err(unsupported("scalar filter of pipelines not yet supported")),
        Body::Metrics(m) => metrics(m),
    }
}

fn invalid(message: impl std::fmt::Display) -> Error {
    Error::Parse { message: format!("invalid TraceQL query: {message}") }
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported { what: what.to_owned() }
}

fn pipeline(pipeline: &Pipeline) -> Result<()> {
    pipeline.stages.iter().try_for_each(stage)
}

fn stage(stage: &Stage) -> Result<()> {
    match stage {
        Stage::Spanset(expr) => spanset(expr),
        Stage::Scalar { left, right, .. } => scalar_filter(left, right),
        Stage::By(expr) => {
            field_type(expr)?;
            if !references_span(expr) {
                return Err(invalid(format_args!("grouping field expressions must reference the span: {stage}")));
            }
            Ok(())
        }
        Stage::Coalesce => Ok(()),
        Stage::Select(fields) => fields.iter().try_for_each(field),
    }
}

fn spanset(expr: &SpansetExpr) -> Result<()> {
    match expr {
        SpansetExpr::Filter(None) => Ok(()),
        SpansetExpr::Filter(Some(expr)) => filter(expr),
        SpansetExpr::Pipeline(p) => pipeline(p),
        SpansetExpr::Op { left, right, .. } => spanset(left).and_then(|()| spanset(right)),
    }
}

fn filter(expr: &FieldExpr) -> Result<()> {
    match field_type(expr)? {
        Type::Bool | Type::Unknown => Ok(()),
        _ => Err(invalid(format_args!("span filter field expressions must resolve to a boolean: {{ {expr} }}"))),
    }
}

fn scalar_filter(left: &ScalarExpr, right: &ScalarExpr) -> Result<()> {
    let mut aggregates = Vec::new();
    for side in [left, right] {
        scalar_aggregates(side, &mut aggregates);
    }
    aggregates.iter().try_for_each(|a| aggregate(a))?;
    let is_plain = |side: &ScalarExpr| matches!(side, ScalarExpr::Aggregate(_));
    let is_constant = |side: &ScalarExpr| {
        let mut found = Vec::new();
        scalar_aggregates(side, &mut found);
        found.is_empty()
    };
    if (is_plain(left) && is_constant(right)) || (is_constant(left) && is_plain(right)) {
        Ok(())
    } else {
        Err(unsupported("scalar filters between aggregates and arithmetic on aggregates are not yet supported"))
    }
}

fn scalar_aggregates<'a>(expr: &'a ScalarExpr, out: &mut Vec<&'a Aggregate>) {
    match expr {
        ScalarExpr::Static(_) => {}
        ScalarExpr::Aggregate(a) => out.push(a),
        ScalarExpr::Binary { left, right, .. } => {
            scalar_aggregates(left, out);
            scalar_aggregates(right, out);
        }
    }
}

fn aggregate(aggregate: &Aggregate) -> Result<()> {
    let Some(expr) = &aggregate.expr else { return Ok(()) };
    if !matches!(field_type(expr)?, Type::Int | Type::Float | Type::Duration | Type::Unknown) {
        return Err(invalid(format_args!("aggregate field expressions must resolve to a number type: {aggregate}")));
    }
    if !references_span(expr) {
        return Err(invalid(format_args!("aggregate field expressions must reference the span: {aggregate}")));
    }
    Ok(())
}

fn references_span(expr: &FieldExpr) -> bool {
    let mut found = false;
    expr.fields(&mut |_| found = true);
    found
}

/// Static type of an expression; `Unknown` is an attribute's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Unknown,
    Nil,
    Bool,
    Int,
    Float,
    Str,
    Duration,
    Status,
    Kind,
}

impl Type {
    fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Duration | Self::Unknown)
    }

    fn fits(self, other: Self) -> bool {
        self == other
            || self == Self::Unknown
            || other == Self::Unknown
            || self == Self::Nil
            || other == Self::Nil
            || (self.is_number() && other.is_number())
    }

    fn takes(self, op: BinaryOp) -> bool {
        use BinaryOp::*;
        match op {
            And | Or => matches!(self, Self::Bool | Self::Unknown),
            Eq | NotEq => true,
            Less | LessEq | Greater | GreaterEq => self.is_number() || self == Self::Str,
            Regex | NotRegex => matches!(self, Self::Str | Self::Unknown),
            Add | Sub | Mul | Div | Mod | Pow => self.is_number(),
        }
    }
}

fn field_type(expr: &FieldExpr) -> Result<Type> {
    match expr {
        FieldExpr::Static(value) => Ok(static_type(value)),
        FieldExpr::Field(f) => {
            field(f)?;
            Ok(match f {
                Field::Attribute { .. } => Type::Unknown,
                Field::Intrinsic { intrinsic, .. } => intrinsic_type(*intrinsic),
            })
        }
        FieldExpr::Unary { op, expr: operand } => {
            let t = field_type(operand)?;
            let fits = match op {
                UnaryOp::Not => matches!(t, Type::Bool | Type::Unknown),
                UnaryOp::Neg => t.is_number(),
            };
            if !fits {
                return Err(invalid(format_args!("illegal operation for the given type: {expr}")));
            }
            Ok(if *op == UnaryOp::Not { Type::Bool } else { t })
        }
        FieldExpr::Binary { op, left, right } => binary_type(expr, *op, left, right),
    }
}

fn binary_type(expr: &FieldExpr, op: BinaryOp, left: &FieldExpr, right: &FieldExpr) -> Result<Type> {
    let (l, r) = (field_type(left)?, field_type(right)?);
    if !l.fits(r) {
        return Err(invalid(format_args!("binary operations must operate on the same type: {expr}")));
    }
    if !l.takes(op) || !r.takes(op) {
        return Err(invalid(format_args!("illegal operation for the given types: {expr}")));
    }
    nil_test(expr, op, left, right)?;
    if matches!(op, BinaryOp::Regex | BinaryOp::NotRegex) {
        let FieldExpr::Static(Static::Str(pattern)) = right else {
            return Err(invalid(format_args!("invalid regex: the right side must be a string: {expr}")));
        };
        if let Err(error) = compile(pattern) {
            return Err(invalid(format_args!("invalid regex: {pattern}: error parsing regexp: {error}")));
        }
    }
    Ok(match (op.is_arithmetic(), l) {
        (false, _) => Type::Bool,
        (true, Type::Unknown) => r,
        (true, Type::Int) if matches!(r, Type::Float | Type::Duration) => r,
        (true, l) => l,
    })
}

/// The pattern as TraceQL matches it: against the whole text, the dot takes newlines too.
pub(crate) fn compile(pattern: &str) -> std::result::Result<Regex, String> {
    re2::compile(&format!("^(?s:{pattern})$"))
}

/// `= nil` of what every span has is refused.
fn nil_test(expr: &FieldExpr, op: BinaryOp, left: &FieldExpr, right: &FieldExpr) -> Result<()> {
    let is_nil = |e: &FieldExpr| matches!(e, FieldExpr::Static(Static::Nil));
    let tested = match (is_nil(left), is_nil(right)) {
        (false, true) => left,
        (true, false) => right,
        (true, true) | (false, false) => return Ok(()),
    };
    let always_there = match tested {
        FieldExpr::Field(Field::Intrinsic { .. }) => true,
        FieldExpr::Field(Field::Attribute { scope, name, .. }) => {
            *scope == AttributeScope::Resource && name == "service.name"
        }
        FieldExpr::Static(_) => {
            return Err(invalid(format_args!("binary operations must operate on the same type: {expr}")));
        }
        FieldExpr::Unary { .. } | FieldExpr::Binary { .. } => false,
    };
    match op {
        BinaryOp::Eq if always_there => Err(invalid(format_args!("illegal operation for the given types: {expr}"))),
        BinaryOp::Eq | BinaryOp::NotEq => Ok(()),
        _ => Err(invalid(format_args!("illegal operation for the given types: {expr}"))),
    }
}

fn field(field: &Field) -> Result<()> {
    match field {
        Field::Attribute { parent: true, .. } | Field::Intrinsic { intrinsic: Intrinsic::Parent, .. } => {
            Err(unsupported("parent not yet supported"))
        }
        Field::Attribute { .. } | Field::Intrinsic { .. } => Ok(()),
    }
}

fn static_type(value: &Static) -> Type {
    match value {
        Static::Nil => Type::Nil,
        Static::Bool(_) => Type::Bool,
        Static::Int(_) => Type::Int,
        Static::Float(_) => Type::Float,
        Static::Str(_) => Type::Str,
        Static::Duration(_) => Type::Duration,
        Static::Status(_) => Type::Status,
        Static::Kind(_) => Type::Kind,
    }
}

fn intrinsic_type(intrinsic: Intrinsic) -> Type {
    use Intrinsic::*;
    match intrinsic {
        Duration | TraceDuration | EventTimeSinceStart => Type::Duration,
        Status => Type::Status,
        Kind => Type::Kind,
        ChildCount | NestedSetLeft | NestedSetRight | NestedSetParent => Type::Int,
        Name
        | StatusMessage
        | RootName
        | RootServiceName
        | TraceId
        | SpanId
        | ParentId
        | EventName
        | LinkSpanId
        | LinkTraceId
        | InstrumentationName
        | InstrumentationVersion => Type::Str,
        Parent => Type::Unknown,
    }
}

fn metrics(expr: &MetricsExpr) -> Result<()> {
    match expr {
        MetricsExpr::Aggregate { pipeline: p, function, by } => {
            pipeline(p)?;
            metrics_function(function)?;
            by.iter().try_for_each(field)?;
            let most = GROUPS_MAX
                - usize::from(matches!(
                    function,
                    MetricsFunction::QuantileOverTime(..)
                        | MetricsFunction::HistogramOverTime(_)
                        | MetricsFunction::AvgOverTime(_)
                ));
            if by.len() > most {
                return Err(unsupported(&format!("metrics group by {} values not yet supported", by.len())));
            }
            Ok(())
        }
        MetricsExpr::Rank { input, n, .. } => {
            metrics(input)?;
            no_compare(expr, input)?;
            if *n <= 0 {
                return Err(invalid(format_args!("limit must be greater than 0: {expr}")));
            }
            Ok(())
        }
        MetricsExpr::Filter { input, .. } => metrics(input).and_then(|()| no_compare(expr, input)),
        MetricsExpr::Math { left, right, .. } => [left, right].into_iter().try_for_each(|side| {
            metrics(side)?;
            no_compare(expr, side)
        }),
        MetricsExpr::Number(_) => Ok(()),
    }
}

fn no_compare(expr: &MetricsExpr, input: &MetricsExpr) -> Result<()> {
    match input {
        MetricsExpr::Aggregate { function: MetricsFunction::Compare(..), .. } => {
            Err(invalid(format_args!("compare() cannot be followed by another stage or used in math: {expr}")))
        }
        _ => Ok(()),
    }
}

fn metrics_function(function: &MetricsFunction) -> Result<()> {
    use MetricsFunction::*;
    match function {
        Rate | CountOverTime => Ok(()),
        MinOverTime(f) | MaxOverTime(f) | AvgOverTime(f) | SumOverTime(f) | HistogramOverTime(f) => field(f),
        QuantileOverTime(f, quantiles) => match quantiles.iter().find(|q| !(0.0..=1.0).contains(*q)) {
            Some(q) => Err(invalid(format_args!("quantile must be between 0 and 1: {q}"))),
            None => field(f),
        },
        Compare(selection, numbers) => {
            if let Some(expr) = selection {
                filter(expr)?;
            }
            match numbers.as_slice() {
                [] => Ok(()),
                [n] | [n, _, _] if (1..=1000).contains(n) => match numbers {
                    v if v.len() == 3 && v[2] <= v[1] => Err(invalid("compare() end must be greater than start")),
                    _ => Ok(()),
                },
                [_] | [_, _, _] => Err(invalid("compare() top number of values must be between 1 and 1000")),
                _ => Err(invalid("compare() takes a selection, a number of values, and start and end together")),
            }
        }
    }
}
