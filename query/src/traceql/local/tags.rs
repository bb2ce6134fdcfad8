//! Names and values of attributes in a shard.
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Instant;

use trine_store::model::events::{decode_events, decode_links};
use trine_store::model::{Attr, Scope, Value, intrinsic};

use super::check;
use super::frames::Frames;
use crate::error::{Error, Result};
use crate::traceql::ast::{AttributeScope, Field, Intrinsic, Query};
use crate::traceql::conditions;
use crate::traceql::eval::Plan;
use crate::traceql::eval::lookup::At;
use crate::traceql::eval::pipeline::needs_of;
use crate::traceql::eval::value::Val;
use crate::traceql::fragment::{NameMessage, TagValues, Tags};
use crate::traceql::lenient;
use crate::traceql::model::{SearchMetrics, TagType, TagValue};
use crate::traceql::parser::{parse, parse_field};
use crate::traceql::source::{Range, TraceSource};
use crate::traceql::trace::{Needs, Trace};
use crate::traceql::wire::{encode_metrics, encode_value};

/// Scopes whose attributes have names that users know.
const SCOPES: [Scope; 5] = [Scope::Resource, Scope::Record, Scope::Event, Scope::Link, Scope::Instrumentation];

/// A set that stops growing at a limit and remembers that it wanted to.
struct Bounded<T> {
    items: BTreeSet<T>,
    limit: usize,
    truncated: bool,
}

impl<T: Ord> Bounded<T> {
    fn new(limit: usize) -> Self {
        Self { items: BTreeSet::new(), limit, truncated: false }
    }

    fn insert(&mut self, item: T) {
        if self.items.len() < self.limit {
            self.items.insert(item);
        } else if !self.items.contains(&item) {
            self.truncated = true;
        }
    }
}

/// Sends the names of attributes by scope.
pub(super) fn names(ask: &Tags, sources: &[&dyn TraceSource], frames: &mut Frames<'_, '_>) -> Result<()> {
    let wanted: Vec<Scope> = SCOPES.into_iter().filter(|s| ask.scope.is_none_or(|w| w == *s as u32)).collect();
    let limit = ask.bounds.limit();
    let mut names: BTreeMap<Scope, Bounded<String>> = wanted.iter().map(|s| (*s, Bounded::new(limit))).collect();
    let mut note = |scope: Scope, name: &str| {
        if let Some(set) = names.get_mut(&scope) {
            set.insert(name.to_owned());
        }
    };
    let mut metrics = SearchMetrics::default();
    let (range, deadline) = (ask.bounds.range(), frames.limits.deadline);
    let filter = lenient::filter(&ask.filter)?;
    for source in sources {
        check(deadline)?;
        match &filter {
            Some(query) => {
                let needs = Needs { events: true, links: true };
                filtered(query, needs, *source, range, deadline, &mut metrics, &mut |at| {
                    all_attrs(at, &mut |a| note(a.scope, &a.key));
                })?;
            }
            None => {
                for (scope, name) in source.columns(range)? {
                    note(scope, &name);
                }
                for scope in wanted.iter().copied().filter(|s| matches!(s, Scope::Event | Scope::Link)) {
                    blob_attrs(scope, *source, range, deadline, &mut |a| note(a.scope, &a.key))?;
                }
            }
        }
    }
    let truncated = names.values().any(|n| n.truncated);
    for (scope, set) in names {
        for name in set.items {
            frames.name(NameMessage { scope: scope as u32, name })?;
        }
    }
    frames.metrics(encode_metrics(metrics, truncated))
}

/// Sends the distinct values of fields.
pub(super) fn values(ask: &TagValues, sources: &[&dyn TraceSource], frames: &mut Frames<'_, '_>) -> Result<()> {
    let fields: Vec<Field> = ask.fields.iter().map(|f| parse_field(f)).collect::<Result<_>>()?;
    let mut found = Bounded::new(ask.bounds.limit());
    let mut metrics = SearchMetrics::default();
    let (range, deadline) = (ask.bounds.range(), frames.limits.deadline);
    let filter = lenient::filter(&ask.filter)?;
    let all = parse("{}")?;
    let mut needs = Needs::default();
    fields.iter().for_each(|f| needs_of(f, &mut needs));
    for source in sources {
        let mut left = Vec::new();
        for field in &fields {
            check(deadline)?;
            if filter.is_some() || !direct_values(field, *source, range, deadline, &mut found)? {
                left.push(field);
            }
        }
        if !left.is_empty() {
            let query = filter.as_ref().unwrap_or(&all);
            filtered(query, needs, *source, range, deadline, &mut metrics, &mut |at| {
                left.iter().for_each(|field| each_value(&at.field(field), &mut |v| found.insert(v)));
            })?;
        }
    }
    let truncated = found.truncated;
    for value in &found.items {
        frames.value(encode_value(value))?;
    }
    frames.metrics(encode_metrics(metrics, truncated))
}

/// Calls `each` for the spans that pass the filter, of traces with a span in the range. `needs` is what `each` looks into.
fn filtered(
    query: &Query,
    needs: Needs,
    source: &dyn TraceSource,
    range: Range,
    deadline: Instant,
    metrics: &mut SearchMetrics,
    each: &mut dyn FnMut(At<'_>),
) -> Result<()> {
    let plan = Plan::new(query)?;
    let needs = Needs { events: needs.events || plan.needs.events, links: needs.links || plan.needs.links };
    source.traces(range, &conditions::of_query(query), &mut |id, spans| {
        check(deadline)?;
        metrics.inspect(&spans);
        metrics.inspected_traces += 1;
        if let Some(trace) = Trace::assemble(id, spans, needs)? {
            for i in plan.spans(&trace)? {
                each(At { trace: &trace, span: &trace.spans[i] });
            }
        }
        Ok(ControlFlow::Continue(()))
    })
}

fn all_attrs(at: At<'_>, each: &mut dyn FnMut(&Attr)) {
    let row = &at.span.row;
    let events = at.span.events.iter().flat_map(|e| &e.attrs);
    let links = at.span.links.iter().flat_map(|l| &l.attrs);
    row.attrs.iter().chain(&row.stream.attrs).chain(events).chain(links).for_each(each);
}

/// Calls `each` for the attributes of all events or links.
fn blob_attrs(
    scope: Scope,
    source: &dyn TraceSource,
    range: Range,
    deadline: Instant,
    each: &mut dyn FnMut(&Attr),
) -> Result<()> {
    let corrupt = |e: trine_store::codec::Error| Error::Corrupt { what: "span events or links", reason: e.to_string() };
    let column = if scope == Scope::Event { intrinsic::EVENTS } else { intrinsic::LINKS };
    source.blobs(column, range, &mut |bytes| {
        check(deadline)?;
        let attrs: Vec<Attr> = if scope == Scope::Event {
            decode_events(bytes).map_err(corrupt)?.into_iter().flat_map(|e| e.attrs).collect()
        } else {
            decode_links(bytes).map_err(corrupt)?.into_iter().flat_map(|l| l.attrs).collect()
        };
        attrs.iter().for_each(&mut *each);
        Ok(ControlFlow::Continue(()))
    })
}

/// Reads values from columns where they are; `false` when the field needs whole traces.
fn direct_values(
    field: &Field,
    source: &dyn TraceSource,
    range: Range,
    deadline: Instant,
    found: &mut Bounded<TagValue>,
) -> Result<bool> {
    let (scope, key) = match field {
        Field::Attribute { scope: AttributeScope::Event | AttributeScope::Link, name, .. } => {
            let is_event = matches!(field, Field::Attribute { scope: AttributeScope::Event, .. });
            let scope = if is_event { Scope::Event } else { Scope::Link };
            blob_attrs(scope, source, range, deadline, &mut |a| {
                if a.key == *name {
                    each_value(&Val::from_value(&a.value), &mut |v| found.insert(v));
                }
            })?;
            return Ok(true);
        }
        Field::Attribute { scope: AttributeScope::Span, name, .. } => (Scope::Record, name.as_str()),
        Field::Attribute { scope: AttributeScope::Resource, name, .. } => (Scope::Resource, name.as_str()),
        Field::Attribute { scope: AttributeScope::Instrumentation, name, .. } => {
            (Scope::Instrumentation, name.as_str())
        }
        Field::Attribute { scope: AttributeScope::Any, .. } => return Ok(false),
        Field::Intrinsic { intrinsic, .. } => match intrinsic {
            Intrinsic::Name => (Scope::Intrinsic, intrinsic::NAME),
            Intrinsic::StatusMessage => (Scope::Intrinsic, intrinsic::STATUS_MESSAGE),
            Intrinsic::InstrumentationName => (Scope::Intrinsic, intrinsic::SCOPE_NAME),
            Intrinsic::InstrumentationVersion => (Scope::Intrinsic, intrinsic::SCOPE_VERSION),
            _ => return Ok(false),
        },
    };
    let values: Vec<Value> = source.values(scope, key, range, found.limit.saturating_add(1))?;
    values.iter().for_each(|v| each_value(&Val::from_value(v), &mut |v| found.insert(v)));
    Ok(true)
}

/// The value, or the elements of a list, as the query editor shows them; empty strings are left out.
fn each_value(value: &Val<'_>, each: &mut dyn FnMut(TagValue)) {
    let (tag_type, value) = match value {
        Val::Str(s) if s.is_empty() => return,
        Val::Str(s) => (TagType::String, s.to_string()),
        Val::Int(i) => (TagType::Int, i.to_string()),
        Val::Float(f) => (TagType::Float, f.to_string()),
        Val::Bool(b) => (TagType::Bool, b.to_string()),
        Val::Duration(ns) => (TagType::Duration, crate::traceql::duration::format_go(*ns)),
        Val::Status(s) => (TagType::Keyword, s.as_str().to_owned()),
        Val::Kind(k) => (TagType::Keyword, k.as_str().to_owned()),
        Val::List(items) => return items.iter().for_each(|item| each_value(item, each)),
        Val::Nil | Val::Other => return,
    };
    each(TagValue { tag_type, value });
}
