//! OpenTelemetry's Python SDK exports spans, logs and metrics over gRPC and HTTP. Every node gives back each span with
//! every attribute, the logs by Loki's API, and the metrics by Prometheus'.
//!
//! The SDK lives in a virtual environment in the target directory, made on first use (which needs PyPI).
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde_json::{Value, json};

use crate::harness::remote::{Count, LabelMatcher, Query, ReadRequest, ReadResponse};
use crate::harness::{Cluster, Http, Ids, Spans, json_of, now_ms, now_ns, output_of, spans_of};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/otel_sdk.py");
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/requirements.txt");

/// The Python that has the SDK. Made again when the requirements change.
fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory is above its tmp");
    let (venv, wanted) = (target.join("venv"), std::fs::read(REQUIREMENTS).expect("the requirements can be read"));
    let (python, installed) = (venv.join("bin/python"), venv.join("requirements.txt"));
    if std::fs::read(&installed).is_ok_and(|have| have == wanted) {
        return python;
    }
    eprintln!("making {} (needs Python's venv module and PyPI)", venv.display());
    output_of(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", REQUIREMENTS];
    output_of(Command::new(&python).args(pip));
    std::fs::write(&installed, wanted).expect("the environment can be written to");
    python
}

/// `tempopb.TraceByIDResponse`.
#[derive(Clone, PartialEq, Message)]
struct TraceAnswer {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
}

#[tokio::test]
async fn what_the_sdk_exports_comes_back_from_every_node() {
    let python = python();
    let cluster = Cluster::start().await;
    let said = output_of(Command::new(python).args([SCRIPT, &cluster.otlp_grpc, &cluster.otlp_http]));
    let sent: Value = serde_json::from_str(&said).expect("the script prints JSON");
    everything_comes_back(&cluster, &sent).await;
    cluster.flush().await;
    everything_comes_back(&cluster, &sent).await;
}

async fn everything_comes_back(cluster: &Cluster, sent: &Value) {
    for node in &cluster.nodes {
        for protocol in ["grpc", "http"] {
            let sent = &sent[protocol];
            traces_come_back(&node.http, &sent["resourceSpans"]).await;
            logs_come_back(&node.http, protocol, sent["logs"].as_array().expect("logs")).await;
            metrics_come_back(&node.http, protocol).await;
        }
        search_finds_them(&node.http, sent).await;
    }
}

/// Each protocol's spans of the trace that both continue are in it, so a trace holds at least what one of them sent.
async fn traces_come_back(node: &Http, sent: &Value) {
    let sent = spans_of(sent, Ids::Hex);
    assert_eq!(sent.values().map(BTreeMap::len).sum::<usize>(), 7, "{sent:?}");
    for (id, spans) in sent {
        let path = format!("/api/v2/traces/{id}");
        let answer = node.json(&path, &[]).await;
        assert_has(&id, &spans_of(&answer["trace"]["resourceSpans"], Ids::Base64), &spans);
        let reply = node.get_with(&path, &[], &[("Accept", "application/protobuf")]).await;
        let answer = TraceAnswer::decode(&*reply.body).expect("a TraceByIDResponse").trace.expect("a trace");
        assert_has(&id, &spans_of(&json_of(&answer.resource_spans), Ids::Hex), &spans);
    }
}

#[track_caller]
fn assert_has(id: &str, got: &BTreeMap<String, Spans>, expected: &Spans) {
    let got = &got[id];
    for (key, span) in expected {
        assert_eq!(got.get(key), Some(span), "span {key:?} of trace {id}");
    }
}

async fn search_finds_them(node: &Http, sent: &Value) {
    let now = now_ns() / 1_000_000_000;
    let (start, end) = ((now - 600).to_string(), now.to_string());
    let queries = [
        "{ resource.service.name = \"sdk-SENDER\" && span.int.max = 9223372036854775807 }",
        "{ resource.service.name = \"sdk-SENDER\" && span.`array.string` = \"b\" }",
        "{ resource.service.name = \"sdk-SENDER\" && event:name = \"exception\" && event.exception.message =~ \".*item\" }",
        "{ resource.service.name = \"sdk-SENDER\" && kind = producer } && { status = error && statusMessage = \"it broke\" }",
        "{ resource.service.name = \"sdk-SENDER\" && span.float = 2.5 } >> { link.n = 4 }",
        "{ resource.service.name = \"sdk-SENDER\" && instrumentation:version = \"1.2.3\" && span.bool.true = true }",
    ];
    for protocol in ["grpc", "http"] {
        let traces = spans_of(&sent[protocol]["resourceSpans"], Ids::Hex);
        let root = traces.iter().find(|(_, spans)| spans.len() > 1).expect("one trace has all kinds").0;
        for query in queries {
            let query = query.replace("SENDER", protocol).replace('`', "\"");
            let parameters = [("q", query.as_str()), ("start", start.as_str()), ("end", end.as_str())];
            let answer = node.json("/api/search", &parameters).await;
            let found = answer["traces"].as_array().expect("traces").iter();
            let found: Vec<String> = found.map(|t| format!("{:0>32}", t["traceID"].as_str().unwrap_or(""))).collect();
            assert_eq!(found, [root.as_str()], "{query}");
        }
    }
}

async fn logs_come_back(node: &Http, protocol: &str, sent: &[Value]) {
    let query = format!("{{service_name=\"sdk-{protocol}\"}}");
    let now = now_ns();
    let (start, end) = ((now - 600_000_000_000).to_string(), now.to_string());
    let parameters =
        [("query", query.as_str()), ("start", start.as_str()), ("end", end.as_str()), ("direction", "forward")];
    let headers = [("X-Loki-Response-Encoding-Flags", "categorize-labels")];
    let answer = node.get_with("/loki/api/v1/query_range", &parameters, &headers).await.json();
    let streams = answer["data"]["result"].as_array().expect("streams");
    let labels =
        json!({"service_instance_id": "one", "service_name": format!("sdk-{protocol}"), "service_namespace": "tests"});
    assert_eq!(streams.iter().map(|s| &s["stream"]).collect::<Vec<_>>(), [&labels], "{answer}");
    let values = streams[0]["values"].as_array().expect("values");
    assert_eq!(values.len(), sent.len());
    for (value, sent) in values.iter().zip(sent) {
        assert_eq!(value[0], sent["time_ns"].to_string().as_str());
        let line = value[1].as_str().expect("a line");
        match &sent["body"] {
            Value::String(text) => assert_eq!(line, text),
            // A map becomes JSON; its keys have no order.
            map => assert_eq!(&serde_json::from_str::<Value>(line).expect("a body that is a map becomes JSON"), map),
        }
        let metadata = &value[2]["structuredMetadata"];
        let expected = json!({
            "severity_text": sent["severity_text"],
            "severity_number": sent["severity_number"].to_string(),
            "observed_timestamp": sent["observed_ns"].to_string(),
            "trace_id": sent["trace_id"],
            "span_id": sent["span_id"],
            "flags": "1",
            "http_route": sent["route"],
            "ratio": "0.5",
            "ok": "true",
            "scope_name": "otel_sdk.logs",
            "scope_version": "4.5.6",
            "numbers": "[1,2,3]",
            "telemetry_sdk_language": "python",
            "detected_level": sent["severity_text"].as_str().expect("text").to_ascii_lowercase(),
        });
        for (name, expected) in expected.as_object().expect("an object") {
            assert_eq!(&metadata[name], expected, "{name} in {value}");
        }
    }
}

async fn metrics_come_back(node: &Http, protocol: &str) {
    let time = (now_ms() / 1000 + 1).to_string();
    let job = format!("job=\"tests/sdk-{protocol}\", instance=\"one\"");
    let cases = [
        ("sdk_requests_total{http_route=\"/a\", JOB}", "41"),
        ("sdk_inflight{JOB}", "-3"),
        ("sdk_latency_seconds_count{JOB}", "5"),
        ("sdk_latency_seconds_sum{JOB} * 100", "1055"),
        ("sdk_latency_seconds_bucket{le=\"0.1\", JOB}", "1"),
        ("sdk_latency_seconds_bucket{le=\"0.5\", JOB}", "3"),
        ("sdk_latency_seconds_bucket{le=\"2.5\", JOB}", "4"),
        ("sdk_latency_seconds_bucket{le=\"+Inf\", JOB}", "5"),
        ("sdk_heat_celsius{where=\"core\", JOB}", "36.6"),
        ("target_info{telemetry_sdk_language=\"python\", numbers=\"[1,2,3]\", JOB}", "1"),
    ];
    for (query, expected) in cases {
        let query = query.replace("JOB", &job);
        let answer = node.json("/api/v1/query", &[("query", &query), ("time", &time)]).await;
        let result = answer["data"]["result"].as_array().expect("a vector");
        assert_eq!(result.len(), 1, "{query}: {answer}");
        assert_eq!(result[0]["value"][1], expected, "{query}");
    }
    exponential_histogram_comes_back(node, protocol).await;
    let metadata = node.json("/api/v1/metadata", &[("metric", "sdk_requests_total")]).await;
    assert_eq!(metadata["data"]["sdk_requests_total"][0]["type"], "counter", "{metadata}");
    assert_eq!(metadata["data"]["sdk_requests_total"][0]["help"], "Requests served.", "{metadata}");
}

/// As a native histogram, whatever its resolution.
async fn exponential_histogram_comes_back(node: &Http, protocol: &str) {
    let matcher = |name: &str, value: String| LabelMatcher { kind: 0, name: name.to_owned(), value };
    let matchers =
        vec![matcher("__name__", "sdk_sizes_bytes".to_owned()), matcher("job", format!("tests/sdk-{protocol}"))];
    let query = Query { start_timestamp_ms: now_ms() - 600_000, end_timestamp_ms: now_ms(), matchers };
    let request = ReadRequest { queries: vec![query], accepted_response_types: Vec::new() };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).expect("a small message");
    let reply = node.post("/api/v1/read", &[("Content-Encoding", "snappy")], body).await;
    let message = snap::raw::Decoder::new().decompress_vec(&reply.body).expect("a snappy block");
    let found = ReadResponse::decode(&message[..]).expect("a message").results.remove(0).timeseries;
    let histogram = &found[0].histograms[0];
    assert_eq!((found.len(), histogram.count, histogram.sum), (1, Some(Count::Int(4)), 1006.0));
    let counts = histogram.positive_deltas.iter().scan(0, |count, delta| {
        *count += delta;
        Some(*count)
    });
    assert_eq!(counts.sum::<i64>(), 4, "{histogram:?}");
}
