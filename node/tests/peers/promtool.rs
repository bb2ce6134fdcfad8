//! Debian's `promtool query` against a node that was not written to.
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Cluster, Http, installed, now_ms, output_of};

/// A gauge that is 1, 2, 3 … at 15 s intervals for two routes, as OTLP/JSON.
fn request(start_ms: i64) -> Value {
    let point = |i: i64, route: &str| {
        json!({"timeUnixNano": ((start_ms + 15_000 * i) * 1_000_000).to_string(), "asDouble": i + 1,
            "attributes": [{"key": "route", "value": {"stringValue": route}}]})
    };
    let points: Vec<Value> = ["/a", "/b"].iter().flat_map(|r| (0..5).map(|i| point(i, r))).collect();
    let metric = json!({"name": "steps", "gauge": {"dataPoints": points}});
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "tool"}}]});
    json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]})
}

#[tokio::test]
async fn promtool_reads_a_node() {
    let promtool = installed("promtool", "prometheus");
    let cluster = Cluster::start().await;
    let start_ms = now_ms() / 1000 * 1000 - 120_000;
    let body = request(start_ms).to_string().into_bytes();
    let json_type = [("Content-Type", "application/json")];
    let reply = Http::new(&cluster.otlp_http).post("/v1/metrics", &json_type, body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let (start, end) = (start_ms / 1000, start_ms / 1000 + 60);
    let (from, to) = (format!("--start={start}"), format!("--end={end}"));
    let ask = |command: &str, flags: &[&str], argument: &[&str]| {
        let url = &cluster.nodes[1].url;
        output_of(Command::new(&promtool).args(["query", command]).args(flags).arg(url).args(argument))
    };
    let at = format!("--time={end}");
    let vector = ask("instant", &[&at], &["sum by (route) (steps)"]);
    assert_eq!(vector, format!("{{route=\"/a\"}} => 5 @[{end}]\n{{route=\"/b\"}} => 5 @[{end}]\n"));
    let vector: Value = serde_json::from_str(&ask("instant", &[&at, "--format=json"], &["max(steps)"])).expect("JSON");
    assert_eq!(vector, json!([{"metric": {}, "value": [end, "5"]}]));
    let matrix = ask("range", &[&from, &to, "--step=30s", "--format=json"], &["avg(steps)"]);
    let matrix: Value = serde_json::from_str(&matrix).expect("JSON");
    assert_eq!(matrix[0]["values"], json!([[start, "1"], [start + 30, "3"], [end, "5"]]));
    let series = ask("series", &[&from, &to, "--match=steps"], &[]);
    let expected = ["/a", "/b"].map(|r| format!("{{__name__=\"steps\", job=\"tool\", route=\"{r}\"}}\n"));
    assert_eq!(series, expected.concat());
    assert_eq!(ask("labels", &[&from, &to], &["route"]), "/a\n/b\n");
}
