//! A log stream that is spread over slots: written through every surface, answered as if it were not, seen once.
use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use trine_api::backend::WriteError;
use trine_store::model::signal::key_hash;
use trine_store::model::{Labels, Spread, Spreads};

use crate::client::{Client, NOW_S, enc, now_ns};
use crate::cluster::SHARDS;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
/// Lines are a quarter of a second apart, two at a time.
const STEP_NS: i64 = 250_000_000;
const LINES: i64 = 120;

fn time_ns(n: i64) -> i64 {
    now_ns() - 60_000_000_000 + n / 2 * STEP_NS
}

fn line(n: i64) -> String {
    format!("level={} n={n}", if n % 3 == 0 { "error" } else { "info" })
}

fn hash(app: &str) -> u64 {
    let labels = Labels::from_pairs([("app", app), ("service_name", app)]).unwrap();
    key_hash("default", labels.as_bytes())
}

/// Spread in the middle of the lines, and more so later on.
fn rows() -> Vec<Spread> {
    let hash = hash("shop");
    vec![Spread { hash, from_ns: time_ns(40), slots: 2 }, Spread { hash, from_ns: time_ns(80), slots: 8 }]
}

/// Lines `numbers` of the stream, and one of another.
fn body(numbers: std::ops::Range<i64>) -> String {
    let first = numbers.start;
    let values: Vec<Value> =
        numbers.map(|n| json!([time_ns(n).to_string(), line(n), {"trace_id": format!("t{}", n % 5)}])).collect();
    let other = json!([[(time_ns(first) + 1).to_string(), format!("line {first} of another stream")]]);
    json!({"streams": [{"stream": {"app": "shop"}, "values": values}, {"stream": {"app": "db"}, "values": other}]})
        .to_string()
}

async fn push(client: &Client, numbers: std::ops::Range<i64>) {
    let a = client.post("/loki/api/v1/push", &JSON, body(numbers)).await;
    assert_eq!((a.status.as_u16(), a.text().as_str()), (204, ""));
}

async fn otlp(client: &Client, numbers: std::ops::Range<i64>) -> u16 {
    let record = |n: i64| json!({"timeUnixNano": time_ns(n).to_string(), "body": {"stringValue": line(n)}});
    let records: Vec<Value> = numbers.map(record).collect();
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "otlp"}}]});
    let body = json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]});
    client.post("/otlp/v1/logs", &JSON, body.to_string()).await.status.as_u16()
}

/// Everything that can be asked about the streams, without what tells of pieces of storage and of time taken.
async fn answers(client: &Client) -> Vec<(String, Value)> {
    let range = format!("start={}&end={}", time_ns(0) - 1, now_ns());
    let (one, all) = (enc(r#"{app="shop"}"#), enc(r#"{service_name=~".+"}"#));
    let mut paths = Vec::new();
    for limit in [1, 7, 60, 1000] {
        for direction in ["forward", "backward"] {
            for query in [&one, &all, &enc(r#"{app="shop"} | logfmt | level="error" | line_format "{{.n}}""#)] {
                paths.push(format!("query_range?query={query}&{range}&limit={limit}&direction={direction}"));
            }
        }
    }
    for query in [
        r#"count_over_time({app="shop"}[10s])"#,
        r#"sum by (trace_id) (rate({app=~".+"}[5s]))"#,
        r#"quantile_over_time(0.9, {app="shop"} | logfmt | unwrap n [20s]) by (app)"#,
        r#"last_over_time({app="shop"} | logfmt | unwrap n [20s]) by (app)"#,
        r#"first_over_time({app="shop"} | logfmt | unwrap n [20s]) by (app)"#,
        r#"topk(1, sum by (app) (bytes_over_time({app=~".+"}[10s])))"#,
        r#"absent_over_time({app="shop"}[1s])"#,
        r#"stddev_over_time({app="shop"} | logfmt | unwrap n [1m]) by (app)"#,
    ] {
        paths.push(format!("query_range?query={}&{range}&step=5", enc(query)));
    }
    for path in [
        format!("labels?{range}"),
        format!("label/app/values?{range}"),
        format!("series?match[]={all}&{range}"),
        format!("index/stats?query={one}&{range}"),
        format!("index/stats?query={all}&{range}"),
        format!("index/volume?query={all}&{range}"),
        format!("index/volume_range?query={all}&{range}&step=10"),
        format!("detected_labels?{range}"),
        format!("detected_fields?query={one}&{range}"),
    ] {
        paths.push(path);
    }
    let mut answers = Vec::new();
    for path in paths {
        let a = client.get(&format!("/loki/api/v1/{path}")).await;
        assert_eq!(a.status, 200, "{path}: {}", a.text());
        let mut json = a.json();
        json.as_object_mut().unwrap().remove("chunks");
        if let Some(data) = json["data"].as_object_mut() {
            data.remove("stats");
        }
        answers.push((path, json));
    }
    answers
}

/// The same, but for the last bits of a variance: it is merged from those of the shards.
fn is_near(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_near(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| is_near(a, b)))
        }
        (Value::String(a), Value::String(b)) if a != b => match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(a), Ok(b)) => (a - b).abs() < 1e-12 * a.abs(),
            _ => false,
        },
        (a, b) => a == b,
    }
}

fn shards_written(client: &Client) -> BTreeSet<u32> {
    std::mem::take(&mut *client.cluster.written.lock().unwrap()).into_iter().collect()
}

#[tokio::test]
async fn a_spread_stream_is_answered_as_if_it_were_not() {
    let (plain, spread) = (Client::new(), Client::new());
    *spread.cluster.spreads.lock().unwrap() = Spreads::new(rows(), i64::MAX);
    for client in [&plain, &spread] {
        for first in [0, 60] {
            push(client, first..first + 60).await;
        }
    }
    assert_eq!(shards_written(&spread), (0..SHARDS).collect());
    let (expected, found) = (answers(&plain).await, answers(&spread).await);
    for ((path, expected), (_, found)) in expected.iter().zip(&found) {
        assert!(is_near(expected, found), "{path}:\n{expected}\n{found}");
    }
    let range = format!("start={}&end={}", time_ns(0), now_ns());
    let stats = spread.get(&format!("/loki/api/v1/index/stats?query={}&{range}", enc(r#"{app="shop"}"#))).await.json();
    assert_eq!((stats["streams"].clone(), stats["entries"].clone()), (1.into(), LINES.into()), "counted once");
}

#[tokio::test]
async fn a_retry_is_seen_once_whatever_each_node_knows_of_the_table() {
    let client = Client::new();
    // What nodes may know that all place these lines: any prefix of the metadata's log that has settled them.
    let knows =
        [(vec![], time_ns(40)), (rows()[..1].to_vec(), time_ns(80)), (rows(), time_ns(LINES)), (rows(), i64::MAX)];
    for numbers in [0..40, 40..80, 80..LINES, 30..50, 0..LINES, 60..LINES] {
        for (rows, final_before_ns) in &knows {
            *client.cluster.spreads.lock().unwrap() = Spreads::new(rows.clone(), *final_before_ns);
            if time_ns(numbers.end - 1) < *final_before_ns {
                push(&client, numbers.clone()).await;
            }
        }
    }
    let range = format!("start={}&end={}&limit=1000&direction=forward", time_ns(0), now_ns());
    let a = client.get(&format!("/loki/api/v1/query_range?query={}&{range}", enc(r#"{app="shop"} | keep app"#))).await;
    let streams = a.json()["data"]["result"].as_array().unwrap().clone();
    let mut lines: Vec<String> = Vec::new();
    for stream in &streams {
        lines.extend(stream["values"].as_array().unwrap().iter().map(|v| v[1].as_str().unwrap().to_owned()));
    }
    lines.sort();
    let mut expected: Vec<String> = (0..LINES).map(line).collect();
    expected.sort();
    assert_eq!(lines, expected);
    assert!(client.cluster.settled.lock().unwrap().is_empty());
}

#[tokio::test]
async fn lines_whose_place_is_not_settled_wait_until_it_is() {
    let client = Client::new();
    let unsettled = || Spreads::new(Vec::new(), time_ns(10));
    *client.cluster.spreads.lock().unwrap() = unsettled();
    push(&client, 0..10).await;
    assert!(client.cluster.settled.lock().unwrap().is_empty(), "settled lines wait for nothing");
    push(&client, 0..30).await;
    assert_eq!(*client.cluster.settled.lock().unwrap(), [time_ns(29)], "asked for once, for the newest");
    *client.cluster.spreads.lock().unwrap() = unsettled();
    assert_eq!(otlp(&client, 0..30).await, 204);
    assert_eq!(*client.cluster.settled.lock().unwrap(), [time_ns(29); 2]);

    *client.cluster.spreads.lock().unwrap() = unsettled();
    shards_written(&client);
    let reason = "the metadata group has no leader now".to_owned();
    *client.cluster.refuse.lock().unwrap() =
        Some(WriteError::Unavailable { reason: reason.clone(), retry_after: Duration::from_secs(1) });
    let a = client.post("/loki/api/v1/push", &JSON, body(5..15)).await;
    assert_eq!((a.status.as_u16(), a.header("retry-after")), (503, "1"), "{}", a.text());
    assert!(a.text().contains(&reason), "{}", a.text());
    assert_eq!(otlp(&client, 5..15).await, 503);
    assert!(shards_written(&client).is_empty(), "nothing of them is written");
    // What is refused for what it is, or gets the server's time, waits for nothing.
    *client.cluster.refuse.lock().unwrap() = None;
    client.cluster.settled.lock().unwrap().clear();
    let far = now_ns() + 3_600_000_000_000;
    let body = format!(r#"{{"streams":[{{"stream":{{"a":"b"}},"values":[["{far}","x"],["0","y"]]}}]}}"#);
    let a = client.post("/loki/api/v1/push", &JSON, body).await;
    assert!(a.status == 400 && a.text().contains("timestamp too new"), "{}", a.text());
    assert!(client.cluster.settled.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_admin_api_shows_and_sets_spreads() {
    let client = Client::new();
    assert_eq!(client.get("/admin/v1/spread").await.json()["spreads"][0]["slots"], 0);
    let post = |body: Value| client.post("/admin/v1/spread", &JSON, body.to_string());
    let from_ms = (NOW_S + 60) * 1000;
    let a = post(json!({"stream": r#"{app="shop"}"#, "slots": 4, "from_unix_ms": from_ms})).await;
    let expected = json!({"tenant": "default", "stream": r#"{app="shop", service_name="shop"}"#, "slots": 4,
        "from_unix_ms": from_ms, "from_unix_ns": from_ms * 1_000_000, "begun": false});
    assert_eq!((a.status.as_u16(), a.json()), (200, expected));
    let hash = hash("shop");
    let table = Spreads::new(vec![Spread { hash, from_ns: from_ms * 1_000_000, slots: 4 }], i64::MAX);
    assert_eq!(*client.cluster.spreads.lock().unwrap(), table, "the stream that a push with these labels goes to");
    for (body, why) in [
        (json!({"stream": "{app=", "slots": 4}), "stream"),
        (json!({"stream": "{}", "slots": 4}), "at least one label"),
        (json!({"stream": r#"{a="b"}"#, "slots": 0}), "0 slots"),
        (json!({"stream": r#"{a="b"}"#, "slots": 70_000}), "not a spread request"),
        (json!({"stream": r#"{a="b"}"#, "slots": 2, "tenant": "a/b"}), "unsupported character"),
        (json!({"stream": r#"{a="b"}"#, "slots": 2, "from_unix_ms": 0}), "from_unix_ms is 0"),
        (json!({"stream": r#"{a="b"}"#, "slots": 2, "from_unix_ms": i64::MAX}), "beyond all times"),
        (json!({"stream": r#"{a="b"}"#, "slots": 2, "when": 1}), "unknown field"),
    ] {
        let a = post(body.clone()).await;
        assert!(a.status == 400 && a.json()["error"].as_str().unwrap().contains(why), "{body}: {}", a.text());
    }
}
