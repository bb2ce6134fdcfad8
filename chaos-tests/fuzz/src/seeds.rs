//! Good inputs to start from.
use trine_store::codec::{put_bytes, put_uvarint};
use trine_store::model::{LabelsBuilder, Scope, Signal, Value};
use trine_store::part::{MetricsPartBuilder, RowsPartBuilder, SampleKind};

/// Targets that have seeds.
pub const NAMES: [&str; 13] = [
    "labels",
    "part",
    "metrics_block",
    "rows_block",
    "promql",
    "promql_selector",
    "logql",
    "traceql",
    "remote_write_v1",
    "loki_json",
    "otlp_traces_json",
    "otlp_logs_json",
    "form",
];

/// The seeds of a target; none for most.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| texts.iter().map(|t| t.as_bytes().to_vec()).collect();
    match target {
        "labels" => vec![labels()],
        "part" => vec![metrics_part(), rows_part(Signal::Logs), rows_part(Signal::Traces)],
        "metrics_block" => vec![include_bytes!("../../../store/tests/fixtures/metrics-block-v1.trnm").to_vec()],
        "rows_block" => vec![include_bytes!("../../../store/tests/fixtures/rows-block-v1.trnr").to_vec()],
        "promql" => texts(&PROMQL),
        "promql_selector" => texts(&["up", r#"{__name__=~"a|b", job!="x", i!~"y.*"}"#]),
        "logql" => texts(&LOGQL),
        "traceql" => texts(&TRACEQL),
        "remote_write_v1" => vec![write_request()],
        "loki_json" => {
            texts(&[r#"{"streams":[{"stream":{"app":"a"},"values":[["1700000000000000000","line",{"k":"v"}]]}]}"#])
        }
        "otlp_traces_json" => texts(&[OTLP_TRACES]),
        "otlp_logs_json" => texts(&[OTLP_LOGS]),
        "form" => texts(&["query=up&start=1700000000.5&end=2023-11-14T22:13:20Z&match[]=%7Ba%3D%22b%22%7D&limit=10"]),
        _ => Vec::new(),
    }
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
const OTLP_TRACES: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}}]},"scopeSpans":[{"scope":{"name":"x"},"spans":[{"traceId":"5bc8fbbcbde5c0994164d8399f767c45","spanId":"a62332553fc1ea36","name":"n","kind":2,"startTimeUnixNano":"10","endTimeUnixNano":"20","attributes":[{"key":"a","value":{"arrayValue":{"values":[{"intValue":"1"},{"doubleValue":0.5},{"boolValue":true}]}}}],"events":[{"name":"e","timeUnixNano":"11"}],"links":[{"traceId":"5bc8fbbcbde5c0994164d8399f767c45","spanId":"a62332553fc1ea36"}],"status":{"code":2,"message":"m"}}]}]}]}"#;
const OTLP_LOGS: &str = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}}]},"scopeLogs":[{"logRecords":[{"timeUnixNano":"10","severityNumber":9,"severityText":"INFO","body":{"kvlistValue":{"values":[{"key":"a","value":{"stringValue":"b"}}]}},"attributes":[{"key":"k","value":{"bytesValue":"AAE="}}],"traceId":"5bc8fbbcbde5c0994164d8399f767c45"}]}]}]}"#;

fn labels() -> Vec<u8> {
    let (mut builder, mut out) = (LabelsBuilder::default(), Vec::new());
    [("__name__", "up"), ("job", "node")].iter().for_each(|(n, v)| builder.push(n, v));
    builder.encode_into(&mut out).expect("two different names");
    out
}

fn metrics_part() -> Vec<u8> {
    let mut part = MetricsPartBuilder::new("t");
    let series = part.series(1, &labels());
    part.floats(series, [(1_700_000_000_000, 1f64.to_bits()), (1_700_000_015_000, 2f64.to_bits())].into_iter());
    part.blob(series, SampleKind::Exemplar, 1_700_000_000_000, b"exemplar");
    part.metadata("up", 2, "help", "");
    part.finish()
}

fn rows_part(signal: Signal) -> Vec<u8> {
    let mut part = RowsPartBuilder::new(signal, "t");
    let stream = part.stream(1, &labels());
    let (text, number) = (Value::Str("v".to_owned()), Value::Int(-5));
    let attrs = [(Scope::Record, "k", &text), (Scope::Intrinsic, "n", &number)];
    part.row(stream, 1_700_000_000_000_000_000, b"a line", attrs.into_iter());
    part.finish()
}

fn write_request() -> Vec<u8> {
    let message = |number: u8, body: &[u8]| {
        let mut out = vec![number << 3 | 2];
        put_bytes(&mut out, body);
        out
    };
    let label = |name: &[u8], value: &[u8]| message(1, &[message(1, name), message(2, value)].concat());
    let mut sample = vec![9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 16];
    put_uvarint(&mut sample, 1_700_000_000_000);
    message(1, &[label(b"__name__", b"up"), label(b"job", b"node"), message(2, &sample)].concat())
}
