//! OTLP/HTTP traces of a small shop, as a collector sends them: a batch of whole traces, grouped by the service they are of.
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::load::{Load, Request, Signal};
use crate::error::Error;

/// How much is sent.
#[derive(Clone, Debug)]
pub(super) struct TracesShape {
    pub(super) seed: u64,
    pub(super) connections: usize,
    pub(super) spans: u64,
    pub(super) spans_per_request: u64,
    /// Time over which the traces begin.
    pub(super) span_ns: i64,
    pub(super) end_ns: i64,
}

const LANE_STRIDE: u64 = 0xa076_1d64_78bd_642f;
const SERVICES: [(&str, &str); 5] = [
    ("frontend", "opentelemetry.instrumentation.requests"),
    ("shop", "opentelemetry.instrumentation.flask"),
    ("stock", "opentelemetry.instrumentation.flask"),
    ("payment", "io.opentelemetry.spring-webmvc-6.0"),
    ("database", "opentelemetry.instrumentation.sqlite3"),
];
/// About the spans of one trace.
const TRACE_SPANS: u64 = 10;

/// Encodes the run's requests. The same shape gives the same bytes.
pub(super) fn generate(shape: &TracesShape) -> Result<Load, Error> {
    Load::build(Signal::Traces, shape.connections, |lane| Ok(generate_lane(shape, lane)))
}

fn generate_lane(shape: &TracesShape, lane: usize) -> Vec<Request> {
    let mut rng = StdRng::seed_from_u64(shape.seed ^ LANE_STRIDE.wrapping_mul(lane as u64 + 1));
    let wanted = shape.spans.div_ceil(shape.connections as u64);
    let step_ns = shape.span_ns / i64::try_from(wanted.div_ceil(TRACE_SPANS).max(1)).unwrap_or(i64::MAX);
    let instances: Vec<Resource> = SERVICES.iter().map(|(name, _)| resource(&mut rng, name, lane)).collect();
    let mut out = Vec::new();
    let (mut spans, mut start_ns) = (0, shape.end_ns - shape.span_ns);
    while spans < wanted {
        let mut batch = Batch { services: Default::default() };
        while batch.len() < shape.spans_per_request.min(wanted - spans) {
            start_ns += rng.random_range(0..2 * step_ns.max(1));
            trace(&mut rng, start_ns as u64, &mut batch);
        }
        spans += batch.len();
        out.push(batch.finish(&instances));
    }
    out
}

struct Batch {
    /// Spans of each of [`SERVICES`].
    services: [Vec<Span>; SERVICES.len()],
}

impl Batch {
    fn len(&self) -> u64 {
        self.services.iter().map(|s| s.len() as u64).sum()
    }

    fn finish(self, instances: &[Resource]) -> Request {
        let facts = self.len();
        let of_service = |((spans, (_, scope)), resource): ((Vec<Span>, &(&str, &str)), &Resource)| ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: (*scope).into(),
                    version: "0.66b1".into(),
                    ..Default::default()
                }),
                spans,
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        };
        let resource_spans = self.services.into_iter().zip(&SERVICES).zip(instances).map(of_service).collect();
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        Request { facts, raw_bytes: body.len() as u64, body: Bytes::from(body) }
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn resource(rng: &mut StdRng, service: &str, lane: usize) -> Resource {
    let id = rng.random::<u128>();
    let attributes = vec![
        text("telemetry.sdk.language", "python"),
        text("telemetry.sdk.name", "opentelemetry"),
        text("telemetry.sdk.version", "1.45.1"),
        text("service.name", service),
        text("service.version", "1.2.3"),
        text("service.instance.id", format!("{id:032x}")),
        text("deployment.environment", "production"),
        text("k8s.namespace.name", "shop"),
        text("k8s.pod.name", format!("{service}-{lane}-{:05x}", id as u32 & 0xf_ffff)),
        text("k8s.node.name", format!("worker-{}", lane + 1)),
    ];
    Resource { attributes, ..Default::default() }
}

/// A span that is being timed: its id, start and how long it has taken.
struct Timed {
    id: u64,
    start_ns: u64,
    end_ns: u64,
}

/// Makes the spans of one trace.
struct Tracer<'a> {
    rng: &'a mut StdRng,
    batch: &'a mut Batch,
    trace: [u8; 16],
}

impl Tracer<'_> {
    /// A time span around its children: they begin after it and end before it.
    fn timed(&mut self, start_ns: u64, median_ns: u64) -> Timed {
        let stretch = (1.5 * (self.rng.random::<f64>() + self.rng.random::<f64>() - 1.0)).exp();
        Timed { id: self.rng.random(), start_ns, end_ns: start_ns + (median_ns as f64 * stretch) as u64 }
    }

    fn push(
        &mut self,
        service: usize,
        t: &Timed,
        parent: Option<u64>,
        kind: SpanKind,
        name: &str,
        attributes: Vec<KeyValue>,
    ) -> &mut Span {
        let span = Span {
            trace_id: self.trace.to_vec(),
            span_id: t.id.to_be_bytes().to_vec(),
            parent_span_id: parent.map_or(Vec::new(), |p| p.to_be_bytes().to_vec()),
            name: name.into(),
            kind: kind.into(),
            start_time_unix_nano: t.start_ns,
            end_time_unix_nano: t.end_ns,
            attributes,
            status: Some(Status::default()),
            flags: if parent.is_some() { 768 } else { 256 },
            ..Default::default()
        };
        let spans = &mut self.batch.services[service];
        spans.push(span);
        let last = spans.len() - 1;
        &mut spans[last]
    }

    fn database(&mut self, parent: u64, start_ns: u64, statement: &str) -> u64 {
        let t = self.timed(start_ns, 300_000);
        let verb = statement.split(' ').next().unwrap_or_default();
        let attributes = vec![
            text("db.system", "sqlite"),
            text("db.name", "shop.db"),
            text("db.statement", statement),
            text("net.peer.name", "db-0.shop.svc"),
            int("db.rows", self.rng.random_range(0..20)),
        ];
        self.push(4, &t, Some(parent), SpanKind::Client, verb, attributes);
        t.end_ns
    }

    /// A call from one service to another: the client's span, and the id and time of the server's within it.
    fn call(
        &mut self,
        (from, to): (usize, usize),
        parent: u64,
        start_ns: u64,
        route: &str,
        url: &str,
        failed: bool,
    ) -> Timed {
        let client = self.timed(start_ns, 4_000_000);
        let status = if failed { 503 } else { 200 };
        let host = format!("{}.shop.svc:8080", SERVICES[to].0);
        let attributes = vec![
            text("http.method", "GET"),
            text("http.url", format!("http://{host}{url}")),
            int("http.status_code", status),
        ];
        let span = self.push(from, &client, Some(parent), SpanKind::Client, "GET", attributes);
        if failed {
            span.status = Some(Status { code: StatusCode::Error.into(), message: String::new() });
        }
        let length = client.end_ns - client.start_ns;
        let server = Timed {
            id: self.rng.random(),
            start_ns: client.start_ns + length / 10,
            end_ns: client.end_ns - length / 10,
        };
        let port = self.rng.random_range(32_768..61_000);
        let attributes = vec![
            text("http.method", "GET"),
            text("http.scheme", "http"),
            text("http.host", host.as_str()),
            text("http.target", url),
            text("http.route", route),
            text("http.flavor", "1.1"),
            text("http.user_agent", "python-requests/2.34.2"),
            text("net.peer.ip", format!("10.20.3.{}", self.rng.random_range(2..30))),
            int("net.peer.port", port),
            int("http.status_code", status),
        ];
        self.push(to, &server, Some(client.id), SpanKind::Server, &format!("GET {route}"), attributes);
        server
    }
}

/// A visit: the journey, a call to the shop, its prices, the stock of some items with their queries, and sometimes a payment.
fn trace(rng: &mut StdRng, start_ns: u64, batch: &mut Batch) {
    let trace = rng.random::<u128>().to_be_bytes();
    let (user, items) = (rng.random_range(1..5_000), rng.random_range(1..4));
    let failed = rng.random_ratio(1, 50);
    let mut t = Tracer { rng, batch, trace };
    let journey = t.timed(start_ns, 20_000_000);
    t.push(0, &journey, None, SpanKind::Internal, "user journey", vec![int("user.id", user)]);
    let shop = t.call((0, 1), journey.id, start_ns + 100_000, "/cart/<int:user>", &format!("/cart/{user}"), failed);
    let price = t.timed(shop.start_ns + 50_000, 200_000);
    let total = f64::from(t.rng.random_range(1..400)) * 0.5;
    let attributes = vec![int("items", i64::from(items))];
    t.push(1, &price, Some(shop.id), SpanKind::Internal, "price", attributes).events.push(Event {
        time_unix_nano: price.end_ns.saturating_sub(10_000),
        name: "priced".into(),
        attributes: vec![attribute("total", Value::DoubleValue(total))],
        dropped_attributes_count: 0,
    });
    let mut at_ns = price.end_ns;
    for _ in 0..items {
        let item = t.rng.random_range(1..2_000);
        let stock = t.call((1, 2), shop.id, at_ns, "/stock/<int:item>", &format!("/stock/{item}"), false);
        at_ns = t.database(stock.id, stock.start_ns + 20_000, "SELECT amount FROM stock WHERE item = ?");
        at_ns = at_ns.max(stock.end_ns);
    }
    if t.rng.random_ratio(1, 3) {
        let payment = t.call((1, 3), shop.id, at_ns, "/charge", "/charge", failed);
        t.database(
            payment.id,
            payment.start_ns + 30_000,
            "INSERT INTO payments (user, amount, currency) VALUES (?, ?, ?)",
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn traces_are_whole_and_of_about_ten_spans() {
        let shape = TracesShape {
            seed: 5,
            connections: 2,
            spans: 10_000,
            spans_per_request: 1_000,
            span_ns: 600_000_000_000,
            end_ns: 1_800_000_000_000_000_000,
        };
        let load = generate(&shape).unwrap();
        assert!((10_000..10_100).contains(&load.facts()), "{}", load.facts());
        let mut spans: HashMap<Vec<u8>, Vec<Span>> = HashMap::new();
        for request in load.lanes.iter().flatten() {
            let message = ExportTraceServiceRequest::decode(request.body.clone()).unwrap();
            let all = message.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
            let before: usize = spans.values().map(Vec::len).sum();
            all.for_each(|s| spans.entry(s.trace_id.clone()).or_default().push(s));
            assert_eq!((spans.values().map(Vec::len).sum::<usize>() - before) as u64, request.facts);
        }
        let mean = load.facts() as f64 / spans.len() as f64;
        assert!((8.0..12.0).contains(&mean), "{mean} spans a trace");
        for trace in spans.values() {
            assert_eq!(trace.iter().filter(|s| s.parent_span_id.is_empty()).count(), 1);
            let known = |id: &Vec<u8>| id.is_empty() || trace.iter().any(|s| s.span_id == *id);
            assert!(trace.iter().all(|s| known(&s.parent_span_id) && s.start_time_unix_nano <= s.end_time_unix_nano));
        }
    }
}
