//! Pipelines over one trace: from all of its spans to the span sets that are left.
use std::collections::HashMap;

use trine_store::model::Value;

use super::expr::Expr;
use super::lookup::At;
use super::relation::{Marks, related};
use super::value::{Val, arithmetic, compare};
use crate::error::{Error, Result};
use crate::traceql::ast::{
    Aggregate, AggregateOp, AttributeScope, BinaryOp, Body, Field, FieldExpr, Intrinsic, Pipeline, Query, ScalarExpr,
    SpansetExpr, SpansetOp, Stage, Static,
};
use crate::traceql::model::{SpanHit, SpanSetHit, TraceHit};
use crate::traceql::trace::{Needs, Trace};
use crate::traceql::validate::validate;

/// A search query, ready to be evaluated over traces.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    stages: Vec<Step>,
    /// Fields that results show, in the query's order.
    shown: Vec<Field>,
    pub(crate) needs: Needs,
}

#[derive(Clone, Debug)]
enum Step {
    Spanset(Set),
    Scalar {
        op: BinaryOp,
        left: Scalar,
        right: Scalar,
    },
    By {
        expr: Expr,
        label: String,
    },
    Coalesce,
    /// Only says what results show.
    Select,
}

#[derive(Clone, Debug)]
enum Set {
    Filter(Option<Expr>),
    Pipeline(Vec<Step>),
    Op { op: SpansetOp, left: Box<Set>, right: Box<Set> },
}

#[derive(Clone, Debug)]
enum Scalar {
    Static(Static),
    Aggregate { op: AggregateOp, expr: Option<Expr>, label: String },
    Binary { op: BinaryOp, left: Box<Scalar>, right: Box<Scalar> },
}

/// Spans by position, ascending, and what `by` and aggregates said about them.
#[derive(Clone, Debug, Default)]
struct Group {
    spans: Vec<usize>,
    attrs: Vec<(String, Value)>,
}

impl Plan {
    /// Checks and compiles a query of span sets; [`Error::Unsupported`] for what is not evaluated.
    pub(crate) fn new(query: &Query) -> Result<Self> {
        validate(query)?;
        match &query.body {
            Body::Spans(pipeline) => Self::of_pipeline(pipeline),
            Body::ScalarPipelines { .. } => Err(Error::Unsupported { what: "scalar filter of pipelines".to_owned() }),
            Body::Metrics(_) => Err(Error::Unsupported { what: "TraceQL metrics".to_owned() }),
        }
    }

    fn of_pipeline(pipeline: &Pipeline) -> Result<Self> {
        let mut fields = Vec::new();
        pipeline_fields(pipeline, &mut fields);
        let mut needs = Needs::default();
        let mut shown: Vec<Field> = Vec::new();
        for field in fields {
            needs_of(field, &mut needs);
            if is_shown(field) && !shown.iter().any(|f| f.bare_name() == field.bare_name()) {
                shown.push(field.clone());
            }
        }
        Ok(Self { stages: steps(pipeline)?, shown, needs })
    }

    /// What evaluating a trace takes at most for each of its spans: its places in sets, and a group of its own with what
    /// every stage so far has said about it.
    pub(crate) fn span_bytes(&self) -> u64 {
        bytes_of(&self.stages)
    }

    /// The span sets of `trace` that match, with at most `spans_per_set` spans listed (0: all); `None` without any.
    pub(crate) fn evaluate(&self, trace: &Trace, spans_per_set: usize) -> Result<Option<TraceHit>> {
        let groups = run(&self.stages, trace, vec![all(trace)])?;
        if groups.is_empty() {
            return Ok(None);
        }
        let span_sets = groups.into_iter().map(|g| self.span_set(trace, g, spans_per_set)).collect();
        Ok(Some(hit(trace, span_sets)))
    }

    fn span_set(&self, trace: &Trace, group: Group, spans_per_set: usize) -> SpanSetHit {
        let listed = if spans_per_set == 0 { group.spans.len() } else { spans_per_set.min(group.spans.len()) };
        let spans = group.spans[..listed].iter().map(|&i| self.span(at(trace, i))).collect();
        SpanSetHit { spans, matched: u32::try_from(group.spans.len()).unwrap_or(u32::MAX), attrs: group.attrs }
    }

    fn span(&self, at: At<'_>) -> SpanHit {
        let shown = |field: &Field| at.shown(field).map(|v| (field.bare_name().to_owned(), v));
        SpanHit { attrs: self.shown.iter().filter_map(shown).collect(), ..span_hit(at) }
    }

    /// Positions of the spans that are left in any span set.
    pub(crate) fn spans(&self, trace: &Trace) -> Result<Vec<usize>> {
        Ok(merged(run(&self.stages, trace, vec![all(trace)])?).spans)
    }
}

/// A span of a result, without attributes.
pub(crate) fn span_hit(at: At<'_>) -> SpanHit {
    let row = &at.span.row;
    SpanHit {
        span_id: row.span_id().to_vec(),
        name: row.name().to_owned(),
        start_ns: row.time_ns,
        duration_ns: row.duration_ns().unsigned_abs(),
        attrs: Vec::new(),
    }
}

/// A trace of a result.
pub(crate) fn hit(trace: &Trace, span_sets: Vec<SpanSetHit>) -> TraceHit {
    TraceHit {
        trace_id: trace.id,
        root_service: trace.root_service_shown(),
        root_name: trace.root_name().to_owned(),
        start_ns: trace.start_ns,
        duration_ms: trace.duration_ns().unsigned_abs() / 1_000_000,
        span_sets,
        service_stats: trace.service_stats(),
    }
}

/// What a place in a set weighs, and what a group and a label of it weigh besides their texts.
const PLACE_BYTES: u64 = 24;
const GROUP_BYTES: u64 = 128;

fn bytes_of(stages: &[Step]) -> u64 {
    let (mut total, mut labels) = (PLACE_BYTES, 0);
    for stage in stages {
        labels += match stage {
            Step::Spanset(set) => {
                total += bytes_of_set(set);
                0
            }
            Step::By { label, .. } => label.len() as u64 + GROUP_BYTES,
            Step::Scalar { left, right, .. } => bytes_of_scalar(left) + bytes_of_scalar(right),
            Step::Coalesce | Step::Select => 0,
        };
        total += labels;
    }
    total
}

fn bytes_of_set(set: &Set) -> u64 {
    match set {
        Set::Filter(_) => PLACE_BYTES,
        Set::Pipeline(stages) => bytes_of(stages),
        Set::Op { left, right, .. } => PLACE_BYTES + bytes_of_set(left) + bytes_of_set(right),
    }
}

fn bytes_of_scalar(scalar: &Scalar) -> u64 {
    match scalar {
        Scalar::Static(_) => 0,
        Scalar::Aggregate { label, .. } => label.len() as u64 + GROUP_BYTES,
        Scalar::Binary { left, right, .. } => bytes_of_scalar(left) + bytes_of_scalar(right),
    }
}

fn at(trace: &Trace, i: usize) -> At<'_> {
    At { trace, span: &trace.spans[i] }
}

fn all(trace: &Trace) -> Group {
    Group { spans: (0..trace.spans.len()).collect(), attrs: Vec::new() }
}

fn merged(groups: Vec<Group>) -> Group {
    let mut spans: Vec<usize> = groups.into_iter().flat_map(|g| g.spans).collect();
    spans.sort_unstable();
    spans.dedup();
    Group { spans, attrs: Vec::new() }
}

fn steps(pipeline: &Pipeline) -> Result<Vec<Step>> {
    pipeline.stages.iter().map(step).collect()
}

fn step(stage: &Stage) -> Result<Step> {
    Ok(match stage {
        Stage::Spanset(expr) => Step::Spanset(set(expr)?),
        Stage::Scalar { op, left, right } => Step::Scalar { op: *op, left: scalar(left)?, right: scalar(right)? },
        Stage::By(expr) => Step::By { expr: Expr::compile(expr)?, label: stage.to_string() },
        Stage::Coalesce => Step::Coalesce,
        Stage::Select(_) => Step::Select,
    })
}

fn set(expr: &SpansetExpr) -> Result<Set> {
    Ok(match expr {
        SpansetExpr::Filter(filter) => Set::Filter(filter.as_ref().map(Expr::compile).transpose()?),
        SpansetExpr::Pipeline(pipeline) => Set::Pipeline(steps(pipeline)?),
        SpansetExpr::Op { op, left, right } => {
            Set::Op { op: *op, left: Box::new(set(left)?), right: Box::new(set(right)?) }
        }
    })
}

fn scalar(expr: &ScalarExpr) -> Result<Scalar> {
    Ok(match expr {
        ScalarExpr::Static(value) => Scalar::Static(value.clone()),
        ScalarExpr::Aggregate(Aggregate { op, expr: inner }) => {
            Scalar::Aggregate { op: *op, expr: inner.as_ref().map(Expr::compile).transpose()?, label: expr.to_string() }
        }
        ScalarExpr::Binary { op, left, right } => {
            Scalar::Binary { op: *op, left: Box::new(scalar(left)?), right: Box::new(scalar(right)?) }
        }
    })
}

fn run(steps: &[Step], trace: &Trace, mut groups: Vec<Group>) -> Result<Vec<Group>> {
    for step in steps {
        groups = match step {
            Step::Spanset(set) => {
                let apply = |g: Group| Ok(Group { spans: apply_set(set, trace, &g)?, attrs: g.attrs });
                groups.into_iter().map(apply).collect::<Result<_>>()?
            }
            Step::Scalar { op, left, right } => scalar_filter(*op, left, right, trace, groups)?,
            Step::By { expr, label } => group_by(expr, label, trace, groups)?,
            Step::Coalesce => vec![merged(groups)],
            Step::Select => groups,
        };
        groups.retain(|g| !g.spans.is_empty());
    }
    Ok(groups)
}

/// Spans of `input` that the expression yields.
fn apply_set(set: &Set, trace: &Trace, input: &Group) -> Result<Vec<usize>> {
    match set {
        Set::Filter(None) => Ok(input.spans.clone()),
        Set::Filter(Some(expr)) => {
            let mut out = Vec::new();
            for &i in &input.spans {
                if expr.holds(at(trace, i))? {
                    out.push(i);
                }
            }
            Ok(out)
        }
        Set::Pipeline(steps) => Ok(merged(run(steps, trace, vec![input.clone()])?).spans),
        Set::Op { op, left, right } => {
            let (left, right) = (apply_set(left, trace, input)?, apply_set(right, trace, input)?);
            if *op == SpansetOp::And && (left.is_empty() || right.is_empty()) {
                return Ok(Vec::new());
            }
            let (left, right) = (to_marks(trace, &left), to_marks(trace, &right));
            let out = match op {
                SpansetOp::And | SpansetOp::Or => left.iter().zip(&right).map(|(l, r)| *l || *r).collect(),
                SpansetOp::Relation(relation, form) => related(trace, *relation, *form, &left, &right),
            };
            Ok((0..out.len()).filter(|&i| out[i]).collect())
        }
    }
}

fn to_marks(trace: &Trace, spans: &[usize]) -> Marks {
    let mut marks = vec![false; trace.spans.len()];
    spans.iter().for_each(|&i| marks[i] = true);
    marks
}

fn group_by(expr: &Expr, label: &str, trace: &Trace, groups: Vec<Group>) -> Result<Vec<Group>> {
    let mut out: Vec<Group> = Vec::new();
    for group in groups {
        let mut positions: HashMap<String, usize> = HashMap::new();
        for &i in &group.spans {
            let value = expr.eval(at(trace, i))?;
            let position = *positions.entry(value.group_key()).or_insert_with(|| {
                let mut attrs = group.attrs.clone();
                attrs.push((label.to_owned(), value.to_value()));
                out.push(Group { spans: Vec::new(), attrs });
                out.len() - 1
            });
            out[position].spans.push(i);
        }
    }
    Ok(out)
}

fn scalar_filter(op: BinaryOp, left: &Scalar, right: &Scalar, trace: &Trace, groups: Vec<Group>) -> Result<Vec<Group>> {
    let mut out = Vec::new();
    for mut group in groups {
        let l = scalar_value(left, trace, &mut group)?;
        let r = scalar_value(right, trace, &mut group)?;
        if compare(op, &l, &r) {
            out.push(group);
        }
    }
    Ok(out)
}

/// The scalar's value over the group's spans; aggregates note theirs in the group.
fn scalar_value<'a>(scalar: &'a Scalar, trace: &'a Trace, group: &mut Group) -> Result<Val<'a>> {
    match scalar {
        Scalar::Static(value) => Ok(Val::from_static(value)),
        Scalar::Binary { op, left, right } => {
            arithmetic(*op, &scalar_value(left, trace, group)?, &scalar_value(right, trace, group)?)
        }
        Scalar::Aggregate { op, expr, label } => {
            let value = aggregate(*op, expr.as_ref(), trace, &group.spans)?;
            if value != Val::Nil {
                group.attrs.push((label.clone(), value.to_value()));
            }
            Ok(value)
        }
    }
}

/// [`Val::Nil`] when no span has a number.
fn aggregate<'a>(op: AggregateOp, expr: Option<&'a Expr>, trace: &'a Trace, spans: &[usize]) -> Result<Val<'a>> {
    let Some(expr) = expr else { return Ok(Val::Int(spans.len() as i64)) };
    let mut total: Option<Val<'a>> = None;
    let mut count = 0;
    for &i in spans {
        let value = expr.eval(at(trace, i))?;
        if value.number().is_none() {
            continue;
        }
        count += 1;
        total = Some(match total {
            None => value,
            Some(so_far) => match op {
                AggregateOp::Min if compare(BinaryOp::Less, &value, &so_far) => value,
                AggregateOp::Max if compare(BinaryOp::Greater, &value, &so_far) => value,
                AggregateOp::Min | AggregateOp::Max => so_far,
                AggregateOp::Avg | AggregateOp::Sum | AggregateOp::Count => arithmetic(BinaryOp::Add, &so_far, &value)?,
            },
        });
    }
    Ok(match (op, total) {
        (_, None) => Val::Nil,
        (AggregateOp::Avg, Some(Val::Duration(ns))) => Val::Duration(ns / count),
        (AggregateOp::Avg, Some(total)) => Val::Float(total.number().unwrap_or(0.0) / count as f64),
        (_, Some(total)) => total,
    })
}

fn pipeline_fields<'a>(pipeline: &'a Pipeline, out: &mut Vec<&'a Field>) {
    for stage in &pipeline.stages {
        match stage {
            Stage::Spanset(expr) => set_fields(expr, out),
            Stage::Scalar { left, right, .. } => {
                scalar_fields(left, out);
                scalar_fields(right, out);
            }
            Stage::By(expr) => expr.fields(&mut |f| out.push(f)),
            Stage::Coalesce => {}
            Stage::Select(fields) => out.extend(fields),
        }
    }
}

fn set_fields<'a>(expr: &'a SpansetExpr, out: &mut Vec<&'a Field>) {
    match expr {
        SpansetExpr::Filter(None) => {}
        SpansetExpr::Filter(Some(expr)) => expr.fields(&mut |f| out.push(f)),
        SpansetExpr::Pipeline(pipeline) => pipeline_fields(pipeline, out),
        SpansetExpr::Op { left, right, .. } => {
            set_fields(left, out);
            set_fields(right, out);
        }
    }
}

fn scalar_fields<'a>(expr: &'a ScalarExpr, out: &mut Vec<&'a Field>) {
    let in_expr = |expr: &'a FieldExpr, out: &mut Vec<&'a Field>| expr.fields(&mut |f| out.push(f));
    match expr {
        ScalarExpr::Static(_) => {}
        ScalarExpr::Aggregate(aggregate) => {
            if let Some(expr) = &aggregate.expr {
                in_expr(expr, out);
            }
        }
        ScalarExpr::Binary { left, right, .. } => {
            scalar_fields(left, out);
            scalar_fields(right, out);
        }
    }
}

/// What a result has anyway is not repeated among the attributes.
fn is_shown(field: &Field) -> bool {
    use Intrinsic::*;
    match field {
        Field::Attribute { .. } => true,
        Field::Intrinsic { intrinsic, .. } => !matches!(
            intrinsic,
            Name | Duration | RootName | RootServiceName | TraceDuration | TraceId | SpanId | Parent
        ),
    }
}

/// Adds what looking the field up needs.
pub(crate) fn needs_of(field: &Field, needs: &mut Needs) {
    use Intrinsic::*;
    match field {
        Field::Attribute { scope, .. } => {
            needs.events |= matches!(scope, AttributeScope::Any | AttributeScope::Event);
            needs.links |= matches!(scope, AttributeScope::Any | AttributeScope::Link);
        }
        Field::Intrinsic { intrinsic, .. } => {
            needs.events |= matches!(intrinsic, EventName | EventTimeSinceStart);
            needs.links |= matches!(intrinsic, LinkSpanId | LinkTraceId);
        }
    }
}
