//! Bad requests with the statuses that the contracts give them.
use std::net::SocketAddr;

use prost::Message;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, TIMEOUT, chain};
use crate::fact::Run;
use crate::wire::{Label, TimeSeries, WriteRequest, snappy};

/// One request.
pub(super) struct Case {
    pub(super) name: &'static str,
    method: Method,
    path: String,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    /// Statuses that are right.
    pub(super) expected: &'static [u16],
}

/// What came of it; status 0 without a reply.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) text: String,
}

impl Case {
    pub(super) async fn send(self, client: &Client, at: SocketAddr) -> Reply {
        let mut request = client.http().request(self.method, format!("http://{at}{}", self.path)).timeout(TIMEOUT);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        match request.body(self.body).send().await {
            Err(error) => Reply { status: 0, text: chain(&error) },
            Ok(reply) => {
                let status = reply.status().as_u16();
                let text = reply.text().await.unwrap_or_default().chars().take(200).collect();
                Reply { status, text }
            }
        }
    }
}

const MIB: usize = 1 << 20;
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const SNAPPY: (&str, &str) = ("content-encoding", "snappy");
const OK: &[u16] = &[200, 204];
const BAD: &[u16] = &[400];
/// Skipped in silence (1.0 says so) or refused.
const SKIPPED_OR_BAD: &[u16] = &[204, 400];

/// Every case; `run` gives times that are not refused for themselves.
pub(super) fn all(run: &Run) -> Vec<Case> {
    let mut cases = remote_write(run);
    cases.extend(loki(run));
    cases.extend(otlp(run));
    cases.extend(queries());
    cases
}

fn post(
    name: &'static str,
    path: &str,
    headers: &[(&'static str, &'static str)],
    body: Vec<u8>,
    expected: &'static [u16],
) -> Case {
    Case { name, method: Method::POST, path: path.into(), headers: headers.to_vec(), body, expected }
}

fn get(name: &'static str, path: impl Into<String>, expected: &'static [u16]) -> Case {
    Case { name, method: Method::GET, path: path.into(), headers: Vec::new(), body: Vec::new(), expected }
}

fn remote_write(run: &Run) -> Vec<Case> {
    const PATH: &str = "/api/v1/write";
    let time = run.time_ms(0);
    let one = |labels: &[(&str, &str)]| WriteRequest { timeseries: vec![TimeSeries::of(labels, 1.0, time)] };
    let sound = one(&[("__name__", "chaos_bad"), ("a", "b")]);
    let body = sound.to_body();
    let cut = body[..body.len() / 2].to_vec();
    // Field 100 of wire type 2 and field 7 of type 0: from a later version of the protocol.
    let mut unknown = sound.encode_to_vec();
    unknown.extend_from_slice(&[0xa2, 0x06, 3, b'n', b'e', b'w', 0x38, 5]);
    let mut not_text = sound.encode_to_vec();
    let at = not_text.windows(9).position(|w| w == b"chaos_bad").unwrap_or_default();
    not_text[at] = 0xff;
    let mut bomb = one(&[("__name__", "chaos_bad")]);
    bomb.timeseries[0].labels.extend((0..20_000).map(|n| Label { name: format!("l{n:05}"), value: "v".into() }));
    let long = one(&[("__name__", "chaos_bad"), ("long", &"x".repeat(MIB))]);
    let twice = one(&[("__name__", "chaos_bad"), ("a", "1"), ("a", "2")]);
    // A length of 4 GiB - 1 before nothing.
    let claims = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    let write = |name, body, expected| post(name, PATH, &[PROTOBUF, SNAPPY], body, expected);
    vec![
        write("remote write: truncated snappy", cut, BAD),
        write("remote write: not snappy", b"not snappy at all".to_vec(), BAD),
        write("remote write: empty body", Vec::new(), BAD),
        write("remote write: snappy that claims 4 GiB", claims, BAD),
        write("remote write: 33 MiB of zeros in snappy", snappy(&vec![0; 33 * MIB]), BAD),
        write("remote write: 100 MiB", vec![0x55; 100 * MIB], &[413]),
        write("remote write: snappy of garbage", snappy(&[0xff; 1000]), BAD),
        write("remote write: truncated protobuf", snappy(&sound.encode_to_vec()[..20]), BAD),
        write("remote write: unknown fields", snappy(&unknown), OK),
        write("remote write: invalid UTF-8", snappy(&not_text), SKIPPED_OR_BAD),
        write("remote write: 20,000 labels", bomb.to_body(), SKIPPED_OR_BAD),
        write("remote write: a label of 1 MiB", long.to_body(), SKIPPED_OR_BAD),
        write("remote write: a label twice", twice.to_body(), SKIPPED_OR_BAD),
        write("remote write: no name", one(&[("a", "b")]).to_body(), SKIPPED_OR_BAD),
        post("remote write: text", PATH, &[("content-type", "text/plain"), SNAPPY], body.clone(), &[415]),
        post("remote write: zstd", PATH, &[PROTOBUF, ("content-encoding", "zstd")], body, &[415]),
        get("remote write: GET", PATH, &[405]),
    ]
}

fn loki(run: &Run) -> Vec<Case> {
    const PATH: &str = "/loki/api/v1/push";
    let time = format!("{}000000", run.time_ms(0));
    let push = |stream: Value, values: Value| json!({"streams": [{"stream": stream, "values": values}]}).to_string();
    let many: serde_json::Map<String, Value> = (0..1000).map(|n| (format!("l{n}"), json!("v"))).collect();
    let long = json!({"app": "x".repeat(MIB)});
    let line = json!([[time, "line"]]);
    let mut not_text = push(json!({"app": "bad"}), json!([[time, "LINE"]])).into_bytes();
    let at = not_text.windows(4).position(|w| w == b"LINE").unwrap_or_default();
    not_text[at] = 0xff;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let as_json = |name, body: Vec<u8>, expected| post(name, PATH, &[JSON], body, expected);
    vec![
        as_json("push: cut JSON", b"{\"streams\":[{".to_vec(), BAD),
        as_json("push: JSON 100,000 deep", deep.into_bytes(), BAD),
        as_json("push: no streams", b"{\"streams\":[]}".to_vec(), &[422]),
        as_json("push: 1,000 labels", push(Value::Object(many), line.clone()).into_bytes(), BAD),
        as_json("push: a label of 1 MiB", push(long, line.clone()).into_bytes(), BAD),
        as_json("push: time in words", push(json!({"app": "bad"}), json!([["noon", "line"]])).into_bytes(), BAD),
        as_json("push: invalid UTF-8", not_text, OK_OR_BAD),
        as_json("push: 101 MiB", vec![b' '; 101 * MIB], &[413]),
        post("push: not snappy", PATH, &[PROTOBUF], b"not snappy at all".to_vec(), BAD),
        post("push: malformed type", PATH, &[("content-type", "?;?")], b"{}".to_vec(), BAD),
        post("push: unknown encoding", PATH, &[JSON, ("content-encoding", "br")], b"{}".to_vec(), BAD),
        post("push: not gzip", PATH, &[JSON, ("content-encoding", "gzip")], b"{}".to_vec(), BAD),
    ]
}

/// Replaced by the replacement character as Go's JSON decoder does, or refused.
const OK_OR_BAD: &[u16] = &[204, 400];

fn otlp(run: &Run) -> Vec<Case> {
    const PATH: &str = "/v1/traces";
    let time = format!("{}000000", run.time_ms(0));
    let spans = |trace: &str, span: &str| {
        let span = json!({"traceId": trace, "spanId": span, "name": "n", "startTimeUnixNano": time});
        json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).to_string().into_bytes()
    };
    let sound = "0af7651916cd43dd8448eb211c80319c";
    let as_json = |name, body, expected| post(name, PATH, &[JSON], body, expected);
    vec![
        as_json("traces: cut JSON", b"{\"resourceSpans\":[".to_vec(), BAD),
        as_json("traces: short trace id", spans("0af7", "b7ad6b7169203331"), BAD),
        as_json("traces: trace id not hex", spans(&"zz".repeat(16), "b7ad6b7169203331"), BAD),
        as_json("traces: zero span id", spans(sound, "0000000000000000"), BAD),
        as_json("traces: unknown keys", b"{\"fromTheFuture\":{\"a\":[1]}}".to_vec(), OK),
        as_json("traces: 21 MiB", vec![b' '; 21 * MIB], &[413]),
        post("traces: protobuf garbage", PATH, &[PROTOBUF], vec![0xff; 1000], BAD),
        post("traces: text", PATH, &[("content-type", "text/plain")], b"{}".to_vec(), &[415]),
        post("traces: unknown encoding", PATH, &[JSON, ("content-encoding", "br")], b"{}".to_vec(), BAD),
        get("traces: GET", PATH, &[405]),
    ]
}

fn queries() -> Vec<Case> {
    let deep = "(".repeat(5_000);
    vec![
        get("PromQL: cut", "/api/v1/query?query=sum(", BAD),
        get("PromQL: 5,000 parentheses", format!("/api/v1/query?query={deep}1"), BAD),
        get("PromQL: not text", "/api/v1/query?query=%ff%fe", BAD),
        get("PromQL: broken escape", "/api/v1/query?query=%zz", BAD),
        get("PromQL: bad time", "/api/v1/query?query=1&time=noon", BAD),
        get("PromQL: 20,000 steps", "/api/v1/query_range?query=1&start=0&end=20000&step=1", BAD),
        get("PromQL: no step", "/api/v1/query_range?query=1&start=0&end=20000&step=0", BAD),
        get("PromQL: bad regex", "/api/v1/query?query=%7Ba%3D~%22(%22%7D", BAD),
        get("PromQL: everything", "/api/v1/series?match[]=%7B%7D", BAD),
        get("LogQL: cut", "/loki/api/v1/query_range?query=%7Ba", BAD),
        get("LogQL: everything", "/loki/api/v1/query_range?query=%7B%7D", BAD),
        get("LogQL: limit 0", "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&limit=0", BAD),
        get("LogQL: limit 1e6", "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&limit=1000000", BAD),
        get("TraceQL: cut", "/api/search?q=%7B&start=1&end=2", BAD),
        get("TraceQL: limit 0", "/api/search?q=%7B%7D&limit=0", BAD),
        get("trace by id: not hex", "/api/traces/xyz", BAD),
        get("trace by id: too long", format!("/api/traces/{}", "a".repeat(33)), BAD),
        get("trace by id: unknown", "/api/traces/1234", &[404]),
        get("no such page", "/no/such/page", &[404]),
    ]
}
