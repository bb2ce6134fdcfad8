//! The admin REST and the node's own metrics.
use trine_store::model::Signal;

use crate::client::{Client, NOW_S};
use crate::prom::{HEADERS, write_request};

#[tokio::test]
async fn documents() {
    let client = Client::new();
    assert_eq!(client.get("/admin/v1/cluster").await.json()["shards_count"], 2);
    assert_eq!(client.get("/admin/v1/nodes").await.json()[0]["name"], "n1");
    assert_eq!(client.get("/admin/v1/shards").await.json()[1]["shard"], 1);
    let a = client.post("/admin/v1/flush", &[], "").await;
    assert_eq!(a.json()["shards"], serde_json::json!([0, 1]));
    assert_eq!(client.get("/admin/v1/flush").await.status, 405);
    let a = client.get("/admin/v1/openapi.json").await;
    assert!(a.json()["paths"]["/admin/v1/flush"]["post"].is_object());
    assert!(a.json()["paths"]["/admin/v1/scrub"]["get"].is_object());
    for (path, method) in [("/admin/v1/ledger", "get"), ("/admin/v1/nodes/{name}/remove", "post")] {
        for parameter in a.json()["paths"][path][method]["parameters"].as_array().unwrap() {
            let (name, place) = (parameter["name"].as_str().unwrap(), parameter["in"].as_str().unwrap());
            assert_eq!(place == "path", path.contains(&format!("{{{name}}}")), "{name} of {path} is in the {place}");
            assert_eq!(parameter["required"] == true, place == "path", "{parameter}");
        }
    }
    let unknown = client.post("/admin/v1/nodes/n9/remove", &[], "").await;
    assert_eq!(
        (unknown.status.as_u16(), unknown.json()["error"].as_str().unwrap()),
        (404, "the cluster has no node named \"n9\"")
    );
    assert!(client.post("/admin/v1/scrub", &[], "").await.json()["nodes"][0]["running"] == true);
    assert!(client.get("/admin/v1/scrub").await.json()["nodes"][0]["running"] == false);
    let tenants = |rows: serde_json::Value| {
        rows["facts"].as_array().unwrap().iter().map(|r| r["tenant"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(tenants(client.get("/admin/v1/ledger").await.json()), ["a", "b"]);
    assert_eq!(tenants(client.get("/admin/v1/ledger?tenant=b").await.json()), ["b"]);
    assert_eq!(client.post("/admin/v1/ledger/verify", &[], "").await.json()["balanced"], serde_json::Value::Null);
    assert_eq!(client.get("/admin/v1/ledger/verify").await.json()["balanced"], true);
    assert_eq!(client.get("/nowhere").await.status, 404);
}

/// Facts that no shard sees are counted for their tenant, whichever surface refuses them.
#[tokio::test]
async fn refused_facts_are_counted_by_reason() {
    let client = Client::new();
    let (far_ms, tenant) = ((NOW_S + 90 * 86_400) * 1000, ("x-scope-orgid", "a"));
    let samples = write_request(&[(&[("__name__", "up")], &[(far_ms, 1.0), (NOW_S * 1000, 1.0)])]);
    let mut headers = HEADERS.to_vec();
    headers.push(tenant);
    assert_eq!(client.post("/api/v1/write", &headers, samples).await.status, 400);
    let json = [("content-type", "application/json"), tenant];
    let line = format!(r#"{{"streams":[{{"stream":{{"app":"x"}},"values":[["{far_ms}000000","l"]]}}]}}"#);
    assert_eq!(client.post("/loki/api/v1/push", &json, line).await.status, 400);
    // One wrong id refuses the whole request.
    let spans = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
        {"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","name":"good"},
        {"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"","name":"bad"}]}]}]}"#;
    assert_eq!(client.post("/v1/traces", &json, spans).await.status, 400);
    let rejected = client.cluster.rejected.lock().unwrap().clone();
    let expected = [
        ("a".to_owned(), Signal::Metrics, "too_far_in_future", 1),
        ("a".to_owned(), Signal::Logs, "too_far_in_future", 1),
        ("a".to_owned(), Signal::Traces, "invalid", 2),
    ];
    assert_eq!(rejected, expected);
}

#[tokio::test]
async fn every_family_is_documented() {
    let client = Client::new();
    client.get("/api/v1/query?query=1").await;
    let text = client.get("/metrics").await.text();
    assert!(text.contains("trine_api_requests_total{operation=\"prom_query\",code=\"200\"} 1\n"), "{text}");
    let table = std::fs::read_to_string("../docs/metrics.md").unwrap();
    for name in text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).filter_map(|l| l.split(' ').next()) {
        assert!(table.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
    }
}
