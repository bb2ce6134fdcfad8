//! Budgets, readiness and tenants, in each protocol's words.
use std::time::Duration;

use trine_api::ApiConfig;
use trine_api::backend::WriteError;

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
