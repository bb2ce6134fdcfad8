//! Tempo: trace by id, search, tags, on the recorded shop.
use crate::client::{Client, enc};

/// The recorded requests, or none where the data is not there.
fn recorded() -> Vec<String> {
    let shared = std::env::var("TRINE_SHARED").unwrap_or_else(|_| "../../shared".to_owned());
    let text = std::fs::read_to_string(format!("{shared}/data/otlp/shop.jsonl")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

pub(crate) const SPAN: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeSpans":[{"scope":{"name":"lib"},"spans":[
    {"traceId":"0000000000000000000000000000001f","spanId":"0102030405060708","name":"GET /","kind":2,"startTimeUnixNano":"1795297500000000000","endTimeUnixNano":"1795297501500000000","attributes":[{"key":"http.status_code","value":{"intValue":"500"}}],"status":{"code":2,"message":"m"}},
    {"traceId":"0000000000000000000000000000001f","spanId":"1112131415161718","parentSpanId":"0102030405060708","name":"db","kind":3,"startTimeUnixNano":"1795297500500000000","endTimeUnixNano":"1795297500600000000"}]}]}]}"#;

async fn filled() -> Client {
    let client = Client::new();
    let a = client.post("/v1/traces", &[("content-type", "application/json")], SPAN).await;
    assert_eq!((a.status.as_u16(), a.text().as_str()), (200, r#"{"partialSuccess":{}}"#));
    client
}

#[tokio::test]
async fn a_trace_by_id() {
    let client = filled().await;
    let spans = r#"[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeSpans":[{"scope":{"name":"lib"},"spans":[{"traceId":"AAAAAAAAAAAAAAAAAAAAHw==","spanId":"AQIDBAUGBwg=","name":"GET /","kind":"SPAN_KIND_SERVER","startTimeUnixNano":"1795297500000000000","endTimeUnixNano":"1795297501500000000","attributes":[{"key":"http.status_code","value":{"intValue":"500"}}],"status":{"message":"m","code":"STATUS_CODE_ERROR"}},{"traceId":"AAAAAAAAAAAAAAAAAAAAHw==","spanId":"ERITFBUWFxg=","parentSpanId":"AQIDBAUGBwg=","name":"db","kind":"SPAN_KIND_CLIENT","startTimeUnixNano":"1795297500500000000","endTimeUnixNano":"1795297500600000000","status":{}}]}]}]"#;
    let a = client.get("/api/traces/1F").await;
    assert_eq!(a.text(), format!(r#"{{"batches":{spans}}}"#));
    let a = client.get("/api/v2/traces/1f").await;
    assert!(a.text().starts_with(&format!(r#"{{"trace":{{"resourceSpans":{spans}}},"metrics":{{"#)), "{}", a.text());
    let a = client.get_with("/api/v2/traces/1f", &[("accept", "application/protobuf")]).await;
    assert_eq!((a.header("content-type"), a.bytes[0]), ("application/protobuf", 0x0a));
}

#[tokio::test]
async fn a_trace_that_is_not_there() {
    let client = filled().await;
    let a = client.get("/api/traces/2").await;
    assert_eq!((a.status.as_u16(), a.text().as_str()), (404, ""));
    let a = client.get("/api/v2/traces/2").await;
    assert_eq!((a.status.as_u16(), a.text().as_str()), (200, r#"{"trace":{},"metrics":{}}"#));
    let a = client.get_with("/api/v2/traces/2", &[("accept", "application/protobuf")]).await;
    assert_eq!(a.bytes, [0x0a, 0, 0x12, 0]);
    *client.cluster.missing.lock().unwrap() = Some(0);
    assert_eq!(client.get("/api/traces/2").await.status, 503);
    assert_eq!(client.get("/api/v2/traces/2").await.json()["status"], "PARTIAL");
    for (path, text) in [
        ("/api/traces/xyz", "trace IDs can only contain hex characters: invalid character 'x' at position 1"),
        ("/api/v2/traces/123456789012345678901234567890123", "trace IDs can't be larger than 128 bits"),
    ] {
        let a = client.get(path).await;
        assert_eq!((a.status.as_u16(), a.text().as_str()), (400, text));
    }
}

#[tokio::test]
async fn a_search() {
    let client = filled().await;
    let a = client
        .get(&format!("/api/search?q={}&start=1795297400&end=1795297600", enc("{ span.http.status_code = 500 }")))
        .await;
    let json = a.json();
    let trace = &json["traces"][0];
    assert_eq!(trace["traceID"], "1f", "{}", a.text());
    assert_eq!(trace["rootServiceName"], "shop");
    assert_eq!(trace["rootTraceName"], "GET /");
    assert_eq!(trace["startTimeUnixNano"], "1795297500000000000");
    assert_eq!(trace["durationMs"], 1500);
    assert_eq!(trace["spanSets"][0]["spans"][0]["spanID"], "0102030405060708");
    assert_eq!(
        trace["spanSets"][0]["spans"][0]["attributes"][0],
        serde_json::json!({"key": "http.status_code", "value": {"intValue": "500"}})
    );
    assert_eq!(trace["spanSet"], trace["spanSets"][0]);
    assert_eq!(json["metrics"]["totalJobs"], 2);
    let a = client.get(&format!("/api/search?q={}", enc("{ name = \"nothing\" }"))).await;
    assert!(a.text().starts_with(r#"{"traces":[],"metrics":{"#), "{}", a.text());
    let a = client.get(&format!("/api/search?tags={}", enc("service.name=sho"))).await;
    assert_eq!(a.json()["traces"][0]["traceID"], "1f");
    let a = client.get(&format!("/api/search?q={}", enc("{"))).await;
    assert_eq!(a.status, 400);
    assert!(a.text().starts_with("invalid TraceQL query: parse error at line 1"), "{}", a.text());
}

#[tokio::test]
async fn tags_and_their_values() {
    let client = filled().await;
    let a = client.get("/api/v2/search/tags?scope=span&limit=5000").await;
    assert_eq!(a.json()["scopes"], serde_json::json!([{"name": "span", "tags": ["http.status_code"]}]));
    let a = client.get("/api/search/tags").await;
    assert_eq!(a.json()["tagNames"], serde_json::json!(["http.status_code", "service.name"]));
    let a = client.get("/api/v2/search/tag/span.http.status_code/values?tag=x").await;
    assert_eq!(a.json()["tagValues"], serde_json::json!([{"type": "int", "value": "500"}]), "{}", a.text());
    let a = client.get("/api/v2/search/tag/resource.service%252Ename/values").await;
    assert_eq!(a.json()["tagValues"], serde_json::json!([{"type": "string", "value": "shop"}]), "{}", a.text());
    let a = client.get("/api/search/tag/service.name/values").await;
    assert_eq!(a.text(), r#"{"tagValues":["shop"]}"#);
    let a = client.get("/api/v2/search/tags?scope=x").await;
    assert_eq!((a.status.as_u16(), a.text().as_str()), (400, "invalid scope: x"));
    assert_eq!(client.get("/api/search/tag/x").await.status, 404);
}

#[tokio::test]
async fn what_grafana_asks_first() {
    let client = Client::new();
    assert_eq!(client.get("/api/echo").await.text(), "echo");
    assert!(client.get("/api/status/buildinfo").await.json()["version"].is_string());
    assert_eq!(client.get("/api/metrics/query_range?q=x").await.status, 400);
}

#[tokio::test]
async fn the_recorded_shop() {
    let client = Client::new();
    let lines = recorded();
    for line in &lines {
        assert_eq!(client.post("/v1/traces", &[("content-type", "application/json")], line.clone()).await.status, 200);
    }
    if lines.is_empty() {
        return;
    }
    let a = client
        .get(&format!(
            "/api/search?q={}&start=1795200000&end=1795290000&limit=1000",
            enc("{ resource.service.name = \"shop\" }")
        ))
        .await;
    assert_eq!(a.json()["traces"].as_array().unwrap().len(), 300);
    let id = a.json()["traces"][0]["traceID"].as_str().unwrap().to_owned();
    let a = client.get(&format!("/api/v2/traces/{id}")).await;
    assert!(!a.json()["trace"]["resourceSpans"].as_array().unwrap().is_empty());
}
