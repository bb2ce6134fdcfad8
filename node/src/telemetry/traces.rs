//! Own traces: each round of the node's look at itself is a trace.
use std::cell::RefCell;
use std::time::Instant;

use trine_api::{Backend, ShardPart};
use trine_store::model::signal::key_hash;
use trine_store::model::{AttrsBuilder, Scope, Signal, Value, intrinsic, slot_of_trace};
use trine_store::part::RowsPartBuilder;

use super::{TENANT, unix_ns};

/// OTLP's SpanKind.
const KIND_INTERNAL: i64 = 1;
const KIND_CLIENT: i64 = 3;

struct Step {
    name: &'static str,
    kind: i64,
    start_ns: i64,
    duration_ns: i64,
    attrs: Vec<(&'static str, Value)>,
}

/// A self check in progress: measures its steps.
pub(super) struct SelfCheck {
    node: String,
    started: Instant,
    start_ns: i64,
    steps: RefCell<Vec<Step>>,
}

impl SelfCheck {
    pub(super) fn begin(node: &str) -> Self {
        Self { node: node.to_owned(), started: Instant::now(), start_ns: unix_ns(), steps: RefCell::new(Vec::new()) }
    }

    fn now_ns(&self) -> i64 {
        self.start_ns + i64::try_from(self.started.elapsed().as_nanos()).unwrap_or(0)
    }

    /// Runs and measures one step.
    pub(super) fn step<T>(&self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start_ns = self.now_ns();
        let result = work();
        let duration_ns = self.now_ns() - start_ns;
        self.steps.borrow_mut().push(Step { name, kind: KIND_INTERNAL, start_ns, duration_ns, attrs: Vec::new() });
        result
    }

    /// Asks the other nodes, closes the trace, and returns its spans as a part.
    pub(super) async fn finish(self, backend: &dyn Backend) -> Vec<ShardPart> {
        let start_ns = self.now_ns();
        let nodes = backend.nodes().await;
        let duration_ns = self.now_ns() - start_ns;
        let alive = nodes.iter().filter(|n| n.alive).count();
        let attrs =
            vec![("cluster.nodes", Value::Int(nodes.len() as i64)), ("cluster.nodes.alive", Value::Int(alive as i64))];
        let ask = Step { name: "ask peers", kind: KIND_CLIENT, start_ns, duration_ns, attrs };
        self.steps.borrow_mut().push(ask);
        let (steps, duration_ns) = (self.steps.take(), self.now_ns() - self.start_ns);
        let root = Step {
            name: "self check",
            kind: KIND_INTERNAL,
            start_ns: self.start_ns,
            duration_ns,
            attrs: vec![("node.ready", Value::Bool(backend.ready().is_ok()))],
        };
        part(backend, &self.node, &root, &steps)
    }
}

fn part(backend: &dyn Backend, node: &str, root: &Step, steps: &[Step]) -> Vec<ShardPart> {
    let trace_id: [u8; 16] = rand::random();
    let slot = slot_of_trace(TENANT, &trace_id);
    let resource = AttrsBuilder::default()
        .push_str(Scope::Resource, "service.name", "trine")
        .push_str(Scope::Resource, "service.instance.id", node)
        .push_str(Scope::Resource, "service.version", env!("CARGO_PKG_VERSION"))
        .push_str(Scope::Intrinsic, intrinsic::SCOPE_NAME, "trine.telemetry")
        .build();
    let mut builder = RowsPartBuilder::new(Signal::Traces, TENANT);
    let stream = builder.stream(key_hash(TENANT, resource.as_bytes()), resource.as_bytes());
    let root_id: [u8; 8] = rand::random();
    span(&mut builder, stream, &trace_id, &root_id, None, root);
    for step in steps {
        span(&mut builder, stream, &trace_id, &rand::random(), Some(&root_id), step);
    }
    vec![ShardPart { shard: backend.shard_of(slot), slot, part: builder.finish().into(), demoted: false }]
}

fn span(
    builder: &mut RowsPartBuilder,
    stream: u32,
    trace_id: &[u8; 16],
    span_id: &[u8; 8],
    parent: Option<&[u8; 8]>,
    step: &Step,
) {
    let mut attrs = vec![
        (Scope::Intrinsic, intrinsic::TRACE_ID, Value::Bytes(trace_id.to_vec())),
        (Scope::Intrinsic, intrinsic::SPAN_ID, Value::Bytes(span_id.to_vec())),
        (Scope::Intrinsic, intrinsic::NAME, Value::Str(step.name.to_owned())),
        (Scope::Intrinsic, intrinsic::KIND, Value::Int(step.kind)),
        (Scope::Intrinsic, intrinsic::DURATION_NS, Value::Int(step.duration_ns)),
    ];
    if let Some(parent) = parent {
        attrs.push((Scope::Intrinsic, intrinsic::PARENT_SPAN_ID, Value::Bytes(parent.to_vec())));
    }
    attrs.extend(step.attrs.iter().map(|(key, value)| (Scope::Record, *key, value.clone())));
    builder.row(stream, step.start_ns, b"", attrs.iter().map(|(scope, key, value)| (*scope, *key, value)));
}
