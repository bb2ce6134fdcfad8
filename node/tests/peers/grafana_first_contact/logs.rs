//! The Loki data source and Logs Drilldown.
use serde_json::{Value, json};

use super::{Seeded, assert_order, strings};
use crate::harness::Http;

const CATEGORIES: [(&str, &str); 1] = [("X-Loki-Response-Encoding-Flags", "categorize-labels")];

/// Three JSON lines, a second apart; the last has structured metadata.
pub(super) fn request(at_ns: i64) -> Value {
    let line = |status: u16, level: &str| {
        json!({"level": level, "http": {"status": status}, "took": "1.5s", "ok": status < 500}).to_string()
    };
    let time = |second: i64| (at_ns + second * 1_000_000_000).to_string();
    json!({"streams": [{"stream": {"app": "shop", "path": "a/b"}, "values": [
        [time(0), line(200, "info")],
        [time(1), line(503, "error")],
        [time(2), line(404, "warn"), {"trace_id": super::TRACE_ID}],
    ]}]})
}

pub(super) async fn check(node: &Http, seeded: &Seeded) {
    save_and_test(node).await;
    explore(node, seeded).await;
    refusals(node, seeded).await;
    label_browser(node, seeded).await;
    drilldown(node, seeded).await;
    rule_probes(node).await;
}

async fn save_and_test(node: &Http) {
    // Grafana means epoch + 4 s in ns; ten digits are read as seconds, in the year 2096.
    let health = [("query", "vector(1)+vector(1)"), ("direction", "backward"), ("time", "4000000000")];
    let answer = node.json("/loki/api/v1/query", &health).await;
    assert_eq!(answer["data"]["resultType"], "vector");
    assert_eq!(answer["data"]["result"], json!([{"metric": {}, "value": [4_000_000_000_u64, "2"]}]));
}

async fn explore(node: &Http, seeded: &Seeded) {
    let (start, end) = (seeded.nanos(-3600), seeded.nanos(60));
    let window = [("start", start.as_str()), ("end", end.as_str())];
    let logs = [("query", "{app=\"shop\"} | json"), ("limit", "1000"), ("direction", "backward"), ("step", "15000ms")];
    let reply = node.get_with("/loki/api/v1/query_range", &[&logs[..], &window].concat(), &CATEGORIES).await;
    let answer = reply.json();
    assert_order(&reply.text(), "resultType", "encodingFlags");
    assert_order(&reply.text(), "encodingFlags", "result");
    assert_eq!(answer["data"]["encodingFlags"], json!(["categorize-labels"]));
    let stream = &answer["data"]["result"][0];
    assert_eq!(stream["stream"], json!({"app": "shop", "path": "a/b", "service_name": "shop"}));
    let newest = &stream["values"][0];
    assert_eq!(newest[0], seeded.nanos(2).as_str());
    assert_eq!(newest[2]["structuredMetadata"], json!({"detected_level": "warn", "trace_id": super::TRACE_ID}));
    assert_eq!(newest[2]["parsed"]["http_status"], "404");
    for key in ["summary", "querier", "ingester", "cache"] {
        assert!(answer["data"]["stats"][key].is_object(), "stats.{key} in {answer}");
    }

    // Without the flag everything is one set of labels: old clients expect that.
    let plain = [("query", "{app=\"shop\"}"), ("direction", "forward")];
    let answer = node.json("/loki/api/v1/query_range", &[&plain[..], &window].concat()).await;
    assert!(answer["data"].get("encodingFlags").is_none(), "{answer}");
    let streams = answer["data"]["result"].as_array().expect("streams");
    let traced = streams.iter().find(|s| s["stream"]["trace_id"] == super::TRACE_ID);
    let traced = traced.unwrap_or_else(|| panic!("metadata must be labels: {answer}"));
    assert_eq!(
        (&traced["stream"]["detected_level"], traced["values"][0].as_array().map(Vec::len)),
        (&json!("warn"), Some(2))
    );

    // The log volume above the lines.
    let volume = "sum by (level, detected_level) (count_over_time({app=\"shop\"}[15s]))";
    let range = [("query", volume), ("step", "15000ms"), ("direction", "backward")];
    let headers = [CATEGORIES[0], ("X-Query-Tags", "Source=logvolhist")];
    let answer = node.get_with("/loki/api/v1/query_range", &[&range[..], &window].concat(), &headers).await.json();
    assert_eq!(answer["data"]["resultType"], "matrix");
    let series = answer["data"]["result"].as_array().expect("series");
    let levels: Vec<&Value> = series.iter().map(|s| &s["metric"]["detected_level"]).collect();
    assert_eq!(levels.len(), 3, "{levels:?}");
}

async fn refusals(node: &Http, seeded: &Seeded) {
    let at = seeded.nanos(10);
    let refused = async |path: &str, parameters: &[(&str, &str)], says: &str| {
        let reply = node.get(path, parameters).await;
        assert_eq!(reply.status, 400, "{parameters:?}: {}", reply.text());
        assert!(reply.content_type().starts_with("text/plain"), "{}", reply.content_type());
        assert!(reply.text().contains(says), "{parameters:?}: {}", reply.text());
        assert!(!reply.text().starts_with('{'), "Grafana shows the body word for word: {}", reply.text());
    };
    let logs = [("query", "{app=\"shop\"}"), ("time", at.as_str())];
    refused("/loki/api/v1/query", &logs, "log queries are not supported as an instant query type").await;
    refused("/loki/api/v1/query_range", &[("query", "{app=\"shop\"")], "parse error").await;
    refused("/loki/api/v1/query_range", &[("query", "{app=~\".*\"}")], "queries require at least one").await;
    let broken = [("query", "sum(count_over_time({app=\"shop\"} | logfmt | unwrap took [1m]))"), ("time", at.as_str())];
    refused("/loki/api/v1/query", &broken, "").await;
    let failing = [("query", "sum(sum_over_time({app=\"shop\"} | json | unwrap level [5m]))"), ("time", at.as_str())];
    refused("/loki/api/v1/query", &failing, "SampleExtractionErr").await;
}

async fn label_browser(node: &Http, seeded: &Seeded) {
    let (start, end) = (seeded.nanos(-3600), seeded.nanos(60));
    let window = [("start", start.as_str()), ("end", end.as_str())];
    let labels = node.json("/loki/api/v1/labels", &window).await;
    assert_eq!(labels, json!({"status": "success", "data": ["app", "path", "service_name"]}));
    let about_shop = [&[("query", "{app=\"shop\"}")][..], &window].concat();
    let values = node.json("/loki/api/v1/label/path/values", &about_shop).await;
    assert_eq!(values, json!({"status": "success", "data": ["a/b"]}));
    let series = node.json("/loki/api/v1/series", &[&[("match[]", "{app=\"shop\"}")][..], &window].concat()).await;
    assert_eq!(series["data"], json!([{"app": "shop", "path": "a/b", "service_name": "shop"}]));
    let stats = node.json("/loki/api/v1/index/stats", &about_shop).await;
    assert_eq!((&stats["streams"], &stats["entries"]), (&json!(1), &json!(3)), "not wrapped: {stats}");
    assert!(stats["bytes"].as_u64() > Some(0) && stats["chunks"].is_u64(), "{stats}");
    let fields = node.json("/loki/api/v1/detected_fields", &[&about_shop[..], &[("limit", "1000")]].concat()).await;
    let field = |name: &str| {
        let fields = fields["fields"].as_array().expect("fields, not wrapped");
        fields.iter().find(|f| f["label"] == name).unwrap_or_else(|| panic!("no field {name}: {fields:?}")).clone()
    };
    assert_eq!(field("http_status")["type"], "int");
    assert_eq!(field("http_status")["parsers"], json!(["json"]));
    assert_eq!(field("took")["type"], "duration");
    assert_eq!(field("ok")["type"], "boolean");
    assert!(field("trace_id").as_object().is_some_and(|f| f["parsers"].is_null()), "null for structured metadata");
    let values = node.json("/loki/api/v1/detected_field/http_status/values", &about_shop).await;
    let mut found = strings(&values["values"]);
    found.sort_unstable();
    assert_eq!(found, ["200", "404", "503"]);
    let info = node.json("/loki/api/v1/status/buildinfo", &[]).await;
    assert!(info["version"].is_string(), "not wrapped: {info}");
}

async fn drilldown(node: &Http, seeded: &Seeded) {
    // Drilldown gives ISO times with milliseconds.
    let iso = |offset_s: i64| {
        let at = seeded.at_ns / 1_000_000_000 + offset_s;
        let day = at.div_euclid(86_400);
        let (year, month, date) = civil(day);
        let s = at.rem_euclid(86_400);
        format!("{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}.000Z", s / 3600, s / 60 % 60, s % 60)
    };
    let (start, end) = (iso(-3600), iso(60));
    let window = [("start", start.as_str()), ("end", end.as_str())];
    let volume = [("query", "{service_name=~`.+`}"), ("limit", "5000")];
    let answer = node.json("/loki/api/v1/index/volume", &[&volume[..], &window].concat()).await;
    assert_eq!(answer["data"]["resultType"], "vector", "wrapped: {answer}");
    let by = [("query", "{service_name=~`.+`}"), ("targetLabels", "service_name")];
    let answer = node.json("/loki/api/v1/index/volume", &[&by[..], &window].concat()).await;
    assert_eq!(answer["data"]["result"][0]["metric"], json!({"service_name": "shop"}));
    assert!(answer["data"]["result"][0]["value"][1].as_str().is_some_and(|v| v.parse::<u64>().is_ok()), "{answer}");
    let labels = node.json("/loki/api/v1/detected_labels", &window).await;
    let labels = labels["detectedLabels"].as_array().expect("not wrapped");
    assert!(labels.iter().any(|l| l["label"] == "service_name" && l["cardinality"] == 1), "{labels:?}");
    let shards = node.json("/loki/api/v1/label/__stream_shard__/values", &window).await;
    assert_eq!(shards, json!({"status": "success", "data": []}));
    let limits = node.json("/loki/api/v1/drilldown-limits", &[]).await;
    assert!(limits["limits"]["discover_service_name"].is_array(), "{limits}");
    let patterns = node.get("/loki/api/v1/patterns", &[("query", "{app=\"shop\"}"), ("step", "10s")]).await;
    assert!([200, 404].contains(&patterns.status), "off or answered: {}", patterns.text());
}

/// (year, month, day) of a day since 1970-01-01, after Howard Hinnant's `civil_from_days`.
fn civil(day: i64) -> (i64, i64, i64) {
    let z = day + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

async fn rule_probes(node: &Http) {
    let probe = node.get("/api/prom/rules/test/test", &[]).await;
    assert_eq!(probe.status, 404);
    assert!(probe.text().contains("group does not exist"), "{}", probe.text());
    let list = node.get("/api/prom/rules", &[]).await;
    assert_eq!(list.status, 404);
    assert!(list.text().contains("no rule groups found"), "{}", list.text());
    let rules = node.json("/prometheus/api/v1/rules", &[]).await;
    assert_eq!(rules["data"]["groups"], json!([]));
}
