//! The Tempo data source, over HTTP and over its streaming gRPC.
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde_json::{Value, json};
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use super::{Seeded, TRACE_ID, resource, strings};
use crate::harness::Http;

/// `tempopb.TraceByIDResponse`.
#[derive(Clone, PartialEq, Message)]
struct TraceAnswer {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
}

/// `tempopb.SearchRequest`, what the probe sends of it.
#[derive(Clone, PartialEq, Message)]
struct SearchRequest {
    #[prost(uint32, tag = "4")]
    limit: u32,
    #[prost(uint32, tag = "5")]
    start: u32,
    #[prost(uint32, tag = "6")]
    end: u32,
    #[prost(string, tag = "8")]
    query: String,
}

/// `tempopb.SearchResponse`.
#[derive(Clone, PartialEq, Message)]
struct SearchAnswer {
    #[prost(message, repeated, tag = "1")]
    traces: Vec<Found>,
    #[prost(message, optional, tag = "2")]
    metrics: Option<Metrics>,
}

/// `tempopb.TraceSearchMetadata`.
#[derive(Clone, PartialEq, Message)]
struct Found {
    #[prost(string, tag = "1")]
    trace_id: String,
}

/// `tempopb.SearchMetrics`.
#[derive(Clone, PartialEq, Message)]
struct Metrics {
    #[prost(uint32, tag = "5")]
    total_jobs: u32,
}

/// A server span with one client span below it.
pub(super) fn request(at_ns: i64) -> Value {
    let span = |id: &str, parent: &str, kind: i64, name: &str, offset: i64| {
        json!({"traceId": TRACE_ID, "spanId": id, "parentSpanId": parent, "kind": kind, "name": name,
            "startTimeUnixNano": (at_ns + offset).to_string(), "endTimeUnixNano": (at_ns + 2_000_000 - offset).to_string(),
            "attributes": [{"key": "http.status_code", "value": {"intValue": "500"}},
                {"key": "http.method", "value": {"stringValue": "GET"}}]})
    };
    let spans = [
        span("00f067aa0ba902b7", "", 2, "GET /cart", 0),
        span("00f067aa0ba902b8", "00f067aa0ba902b7", 3, "redis", 500_000),
    ];
    json!({"resourceSpans": [{"resource": resource(), "scopeSpans": [{"spans": spans}]}]})
}

pub(super) async fn check(node: &Http, seeded: &Seeded) {
    let echo = node.get("/api/echo", &[]).await;
    assert_eq!((echo.status, echo.text().as_str()), (200, "echo"));
    let info = node.json("/api/status/buildinfo", &[]).await;
    assert!(info["version"].as_str().is_some_and(|v| v.split('.').count() >= 3), "not wrapped, semver: {info}");
    trace_view(node).await;
    search(node, seeded).await;
    autocomplete(node, seeded).await;
}

async fn trace_view(node: &Http) {
    let headers = [("Accept", "application/protobuf")];
    for id in [TRACE_ID, &TRACE_ID[1..], &TRACE_ID.to_ascii_uppercase()] {
        let reply = node.get_with(&format!("/api/v2/traces/{id}"), &[], &headers).await;
        assert_eq!((reply.status, reply.content_type()), (200, "application/protobuf"), "{id}");
        let trace = TraceAnswer::decode(&*reply.body).expect("a TraceByIDResponse").trace.expect("a trace");
        let mut spans = 0;
        for batch in &trace.resource_spans {
            let resource = batch.resource.as_ref().expect("Grafana dereferences the resource");
            assert!(resource.attributes.iter().any(|a| a.key == "service.name"));
            for scoped in &batch.scope_spans {
                assert!(scoped.scope.is_some(), "Grafana dereferences the scope");
                assert!(scoped.spans.iter().all(|s| s.status.is_some()), "Grafana dereferences the status");
                spans += scoped.spans.len();
            }
        }
        assert_eq!(spans, 2);
    }
    let unknown = "ffffffffffffffffffffffffffffffff";
    let reply = node.get_with(&format!("/api/v2/traces/{unknown}"), &[], &headers).await;
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (200, &[0x0a, 0, 0x12, 0][..]),
        "a trace that is there but empty"
    );
    let answer = node.json(&format!("/api/v2/traces/{unknown}"), &[]).await;
    assert_eq!(answer, json!({"trace": {}, "metrics": {}}));
    let v1 = node.get(&format!("/api/traces/{unknown}"), &[]).await;
    assert_eq!((v1.status, v1.body.len()), (404, 0));
    let v1 = node.json(&format!("/api/traces/{TRACE_ID}"), &[]).await;
    assert!(v1["batches"].is_array(), "{v1}");
    let bad = node.get("/api/v2/traces/xyz", &[]).await;
    assert_eq!(bad.status, 400);
    assert!(bad.text().contains("trace IDs can only contain hex characters"), "{}", bad.text());
}

async fn search(node: &Http, seeded: &Seeded) {
    let (start, end) = (seeded.seconds(-600), seeded.seconds(60));
    let query = "{ span.http.status_code = 500 && kind = server } | select(status, nestedSetParent)";
    let parameters = [("q", query), ("limit", "20"), ("spss", "3"), ("start", start.as_str()), ("end", end.as_str())];
    let answer = node.json("/api/search", &parameters).await;
    let trace = &answer["traces"][0];
    assert_eq!(trace["traceID"], &TRACE_ID[1..], "leading zeros are left out: {answer}");
    assert_eq!((&trace["rootServiceName"], &trace["rootTraceName"]), (&json!("shop"), &json!("GET /cart")));
    assert!(trace["startTimeUnixNano"].is_string() && trace["durationMs"].is_u64(), "{trace}");
    let set = &trace["spanSets"][0];
    assert_eq!(&trace["spanSet"], set);
    assert_eq!(set["matched"], 1);
    let span = &set["spans"][0];
    assert_eq!(span["spanID"], "00f067aa0ba902b7");
    assert!(span["startTimeUnixNano"].is_string() && span["durationNanos"].is_string(), "{span}");
    let attribute = |key: &str| {
        let all = span["attributes"].as_array().expect("attributes");
        all.iter().find(|a| a["key"] == key).unwrap_or_else(|| panic!("no {key}: {span}"))["value"].clone()
    };
    assert_eq!(attribute("http.status_code"), json!({"intValue": "500"}));
    assert_eq!(
        attribute("nestedSetParent"),
        json!({"intValue": "-1"}),
        "Drilldown's first page asks for roots by this"
    );
    assert_eq!(attribute("status"), json!({"stringValue": "unset"}));
    assert!(answer["metrics"].is_object(), "{answer}");

    let none = [("q", "{ .nothing = \"x\" }"), ("start", start.as_str()), ("end", end.as_str())];
    let answer = node.json("/api/search", &none).await;
    assert_eq!(answer["traces"], json!([]));
    let missing = [("q", "{ .nothing != \"x\" }"), ("start", start.as_str()), ("end", end.as_str())];
    assert_eq!(node.json("/api/search", &missing).await["traces"], json!([]), "a missing attribute is never unequal");
    let far = [("q", "{}"), ("start", "1000"), ("end", "2000000")];
    let reply = node.get("/api/search", &far).await;
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("range specified by start and end exceeds 168h0m0s"), "{}", reply.text());
}

async fn autocomplete(node: &Http, seeded: &Seeded) {
    let (start, end) = (seeded.seconds(-600), seeded.seconds(60));
    let window = [("limit", "5000"), ("start", start.as_str()), ("end", end.as_str())];
    let answer = node.json("/api/v2/search/tags", &window).await;
    let scopes = answer["scopes"].as_array().expect("scopes");
    let tags = |scope: &str| {
        let found = scopes.iter().find(|s| s["name"] == scope);
        strings(&found.unwrap_or_else(|| panic!("no scope {scope}: {answer}"))["tags"])
    };
    assert!(tags("span").contains(&"http.status_code"), "{answer}");
    assert!(tags("resource").contains(&"service.name"), "{answer}");
    assert!(tags("intrinsic").contains(&"trace:rootService"), "{answer}");
    assert!(answer["metrics"].is_object(), "{answer}");
    let v1 = node.json("/api/search/tags", &window).await;
    assert!(strings(&v1["tagNames"]).contains(&"http.method"), "{v1}");

    // The editor quotes strings and nothing else, by these types. It also sends a parameter `tag` that means nothing.
    let values = async |tag: &str| {
        let parameters = [&window[..], &[("q", "{}"), ("tag", tag)]].concat();
        node.json(&format!("/api/v2/search/tag/{tag}/values"), &parameters).await["tagValues"].clone()
    };
    assert_eq!(values("resource.service.name").await, json!([{"type": "string", "value": "shop"}]));
    assert_eq!(values("span.http.status_code").await, json!([{"type": "int", "value": "500"}]));
    let kinds = values("kind").await;
    assert!(kinds.as_array().expect("values").contains(&json!({"type": "keyword", "value": "server"})), "{kinds}");
    assert_eq!(values("duration").await, json!([]));
    let v1 = node.json("/api/search/tag/http.method/values", &window).await;
    assert_eq!(v1["tagValues"], json!(["GET"]));
}

/// With streaming on, Save & test and searches are gRPC on the data source's own host and port.
pub(super) async fn check_stream(url: &str, seeded: &Seeded) {
    let channel = tonic::transport::Endpoint::from_shared(url.to_owned()).expect("a URL").connect().await;
    let mut grpc = tonic::client::Grpc::new(channel.expect("the HTTP port speaks HTTP/2 without TLS"));
    let seconds = |offset_s: i64| seeded.seconds(offset_s).parse().expect("seconds fit until 2106");
    let request = SearchRequest { limit: 1, start: seconds(-840), end: seconds(60), query: "{}".into() };
    grpc.ready().await.expect("the connection is ready");
    let path = PathAndQuery::from_static("/tempopb.StreamingQuerier/Search");
    let codec: ProstCodec<SearchRequest, SearchAnswer> = ProstCodec::default();
    let answer = grpc.server_streaming(tonic::Request::new(request), path, codec).await;
    let mut stream = answer.expect("Search is served").into_inner();
    let mut found = Vec::new();
    while let Some(message) = stream.message().await.expect("the stream ends well") {
        assert!(message.metrics.is_some(), "Grafana's front end reads the metrics of every message");
        found.extend(message.traces.into_iter().map(|t| t.trace_id));
    }
    found.dedup();
    assert_eq!(found, [&TRACE_ID[1..]]);
}
