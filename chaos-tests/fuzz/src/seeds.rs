//! Good inputs to start from.
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use trine_actors::fuzz as actors;
use trine_api::fuzz as api;
use trine_query::fragment::{Fragment, Language};
use trine_query::scatter::{Item, QueryContext, Scatter};
use trine_raft::fuzz as raft;
use trine_store::codec::put_uvarint;
use trine_store::entry::{SealReason, WriteEntryBuilder, encode_seal};
use trine_store::model::{AttrsBuilder, LabelsBuilder, Scope, Signal, Value, intrinsic};
use trine_store::part::{MetricsPartBuilder, PartRef, RowsPartBuilder, SampleKind};
use trine_store::shard::{BlockEntry, LogPosition, Manifest, ProposerTable};
use trine_store::wal::{Mark, Wal, WalConfig};

use crate::cluster::Here;
use crate::{engine, sample, split};

/// The seeds of a target.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "labels" => vec![labels(&LABELS)],
        "part" | "part_apply" => vec![metrics_part(), rows_part(Signal::Logs), rows_part(Signal::Traces)],
        "entry" => entries(),
        "entry_apply" => vec![split::join(entries().iter().map(Vec::as_slice))],
        "manifest" => vec![manifest()],
        "metrics_block" => vec![include_bytes!("../../../store/tests/fixtures/metrics-block-v1.trnm").to_vec()],
        "rows_block" => vec![include_bytes!("../../../store/tests/fixtures/rows-block-v1.trnr").to_vec()],
        "wal_segment" => wal_segment().into_iter().collect(),
        "promql" | "promql_eval" => texts(&PROMQL),
        "promql_selector" => texts(&["up", r#"{__name__=~"a|b", job!="x", i!~"y.*"}"#]),
        "remote_read_chunks" => read_chunks(),
        "logql" | "logql_eval" => texts(&LOGQL),
        "log_line" => [texts(&sample::LINES), lines_with_queries()].concat(),
        "traceql" => texts(&TRACEQL),
        "traceql_eval" => TRACEQL.iter().map(|q| format!("{q}\0.http.method").into_bytes()).collect(),
        "traceql_field" => texts(&["resource.service.name", "name", "span:duration", r#"."quoted key""#, "1h30m"]),
        "promql_ask" => asked(Language::PromQl),
        "logql_ask" => asked(Language::LogQl),
        "traceql_ask" => asked(Language::TraceQl),
        "promql_frame" => framed(Language::PromQl, 8),
        "logql_frame" => framed(Language::LogQl, 12),
        "traceql_frame" => framed(Language::TraceQl, 2),
        "remote_write_v1" => vec![sample::metrics(sample::NOW_S), exemplar_and_histogram()],
        "remote_write_v2" => vec![write_request_v2()],
        "snappy" => vec![sample::snappy(b"some text, some text"), b"\x14\x10hello\x3d\x05\x00".to_vec()],
        "loki_json" => texts(&[LOKI_JSON]),
        "loki_legacy_json" => texts(&[LOKI_LEGACY_JSON]),
        "loki_protobuf" => vec![loki_protobuf()],
        "otlp_traces_json" => texts(&[OTLP_TRACES]),
        "otlp_logs_json" => texts(&[OTLP_LOGS]),
        "otlp_metrics_json" => texts(&[OTLP_METRICS]),
        "form" => texts(&[
            "query=up&start=1700000000.5&end=2023-11-14T22:13:20Z&match[]=%7Ba%3D%22b%22%7D&limit=10",
            "search[]=htp&search[]=%C3%BCber&fuzz_threshold=60&case_sensitive=0&sort_by=score&x=http_%C3%9Cber_total",
            "search[]=martha&fuzz_alg=jarowinkler&fuzz_threshold=90&sort_by=alpha&sort_dir=dsc&batch_size=2&x=marhta",
        ]),
        "http_request" => requests(),
        "otlp_traces" => api::otlp_protobuf(target, OTLP_TRACES.as_bytes()).into_iter().collect(),
        "otlp_logs" => api::otlp_protobuf(target, OTLP_LOGS.as_bytes()).into_iter().collect(),
        "otlp_metrics" => api::otlp_protobuf(target, OTLP_METRICS.as_bytes()).into_iter().collect(),
        other => [actors::seeds(other), raft::seeds(other), api::seeds(other)].concat(),
    }
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|t| t.as_bytes().to_vec()).collect()
}

const PROMQL: [&str; 6] = [
    r#"sum by (job) (rate(http_requests_total{code=~"5..", job!="x"}[5m] offset -1h @ 1700000000)) / on (job) group_left (a) up"#,
    "histogram_quantile(0.9, sum without (le) (rate(x_bucket[1m:10s])))",
    r#"label_replace(topk(5, -x ^ 2 % 3), "a", "$1", "b", "(.*)") unless bool 1 == bool 2"#,
    r#"count_values("v", {"utf8.name", 'quoted'="x"}) > 0x1F or vector(Inf) and NaN"#,
    "avg_over_time((a + b)[1h:1m] @ end()) < 1e-3",
    "absent(nonexistent{}) # comment",
];
const LOGQL: [&str; 5] = [
    r#"sum by (app) (rate({app="a", env=~"p.*"} |= "x" != `y` |~ "z" | json a="b.c[0]" | d > 5ms and e != "f" [5m] offset 1h))"#,
    r#"{a="b"} | logfmt | line_format "{{.x | ToUpper}}" | label_format y=z, w="{{.v}}" | drop a, b="c" | keep d"#,
    r#"quantile_over_time(0.9, {a="b"} | unwrap duration(x) | __error__="" [1m]) by (c)"#,
    r#"topk(3, count_over_time({a="b"} | pattern "<_> <x>" | regexp "(?P<y>.*)" [1h])) > 1"#,
    r#"{a="b"} | ip("10.0.0.0/8") | decolorize | unpack"#,
];
const TRACEQL: [&str; 4] = [
    r#"{ resource.service.name = "shop" && (span.http.status_code >= 500 || duration > 1.5s) } >> { kind = server } | count() > 2"#,
    r#"{ .a =~ "x.*" && span."quoted key" != nil } | by(resource.b) | avg(duration) | select(span.c)"#,
    "{ status = error } !< { rootName = `x` } &~ { traceDuration < 1m }",
    "{ nestedSetParent = -1 && event:name = \"e\" && link:traceID != \"\" }",
];
const LOKI_JSON: &str = r#"{"streams":[{"stream":{"app":"a"},"values":[["1700000000000000000","line",{"k":"v"}]]}]}"#;
const LOKI_LEGACY_JSON: &str =
    r#"{"streams":[{"labels":"{app=\"a\",b=\"c\"}","entries":[{"ts":"2023-11-14T22:13:20.5Z","line":"a line"}]}]}"#;
const OTLP_METRICS: &str = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}}]},"scopeMetrics":[{"scope":{"name":"x"},"metrics":[{"name":"g","unit":"By","gauge":{"dataPoints":[{"timeUnixNano":"1700000000000000000","asDouble":1.5,"attributes":[{"key":"a","value":{"stringValue":"b"}}]}]}},{"name":"c","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{"startTimeUnixNano":"1","timeUnixNano":"1700000000000000000","asInt":"7","exemplars":[{"timeUnixNano":"1700000000000000000","asDouble":1,"traceId":"5bc8fbbcbde5c0994164d8399f767c45","spanId":"a62332553fc1ea36"}]}]}},{"name":"h","histogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"1700000000000000000","count":"3","sum":4,"bucketCounts":["1","2"],"explicitBounds":[0.5]}]}},{"name":"e","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"1700000000000000000","count":"3","sum":4,"scale":1,"zeroCount":"1","positive":{"offset":1,"bucketCounts":["1","1"]}}]}},{"name":"s","summary":{"dataPoints":[{"timeUnixNano":"1700000000000000000","count":"3","sum":4,"quantileValues":[{"quantile":0.5,"value":1}]}]}}]}]}]}"#;
const OTLP_TRACES: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}}]},"scopeSpans":[{"scope":{"name":"x"},"spans":[{"traceId":"5bc8fbbcbde5c0994164d8399f767c45","spanId":"a62332553fc1ea36","name":"n","kind":2,"startTimeUnixNano":"10","endTimeUnixNano":"20","attributes":[{"key":"a","value":{"arrayValue":{"values":[{"intValue":"1"},{"doubleValue":0.5},{"boolValue":true}]}}}],"events":[{"name":"e","timeUnixNano":"11"}],"links":[{"traceId":"5bc8fbbcbde5c0994164d8399f767c45","spanId":"a62332553fc1ea36"}],"status":{"code":2,"message":"m"}}]}]}]}"#;
const OTLP_LOGS: &str = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}}]},"scopeLogs":[{"logRecords":[{"timeUnixNano":"10","severityNumber":9,"severityText":"INFO","body":{"kvlistValue":{"values":[{"key":"a","value":{"stringValue":"b"}}]}},"attributes":[{"key":"k","value":{"bytesValue":"AAE="}}],"traceId":"5bc8fbbcbde5c0994164d8399f767c45"}]}]}]}"#;

const LABELS: [(&str, &str); 2] = [("__name__", "up"), ("job", "node")];

/// The canonical encoding of a label set.
pub(crate) fn labels(pairs: &[(&str, &str)]) -> Vec<u8> {
    let (mut builder, mut out) = (LabelsBuilder::default(), Vec::new());
    pairs.iter().for_each(|(n, v)| builder.push(n, v));
    builder.encode_into(&mut out).expect("different names");
    out
}

fn metrics_part() -> Vec<u8> {
    let mut part = MetricsPartBuilder::new("t");
    let series = part.series(1, &labels(&LABELS));
    part.floats(series, [(1_700_000_000_000, 1f64.to_bits()), (1_700_000_015_000, 2f64.to_bits())].into_iter());
    part.blob(series, SampleKind::Exemplar, 1_700_000_000_000, b"exemplar");
    part.metadata("up", 2, "help", "");
    part.finish()
}

fn rows_part(signal: Signal) -> Vec<u8> {
    let mut part = RowsPartBuilder::new(signal, "t");
    let key = match signal {
        Signal::Traces => {
            AttrsBuilder::default().push_str(Scope::Resource, "service.name", "s").build().as_bytes().to_vec()
        }
        Signal::Metrics | Signal::Logs => labels(&LABELS),
    };
    let stream = part.stream(1, &key);
    let (text, number, id) = (Value::Str("v".to_owned()), Value::Int(-5), Value::Bytes(vec![7; 16]));
    let attrs = [
        (Scope::Record, "k", &text),
        (Scope::Intrinsic, intrinsic::DURATION_NS, &number),
        (Scope::Intrinsic, intrinsic::TRACE_ID, &id),
    ];
    part.row(stream, 1_700_000_000_000_000_000, b"a line", attrs.into_iter());
    part.finish()
}

fn entries() -> Vec<Vec<u8>> {
    let mut table = ProposerTable::new(7);
    let mut entries: Vec<Vec<u8>> = [metrics_part(), rows_part(Signal::Logs), rows_part(Signal::Traces)]
        .iter()
        .map(|part| {
            let part = PartRef::decode(part).expect("a part that was just built");
            let mut entry = WriteEntryBuilder::new(table.id(), table.len());
            table.add(&mut entry, &part).expect("a part of good keys");
            entry.finish()
        })
        .collect();
    entries.push(encode_seal(SealReason::HeadAge));
    entries
}

fn manifest() -> Vec<u8> {
    let position = LogPosition { term: 1, leader: 2, index: 3 };
    let block = BlockEntry {
        signal: Signal::Logs,
        file: "0000000001-logs.trnb".to_owned(),
        bytes: 100,
        crc: 1,
        facts: 2,
        series: 1,
        min_time: 1,
        max_time: 2,
        digest: 3,
        made_at: 3,
        window_ms: 0,
    };
    let manifest =
        Manifest { position, membership: Some((position, vec![1, 2])), blocks: vec![block], ..Manifest::default() };
    manifest.encode()
}

/// A segment of two streams with a truncation and marks; none where there is no room for a file.
fn wal_segment() -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().ok()?;
    let config = WalConfig { segment_bytes: 64 << 10, spare_segments_max: 0, ..WalConfig::default() };
    let (wal, _) = Wal::open(dir.path(), config).ok()?;
    let record = |n: u8| Bytes::from(vec![n; 20]);
    wal.append(1, 1, (1..5).map(record).collect(), Box::new(drop));
    wal.append(2, 1, vec![record(9)], Box::new(drop));
    wal.truncate_from(1, 4, Box::new(drop));
    wal.purge_through(1, 1, Bytes::from_static(b"purged"), Box::new(drop));
    let (done, synced) = std::sync::mpsc::channel();
    let tell = Box::new(move |result| drop(done.send(result)));
    wal.set_mark(1, Mark::Vote, Bytes::from_static(b"vote"), Some(tell));
    synced.recv().ok()?.ok()?;
    drop(wal);
    let mut files: Vec<_> = std::fs::read_dir(dir.path()).ok()?.flatten().map(|f| f.path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "seg"));
    let bytes = std::fs::read(files.first()?).ok()?;
    let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    Some(bytes[..used.next_multiple_of(8)].to_vec())
}

fn lines_with_queries() -> Vec<Vec<u8>> {
    let stages = ["json", "logfmt --strict", "pattern \"<a> <_> <b>\"", "unpack", "line_format \"{{ .app }}\""];
    let queries = stages.iter().zip(&sample::LINES);
    queries.map(|(stage, line)| format!("{line}\0{{app=\"a\"}} | {stage}").into_bytes()).collect()
}

fn exemplar_and_histogram() -> Vec<u8> {
    let label = |n: &[u8], v: &[u8]| sample::field(1, &[sample::field(1, n), sample::field(2, v)].concat());
    let mut exemplar = label(b"trace_id", b"5bc8fbbcbde5c0994164d8399f767c45");
    exemplar.extend_from_slice(&[17, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 24]);
    put_uvarint(&mut exemplar, TIME_MS as u64);
    let series = [label(b"__name__", b"h"), sample::field(3, &exemplar), sample::field(4, &histogram())].concat();
    let metadata = [vec![8, 4], sample::field(2, b"h"), sample::field(4, b"help"), sample::field(5, b"s")].concat();
    [sample::field(1, &series), sample::field(3, &metadata)].concat()
}

/// A native histogram of two buckets.
fn histogram() -> Vec<u8> {
    let mut out = vec![8, 3, 25, 0, 0, 0, 0, 0, 0, 0x10, 0x40, 32, 0];
    out.extend(sample::field(11, &[8, 0, 16, 2]));
    out.extend(sample::field(12, &[2, 2]));
    out.push(15 << 3);
    put_uvarint(&mut out, TIME_MS as u64);
    out
}

fn write_request_v2() -> Vec<u8> {
    let symbols = ["", "__name__", "up", "job", "node", "help", "s"];
    let mut value = vec![9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 16];
    put_uvarint(&mut value, TIME_MS as u64);
    let mut exemplar = sample::field(1, &[3, 4]);
    exemplar.extend_from_slice(&[17, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
    let series = [
        sample::field(1, &[1, 2, 3, 4]),
        sample::field(2, &value),
        sample::field(3, &histogram()),
        sample::field(4, &exemplar),
        sample::field(5, &[8, 1, 24, 5, 32, 6]),
    ];
    let symbols = symbols.iter().flat_map(|s| sample::field(4, s.as_bytes()));
    symbols.chain(sample::field(5, &series.concat())).collect()
}

fn loki_protobuf() -> Vec<u8> {
    let mut time = vec![8];
    put_uvarint(&mut time, sample::NOW_S as u64);
    time.extend_from_slice(&[16, 5]);
    let pair = [sample::field(1, b"k"), sample::field(2, b"v")].concat();
    let entry = [sample::field(1, &time), sample::field(2, b"a line"), sample::field(3, &pair)].concat();
    sample::field(1, &[sample::field(1, br#"{app="a", b="c"}"#), sample::field(2, &entry)].concat())
}

/// Two floats; a histogram of integers and one of floats, both of nothing; a frame.
fn read_chunks() -> Vec<Vec<u8>> {
    let floats = [&[0, 0, 2, 0xd0, 0x0f][..], &1f64.to_bits().to_be_bytes(), &[0xe8, 0x07, 0]].concat();
    let histogram = |kind: u8, zeros: usize| [&[kind, 0, 1][..], &vec![0; zeros]].concat();
    vec![floats, histogram(1, 11), histogram(2, 28), vec![3, 3, 0, 0, 0, 0, 7, 8, 9]]
}

const TIME_MS: i64 = sample::NOW_S * 1000;

/// Writes down what is asked and answered.
#[derive(Debug, Default)]
struct Recorder {
    asked: Mutex<Vec<Fragment>>,
    frames: Mutex<Vec<Bytes>>,
}

/// A recorder that queries can be sent to.
#[derive(Debug)]
struct Recording(Arc<Recorder>);

impl Scatter for Recording {
    fn scatter(&self, ctx: &QueryContext, fragment: Fragment) -> BoxStream<'static, trine_query::Result<Item>> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner).push(fragment.clone());
        let recorder = self.0.clone();
        let write = move |item: &trine_query::Result<Item>| {
            if let Ok(Item::Frame(frame)) = item {
                recorder.frames.lock().unwrap_or_else(PoisonError::into_inner).push(Bytes::copy_from_slice(frame));
            }
        };
        Here(sample::view()).scatter(ctx, fragment).inspect(write).boxed()
    }
}

fn record(language: Language) -> Arc<Recorder> {
    let recorder = Arc::new(Recorder::default());
    engine::ask_everything(language, &(Arc::new(Recording(recorder.clone())) as Arc<dyn Scatter>));
    recorder
}

/// What engines ask of shards.
fn asked(language: Language) -> Vec<Vec<u8>> {
    let recorder = record(language);
    let asked = recorder.asked.lock().unwrap_or_else(PoisonError::into_inner);
    asked.iter().map(|fragment| fragment.payload.to_vec()).collect()
}

/// What shards answer, behind each choice of what was asked.
fn framed(language: Language, choices: u8) -> Vec<Vec<u8>> {
    let recorder = record(language);
    let frames = recorder.frames.lock().unwrap_or_else(PoisonError::into_inner);
    let short: Vec<&[u8]> = frames.iter().map(|f| &f[..]).filter(|f| f.len() < 2000).collect();
    (0..choices)
        .flat_map(|choice| short.iter().map(move |frame| [&[choice][..], &split::join([*frame])].concat()))
        .step_by(1 + short.len() * usize::from(choices) / 64)
        .collect()
}

/// Requests to every kind of path.
fn requests() -> Vec<Vec<u8>> {
    let mut all = texts(&REQUESTS);
    let push = |path: &str, media: &str, body: &[u8]| {
        [format!("POST {path}\ncontent-type: {media}\n\n").as_bytes(), body].concat()
    };
    all.push(push("/api/v1/write", "application/x-protobuf", &sample::snappy(&exemplar_and_histogram())));
    let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    all.push(push("/api/v1/write", v2, &sample::snappy(&write_request_v2())));
    all.push(push("/loki/api/v1/push", "application/json", LOKI_JSON.as_bytes()));
    all.push(push("/loki/api/v1/push", "application/x-protobuf", &sample::snappy(&loki_protobuf())));
    all.push(push("/otlp/v1/traces", "application/json", OTLP_TRACES.as_bytes()));
    all.push(push("/otlp/v1/logs", "application/json", OTLP_LOGS.as_bytes()));
    all.push(push("/otlp/v1/metrics", "application/json", OTLP_METRICS.as_bytes()));
    all
}

const REQUESTS: [&str; 42] = [
    "GET /api/v1/query?query=up&time=1700000000",
    "GET /api/v1/query?query=sum(rate(http_requests_total%5B5m%5D))&lookback_delta=5m&limit=2",
    "GET /api/v1/query_range?query=up&start=1699999000&end=1700000000&step=30s",
    "POST /api/v1/query_range\ncontent-type: application/x-www-form-urlencoded\n\nquery=up&start=1699999000&end=1700000000&step=15",
    "GET /api/v1/query_exemplars?query=up&start=1699999000&end=1700000000",
    "GET /api/v1/format_query?query=up%2Bup",
    "GET /api/v1/parse_query?query=up%2Bup",
    "GET /api/v1/labels?match[]=up&start=1699999000&limit=3",
    "GET /api/v1/label/job/values?match[]=up",
    "GET /api/v1/label/U__a_2e_b/values",
    "GET /api/v1/series?match[]=up&match[]=%7Bjob%3D%22api%22%7D",
    "GET /api/v1/search/metric_names?search[]=p&start=1699999000&include_metadata=1&include_score=1&batch_size=1",
    "GET /api/v1/search/label_values?label=job&search[]=aip&fuzz_alg=jarowinkler&fuzz_threshold=50&sort_by=score",
    "GET /api/v1/metadata?metric=up&limit=1&limit_per_metric=1",
    "GET /api/v1/status/buildinfo",
    "GET /loki/api/v1/query?query=sum(rate(%7Bapp%3D%22a%22%7D%5B5m%5D))&time=1700000000",
    "GET /loki/api/v1/query_range?query=%7Bapp%3D%22a%22%7D%7Cjson&start=1699999000&end=1700000000&limit=5&direction=forward",
    "GET /loki/api/v1/query_range?query=%7Bapp%3D%22a%22%7D&since=1h&interval=10s\nx-loki-response-encoding-flags: categorize-labels",
    "GET /loki/api/v1/query_range?query=count_over_time(%7Bapp%3D%22a%22%7D%5B1m%5D)&start=1699999000&end=1700000000&step=60",
    "GET /loki/api/v1/format_query?query=%7Bapp%3D%22a%22%7D",
    "GET /loki/api/v1/labels?start=1699999000000000000&query=%7Bapp%3D%22a%22%7D",
    "GET /loki/api/v1/label/app/values",
    "GET /loki/api/v1/series?match[]=%7Bapp%3D%22a%22%7D",
    "GET /loki/api/v1/index/stats?query=%7Bapp%3D%22a%22%7D",
    "GET /loki/api/v1/index/volume?query=%7B%7D&limit=5&targetLabels=app&aggregateBy=labels",
    "GET /loki/api/v1/index/volume_range?query=%7Bapp%3D~%22.%2B%22%7D&step=1m",
    "GET /loki/api/v1/detected_fields?query=%7Bapp%3D%22a%22%7D&line_limit=100&limit=10",
    "GET /loki/api/v1/detected_field/level/values?query=%7Bapp%3D%22a%22%7D",
    "GET /loki/api/v1/detected_labels?start=1699999000",
    "GET /api/prom/query?query=%7Bapp%3D%22a%22%7D",
    "GET /api/traces/5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b",
    "GET /api/traces/5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b\naccept: application/protobuf",
    "GET /api/v2/traces/5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b?start=1699999000&end=1700000000",
    "GET /api/search?q=%7Bresource.service.name%3D%22front%22%7D&start=1699990000&end=1700000000&limit=5&spss=2",
    "GET /api/search?tags=service.name%3Dfront%20http.method%3D%22GET%22&minDuration=1ms&maxDuration=1h",
    "GET /api/search/tags?scope=span",
    "GET /api/v2/search/tags?scope=resource&q=%7Bspan.a%3D%22b%22%7D",
    "GET /api/search/tag/service.name/values",
    "GET /api/v2/search/tag/span.http.method/values?q=%7B%7D&since=1h",
    "GET /metrics",
    "GET /admin/v1/cluster\nx-scope-orgid: a",
    "GET /api/echo\naccept-encoding: gzip",
];
