//! `trine query`, `trine inspect` and `trine export` against three nodes, and Debian's promtool on what was exported.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#[allow(dead_code, unused_imports, reason = "shared with other tests, which use all of it")]
#[path = "../common/harness.rs"]
mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use prost::Message;
use serde_json::Value as Json;

use harness::remote::{Count, Histogram, Label, Sample, Span, TimeSeries, WriteRequest, ZeroCount};
use harness::{Cluster, installed, now_ms, output_of};

const STEP_MS: i64 = 15_000;
const SAMPLES: i64 = 200;
/// What ends a series.
const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

fn series(name: &str, instance: &str, start_ms: i64, value: impl Fn(i64) -> f64) -> TimeSeries {
    let label = |(name, value): (&str, &str)| Label { name: name.to_owned(), value: value.to_owned() };
    let labels = [("__name__", name), ("instance", instance), ("path", "C:\\x \"y\"\n")].map(label).to_vec();
    let sample = |i| Sample { value: value(i), timestamp: start_ms + STEP_MS * i };
    TimeSeries { labels, samples: (0..SAMPLES).map(sample).collect(), histograms: Vec::new() }
}

fn native(start_ms: i64) -> TimeSeries {
    let histogram = Histogram {
        count: Some(Count::Int(3)),
        sum: 1.5,
        zero_count: Some(ZeroCount::Int(0)),
        positive_spans: vec![Span { offset: 0, length: 1 }],
        positive_deltas: vec![3],
        timestamp: start_ms,
        ..Histogram::default()
    };
    TimeSeries { samples: Vec::new(), histograms: vec![histogram], ..series("native", "a", start_ms, |_| 0.0) }
}

/// With bounds of its own.
fn custom(start_ms: i64) -> TimeSeries {
    let histogram = Histogram {
        count: Some(Count::Int(4)),
        sum: 3.5,
        schema: -53,
        zero_count: Some(ZeroCount::Int(0)),
        positive_spans: vec![Span { offset: 0, length: 3 }],
        positive_deltas: vec![1, 1, -1],
        custom_values: vec![0.25, 5.0],
        timestamp: start_ms,
        ..Histogram::default()
    };
    TimeSeries { samples: Vec::new(), histograms: vec![histogram], ..series("custom", "a", start_ms, |_| 0.0) }
}

fn written(start_ms: i64) -> WriteRequest {
    // No -0: protobuf's encoders leave it out, as they do with 0.
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-300, 1.7e308, -0.1];
    let mut timeseries: Vec<TimeSeries> = ["a", "b", "c"]
        .iter()
        .enumerate()
        .flat_map(|(n, instance)| {
            [
                series("tool_requests_total", instance, start_ms, move |i| (i * (n as i64 + 1)) as f64),
                series("tool_load", instance, start_ms + 7, |i| (i * 7919 % 1000) as f64 / 7.0),
            ]
        })
        .collect();
    timeseries.push(series("tool_odd", "a", start_ms, |i| odd[i as usize % odd.len()]));
    timeseries.push(series("tool_ended", "a", start_ms, |i| if i == SAMPLES - 1 { STALE } else { 1.0 }));
    timeseries.extend([native(start_ms), custom(start_ms)]);
    WriteRequest { timeseries }
}

async fn write(cluster: &Cluster, request: &WriteRequest) {
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
    let headers =
        [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy"), ("X-Scope-OrgID", "ops")];
    let reply = cluster.first().http.post("/api/v1/write", &headers, body).await;
    assert_eq!(reply.status, 204, "{}", reply.text());
}

/// The command, at node 2, about the tenant that was written.
fn trine(cluster: &Cluster, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trine"));
    command.args(args).args(["--tenant", "ops"]).env("TRINE_URL", &cluster.nodes[1].url);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(mut command: Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

#[tokio::test]
async fn tools_show_what_was_written() {
    let cluster = Cluster::start().await;
    let start_ms = now_ms() / 60_000 * 60_000 - STEP_MS * SAMPLES;
    let request = written(start_ms);
    write(&cluster, &request).await;
    queries(&cluster, start_ms);
    let lines = export(&cluster, &request, start_ms);
    cluster.flush().await;
    assert_eq!(export(&cluster, &request, start_ms), lines, "from blocks as from heads");
    blocks(&cluster, &request);
    exemplars(&cluster, start_ms).await;
}

fn queries(cluster: &Cluster, start_ms: i64) {
    let query = |args: &[&str]| run(trine(cluster, &[&["query", "promql"], args].concat()));
    let at = format!("{}", (start_ms + STEP_MS * 100) / 1000);
    let sum = "sum by (instance) (tool_requests_total)";
    let table = query(&[sum, "--time", &at]);
    assert_eq!(text(&table.stdout), "INSTANCE  VALUE\na           100\nb           200\nc           300\n");
    let json: Json = serde_json::from_slice(&query(&[sum, "--time", &at, "--format", "json"]).stdout).unwrap();
    assert_eq!(json["data"]["result"][1]["value"][1], "200");
    let csv = query(&["scalar(max(tool_requests_total))", "--time", &at, "--format", "csv"]);
    assert_eq!(text(&csv.stdout), format!("timestamp,value\n{at}.000,300\n"));
    let end = format!("{}", (start_ms + STEP_MS * (SAMPLES - 1)) / 1000);
    let start = (start_ms / 1000).to_string();
    let plot = query(&["tool_requests_total", "--start", &start, "--end", &end, "--format", "plot"]);
    let drawn = text(&plot.stdout);
    for part in ["600 ┤", "0 ┤", "└──", "last 594", "instance=\"b\"", "UTC"] {
        assert!(drawn.contains(part), "{part}:\n{drawn}");
    }
    assert!(!drawn.contains('\u{1b}'), "no colours where there is no terminal");
    let odd = query(&["rate(tool_load[5m])", "--time", &at]);
    assert!(odd.status.success());
    assert!(text(&odd.stderr).starts_with("info: PromQL info: metric might not be a counter"), "{}", text(&odd.stderr));
    for (args, code, said) in [
        (&["sum("][..], 1, "error: bad_data: invalid parameter \"query\": 1:5: parse error"),
        (&["up", "--url", "http://127.0.0.1:1"], 1, "give a node's address with --url"),
        (&["up", "--time", "yesterday"], 2, "is no time"),
        (&["up", "--end", "now"], 2, "--start"),
    ] {
        let refused = query(args);
        assert_eq!(refused.status.code(), Some(code), "{args:?}");
        assert!(text(&refused.stderr).contains(said), "{args:?}: {}", text(&refused.stderr));
    }
}

/// Samples by labels and time: bits, since a NaN is not equal to itself.
type Samples = BTreeMap<(String, i64), u64>;

fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

/// The classic form of the native histograms.
fn classic(start_ms: i64) -> Samples {
    let part = |name: &str, le: &str, value: f64| {
        let le = if le.is_empty() { String::new() } else { format!("le=\"{le}\", ") };
        let labels = format!("{{__name__=\"{name}\", instance=\"a\", {le}path={:?}}}", "C:\\x \"y\"\n");
        ((labels, start_ms), bits(value))
    };
    [
        part("native_bucket", "0.5", 0.0),
        part("native_bucket", "1.0", 3.0),
        part("native_bucket", "+Inf", 3.0),
        part("native_count", "", 3.0),
        part("native_sum", "", 1.5),
        part("custom_bucket", "0.25", 1.0),
        part("custom_bucket", "5.0", 3.0),
        part("custom_bucket", "+Inf", 4.0),
        part("custom_count", "", 4.0),
        part("custom_sum", "", 3.5),
    ]
    .into()
}

/// What promtool's dump must say: everything but stale markers, native histograms as classic ones.
fn expected(request: &WriteRequest) -> Samples {
    let samples = |s: &TimeSeries| {
        let pairs: Vec<String> = s.labels.iter().map(|l| format!("{}={:?}", l.name, l.value)).collect();
        let labels = format!("{{{}}}", pairs.join(", "));
        let kept = s.samples.iter().filter(|x| x.value.to_bits() != STALE.to_bits());
        kept.map(|x| ((labels.clone(), x.timestamp), bits(x.value))).collect::<Vec<_>>()
    };
    request.timeseries.iter().flat_map(samples).collect()
}

/// Lines of `promtool tsdb dump`: labels, value, time in ms.
fn dumped(dump: &str) -> Samples {
    let line = |line: &str| {
        let (rest, time) = line.rsplit_once(' ').unwrap();
        let (labels, value) = rest.rsplit_once(' ').unwrap();
        ((labels.to_owned(), time.parse().unwrap()), bits(value.parse().unwrap()))
    };
    dump.lines().map(line).collect()
}

/// Exports, has promtool make blocks of it, and compares every sample. The lines, sorted.
fn export(cluster: &Cluster, request: &WriteRequest, start_ms: i64) -> BTreeSet<String> {
    let promtool = installed("promtool", "prometheus");
    let file = cluster.dir().join("export.om");
    let (start, end) = ((start_ms / 1000).to_string(), (now_ms() / 1000 + 60).to_string());
    let about = ["export", "--start", &start, "--end", &end];
    let done = run(trine(cluster, &[&about[..], &["--output", file.to_str().unwrap()]].concat()));
    assert!(done.status.success(), "{}", text(&done.stderr));
    for said in ["2 native histograms, written as classic ones", "left out: 1 stale markers", "samples\n"] {
        assert!(text(&done.stderr).contains(said), "{}", text(&done.stderr));
    }
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.ends_with("\n# EOF\n"));
    let blocks = tempfile::tempdir().unwrap();
    output_of(
        Command::new(&promtool).args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&file).arg(blocks.path()),
    );
    // It looks for one, even if there is nothing in it.
    std::fs::create_dir(blocks.path().join("wal")).unwrap();
    let dump = output_of(Command::new(&promtool).args(["tsdb", "dump"]).arg(blocks.path()));
    let (got, mut expected) = (dumped(&dump), expected(request));
    expected.extend(classic(start_ms));
    assert!(expected.len() > 1500);
    for (at, value) in &expected {
        assert_eq!(got.get(at), Some(value), "{at:?}");
    }
    assert_eq!(got.len(), expected.len());
    selected(cluster, start_ms);
    written.lines().map(str::to_owned).collect()
}

/// Two selectors that overlap, in a narrower range: each sample once, none outside.
fn selected(cluster: &Cluster, start_ms: i64) {
    let (from_ms, to_ms) = (start_ms + 10 * STEP_MS, start_ms + 19 * STEP_MS);
    let seconds = |ms: i64| format!("{}", ms as f64 / 1000.0);
    let (from, to) = (seconds(from_ms), seconds(to_ms));
    let done = run(trine(
        cluster,
        &[
            "export",
            "--match",
            "tool_requests_total{instance!=\"c\"}",
            "--match",
            "{instance=\"a\",__name__=~\"tool_r.*\"}",
            "--start",
            &from,
            "--end",
            &to,
        ],
    ));
    assert!(done.status.success(), "{}", text(&done.stderr));
    let written = text(&done.stdout);
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!(lines[0], "# TYPE tool_requests_total unknown");
    assert_eq!(lines.last(), Some(&"# EOF"));
    assert_eq!(lines.len(), 2 + 2 * 10, "{written}");
    let path = "path=\"C:\\\\x \\\"y\\\"\\n\"";
    assert_eq!(lines[1], format!("tool_requests_total{{instance=\"a\",{path}}} 10 {}.000", from_ms / 1000));
    let none = run(trine(cluster, &["export", "--match", "nobody", "--start", &from]));
    assert_eq!(text(&none.stdout), "# EOF\n");
    let wrong = run(trine(cluster, &["export", "--match", "up[5m]", "--start", &from]));
    assert_eq!(wrong.status.code(), Some(1));
}

/// Every block of metrics of node 1.
fn block_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            block_files(&path, out);
        } else if std::fs::read(&path).is_ok_and(|bytes| bytes.starts_with(b"TRNM")) {
            out.push(path);
        }
    }
}

fn blocks(cluster: &Cluster, request: &WriteRequest) {
    let mut files = Vec::new();
    block_files(&cluster.dir().join("node-1"), &mut files);
    let inspect = |file: &Path, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trine"));
        command.args(["inspect", "block", "--verify"]).arg(file).args(more);
        run(command)
    };
    let (mut samples, mut names) = (0, BTreeSet::new());
    for file in &files {
        let done = inspect(file, &["--format", "json", "--top", "100"]);
        assert!(done.status.success(), "{}", text(&done.stderr));
        let json: Json = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!((&json["verified"], &json["signal"]), (&Json::Bool(true), &Json::from("metrics")));
        for tenant in json["tenants"].as_array().unwrap().iter().filter(|t| t["tenant"] == "ops") {
            samples += tenant["facts"].as_u64().unwrap();
            let top = tenant["top_by_bytes"].as_array().unwrap();
            names.extend(top.iter().map(|w| w["name"].as_str().unwrap().to_owned()));
        }
    }
    let all = request.timeseries.iter().map(|s| s.samples.len() + s.histograms.len()).sum::<usize>();
    assert_eq!(samples, all as u64);
    assert_eq!(
        names,
        ["custom", "native", "tool_ended", "tool_load", "tool_odd", "tool_requests_total"].map(str::to_owned).into()
    );
    let file = cluster.dir().join("damaged");
    let mut bytes = std::fs::read(&files[0]).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let done = inspect(&file, &[]);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("is damaged at byte 8 ("), "{}", text(&done.stderr));
}

/// `prometheus.WriteRequest` with exemplars.
#[derive(Clone, PartialEq, prost::Message)]
struct TracedRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TracedSeries>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TracedSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

/// Exemplars stand behind the samples that they came with, where OpenMetrics allows them. Of a tenant of its own.
async fn exemplars(cluster: &Cluster, start_ms: i64) {
    let of = |name: &str| vec![Label { name: "__name__".to_owned(), value: name.to_owned() }];
    let exemplar = |trace: &str, value: f64, timestamp: i64| {
        let labels = vec![Label { name: "trace_id".to_owned(), value: trace.to_owned() }];
        Exemplar { labels, value, timestamp }
    };
    let sample = |n: i64| Sample { value: n as f64, timestamp: start_ms + STEP_MS * n };
    let exemplars = vec![exemplar("a", 0.5, start_ms + 1), exemplar("b", 0.75, start_ms + STEP_MS)];
    let of_samples = |name| TracedSeries {
        labels: of(name),
        samples: vec![sample(0), sample(1)],
        exemplars: exemplars.clone(),
        histograms: Vec::new(),
    };
    let native = TracedSeries {
        labels: of("traced_seconds"),
        exemplars: vec![exemplar("c", 0.75, start_ms)],
        histograms: native(start_ms).histograms,
        ..TracedSeries::default()
    };
    let request = TracedRequest { timeseries: vec![of_samples("traced_total"), of_samples("traced_bucket"), native] };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
    let headers =
        [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy"), ("X-Scope-OrgID", "traced")];
    let reply = cluster.first().http.post("/api/v1/write", &headers, body).await;
    assert_eq!(reply.status, 204, "{}", reply.text());
    let mut command = Command::new(env!("CARGO_BIN_EXE_trine"));
    command.args(["export", "--tenant", "traced", "--start", &(start_ms / 1000).to_string()]);
    command.env("TRINE_URL", &cluster.nodes[1].url);
    let done = run(command);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let second = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let (first, next) = (second(start_ms), second(start_ms + STEP_MS));
    let expected = [
        "# TYPE traced_bucket unknown".to_owned(),
        format!("traced_bucket 0 {first}"),
        format!("traced_bucket 1 {next}"),
        "# TYPE traced_seconds histogram".to_owned(),
        format!("traced_seconds_bucket{{le=\"0.5\"}} 0 {first}"),
        format!("traced_seconds_bucket{{le=\"1.0\"}} 3 {first} # {{trace_id=\"c\"}} 0.75 {first}"),
        format!("traced_seconds_bucket{{le=\"+Inf\"}} 3 {first}"),
        format!("traced_seconds_count 3 {first}"),
        format!("traced_seconds_sum 1.5 {first}"),
        "# TYPE traced counter".to_owned(),
        format!("traced_total 0 {first}"),
        format!("traced_total 1 {next} # {{trace_id=\"b\"}} 0.75 {next}"),
        "# EOF".to_owned(),
    ];
    assert_eq!(text(&done.stdout).lines().collect::<Vec<_>>(), expected);
    for said in ["2 exemplars\n", "left out: 2 exemplars of metrics other", "left out: 1 exemplars beside a newer"] {
        assert!(text(&done.stderr).contains(said), "{said}: {}", text(&done.stderr));
    }
}
