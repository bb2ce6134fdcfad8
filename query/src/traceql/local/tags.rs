//! Names and values of attributes in a shard.
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use trine_store::model::events::{decode_events, decode_links};
use trine_store::model::{Attr, Scope, Value, intrinsic};

use super::frames::Frames;
use crate::error::{Error, Result};
use crate::fragment::FragmentLimits;
use crate::memory::{Account, Charge, Exceeded, text_bytes};
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

/// What a value of a column weighs, besides long texts.
const VALUE_BYTES: u64 = 96;

/// A set that stops growing at a limit and remembers that it wanted to.
struct Bounded<T> {
    items: BTreeSet<T>,
    limit: usize,
    truncated: bool,
    held: Charge,
    /// Items are no longer taken in: the account is full.
    full: Option<Exceeded>,
}

impl<T: Ord + Weighed> Bounded<T> {
    fn new(limit: usize, memory: &Account) -> Self {
        Self { items: BTreeSet::new(), limit, truncated: false, held: memory.open(), full: None }
    }

    fn insert(&mut self, item: T) {
        if self.full.is_some() || self.items.contains(&item) {
            return;
        }
        if self.items.len() >= self.limit {
            self.truncated = true;
            return;
        }
        match self.held.add(item.weight()) {
            Ok(()) => drop(self.items.insert(item)),
            Err(exceeded) => self.full = Some(exceeded),
        }
    }

    /// [`Error::Memory`] once an item did not fit the account.
    fn check(&self) -> Result<()> {
        self.full.map_or(Ok(()), |exceeded| Err(exceeded.into()))
    }
}

trait Weighed {
    fn weight(&self) -> u64;
}

impl Weighed for String {
    fn weight(&self) -> u64 {
        text_bytes(self)
    }
}

impl Weighed for TagValue {
    fn weight(&self) -> u64 {
        text_bytes(&self.value)
    }
}

/// Sends the names of attributes by scope.
pub(super) fn names(ask: &Tags, sources: &[&dyn TraceSource], frames: &mut Frames<'_, '_>) -> Result<()> {
    let wanted: Vec<Scope> = SCOPES.into_iter().filter(|s| ask.scope.is_none_or(|w| w == *s as u32)).collect();
    let limit = ask.bounds.limit();
    let limits = frames.limits;
    let new = |s: &Scope| (*s, Bounded::new(limit, &limits.memory));
    let mut names: BTreeMap<Scope, Bounded<String>> = wanted.iter().map(new).collect();
    let mut note = |scope: Scope, name: &str| {
        if let Some(set) = names.get_mut(&scope) {
            set.insert(name.to_owned());
        }
    };
    let mut metrics = SearchMetrics::default();
    let range = ask.bounds.range();
    let filter = lenient::filter(&ask.filter)?;
    for source in sources {
        limits.stop.check()?;
        match &filter {
            Some(query) => {
                let needs = Needs { events: true, links: true };
                filtered(query, needs, *source, range, limits, &mut metrics, &mut |at| {
                    all_attrs(at, &mut |a| note(a.scope, &a.key));
                })?;
            }
            None => {
                for (scope, name) in source.columns(range)? {
                    note(scope, &name);
                }
                for scope in wanted.iter().copied().filter(|s| matches!(s, Scope::Event | Scope::Link)) {
                    blob_attrs(scope, *source, range, limits, &mut |a| note(a.scope, &a.key))?;
                }
            }
        }
    }
    names.values().try_for_each(Bounded::check)?;
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
    let limits = frames.limits;
    let mut found = Bounded::new(ask.bounds.limit(), &limits.memory);
    let mut metrics = SearchMetrics::default();
    let range = ask.bounds.range();
    let filter = lenient::filter(&ask.filter)?;
    let all = parse("{}")?;
    let mut needs = Needs::default();
    fields.iter().for_each(|f| needs_of(f, &mut needs));
    for source in sources {
        let mut left = Vec::new();
        for field in &fields {
            limits.stop.check()?;
            if filter.is_some() || !direct_values(field, *source, range, limits, &mut found)? {
                left.push(field);
            }
        }
        if !left.is_empty() {
            let query = filter.as_ref().unwrap_or(&all);
            filtered(query, needs, *source, range, limits, &mut metrics, &mut |at| {
                left.iter().for_each(|field| each_value(&at.field(field), &mut |v| found.insert(v)));
            })?;
        }
    }
    found.check()?;
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
    limits: &FragmentLimits,
    metrics: &mut SearchMetrics,
    each: &mut dyn FnMut(At<'_>),
) -> Result<()> {
    let plan = Plan::new(query)?;
    let needs = Needs { events: needs.events || plan.needs.events, links: needs.links || plan.needs.links };
    source.traces(range, &conditions::of_query(query), &limits.memory, &mut |id, spans| {
        limits.stop.check()?;
        metrics.inspect(&spans);
        metrics.inspected_traces += 1;
        if let Some(trace) = Trace::assemble(id, spans, needs)? {
            let _evaluating = limits.memory.charge(trace.spans.len() as u64 * plan.span_bytes())?;
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
    limits: &FragmentLimits,
    each: &mut dyn FnMut(&Attr),
) -> Result<()> {
    let corrupt = |e: trine_store::codec::Error| Error::Corrupt { what: "span events or links", reason: e.to_string() };
    let column = if scope == Scope::Event { intrinsic::EVENTS } else { intrinsic::LINKS };
    source.blobs(column, range, &limits.memory, &mut |bytes| {
        limits.stop.check()?;
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
    limits: &FragmentLimits,
    found: &mut Bounded<TagValue>,
) -> Result<bool> {
    let (scope, key) = match field {
        Field::Attribute { scope: AttributeScope::Event | AttributeScope::Link, name, .. } => {
            let is_event = matches!(field, Field::Attribute { scope: AttributeScope::Event, .. });
            let scope = if is_event { Scope::Event } else { Scope::Link };
            blob_attrs(scope, source, range, limits, &mut |a| {
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
    let values: Vec<Value> = source.values(scope, key, range, found.limit.saturating_add(1), &limits.memory)?;
    let _held = limits.memory.charge(values.len() as u64 * VALUE_BYTES)?;
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
