//! Loki: push and the query API.
use crate::client::{Client, NOW_S, enc, now_ns};

const JSON: [(&str, &str); 1] = [("content-type", "application/json; charset=utf-8")];

async fn push(client: &Client) {
    let t = now_ns();
    let body = format!(
        r#"{{"streams":[{{"stream":{{"app":"shop","env":"prod"}},"values":[["{}","level=info GET /a"],["{}","level=error GET /b",{{"trace_id":"abc"}}]]}},
        {{"stream":{{"app":"db"}},"values":[["{}","slow query"]]}}]}}"#,
        t - 2_000_000_000,
        t - 1_000_000_000,
        t - 1_500_000_000
    );
    let a = client.post("/loki/api/v1/push", &JSON, body).await;
    assert_eq!((a.status.as_u16(), a.text().as_str()), (204, ""));
}

#[tokio::test]
async fn pushed_lines_are_seen_by_the_next_query() {
    let client = Client::new();
    push(&client).await;
    let t = now_ns();
    let range = format!("start={}&end={t}", t - 60_000_000_000);
    let path = format!("/loki/api/v1/query_range?query={}&{range}&limit=10", enc("{app=\"shop\"}"));
    let a = client.get_with(&path, &[("x-loki-response-encoding-flags", "categorize-labels")]).await;
    let start = format!(
        r#"{{"status":"success","data":{{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[{{"stream":{{"app":"shop","env":"prod","service_name":"shop"}},"values":[["{}","level=error GET /b",{{"structuredMetadata":{{"detected_level":"error","trace_id":"abc"}}}}],["{}","level=info GET /a",{{"structuredMetadata":{{"detected_level":"info"}}}}]]}}],"stats":{{"summary":"#,
        t - 1_000_000_000,
        t - 2_000_000_000
    );
    assert!(a.text().starts_with(&start), "{}", a.text());
    let a = client.get(&path).await;
    assert_eq!(a.json()["data"]["result"][0]["stream"]["detected_level"], "error");
    assert_eq!(a.json()["data"]["result"][1]["stream"]["detected_level"], "info");
    let query = enc("sum by (detected_level) (count_over_time({app=~\".+\"}[1m]))");
    let a = client.form("/loki/api/v1/query", &format!("query={query}&time={t}")).await;
    assert_eq!(a.json()["data"]["resultType"], "vector", "{}", a.text());
    assert_eq!(a.json()["data"]["result"].as_array().unwrap().len(), 3);
    for (path, text) in [
        (
            format!("/loki/api/v1/labels?{range}"),
            r#"{"status":"success","data":["app","env","service_name"]}"#.to_owned(),
        ),
        (format!("/loki/api/v1/label/app/values?{range}"), r#"{"status":"success","data":["db","shop"]}"#.to_owned()),
        (format!("/api/prom/label?{range}"), r#"{"values":["app","env","service_name"]}"#.to_owned()),
        (format!("/loki/api/v1/label/__stream_shard__/values?{range}"), r#"{"status":"success","data":[]}"#.to_owned()),
        (
            format!("/loki/api/v1/series?match[]={}&{range}", enc("{app=\"db\"}")),
            r#"{"status":"success","data":[{"app":"db","service_name":"db"}]}"#.to_owned(),
        ),
    ] {
        let a = client.get(&path).await;
        assert_eq!(a.text(), text, "{path}");
    }
    let a = client.get(&format!("/loki/api/v1/index/stats?query={}&{range}", enc("{app=\"shop\"}"))).await;
    assert_eq!((a.json()["streams"].clone(), a.json()["entries"].clone()), (1.into(), 2.into()));
    let a = client.get(&format!("/loki/api/v1/index/volume?query={}&{range}", enc("{service_name=~\".+\"}"))).await;
    assert_eq!(a.json()["data"]["result"][0]["metric"]["service_name"], "shop", "{}", a.text());
    let a = client.get(&format!("/loki/api/v1/detected_fields?query={}&{range}", enc("{app=\"shop\"}"))).await;
    assert_eq!(a.json()["limit"], 1000, "{}", a.text());
    assert_eq!(
        a.json()["fields"][0],
        serde_json::json!({"label": "detected_level", "type": "string", "cardinality": 2, "parsers": null})
    );
    let a =
        client.get(&format!("/loki/api/v1/detected_field/level/values?query={}&{range}", enc("{app=\"shop\"}"))).await;
    assert_eq!(a.text(), r#"{"values":["error","info"],"limit":1000}"#);
    let a = client.get(&format!("/loki/api/v1/detected_labels?{range}")).await;
    assert_eq!(a.json()["detectedLabels"][0], serde_json::json!({"label": "app", "cardinality": 2}));
}

#[tokio::test]
async fn what_grafana_asks_first() {
    let client = Client::new();
    let a = client
        .get(&format!("/loki/api/v1/query?query={}&direction=backward&time=4000000000", enc("vector(1)+vector(1)")))
        .await;
    assert_eq!(a.json()["data"]["result"], serde_json::json!([{"metric": {}, "value": [4_000_000_000i64, "2"]}]));
    assert!(a.text().contains(r#""value":[4000000000,"2"]"#));
    let a = client.get("/api/prom/rules/test/test").await;
    assert_eq!((a.status.as_u16(), a.text().as_str()), (404, "group does not exist\n"));
    assert_eq!(client.get("/loki/api/v1/rules").await.text(), "no rule groups found\n");
    assert_eq!(client.get("/loki/api/v1/patterns").await.status, 404);
    assert!(client.get("/loki/api/v1/status/buildinfo").await.json()["version"].is_string());
    assert_eq!(client.get("/loki/api/v1/drilldown-limits").await.json()["pattern_ingester_enabled"], false);
    assert_eq!(client.get("/ready").await.text(), "ready\n");
}

#[tokio::test]
async fn errors_are_plain_text() {
    let client = Client::new();
    let logs = enc("{app=\"x\"}");
    for (path, text) in [
        (
            format!("/loki/api/v1/query?query={logs}"),
            "log queries are not supported as an instant query type, please change your query to a range query type\n",
        ),
        (format!("/loki/api/v1/query_range?query={logs}&direction=up"), "invalid direction 'up'\n"),
        (format!("/loki/api/v1/query_range?query={logs}&limit=0"), "limit must be a positive value\n"),
        (
            format!("/loki/api/v1/query_range?query={logs}&limit=5001"),
            "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)\n",
        ),
        (format!("/loki/api/v1/query_range?query={logs}&start=1&end=11002&step=1"), "exceeded maximum resolution"),
        (format!("/loki/api/v1/query_range?query={}", enc("{")), "parse error"),
        (
            format!("/loki/api/v1/query_range?query={}", enc("{app=~\".*\"}")),
            "queries require at least one regexp or equality matcher",
        ),
    ] {
        let a = client.get(&path).await;
        assert_eq!(a.status, 400, "{path}");
        assert!(a.text().contains(text), "{path}: {}", a.text());
        assert_eq!(
            (a.header("content-type"), a.header("x-content-type-options")),
            ("text/plain; charset=utf-8", "nosniff")
        );
    }
    let a = client.get(&format!("/loki/api/v1/format_query?query={}", enc("{app = \"x\"}"))).await;
    assert_eq!(a.text(), r#"{"status":"success","data":"{app=\"x\"}"}"#);
    let a = client.get(&format!("/loki/api/v1/format_query?query={}", enc("{"))).await;
    assert_eq!((a.status.as_u16(), a.json()["status"].clone()), (400, "invalid-query".into()));
}

#[tokio::test]
async fn refusals_of_pushes() {
    let client = Client::new();
    let good = format!(r#"{{"streams":[{{"stream":{{"a":"b"}},"values":[["{}","x"]]}}]}}"#, now_ns());
    for (headers, body, status) in [
        (vec![], good.clone(), 400),
        (vec![("content-type", "json")], good.clone(), 400),
        (vec![("content-type", "application/json"), ("content-encoding", "br")], good.clone(), 400),
        (vec![("content-type", "application/json")], r#"{"streams":[]}"#.to_owned(), 422),
        (vec![("content-type", "application/json")], "{".to_owned(), 400),
        (vec![("content-type", "text/plain")], "not snappy".to_owned(), 400),
        (vec![("content-type", "application/json")], good, 204),
    ] {
        let a = client.post("/loki/api/v1/push", &headers, body.clone()).await;
        assert_eq!(a.status.as_u16(), status, "{headers:?} {body} {}", a.text());
    }
    let legacy = r#"{"streams":[{"labels":"{a=\"b\"}","entries":[{"ts":"2026-11-21T21:46:39Z","line":"old"}]}]}"#;
    assert_eq!(client.post("/api/prom/push", &JSON, legacy).await.status, 204);
    let a = client.get(&format!("/api/prom/query?query={}&end={}", enc("{a=\"b\"}"), NOW_S + 1)).await;
    assert_eq!(a.json()["streams"][0]["entries"][0]["line"], "x", "{}", a.text());
    assert_eq!(a.json()["streams"][0]["entries"][1]["ts"], "2026-11-21T21:46:39Z");
}
