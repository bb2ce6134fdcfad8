//! Budgets, readiness and tenants, in each protocol's words.
use std::time::Duration;

use trine_api::ApiConfig;
use trine_api::backend::WriteError;
use trine_query::memory::QueryMemory;

use crate::client::{Client, NOW_S};
use crate::prom::{HEADERS, write_request};

#[tokio::test]
async fn no_tenant_no_answer() {
    let client = Client::with(ApiConfig { require_tenant: true, ..ApiConfig::default() });
    for path in ["/api/v1/query?query=1", "/loki/api/v1/labels", "/api/search"] {
        let a = client.get(path).await;
        assert_eq!((a.status.as_u16(), a.text().trim_end()), (401, "no org id"), "{path}");
        assert_eq!(client.get_with(path, &[("x-scope-orgid", "a|b")]).await.status, 400, "{path}");
        assert_eq!(client.get_with(path, &[("x-scope-orgid", "team-a")]).await.status, 200, "{path}");
    }
    for path in ["/api/v1/status/buildinfo", "/api/echo", "/api/status/buildinfo", "/ready", "/metrics"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn not_ready_is_503_everywhere_but_on_status_pages() {
    let client = Client::new();
    *client.cluster.ready.lock().unwrap() = Err("joining".to_owned());
    let a = client.get("/api/v1/query?query=1").await;
    assert_eq!(
        (a.status.as_u16(), a.text().as_str(), a.header("x-prometheus-stopping")),
        (503, "Service Unavailable", "false")
    );
    let a = client.get("/ready").await;
    assert_eq!((a.status.as_u16(), a.text().as_str()), (503, "joining\n"));
    for path in ["/-/ready", "/loki/api/v1/labels", "/api/search"] {
        assert_eq!(client.get(path).await.status, 503, "{path}");
    }
    let a = client.post("/v1/traces", &[("content-type", "application/json")], "{}").await;
    assert_eq!((a.status.as_u16(), a.json()["code"].clone()), (503, 14.into()));
    for path in ["/-/healthy", "/metrics", "/api/v1/status/buildinfo", "/admin/v1/cluster"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn an_exhausted_budget_is_429_with_retry_after() {
    let client = Client::with(ApiConfig { inflight_bytes_max: 8192, ..ApiConfig::default() });
    let _held = client.hold(6000).await;
    let body = vec![b'x'; 4096];
    for (path, content_type) in [
        ("/api/v1/write", "application/x-protobuf"),
        ("/loki/api/v1/push", "application/json"),
        ("/v1/traces", "application/json"),
    ] {
        let headers = [("content-type", content_type), ("content-length", "4096")];
        let a = client.post(path, &headers, body.clone()).await;
        assert_eq!((a.status.as_u16(), a.header("retry-after")), (429, "5"), "{path}");
    }
    // What would not fit into an idle node either is not worth a retry.
    let a = client.post("/api/v1/write", &HEADERS, vec![b'x'; 10_000]).await;
    assert_eq!((a.status.as_u16(), a.header("retry-after")), (413, ""));
}

#[tokio::test]
async fn what_the_cluster_refuses_is_worded_for_the_client() {
    let client = Client::new();
    let labels: &[(&str, &str)] = &[("__name__", "up")];
    let body = write_request(&[(labels, &[(NOW_S * 1000, 1.0)])]);
    let wait = Duration::from_secs(3);
    for (error, status, retry) in [
        (WriteError::Busy { retry_after: wait }, 429, "3"),
        (WriteError::Unavailable { reason: "no leader".to_owned(), retry_after: wait }, 503, "3"),
        (WriteError::TooLarge, 413, ""),
        (WriteError::Invalid("x".to_owned()), 400, ""),
        (WriteError::Internal("x".to_owned()), 500, ""),
    ] {
        *client.cluster.refuse.lock().unwrap() = Some(error.clone());
        let a = client.post("/api/v1/write", &HEADERS, body.clone()).await;
        assert_eq!((a.status.as_u16(), a.header("retry-after")), (status, retry), "{error:?}");
    }
}

const QUERIES: [(&str, bool); 10] = [
    ("/api/v1/query?query=up", true),
    ("/api/v1/query_range?query=up&start=0&end=10&step=1", true),
    ("/api/v1/series?match[]=up", true),
    ("/api/v1/labels", true),
    ("/api/v1/search/metric_names", true),
    ("/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D", false),
    ("/loki/api/v1/labels", false),
    ("/loki/api/v1/series", false),
    ("/api/search?q=%7B%7D", false),
    ("/api/v2/search/tags", false),
];

#[tokio::test]
async fn a_query_over_its_own_bound_is_too_expensive() {
    // Less than any fragment takes.
    let client = Client::with_queries(QueryMemory::new(64 << 20, 512 << 10));
    for (path, is_prometheus) in QUERIES {
        let a = client.get(path).await;
        let (status, text) = if is_prometheus {
            let text = "query processing would load too many samples into memory in query execution";
            assert_eq!(a.json()["errorType"], "execution", "{path}");
            (422, text)
        } else {
            (400, "query needs more than 0.50 MiB of memory: narrow its time range, its selector or its step")
        };
        assert!(a.status == status && a.text().contains(text), "{path}: {} {}", a.status, a.text());
        assert_eq!(a.header("retry-after"), "", "{path}");
    }
}

#[tokio::test]
async fn a_query_over_the_nodes_bound_is_asked_to_come_back() {
    let memory = QueryMemory::new(512 << 10, 64 << 20);
    let client = Client::with_queries(memory.clone());
    for (path, is_prometheus) in QUERIES {
        let a = client.get(path).await;
        let status = if is_prometheus { 503 } else { 429 };
        let text = "running queries hold the 0.50 MiB that this node has for them";
        assert!(a.status == status && a.text().contains(text), "{path}: {} {}", a.status, a.text());
        assert_eq!(a.header("retry-after"), "5", "{path}");
        assert_eq!(memory.held_bytes(), 0, "{path}");
    }
    let metrics = client.get("/metrics").await.text();
    assert!(metrics.contains("trine_api_query_refusals_total 10\n"), "{metrics}");
}
