//! A small shard of all three signals, written through the surfaces: the older half in blocks, the newer in heads.
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use trine_api::tenant::TENANT_DEFAULT;
use trine_store::codec::{put_bytes, put_uvarint};
use trine_store::model::Signal;
use trine_store::model::signal::key_hash;
use trine_store::part::RowsPartBuilder;
use trine_store::shard::ShardView;

use crate::apply::Log;
use crate::cluster::Cluster;
use crate::http::Surfaces;

/// The tenant of a request that names none.
pub(crate) const TENANT: &str = TENANT_DEFAULT;
/// The clock of all targets, Unix seconds.
pub(crate) const NOW_S: i64 = 1_700_000_000;
/// A trace of the sample.
pub(crate) const TRACE_ID: [u8; 16] = [0x5b; 16];

/// The sample, made once.
pub(crate) fn view() -> Arc<ShardView> {
    static VIEW: LazyLock<Arc<ShardView>> = LazyLock::new(|| Arc::new(make()));
    VIEW.clone()
}

/// A shard with one log line.
pub(crate) fn with_line(line: &str) -> Arc<ShardView> {
    let mut part = RowsPartBuilder::new(Signal::Logs, TENANT);
    let key = crate::seeds::labels(&[("app", "a"), ("env", "prod")]);
    let stream = part.stream(key_hash(TENANT, &key), &key);
    part.row(stream, (NOW_S - 60) * 1_000_000_000, line.as_bytes(), std::iter::empty());
    let mut log = Log::default();
    log.write(&part.finish()).expect("a part of one line");
    Arc::new(log.view())
}

fn make() -> ShardView {
    let cluster = Arc::new(Cluster::writing());
    let surfaces = Surfaces::over(cluster.clone());
    for half in 0..2 {
        for (path, media, body) in writes(half) {
            let mut request = Request::post(path).header("content-type", media);
            if media == PROTOBUF {
                request = request.header("content-encoding", "snappy");
            }
            let request = request.body(Full::new(Bytes::from(body))).expect("a request");
            let (status, text) = surfaces.send(request).expect("an answer");
            assert!(status.is_success() || status == StatusCode::NO_CONTENT, "{path}: {status} {text:?}");
        }
        if half == 0 {
            cluster.with_log(Log::seal);
        }
    }
    cluster.with_log(Log::view).expect("writes are kept")
}

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Path, media type and body of what is written.
fn writes(half: i64) -> [(&'static str, &'static str, Vec<u8>); 3] {
    let start_s = NOW_S - 1800 + half * 900;
    [
        ("/api/v1/write", PROTOBUF, snappy(&metrics(start_s))),
        ("/loki/api/v1/push", JSON, logs(start_s).into_bytes()),
        ("/otlp/v1/traces", JSON, traces(start_s, half).into_bytes()),
    ]
}

/// Snappy's block format without any compression.
pub(crate) fn snappy(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_uvarint(&mut out, raw.len() as u64);
    for chunk in raw.chunks(1 << 16) {
        let len = (chunk.len() - 1) as u16;
        out.push(61 << 2);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(chunk);
    }
    out
}

/// A field of a protobuf message.
pub(crate) fn field(number: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    put_bytes(&mut out, body);
    out
}

/// A remote-write request: counters, a gauge, and a classic histogram, 15 s apart.
pub(crate) fn metrics(start_s: i64) -> Vec<u8> {
    let sample = |time_s: i64, value: f64| {
        let mut sample = vec![9];
        sample.extend_from_slice(&value.to_le_bytes());
        sample.push(16);
        put_uvarint(&mut sample, (time_s * 1000) as u64);
        field(2, &sample)
    };
    let series = |labels: &[(&str, &str)], value: fn(i64) -> f64| {
        let label = |(n, v): &(&str, &str)| field(1, &[field(1, n.as_bytes()), field(2, v.as_bytes())].concat());
        let mut series: Vec<u8> = labels.iter().flat_map(label).collect();
        for n in 0..60 {
            series.extend(sample(start_s + n * 15, value(start_s / 15 + n)));
        }
        field(1, &series)
    };
    let counter = |n: i64| (n % 1000) as f64 * 3.0;
    [
        series(&[("__name__", "up"), ("instance", "a:1"), ("job", "node")], |_| 1.0),
        series(&[("__name__", "up"), ("instance", "b:1"), ("job", "node")], |n| (n % 2) as f64),
        series(&[("__name__", "http_requests_total"), ("code", "200"), ("job", "api")], counter),
        series(&[("__name__", "http_requests_total"), ("code", "500"), ("job", "api")], |n| (n % 7) as f64),
        series(&[("__name__", "x_bucket"), ("job", "api"), ("le", "0.1")], counter),
        series(&[("__name__", "x_bucket"), ("job", "api"), ("le", "1")], |n| (n % 1000) as f64 * 5.0),
        series(&[("__name__", "x_bucket"), ("job", "api"), ("le", "+Inf")], |n| (n % 1000) as f64 * 6.0),
        series(&[("__name__", "temperature"), ("room", "hall")], |n| (n as f64).sin() * f64::from(u16::MAX)),
        series(&[("__name__", "odd")], |n| [f64::NAN, f64::INFINITY, -0.0, f64::MAX, 5e-324][(n % 5) as usize]),
    ]
    .concat()
}

/// A push to Loki: JSON, logfmt and access-log lines.
fn logs(start_s: i64) -> String {
    let values: Vec<String> = LINES
        .iter()
        .enumerate()
        .map(|(n, line)| {
            let (time_s, line) =
                (start_s + n as i64 * 30, line.replace('\\', r"\\").replace('"', "\\\"").replace('\u{1b}', r"\u001b"));
            format!(r#"["{time_s}000000000","{line}",{{"pod":"p{n}","level":"info"}}]"#)
        })
        .collect();
    let values = values.join(",");
    format!(
        r#"{{"streams":[{{"stream":{{"app":"a","env":"prod"}},"values":[{values}]}},{{"stream":{{"app":"b"}},"values":[{values}]}}]}}"#
    )
}

pub(crate) const LINES: [&str; 6] = [
    r#"{"a":{"b":[{"c":"x"}]},"d":"12ms","size":"3KB","level":"warn","f":1.5e3,"n":null,"_entry":"e"}"#,
    r#"level=error msg="it \"failed\"" d=5s size=2MB caller=main.go:3 e= f"#,
    r#"10.1.2.3 - - [10/Oct/2023:13:55:36 +0000] "GET /a?b=c HTTP/1.1" 200 2326"#,
    "\u{1b}[31mred\u{1b}[0m é 10.0.0.1 fe80::1",
    "",
    "plain words",
];

/// OTLP traces: three spans of two services, one with an event and a link.
fn traces(start_s: i64, half: i64) -> String {
    let id = if half == 0 { hex(&TRACE_ID) } else { "6c".repeat(16) };
    let span = |n: u8, parent: u8, name: &str, kind: u8, more: &str| {
        let (start, end) = (start_s + i64::from(n), start_s + i64::from(n) + 2);
        let parent = if parent == 0 { String::new() } else { format!("{parent:02x}").repeat(8) };
        let attributes = format!(r#"[{},{},{}]"#, pair("http.method", "GET"), INT_ATTRIBUTE, pair("a", "b"));
        format!(
            r#"{{"traceId":"{id}","spanId":"{}","parentSpanId":"{parent}","name":"{name}","kind":{kind},"startTimeUnixNano":"{start}000000000","endTimeUnixNano":"{end}500000000","attributes":{attributes}{more}}}"#,
            format!("{n:02x}").repeat(8)
        )
    };
    let event =
        format!(r#","events":[{{"name":"e","timeUnixNano":"{start_s}000000001","attributes":[{}]}}]"#, pair("x", "y"));
    let link =
        format!(r#","links":[{{"traceId":"{id}","spanId":"{}"}}],"status":{{"code":2,"message":"m"}}"#, "01".repeat(8));
    let spans = |spans: &[String]| spans.join(",");
    let resource = |service: &str, all: String| {
        format!(
            r#"{{"resource":{{"attributes":[{}]}},"scopeSpans":[{{"scope":{{"name":"lib","version":"1"}},"spans":[{all}]}}]}}"#,
            pair("service.name", service)
        )
    };
    let front = spans(&[span(1, 0, "GET /", 2, &event), span(2, 1, "call", 3, "")]);
    let back = spans(&[span(3, 2, "serve", 2, &link)]);
    format!(r#"{{"resourceSpans":[{},{}]}}"#, resource("front", front), resource("back", back))
}

const INT_ATTRIBUTE: &str = r#"{"key":"http.status_code","value":{"intValue":"500"}}"#;

fn pair(key: &str, value: &str) -> String {
    format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use trine_query::memory::QueryMemory;

    use super::*;

    #[test]
    fn the_sample_has_all_signals_in_blocks_and_heads() {
        let view = view();
        assert!(view.metrics.blocks.iter().all(|b| b.summary().series == 9));
        assert!(view.logs.blocks.iter().all(|b| b.summary().facts == 12));
        assert!(view.traces.blocks.iter().all(|b| b.summary().facts == 3));
        assert_eq!([view.metrics.blocks.len(), view.logs.blocks.len(), view.traces.blocks.len()], [1; 3]);
        let memory = QueryMemory::unbounded().account();
        assert!(!view.traces.trace(TENANT, &[0x6c; 16], &memory).unwrap().is_empty(), "a trace in the head");
    }
}
