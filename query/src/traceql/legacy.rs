//! Search by tags, as it was before TraceQL: a trace matches when each tag is found on some resource or span.
use trine_store::model::{Attr, Scope, Value};
use trine_store::rows::{AttrCondition, AttrTest};

use crate::traceql::ast::Status;
use crate::traceql::eval::pipeline::hit;
use crate::traceql::model::TraceHit;
use crate::traceql::trace::Trace;

/// Attributes whose values match by substring.
const SUBSTRING: [&str; 12] = [
    "service.name",
    "cluster",
    "namespace",
    "pod",
    "container",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
    "http.method",
    "http.url",
    "name",
];

/// Tags that all have to be found, and bounds of the trace's duration in ns.
#[derive(Clone, Debug, Default)]
pub(crate) struct TagMatch {
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) min_duration_ns: Option<i64>,
    pub(crate) max_duration_ns: Option<i64>,
}

impl TagMatch {
    /// The trace, without span sets, if it matches.
    pub(crate) fn evaluate(&self, trace: &Trace) -> Option<TraceHit> {
        let duration_ns = trace.duration_ns();
        let fits = self.min_duration_ns.is_none_or(|min| duration_ns >= min)
            && self.max_duration_ns.is_none_or(|max| duration_ns <= max)
            && self.tags.iter().all(|(key, value)| has_tag(trace, key, value));
        fits.then(|| hit(trace, Vec::new()))
    }

    /// What the storage may skip by: all tags are needed, so one that is an attribute for sure decides.
    pub(crate) fn conditions(&self) -> Vec<Vec<AttrCondition>> {
        let is_attribute =
            |key: &str| !["name", "root.name", "root.service.name", "status.code", "error"].contains(&key);
        let exists =
            |(key, _): &(String, String)| AttrCondition { scope: None, key: key.clone(), test: AttrTest::Exists };
        self.tags.iter().find(|(key, _)| is_attribute(key)).map(exists).into_iter().map(|c| vec![c]).collect()
    }
}

fn has_tag(trace: &Trace, key: &str, value: &str) -> bool {
    match key {
        "root.name" => trace.root_name().contains(value),
        "root.service.name" => trace.root_service().contains(value),
        "name" => trace.spans.iter().any(|s| s.row.name().contains(value)),
        "status.code" => trace.spans.iter().any(|s| Status::from_code(s.row.status_code()).as_str() == value),
        "error" if value == "true" && trace.spans.iter().any(|s| s.row.status_code() == Status::Error as i64) => true,
        _ => trace.spans.iter().any(|s| {
            let own = s.row.attrs.iter().filter(|a| a.scope == Scope::Record);
            let resource = s.row.stream.attrs.iter().filter(|a| a.scope == Scope::Resource);
            own.chain(resource).any(|a| a.key == key && attr_matches(a, value))
        }),
    }
}

fn attr_matches(attr: &Attr, wanted: &str) -> bool {
    match &attr.value {
        Value::Str(s) if SUBSTRING.contains(&attr.key.as_str()) => s.contains(wanted),
        Value::Str(s) => s == wanted,
        Value::Int(i) => wanted.parse() == Ok(*i),
        Value::Bool(b) => wanted.parse() == Ok(*b),
        Value::Double(d) => wanted.parse() == Ok(*d),
        Value::Bytes(_) | Value::Array(_) | Value::Map(_) | Value::Empty => false,
    }
}
