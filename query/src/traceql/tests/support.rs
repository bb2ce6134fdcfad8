//! Shards in memory, a scatter over them, and a reader of OTLP/JSON.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value as Json;
use trine_store::model::events::{Event, encode_events};
use trine_store::model::{Attr, AttrsBuilder, Scope, Value, intrinsic};
use trine_store::rows::{AttrCondition, AttrTest};

use super::corpus::shared;
use crate::error::Result;
use crate::fragment::{Fragment, FragmentLimits};
use crate::memory::{Account, Charge};
use crate::scatter::{Item, QueryContext, Scatter, ShardAnswer};
use crate::traceql::local::run_over;
use crate::traceql::model::{SpanRow, SpanStream};
use crate::traceql::source::{EachBlob, EachTrace, Range, TraceSource};

/// Whole traces in memory. Skips as eagerly as a storage may: by each single span.
#[derive(Debug, Default)]
pub(crate) struct MemShard {
    pub(crate) traces: BTreeMap<[u8; 16], Vec<SpanRow>>,
}

impl MemShard {
    fn in_range(&self, range: Range) -> impl Iterator<Item = &SpanRow> {
        let fits = move |s: &&SpanRow| (range.start_ns..=range.end_ns).contains(&s.time_ns);
        self.traces.values().flatten().filter(fits)
    }
}

fn attrs_of(span: &SpanRow) -> impl Iterator<Item = &Attr> {
    span.attrs.iter().chain(&span.stream.attrs)
}

fn satisfies(span: &SpanRow, condition: &AttrCondition) -> bool {
    let scopes = [Scope::Resource, Scope::Record, Scope::Instrumentation];
    attrs_of(span)
        .filter(|a| condition.scope.map_or(scopes.contains(&a.scope), |s| s == a.scope) && a.key == condition.key)
        .any(|a| passes(&a.value, &condition.test))
}

fn passes(value: &Value, test: &AttrTest) -> bool {
    match (value, test) {
        (Value::Array(items), test) => *test == AttrTest::Exists || items.iter().any(|v| passes(v, test)),
        (_, AttrTest::Exists) => true,
        (Value::Str(s), AttrTest::StrIn(all)) => all.contains(s),
        (Value::Bool(b), AttrTest::Bool(wanted)) => b == wanted,
        (Value::Int(i), AttrTest::Int { min, max }) => (min..=max).contains(&i),
        (Value::Int(i), AttrTest::Number { min, max }) => (*min..=*max).contains(&(*i as f64)),
        (Value::Double(d), AttrTest::Number { min, max }) => (min..=max).contains(&d),
        _ => false,
    }
}

impl TraceSource for MemShard {
    fn trace(&self, id: &[u8; 16], _held: &mut Charge) -> Result<Vec<SpanRow>> {
        Ok(self.traces.get(id).cloned().unwrap_or_default())
    }

    fn traces(
        &self,
        range: Range,
        conditions: &[Vec<AttrCondition>],
        _memory: &Account,
        each: &mut EachTrace<'_>,
    ) -> Result<()> {
        for (id, spans) in &self.traces {
            let starts = |s: &SpanRow| (range.start_ns..=range.end_ns).contains(&s.time_ns);
            let fits = |s: &SpanRow| conditions.iter().any(|all| all.iter().all(|c| satisfies(s, c)));
            let is_candidate = |s: &SpanRow| starts(s) && (conditions.is_empty() || fits(s));
            if spans.iter().any(is_candidate) && each(*id, spans.clone())?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn columns(&self, range: Range) -> Result<Vec<(Scope, String)>> {
        Ok(self.in_range(range).flat_map(attrs_of).map(|a| (a.scope, a.key.clone())).collect())
    }

    fn values(&self, scope: Scope, key: &str, range: Range, limit: usize, _memory: &Account) -> Result<Vec<Value>> {
        let mut out: Vec<Value> = Vec::new();
        for attr in self.in_range(range).flat_map(attrs_of).filter(|a| a.scope == scope && a.key == key) {
            if !out.contains(&attr.value) && out.len() < limit {
                out.push(attr.value.clone());
            }
        }
        Ok(out)
    }

    fn blobs(&self, key: &str, range: Range, _memory: &Account, each: &mut EachBlob<'_>) -> Result<()> {
        for span in self.in_range(range) {
            if let Some(Value::Bytes(bytes)) = span.intrinsic(key)
                && each(bytes)?.is_break()
            {
                break;
            }
        }
        Ok(())
    }
}

/// Asks shards in memory, `per_node` of them in one fragment.
pub(crate) struct MemCluster {
    pub(crate) shards: Vec<Arc<MemShard>>,
    pub(crate) per_node: usize,
    pub(crate) reply_bytes_max: u64,
    /// This shard does not answer.
    pub(crate) missing: Option<u32>,
}

impl MemCluster {
    /// Spreads traces over `count` shards by the first byte of their id.
    pub(crate) fn new(spans: Vec<SpanRow>, count: usize, per_node: usize) -> Self {
        let mut shards: Vec<MemShard> = (0..count).map(|_| MemShard::default()).collect();
        for span in spans {
            let id: [u8; 16] = span.trace_id().try_into().unwrap();
            shards[usize::from(id[0]) % count].traces.entry(id).or_default().push(span);
        }
        let shards = shards.into_iter().map(Arc::new).collect();
        Self { shards, per_node, reply_bytes_max: u64::MAX, missing: None }
    }

    pub(crate) fn scatter(self) -> Arc<dyn Scatter> {
        Arc::new(self)
    }
}

impl Scatter for MemCluster {
    fn scatter(&self, ctx: &QueryContext, fragment: Fragment) -> BoxStream<'static, Result<Item>> {
        let limits = FragmentLimits::new(self.reply_bytes_max, ctx.deadline, ctx.memory.clone());
        let mut items = Vec::new();
        for (node, shards) in self.shards.chunks(self.per_node).enumerate() {
            let first = (node * self.per_node) as u32;
            let answer = |n: usize| ShardAnswer {
                replica: 1,
                shard: first + n as u32,
                node: format!("n{node}"),
                position: 7,
                error: (self.missing == Some(first + n as u32)).then(|| "gone".to_owned()),
            };
            let answers: Vec<ShardAnswer> = (0..shards.len()).map(answer).collect();
            let there: Vec<&dyn TraceSource> = shards
                .iter()
                .zip(&answers)
                .filter(|(_, a)| a.error.is_none())
                .map(|(s, _)| &**s as &dyn TraceSource)
                .collect();
            let result = run_over(&fragment.payload, &there, &limits, &mut |frame| {
                assert!(frame.len() < 1 << 20, "a frame has {} bytes", frame.len());
                items.push(Ok(Item::Frame(frame)));
                Ok(())
            });
            match result {
                Ok(()) => items.extend(answers.into_iter().map(|a| Ok(Item::ShardDone(a)))),
                Err(error) => items.push(Err(error)),
            }
        }
        futures::stream::iter(items).boxed()
    }
}

pub(crate) fn context() -> QueryContext {
    QueryContext {
        tenant: Arc::from("t"),
        deadline: Instant::now() + Duration::from_secs(60),
        strict: true,
        no_cache: false,
        count_steps: false,
        memory: Account::unbounded(),
    }
}

pub(crate) fn id_of(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
}

/// Builds one span; the trace id is `[trace; 16]`, span ids are `[id; 8]`, parent 0 is none.
#[derive(Clone, Debug)]
pub(crate) struct SpanBuilder {
    pub(crate) stream: Vec<Attr>,
    pub(crate) attrs: Vec<Attr>,
    pub(crate) time_ns: i64,
}

impl SpanBuilder {
    pub(crate) fn new(trace: u8, id: u8, parent: u8, service: &str) -> Self {
        let builder = Self { stream: Vec::new(), attrs: Vec::new(), time_ns: i64::from(id) * 1_000_000 };
        let builder = builder
            .resource("service.name", service)
            .intrinsic(intrinsic::TRACE_ID, Value::Bytes(vec![trace; 16]))
            .intrinsic(intrinsic::SPAN_ID, Value::Bytes(vec![id; 8]));
        if parent == 0 { builder } else { builder.intrinsic(intrinsic::PARENT_SPAN_ID, Value::Bytes(vec![parent; 8])) }
    }

    pub(crate) fn intrinsic(mut self, key: &str, value: Value) -> Self {
        self.attrs.push(Attr { scope: Scope::Intrinsic, key: key.to_owned(), value });
        self
    }

    pub(crate) fn attr(mut self, key: &str, value: Value) -> Self {
        self.attrs.push(Attr { scope: Scope::Record, key: key.to_owned(), value });
        self
    }

    pub(crate) fn resource(mut self, key: &str, value: &str) -> Self {
        self.stream.push(Attr { scope: Scope::Resource, key: key.to_owned(), value: Value::Str(value.to_owned()) });
        self
    }

    pub(crate) fn at(mut self, time_ns: i64, duration_ns: i64) -> Self {
        self.time_ns = time_ns;
        self.intrinsic(intrinsic::DURATION_NS, Value::Int(duration_ns))
    }

    pub(crate) fn build(self) -> SpanRow {
        let mut key = AttrsBuilder::default();
        for a in &self.stream {
            key.push(a.scope, &a.key, &a.value);
        }
        SpanRow {
            stream: Arc::new(SpanStream { key: key.build(), attrs: self.stream }),
            time_ns: self.time_ns,
            attrs: self.attrs,
        }
    }
}

/// All spans of the sample shop, as the API's decoder would store them.
pub(crate) fn shop() -> Vec<SpanRow> {
    let text = std::fs::read_to_string(shared("data/otlp/shop.jsonl")).unwrap();
    let mut out = Vec::new();
    for line in text.lines() {
        let line: Json = serde_json::from_str(line).unwrap();
        for resource in line["resourceSpans"].as_array().unwrap() {
            for scope in resource["scopeSpans"].as_array().unwrap() {
                let stream = Arc::new(stream(resource, scope));
                out.extend(scope["spans"].as_array().unwrap().iter().map(|s| span(&stream, s)));
            }
        }
    }
    out
}

fn stream(resource: &Json, scope: &Json) -> SpanStream {
    let mut attrs = otlp_attrs(Scope::Resource, &resource["resource"]["attributes"]);
    for (key, column) in [("name", intrinsic::SCOPE_NAME), ("version", intrinsic::SCOPE_VERSION)] {
        if let Some(text) = scope["scope"][key].as_str() {
            let value = Value::Str(text.to_owned());
            attrs.push(Attr { scope: Scope::Intrinsic, key: column.to_owned(), value });
        }
    }
    let mut key = AttrsBuilder::default();
    for a in &attrs {
        key.push(a.scope, &a.key, &a.value);
    }
    SpanStream { key: key.build(), attrs }
}

pub(crate) fn ns(json: &Json) -> i64 {
    json.as_str().unwrap().parse().unwrap()
}

fn span(stream: &Arc<SpanStream>, json: &Json) -> SpanRow {
    let time_ns = ns(&json["startTimeUnixNano"]);
    let mut attrs = Vec::new();
    let mut push = |key: &str, value: Value| attrs.push(Attr { scope: Scope::Intrinsic, key: key.to_owned(), value });
    for (key, column) in
        [("traceId", intrinsic::TRACE_ID), ("spanId", intrinsic::SPAN_ID), ("parentSpanId", intrinsic::PARENT_SPAN_ID)]
    {
        if let Some(hex) = json[key].as_str().filter(|h| !h.is_empty()) {
            push(column, Value::Bytes(id_of(hex)));
        }
    }
    push(intrinsic::NAME, Value::Str(json["name"].as_str().unwrap().to_owned()));
    push(intrinsic::KIND, Value::Int(json["kind"].as_i64().unwrap_or(0)));
    push(intrinsic::DURATION_NS, Value::Int(ns(&json["endTimeUnixNano"]) - time_ns));
    if let Some(code) = json["status"]["code"].as_i64() {
        push(intrinsic::STATUS_CODE, Value::Int(code));
    }
    if let Some(message) = json["status"]["message"].as_str() {
        push(intrinsic::STATUS_MESSAGE, Value::Str(message.to_owned()));
    }
    let event = |e: &Json| Event {
        time_ns: ns(&e["timeUnixNano"]),
        name: e["name"].as_str().unwrap().to_owned(),
        dropped_attributes_count: 0,
        attrs: otlp_attrs(Scope::Event, &e["attributes"]),
    };
    if let Some(events) = json["events"].as_array() {
        push(intrinsic::EVENTS, Value::Bytes(encode_events(&events.iter().map(event).collect::<Vec<_>>())));
    }
    attrs.extend(otlp_attrs(Scope::Record, &json["attributes"]));
    SpanRow { stream: stream.clone(), time_ns, attrs }
}

fn otlp_attrs(scope: Scope, json: &Json) -> Vec<Attr> {
    let attr = |a: &Json| {
        let (kind, value) = a["value"].as_object().unwrap().iter().next().unwrap();
        let value = match kind.as_str() {
            "stringValue" => Value::Str(value.as_str().unwrap().to_owned()),
            "intValue" => Value::Int(value.as_str().unwrap().parse().unwrap()),
            "doubleValue" => Value::Double(value.as_f64().unwrap()),
            "boolValue" => Value::Bool(value.as_bool().unwrap()),
            other => panic!("{other}"),
        };
        Attr { scope, key: a["key"].as_str().unwrap().to_owned(), value }
    };
    json.as_array().map(|all| all.iter().map(attr).collect()).unwrap_or_default()
}
