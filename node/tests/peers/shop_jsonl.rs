//! Traces recorded from an instrumented web shop, replayed as OTLP/JSON: every node gives each of them back whole.
use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use serde_json::Value;

use crate::harness::{Cluster, Http, Ids, Spans, now_ns, shared, spans_of};

/// Requests in flight while traces are read.
const READERS: usize = 4;

/// The recorded requests, moved in time so that the last span ended a minute and a half ago: searches leave out the
/// last half minute, and a recording gets too old to be taken.
fn recorded() -> Vec<Value> {
    let text = std::fs::read_to_string(shared("data/otlp/shop.jsonl")).expect("the recording can be read");
    let lines = text.lines().filter(|l| !l.trim().is_empty());
    let mut requests: Vec<Value> = lines.map(|l| serde_json::from_str(l).expect("each line is JSON")).collect();
    let mut last = 0;
    requests.iter_mut().for_each(|r| times(r, &mut |time| last = last.max(*time)));
    let by = now_ns() - 90_000_000_000 - last;
    requests.iter_mut().for_each(|r| times(r, &mut |time| *time += by));
    requests
}

/// Every time in a request, ns.
fn times(value: &mut Value, visit: &mut impl FnMut(&mut i64)) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if key.ends_with("UnixNano") {
                    let mut time = value.as_str().and_then(|t| t.parse().ok()).expect("times are strings of ns");
                    visit(&mut time);
                    *value = Value::String(time.to_string());
                } else {
                    times(value, visit);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| times(item, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn every_recorded_trace_comes_back_whole_from_every_node() {
    let cluster = Cluster::start().await;
    let otlp = Http::new(&cluster.otlp_http);
    let mut sent: BTreeMap<String, Spans> = BTreeMap::new();
    for request in recorded() {
        for (trace, spans) in spans_of(&request["resourceSpans"], Ids::Hex) {
            sent.entry(trace).or_default().extend(spans);
        }
        let reply = otlp.post("/v1/traces", &[("Content-Type", "application/json")], request.to_string().into()).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "{\"partialSuccess\":{}}"));
    }
    assert_eq!((sent.len(), sent.values().map(BTreeMap::len).sum::<usize>()), (300, 2937));
    for node in &cluster.nodes {
        traces_are_whole(&node.http, &sent).await;
        search_finds_all(&node.http, &sent).await;
    }
    cluster.flush().await;
    for node in &cluster.nodes {
        traces_are_whole(&node.http, &sent).await;
    }
}

async fn traces_are_whole(node: &Http, sent: &BTreeMap<String, Spans>) {
    let reads = sent.iter().map(|(id, spans)| async move {
        let answer = node.json(&format!("/api/v2/traces/{id}"), &[]).await;
        let got = spans_of(&answer["trace"]["resourceSpans"], Ids::Base64);
        assert_eq!(got.keys().collect::<Vec<_>>(), [id]);
        assert_eq!(got[id], *spans, "trace {id}");
    });
    futures::stream::iter(reads).buffer_unordered(READERS).for_each(|()| async {}).await;
}

async fn search_finds_all(node: &Http, sent: &BTreeMap<String, Spans>) {
    let now = now_ns() / 1_000_000_000;
    let (start, end) = ((now - 3600).to_string(), now.to_string());
    let parameters =
        [("q", "{ resource.service.name = \"shop\" }"), ("limit", "1000"), ("start", &start), ("end", &end)];
    let answer = node.json("/api/search", &parameters).await;
    let traces = answer["traces"].as_array().expect("traces").iter();
    let found: BTreeSet<String> =
        traces.map(|t| format!("{:0>32}", t["traceID"].as_str().unwrap_or_default())).collect();
    let expected: BTreeSet<String> = sent.keys().cloned().collect();
    assert_eq!(found, expected);
}
