//! The requests that Grafana's stock data sources send first: Save & test, Explore's first page, autocomplete, the rule
//! probes. Each is sent word for word to the nodes that were not written to, and what Grafana's readers insist on is
//! asserted: statuses, key order, types, and messages that must be there even when empty.
mod logs;
mod metrics;
mod traces;

use serde_json::{Value, json};

use crate::harness::{Cluster, Http, now_ns};

/// Id of the seeded trace; its leading zero is left out of search results and has to be accepted back.
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

/// What was written, and when.
struct Seeded {
    /// Time of everything that was written, ns.
    at_ns: i64,
}

impl Seeded {
    fn seconds(&self, offset_s: i64) -> String {
        (self.at_ns / 1_000_000_000 + offset_s).to_string()
    }

    fn nanos(&self, offset_s: i64) -> String {
        (self.at_ns + offset_s * 1_000_000_000).to_string()
    }
}

#[tokio::test]
async fn the_data_sources_first_requests_are_answered_as_grafana_reads_them() {
    let cluster = Cluster::start().await;
    // Trace searches leave out the last half minute.
    let seeded = Seeded { at_ns: now_ns() / 1_000_000_000 * 1_000_000_000 - 60_000_000_000 };
    let otlp = Http::new(&cluster.otlp_http);
    for (path, request) in
        [("/v1/metrics", metrics::request(seeded.at_ns)), ("/v1/traces", traces::request(seeded.at_ns))]
    {
        let reply = otlp.post(path, &[("Content-Type", "application/json")], request.to_string().into_bytes()).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }
    let body = logs::request(seeded.at_ns).to_string().into_bytes();
    let first = &cluster.first().http;
    // Agents send a charset; the push has to accept it.
    let reply = first.post("/loki/api/v1/push", &[("Content-Type", "application/json; charset=utf-8")], body).await;
    assert_eq!(reply.status, 204, "{}", reply.text());
    for _from in ["heads", "blocks"] {
        for node in &cluster.nodes[1..] {
            metrics::check(&node.http, &seeded).await;
            logs::check(&node.http, &seeded).await;
            traces::check(&node.http, &seeded).await;
            traces::check_stream(&node.url, &seeded).await;
        }
        cluster.flush().await;
    }
}

/// `service.name = shop` and whatever else, as OTLP/JSON.
fn resource() -> Value {
    json!({"attributes": [
        {"key": "service.name", "value": {"stringValue": "shop"}},
        {"key": "deployment.environment", "value": {"stringValue": "test"}},
    ]})
}

/// Whether `a` comes before `b` in the text of an answer: Grafana reads while it streams.
#[track_caller]
fn assert_order(text: &str, a: &str, b: &str) {
    let at = |key: &str| text.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("no {key} in {text}"));
    assert!(at(a) < at(b), "{a} must come before {b} in {text}");
}

/// The strings of a JSON array.
#[track_caller]
fn strings(array: &Value) -> Vec<&str> {
    let items = array.as_array().unwrap_or_else(|| panic!("not an array: {array}"));
    items.iter().map(|v| v.as_str().unwrap_or_else(|| panic!("not a string: {v}"))).collect()
}
