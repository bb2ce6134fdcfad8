//! OTLP over HTTP.
use crate::client::{Client, NOW_S, enc};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

#[tokio::test]
async fn traces_answer_byte_for_byte() {
    let client = Client::new();
    let a = client.post("/v1/traces", &JSON, "{}").await;
    assert_eq!(
        (a.status.as_u16(), a.text().as_str(), a.header("content-type")),
        (200, r#"{"partialSuccess":{}}"#, "application/json")
    );
    let a = client.post("/v1/traces", &[("content-type", "application/x-protobuf")], "").await;
    assert_eq!(
        (a.status.as_u16(), a.bytes.as_slice(), a.header("content-type")),
        (200, &[0x0a, 0][..], "application/x-protobuf")
    );
    let a = client.get("/v1/traces").await;
    assert_eq!((a.status.as_u16(), a.text().as_str()), (405, "405 method not allowed, supported: [POST]"));
    let a = client.post("/v1/traces", &[("content-type", "text/plain")], "").await;
    assert_eq!(
        (a.status.as_u16(), a.text().as_str()),
        (415, "415 unsupported media type, supported: [application/json, application/x-protobuf]")
    );
    let a = client.post("/v1/traces", &JSON, "[").await;
    assert_eq!((a.status.as_u16(), a.json()["code"].clone()), (400, 3.into()));
    let a = client.post("/v1/traces", &[("content-type", "application/x-protobuf")], "\x0a\x05a").await;
    assert_eq!((a.status.as_u16(), a.header("content-type")), (400, "application/x-protobuf"));
    let a = client.post("/v1/traces", &[("content-type", "application/json"), ("content-encoding", "br")], "{}").await;
    assert_eq!(a.status, 400);
}

#[tokio::test]
async fn metrics_become_series() {
    let client = Client::new();
    let body = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}}]}},"scopeMetrics":[{{"metrics":[
        {{"name":"http.requests","description":"Requests.","sum":{{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{{"timeUnixNano":"{NOW_S}000000000","asInt":"7"}}]}}}},
        {{"name":"e","exponentialHistogram":{{"aggregationTemporality":2,"dataPoints":[{{"scale":-9}}]}}}}]}}]}}]}}"#
    );
    let a = client.post("/otlp/v1/metrics", &JSON, body).await;
    assert_eq!(a.status, 200);
    assert_eq!(a.json()["partialSuccess"]["rejectedDataPoints"], "1", "{}", a.text());
    let a = client.get("/api/v1/query?query=http_requests_total").await;
    assert_eq!(
        a.json()["data"]["result"][0]["metric"],
        serde_json::json!({"__name__": "http_requests_total", "job": "shop"})
    );
    let a = client.get("/api/v1/metadata?metric=http_requests_total").await;
    assert_eq!(
        a.text(),
        r#"{"status":"success","data":{"http_requests_total":[{"type":"counter","help":"Requests.","unit":""}]}}"#
    );
    let a = client.post("/otlp/v1/metrics", &[("content-type", "text/plain")], "").await;
    assert_eq!(a.status, 415);
}

#[tokio::test]
async fn logs_become_lines() {
    let client = Client::new();
    let body = format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}},{{"key":"host.name","value":{{"stringValue":"h"}}}}]}},
        "scopeLogs":[{{"logRecords":[{{"timeUnixNano":"{NOW_S}000000000","severityNumber":17,"body":{{"stringValue":"broke"}}}},{{"body":{{"stringValue":"no time"}}}}]}}]}}]}}"#
    );
    assert_eq!(client.post("/otlp/v1/logs", &JSON, body.clone()).await.status, 204);
    let a = client.post("/v1/logs", &JSON, body).await;
    assert_eq!((a.status.as_u16(), a.text().as_str()), (200, r#"{"partialSuccess":{}}"#));
    let a = client
        .get_with(
            &format!("/loki/api/v1/query_range?query={}&end={}", enc("{service_name=\"shop\"}"), NOW_S + 1),
            &[("x-loki-response-encoding-flags", "categorize-labels")],
        )
        .await;
    let values = a.json()["data"]["result"][0]["values"].clone();
    assert_eq!(values.as_array().unwrap().len(), 2, "{}", a.text());
    let broke = values.as_array().unwrap().iter().find(|v| v[1] == "broke").unwrap().clone();
    assert_eq!(
        broke[2]["structuredMetadata"],
        serde_json::json!({"detected_level": "error", "host_name": "h", "severity_number": "17"})
    );
    let a = client.post("/otlp/v1/logs", &[("content-type", "application/json; charset=utf-8")], "{}").await;
    assert_eq!(a.status, 400);
}
