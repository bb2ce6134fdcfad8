//! Values of attributes and intrinsics of a span in its trace.
use std::borrow::Cow;

use trine_store::model::{Attr, Scope, Value, intrinsic};

use super::value::Val;
use crate::traceql::ast::{AttributeScope, Field, Intrinsic, Kind, Status};
use crate::traceql::model::SpanRow;
use crate::traceql::trace::{Span, Trace};

/// One span of a trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    pub(crate) trace: &'a Trace,
    pub(crate) span: &'a Span,
}

impl<'a> At<'a> {
    /// [`Val::Nil`] when the span has no such field.
    pub(crate) fn field(self, field: &Field) -> Val<'a> {
        match field {
            Field::Attribute { parent: true, .. } => Val::Nil,
            Field::Attribute { scope, name, .. } => self.attribute(*scope, name),
            Field::Intrinsic { intrinsic, .. } => self.intrinsic(*intrinsic),
        }
    }

    /// The field as a result shows it; `None` when absent.
    pub(crate) fn shown(self, field: &Field) -> Option<Value> {
        if let Field::Attribute { scope, name, parent: false } = field
            && let Some(value) = self.raw(*scope, name)
        {
            return Some(value.clone());
        }
        match self.field(field) {
            Val::Nil | Val::Other => None,
            // One event or link may speak for all.
            Val::List(items) => items.first().map(Val::to_value),
            value => Some(value.to_value()),
        }
    }

    fn raw(self, scope: AttributeScope, name: &str) -> Option<&'a Value> {
        let row = &self.span.row;
        let own = || row.get(Scope::Record, name);
        let resource = || row.stream.get(Scope::Resource, name);
        match scope {
            AttributeScope::Span => own(),
            AttributeScope::Resource => resource(),
            AttributeScope::Instrumentation => row.stream.get(Scope::Instrumentation, name),
            AttributeScope::Any => own().or_else(resource),
            AttributeScope::Event | AttributeScope::Link => None,
        }
    }

    fn attribute(self, scope: AttributeScope, name: &str) -> Val<'a> {
        let one = |value: Option<&'a Value>| value.map_or(Val::Nil, Val::from_value);
        let events = || many(self.span.events.iter().map(|e| e.attrs.as_slice()), name);
        let links = || many(self.span.links.iter().map(|l| l.attrs.as_slice()), name);
        match scope {
            AttributeScope::Event => events(),
            AttributeScope::Link => links(),
            AttributeScope::Any => {
                let scope = || self.raw(AttributeScope::Instrumentation, name);
                [one(self.raw(AttributeScope::Any, name)), events(), links(), one(scope())]
                    .into_iter()
                    .find(|v| *v != Val::Nil)
                    .unwrap_or(Val::Nil)
            }
            scope => one(self.raw(scope, name)),
        }
    }

    fn intrinsic(self, intrinsic: Intrinsic) -> Val<'a> {
        let (trace, span) = (self.trace, self.span);
        let row = &span.row;
        let hex = |id: &[u8]| Val::Str(Cow::Owned(hex(id)));
        match intrinsic {
            Intrinsic::Duration => Val::Duration(row.duration_ns()),
            Intrinsic::Name => str(row.name()),
            Intrinsic::Status => Val::Status(Status::from_code(row.status_code())),
            Intrinsic::StatusMessage => str(text(row, intrinsic::STATUS_MESSAGE)),
            Intrinsic::Kind => Val::Kind(Kind::from_code(row.kind())),
            Intrinsic::ChildCount => Val::Int(span.child_count),
            Intrinsic::RootName => str(trace.root_name()),
            Intrinsic::RootServiceName => str(trace.root_service()),
            Intrinsic::TraceDuration => Val::Duration(trace.duration_ns()),
            Intrinsic::TraceId => hex(&trace.id),
            Intrinsic::SpanId => hex(row.span_id()),
            Intrinsic::ParentId => hex(row.parent_span_id()),
            Intrinsic::EventName => list(span.events.iter().map(|e| str(&e.name))),
            Intrinsic::EventTimeSinceStart => {
                list(span.events.iter().map(|e| Val::Duration(e.time_ns.saturating_sub(row.time_ns))))
            }
            Intrinsic::LinkSpanId => list(span.links.iter().map(|l| hex(&l.span_id))),
            Intrinsic::LinkTraceId => list(span.links.iter().map(|l| hex(&l.trace_id))),
            Intrinsic::InstrumentationName => str(stream_text(row, intrinsic::SCOPE_NAME)),
            Intrinsic::InstrumentationVersion => str(stream_text(row, intrinsic::SCOPE_VERSION)),
            Intrinsic::NestedSetLeft => Val::Int(span.nested_left),
            Intrinsic::NestedSetRight => Val::Int(span.nested_right),
            Intrinsic::NestedSetParent => Val::Int(span.nested_parent),
            Intrinsic::Parent => Val::Nil,
        }
    }
}

fn str(text: &str) -> Val<'_> {
    Val::Str(Cow::Borrowed(text))
}

fn text<'a>(row: &'a SpanRow, key: &str) -> &'a str {
    match row.intrinsic(key) {
        Some(Value::Str(s)) => s,
        _ => "",
    }
}

fn stream_text<'a>(row: &'a SpanRow, key: &str) -> &'a str {
    match row.stream.get(Scope::Intrinsic, key) {
        Some(Value::Str(s)) => s,
        _ => "",
    }
}

/// One value stands for itself, none is absent.
fn list<'a>(values: impl Iterator<Item = Val<'a>>) -> Val<'a> {
    let mut values: Vec<_> = values.collect();
    match values.len() {
        0 => Val::Nil,
        1 => values.swap_remove(0),
        _ => Val::List(values),
    }
}

/// Values of `name` in several attribute lists, arrays flattened.
fn many<'a>(lists: impl Iterator<Item = &'a [Attr]>, name: &str) -> Val<'a> {
    list(lists.flat_map(|attrs| attrs.iter().filter(|a| a.key == name)).flat_map(|a| match Val::from_value(&a.value) {
        Val::List(items) => items,
        value => vec![value],
    }))
}

/// Lower-case hexadecimal digits of an id.
pub(crate) fn hex(id: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(2 * id.len());
    for byte in id {
        // Writing to a string cannot fail.
        let _always_ok = write!(out, "{byte:02x}");
    }
    out
}
