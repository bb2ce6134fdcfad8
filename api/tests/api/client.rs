//! Requests into a router and their answers, without a socket.
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tower::ServiceExt;
use trine_api::{Api, ApiConfig, server};
use trine_query::memory::QueryMemory;

use crate::cluster::Cluster;

/// The clock of all tests: 2026-11-21T21:46:40Z.
pub(crate) const NOW_S: i64 = 1_795_297_600;

pub(crate) fn now_ns() -> i64 {
    NOW_S * 1_000_000_000
}

pub(crate) struct Client {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) router: Router,
    pub(crate) api: Api,
}

/// An answer; the body as text, lossy for binary ones.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

impl Client {
    pub(crate) fn new() -> Self {
        Self::with(ApiConfig::default())
    }

    pub(crate) fn with(config: ApiConfig) -> Self {
        Self::over(Cluster::new(), config)
    }

    /// With bounds of what queries may hold.
    pub(crate) fn with_queries(queries: QueryMemory) -> Self {
        Self::over(Cluster::with_queries(queries), ApiConfig::default())
    }

    fn over(cluster: Cluster, config: ApiConfig) -> Self {
        let cluster = Arc::new(cluster);
        let api = Api::with_clock(Arc::clone(&cluster) as _, config, Vec::new(), now_ns);
        Self { cluster, router: server::main_router(&api), api }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    /// A push of `bytes` bytes that never ends: it holds them of the budget until the handle is dropped.
    pub(crate) async fn hold(&self, bytes: usize) -> JoinSet<Answer> {
        let unending = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
        let request = Request::post("/loki/api/v1/push").header("content-length", bytes.to_string());
        let request = request.body(Body::from_stream(unending)).unwrap();
        let mut held = JoinSet::new();
        let router = self.router.clone();
        held.spawn(async move {
            let (parts, _) = router.oneshot(request).await.unwrap().into_parts();
            Answer { status: parts.status, headers: parts.headers, bytes: Vec::new() }
        });
        while self.get("/metrics").await.text().contains("trine_api_inflight_bytes 0\n") {
            tokio::task::yield_now().await;
        }
        held
    }

    /// A form as Grafana posts it.
    pub(crate) async fn form(&self, path: &str, form: &str) -> Answer {
        self.post(path, &[("content-type", "application/x-www-form-urlencoded")], form.to_owned()).await
    }
}

/// Percent-encodes a parameter.
pub(crate) fn enc(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
