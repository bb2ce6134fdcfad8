//! What Debian's Prometheus reads of Trine as remote read and as federation, and what it answers itself to the same
//! questions: the same requests are written to both, and answers are compared to the byte where the format has one form.
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use prost::Message;
use serde_json::Value;

use crate::harness::remote::{
    Chunk, ChunkedReadResponse, Count, Histogram, Label, LabelMatcher, Query, ReadRequest, ReadResponse, Sample, Span,
    TimeSeries, WriteRequest, ZeroCount,
};
use crate::harness::{Cluster, Http, Program, assert_vectors_agree, free_tcp_ports, installed, now_ms, until};

const STEP_MS: i64 = 15_000;
/// Samples of a series: fewer than a chunk of Prometheus has, so that where a chunk ends is the same.
const SAMPLES: i64 = 40;
const PATIENCE: Duration = Duration::from_secs(60);

fn labels(pairs: &[(&str, &str)]) -> Vec<Label> {
    pairs.iter().map(|(name, value)| Label { name: (*name).to_owned(), value: (*value).to_owned() }).collect()
}

fn floats(name: &str, kind: &str, start_ms: i64, value: impl Fn(i64) -> f64) -> TimeSeries {
    let sample = |i| Sample { value: value(i), timestamp: start_ms + STEP_MS * i };
    let labels = labels(&[("__name__", name), ("job", "probe"), ("kind", kind)]);
    TimeSeries { labels, samples: (0..SAMPLES).map(sample).collect(), histograms: Vec::new() }
}

/// A counter of integers whose buckets all grow.
fn int_histogram(i: i64, timestamp: i64) -> Histogram {
    let (a, b, c) = (3 * i + 1, 5 * i * i + 2, 7);
    Histogram {
        count: Some(Count::Int((a + b + c + i + 2 * i) as u64)),
        sum: 0.25 * i as f64,
        schema: 3,
        zero_threshold: 2f64.powi(-128),
        zero_count: Some(ZeroCount::Int(i as u64)),
        negative_spans: vec![Span { offset: -4, length: 1 }],
        negative_deltas: vec![2 * i],
        positive_spans: vec![Span { offset: -2, length: 2 }, Span { offset: 3, length: 1 }],
        positive_deltas: vec![a, b - a, c - b],
        positive_counts: Vec::new(),
        timestamp,
        custom_values: Vec::new(),
    }
}

fn float_histogram(i: i64, timestamp: i64) -> Histogram {
    let counts = vec![0.5 * i as f64, 1.0 + i as f64];
    Histogram {
        count: Some(Count::Float(counts.iter().sum::<f64>() + 0.1)),
        sum: 1e9 / (1.0 + i as f64),
        schema: -1,
        zero_threshold: 0.001,
        zero_count: Some(ZeroCount::Float(0.1)),
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_counts: counts,
        timestamp,
        ..Histogram::default()
    }
}

fn histograms(name: &str, start_ms: i64, of: fn(i64, i64) -> Histogram) -> TimeSeries {
    let labels = labels(&[("__name__", name), ("job", "probe")]);
    TimeSeries {
        labels,
        samples: Vec::new(),
        histograms: (0..SAMPLES).map(|i| of(i, start_ms + STEP_MS * i)).collect(),
    }
}

fn written(start_ms: i64) -> WriteRequest {
    let random = |i: i64| ((i * 7919 + 13) % 1000) as f64 / 7.0;
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e-300];
    WriteRequest {
        timeseries: vec![
            floats("probe", "counter", start_ms, |i| (i * i) as f64),
            floats("probe", "constant", start_ms, |_| 42.0),
            floats("probe", "random", start_ms, random),
            floats("probe", "odd", start_ms + 7, |i| odd[i as usize % odd.len()]),
            histograms("probe_hist", start_ms, int_histogram),
            histograms("probe_hist_float", start_ms, float_histogram),
        ],
    }
}

/// When samples of the last minutes begin, so that no even hour lies between them: there Prometheus begins new chunks.
fn between_even_hours_ms() -> i64 {
    const CHUNK_RANGE_MS: i64 = 2 * 3600 * 1000;
    let (now_ms, span_ms) = (now_ms() / 1000 * 1000, STEP_MS * SAMPLES);
    let even_hour_ms = now_ms - now_ms % CHUNK_RANGE_MS;
    if now_ms - span_ms < even_hour_ms { even_hour_ms - span_ms } else { now_ms - span_ms }
}

fn start_prometheus(name: &str, dir: &Path, config: &str) -> (Http, Program) {
    let at = format!("127.0.0.1:{}", free_tcp_ports(1)[0]);
    let path = dir.join(format!("{name}.yml"));
    std::fs::write(&path, config).expect("the configuration can be written");
    let mut prometheus = Command::new(installed("prometheus", "prometheus"));
    prometheus
        .arg(format!("--config.file={}", path.display()))
        .arg(format!("--storage.tsdb.path={}", dir.join(name).display()))
        .arg(format!("--web.listen-address={at}"))
        .args(["--web.enable-remote-write-receiver", "--enable-feature=native-histograms"]);
    (Http::new(&format!("http://{at}")), Program::start(name, &mut prometheus, dir))
}

const PROTOBUF: [(&str, &str); 2] = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];

fn block(message: &impl Message) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).expect("a small message can be compressed")
}

async fn read(of: &Http, start_ms: i64, accepted: &[i32]) -> Vec<u8> {
    let matcher = LabelMatcher { kind: 2, name: "__name__".to_owned(), value: "probe.*".to_owned() };
    let (end, matchers) = (start_ms + STEP_MS * (SAMPLES + 1), vec![matcher]);
    let query = Query { start_timestamp_ms: start_ms, end_timestamp_ms: end, matchers };
    let request = ReadRequest { queries: vec![query], accepted_response_types: accepted.to_vec() };
    let reply = of.post("/api/v1/read", &PROTOBUF, block(&request)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.body
}

/// A series' labels and chunks.
type Chunked = (Vec<(String, String)>, Vec<Chunk>);

/// The series of a streamed answer in its order.
fn chunks_of(mut body: &[u8]) -> Vec<Chunked> {
    let mut out = Vec::new();
    while !body.is_empty() {
        let len = prost::decode_length_delimiter(&mut body).expect("a length");
        let (frame, rest) = body[4..].split_at(len);
        body = rest;
        for series in ChunkedReadResponse::decode(frame).expect("a message").chunked_series {
            out.push((series.labels.into_iter().map(|l| (l.name, l.value)).collect(), series.chunks));
        }
    }
    out
}

/// Lines of a page without the families' types, which a series' order does not change.
fn lines_of(page: &str) -> BTreeMap<&str, &str> {
    page.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once("} ")).collect()
}

#[tokio::test]
async fn reads_are_answered_as_prometheus_answers_them() {
    let cluster = Cluster::start().await;
    let (theirs, _prometheus) = start_prometheus("receiver", cluster.dir(), "global: {}\n");
    until("Prometheus", PATIENCE, || async { theirs.try_get("/-/ready", &[]).await?.success().map(drop) }).await;
    let start_ms = between_even_hours_ms();
    let request = block(&written(start_ms));
    for of in [&cluster.first().http, &theirs] {
        let reply = of.post("/api/v1/write", &PROTOBUF, request.clone()).await;
        assert_eq!(reply.status, 204, "{}", reply.text());
    }
    let expected = chunks_of(&read(&theirs, start_ms, &[1]).await);
    assert_eq!(expected.len(), 6, "Prometheus has all series");
    for _from in ["heads", "blocks"] {
        for node in &cluster.nodes {
            let ours = chunks_of(&read(&node.http, start_ms, &[1]).await);
            for ((labels, chunks), (their_labels, their_chunks)) in ours.iter().zip(&expected) {
                assert_eq!(labels, their_labels);
                assert_eq!(chunks, their_chunks, "{labels:?}");
            }
            assert_eq!(ours.len(), expected.len());
            samples_agree(&node.http, &theirs, start_ms).await;
            pages_agree(&node.http, &theirs).await;
            statistics_agree(&node.http, &theirs).await;
        }
        cluster.flush().await;
    }
}

async fn samples_agree(ours: &Http, theirs: &Http, start_ms: i64) {
    let decode = |body: Vec<u8>| {
        let message = snap::raw::Decoder::new().decompress_vec(&body).expect("a snappy block");
        let mut series = ReadResponse::decode(&message[..]).expect("a message").results.remove(0).timeseries;
        series.sort_by_key(|s| format!("{:?}", s.labels));
        // A NaN is not equal to itself, its bits are.
        let floats = |s: &TimeSeries| s.samples.iter().map(|s| (s.timestamp, s.value.to_bits())).collect::<Vec<_>>();
        let histograms: Vec<TimeSeries> = series.iter().filter(|s| !s.histograms.is_empty()).cloned().collect();
        (series.iter().map(|s| (s.labels.clone(), floats(s))).collect::<Vec<_>>(), histograms)
    };
    let (ours, histograms) = decode(read(ours, start_ms, &[]).await);
    assert_eq!(ours, decode(read(theirs, start_ms, &[]).await).0);
    // 2.42 leaves histograms out of this form: they are as they were written.
    let mut expected = written(start_ms).timeseries;
    expected.retain(|s| !s.histograms.is_empty());
    assert_eq!(histograms, expected);
}

async fn pages_agree(ours: &Http, theirs: &Http) {
    let about = [("match[]", "{__name__=~\"probe.*\"}")];
    let (got, expected) = (ours.get("/federate", &about).await.text(), theirs.get("/federate", &about).await.text());
    assert_eq!(lines_of(&expected).len(), 4, "{expected}");
    assert_eq!(lines_of(&got), lines_of(&expected));
}

/// Series by metric name and by pair of label and value; Prometheus has no other series.
async fn statistics_agree(ours: &Http, theirs: &Http) {
    for table in ["seriesCountByMetricName", "seriesCountByLabelValuePair", "labelValueCountByLabelName"] {
        let about = [("limit", "1000")];
        let rows = |answer: Value| -> BTreeMap<String, u64> {
            let rows = answer["data"][table].as_array().cloned().unwrap_or_default();
            let row = |r: &Value| Some((r["name"].as_str()?.to_owned(), r["value"].as_u64()?));
            rows.iter().filter_map(row).collect()
        };
        let path = "/api/v1/status/tsdb";
        let (got, expected) = (rows(ours.json(path, &about).await), rows(theirs.json(path, &about).await));
        assert!(!expected.is_empty(), "{table} compares nothing");
        assert_eq!(got, expected, "{table}");
    }
}

#[tokio::test]
async fn prometheus_reads_and_federates_a_node() {
    let cluster = Cluster::start().await;
    let start_ms = now_ms() / 1000 * 1000 - STEP_MS * SAMPLES;
    let reply = cluster.first().http.post("/api/v1/write", &PROTOBUF, block(&written(start_ms))).await;
    assert_eq!(reply.status, 204, "{}", reply.text());
    let from = &cluster.nodes[1];
    let target = from.url.trim_start_matches("http://");
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- {{job_name: federate, honor_labels: true, metrics_path: /federate, params: {{'match[]': ['probe']}}, static_configs: [{{targets: ['{target}']}}]}}
remote_read:
- {{url: '{}/api/v1/read', read_recent: true}}
",
        from.url
    );
    let (reader, _prometheus) = start_prometheus("reader", cluster.dir(), &config);
    // Between the samples, where 2.42 and 3.x mean the same range.
    let at = (start_ms + STEP_MS * (SAMPLES - 10) + 5000) / 1000;
    let (at, expression) = (at.to_string(), "sum by (kind) (rate(probe{kind!=\"odd\"}[2m]))");
    let query = [("query", expression), ("time", at.as_str())];
    let ours = from.http.json("/api/v1/query", &query).await;
    assert_eq!(ours["data"]["result"].as_array().map(Vec::len), Some(3), "{ours}");
    let theirs = until("remote read", PATIENCE, || async {
        let answer = reader.try_get("/api/v1/query", &query).await?.success()?.json();
        if answer["data"]["result"].as_array().is_some_and(|r| !r.is_empty()) {
            Ok(answer)
        } else {
            Err(answer.to_string())
        }
    })
    .await;
    assert_vectors_agree(expression, &ours, &theirs);
    // Its own storage has what it federated: with the labels of the source, none of its own.
    let up = until("federation", PATIENCE, || async {
        let query = [("query", "scrape_samples_scraped{job=\"federate\"}")];
        let answer = reader.try_get("/api/v1/query", &query).await?.success()?.json();
        match answer["data"]["result"][0]["value"][1].as_str() {
            Some("4") => Ok(answer),
            _ => Err(answer.to_string()),
        }
    })
    .await;
    assert_ne!(up["data"]["result"], Value::Null);
}
