//! What goes into the TraceQL engine and what comes out of it, free of any protocol.
use std::collections::BTreeMap;
use std::sync::Arc;

use trine_store::model::attrs::decode_attrs;
use trine_store::model::{Attr, Attrs, Scope, Value, intrinsic};

use crate::error::{Error, Result};
use crate::memory::Charge;
use crate::scatter::Completeness;

/// `root_service` of a trace whose root span has not arrived.
pub const ROOT_MISSING: &str = "<root span not yet received>";

/// Resource and instrumentation scope that many spans share, as decoded from their stream's key.
///
/// `attrs` have [`Scope::Resource`], [`Scope::Instrumentation`] or [`Scope::Intrinsic`] (scope name and version, schema
/// URLs, dropped counts), in the order in which they arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanStream {
    pub key: Attrs,
    pub attrs: Vec<Attr>,
}

impl SpanStream {
    /// Decodes a stream's key; [`Error::Corrupt`] when it is none.
    pub fn decode(key: &[u8]) -> Result<Self> {
        let corrupt = |e: trine_store::codec::Error| Error::Corrupt { what: "span stream key", reason: e.to_string() };
        Ok(Self { key: Attrs::decode(key).map_err(corrupt)?, attrs: decode_attrs(key).map_err(corrupt)? })
    }

    /// First attribute with that scope and key.
    pub fn get(&self, scope: Scope, key: &str) -> Option<&Value> {
        find(&self.attrs, scope, key)
    }

    /// `service.name` of the resource, or "".
    pub fn service_name(&self) -> &str {
        str_of(self.get(Scope::Resource, "service.name"))
    }
}

/// One span with everything that was sent.
///
/// `attrs` have [`Scope::Record`] (the span's own) or [`Scope::Intrinsic`] ([`intrinsic`]: ids, name, kind, duration,
/// status, encoded events and links), in the order in which they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanRow {
    pub stream: Arc<SpanStream>,
    /// Start of the span, Unix ns.
    pub time_ns: i64,
    pub attrs: Vec<Attr>,
}

impl SpanRow {
    /// First attribute of the row itself with that scope and key.
    pub fn get(&self, scope: Scope, key: &str) -> Option<&Value> {
        find(&self.attrs, scope, key)
    }

    pub fn intrinsic(&self, key: &str) -> Option<&Value> {
        self.get(Scope::Intrinsic, key)
    }

    /// Raw bytes of an id column; empty when absent.
    pub fn id(&self, column: &str) -> &[u8] {
        match self.intrinsic(column) {
            Some(Value::Bytes(b)) => b,
            _ => &[],
        }
    }

    pub fn trace_id(&self) -> &[u8] {
        self.id(intrinsic::TRACE_ID)
    }

    pub fn span_id(&self) -> &[u8] {
        self.id(intrinsic::SPAN_ID)
    }

    /// Empty on a root (absent, or all zero).
    pub fn parent_span_id(&self) -> &[u8] {
        let id = self.id(intrinsic::PARENT_SPAN_ID);
        if id.iter().all(|b| *b == 0) { &[] } else { id }
    }

    pub fn name(&self) -> &str {
        str_of(self.intrinsic(intrinsic::NAME))
    }

    /// OTLP SpanKind; 0 when unset.
    pub fn kind(&self) -> i64 {
        int_of(self.intrinsic(intrinsic::KIND))
    }

    /// OTLP StatusCode; 0 when unset.
    pub fn status_code(&self) -> i64 {
        int_of(self.intrinsic(intrinsic::STATUS_CODE))
    }

    /// End minus start in ns; a span that ends before it starts counts as 0.
    pub fn duration_ns(&self) -> i64 {
        int_of(self.intrinsic(intrinsic::DURATION_NS)).max(0)
    }

    /// Bytes of the encoded attributes, about.
    pub fn bytes_len(&self) -> usize {
        self.attrs.iter().map(|a| a.key.len() + value_bytes(&a.value) + 4).sum::<usize>() + 12
    }

    /// End of the span, Unix ns.
    pub fn end_ns(&self) -> i64 {
        self.time_ns.saturating_add(self.duration_ns())
    }
}

fn find<'a>(attrs: &'a [Attr], scope: Scope, key: &str) -> Option<&'a Value> {
    attrs.iter().find(|a| a.scope == scope && a.key == key).map(|a| &a.value)
}

fn str_of(value: Option<&Value>) -> &str {
    match value {
        Some(Value::Str(s)) => s,
        _ => "",
    }
}

fn int_of(value: Option<&Value>) -> i64 {
    match value {
        Some(Value::Int(i)) => *i,
        _ => 0,
    }
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Str(s) => s.len(),
        Value::Bytes(b) => b.len(),
        Value::Array(items) => items.iter().map(|v| 1 + value_bytes(v)).sum(),
        Value::Map(pairs) => pairs.iter().map(|(k, v)| 2 + k.len() + value_bytes(v)).sum(),
        Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::Empty => 8,
    }
}

/// A whole trace. No spans: the trace is not known (or the shard that may know it is missing, see `completeness`).
#[derive(Clone, Debug, Default)]
pub struct TraceAnswer {
    /// Each (span id, kind) once, by start time then span id.
    pub spans: Vec<SpanRow>,
    pub metrics: SearchMetrics,
    pub completeness: Completeness,
    /// What `spans` weighs; kept until the answer has been rendered.
    pub held: Option<Arc<Charge>>,
}

/// What to look for: traces that overlap `[start_ns, end_ns]`.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    pub query: SearchQuery,
    /// Unix ns.
    pub start_ns: i64,
    /// Unix ns, inclusive.
    pub end_ns: i64,
    /// Most traces in the answer.
    pub limit: usize,
    /// Most spans listed in each span set; `matched` counts them all. 0 lists all.
    pub spans_per_set: usize,
}

/// A TraceQL query or the older tag search.
#[derive(Clone, Debug)]
pub enum SearchQuery {
    TraceQl(String),
    Tags {
        tags: Vec<(String, String)>,
        /// Least duration of the trace.
        min_duration_ns: Option<i64>,
        /// Greatest duration of the trace.
        max_duration_ns: Option<i64>,
    },
}

/// Matching traces by start time, newest first.
#[derive(Clone, Debug, Default)]
pub struct SearchAnswer {
    pub traces: Vec<TraceHit>,
    pub metrics: SearchMetrics,
    pub completeness: Completeness,
    /// What `traces` weighs; kept until the answer has been rendered.
    pub held: Option<Arc<Charge>>,
}

/// What answering cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchMetrics {
    pub inspected_traces: u64,
    pub inspected_spans: u64,
    /// Bytes of the spans that were looked at, about as many as their encoding has.
    pub inspected_bytes: u64,
}

impl SearchMetrics {
    /// Counts spans that were looked at.
    pub(crate) fn inspect(&mut self, spans: &[SpanRow]) {
        self.inspected_spans += spans.len() as u64;
        self.inspected_bytes += spans.iter().map(|s| s.bytes_len() as u64).sum::<u64>();
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.inspected_traces += other.inspected_traces;
        self.inspected_spans += other.inspected_spans;
        self.inspected_bytes += other.inspected_bytes;
    }
}

/// A trace that matched.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceHit {
    pub trace_id: [u8; 16],
    /// [`ROOT_MISSING`] without a root.
    pub root_service: String,
    pub root_name: String,
    /// Start of the earliest span, Unix ns.
    pub start_ns: i64,
    /// From the earliest start to the latest end, in whole milliseconds.
    pub duration_ms: u64,
    /// None of them without spans; empty for a search by tags.
    pub span_sets: Vec<SpanSetHit>,
    pub service_stats: BTreeMap<String, ServiceStats>,
}

/// What a span of a hit weighs besides its texts, what a set, and what a trace.
const SPAN_HIT_BYTES: u64 = 160;
const SET_HIT_BYTES: u64 = 96;
const TRACE_HIT_BYTES: u64 = 256;
/// What an attribute or a service weighs besides its texts.
const PAIR_BYTES: u64 = 112;

impl TraceHit {
    /// What the hit weighs.
    pub(crate) fn weight(&self) -> u64 {
        let sets: u64 = self.span_sets.iter().map(SpanSetHit::weight).sum();
        let services: u64 = self.service_stats.keys().map(|name| name.len() as u64 + PAIR_BYTES).sum();
        (self.root_service.len() + self.root_name.len()) as u64 + sets + services + TRACE_HIT_BYTES
    }
}

impl SpanSetHit {
    fn weight(&self) -> u64 {
        let pairs = |attrs: &[(String, Value)]| -> u64 {
            attrs.iter().map(|(k, v)| (k.len() + value_bytes(v)) as u64 + PAIR_BYTES).sum()
        };
        let span = |s: &SpanHit| (s.span_id.len() + s.name.len()) as u64 + pairs(&s.attrs) + SPAN_HIT_BYTES;
        self.spans.iter().map(span).sum::<u64>() + pairs(&self.attrs) + SET_HIT_BYTES
    }
}

/// Spans and errors of one service in one trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceStats {
    pub span_count: u32,
    pub error_count: u32,
}

/// One group of matching spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanSetHit {
    /// The first `spans_per_set` by start time.
    pub spans: Vec<SpanHit>,
    /// Matching spans, also those not listed.
    pub matched: u32,
    /// `by(…)` and aggregate results under their text.
    pub attrs: Vec<(String, Value)>,
}

/// A matching span.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanHit {
    /// 8 bytes.
    pub span_id: Vec<u8>,
    pub name: String,
    pub start_ns: i64,
    pub duration_ns: u64,
    /// Attributes of conditions and `select()` under their bare names; durations as Go strings, status and kind as
    /// lower-case strings.
    pub attrs: Vec<(String, Value)>,
}

/// Whose tags are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagScope {
    /// All scopes and the intrinsics.
    Any,
    Resource,
    Span,
    Event,
    Link,
    Instrumentation,
    /// Has no attributes of its own.
    Trace,
    Intrinsic,
}

impl TagScope {
    /// Reads the `scope` parameter; "" and "none" are [`TagScope::Any`].
    pub fn parse(text: &str) -> Result<Self> {
        Ok(match text {
            "" | "none" => Self::Any,
            "resource" => Self::Resource,
            "span" => Self::Span,
            "event" => Self::Event,
            "link" => Self::Link,
            "instrumentation" => Self::Instrumentation,
            "trace" => Self::Trace,
            "intrinsic" => Self::Intrinsic,
            other => return Err(Error::Parse { message: format!("invalid scope: {other}") }),
        })
    }
}

/// Tag names of one scope, sorted (intrinsics in their fixed order).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeTags {
    pub scope: &'static str,
    pub tags: Vec<String>,
}

/// Scopes without tags are left out.
#[derive(Clone, Debug, Default)]
pub struct TagsAnswer {
    pub scopes: Vec<ScopeTags>,
    /// More names exist than the limits allow.
    pub truncated: bool,
    pub metrics: SearchMetrics,
    pub completeness: Completeness,
}

impl TagsAnswer {
    /// Names of all scopes, sorted, each once.
    pub fn names(&self) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> = self.scopes.iter().flat_map(|s| &s.tags).collect();
        names.into_iter().cloned().collect()
    }
}

/// Type of a tag's value as the query editor needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TagType {
    String,
    Int,
    Float,
    Bool,
    Duration,
    Keyword,
}

impl TagType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Duration => "duration",
            Self::Keyword => "keyword",
        }
    }
}

/// A value of a tag, in its text form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagValue {
    pub tag_type: TagType,
    pub value: String,
}

/// Values by type, then text; the fixed lists of status and kind in their own order.
#[derive(Clone, Debug, Default)]
pub struct TagValuesAnswer {
    pub values: Vec<TagValue>,
    pub truncated: bool,
    pub metrics: SearchMetrics,
    pub completeness: Completeness,
}
