//! A whole request to the surfaces: path, headers, body, answer.
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::ServiceExt;
use trine_api::{Api, ApiConfig, Backend, server};

use crate::cluster::Cluster;
use crate::sample::{self, NOW_S};

pub(crate) const TARGETS: [crate::Decoder; 1] = [("http_request", request)];

/// `METHOD path?query`, a line each header, an empty line, the body.
fn request(bytes: &[u8]) {
    static SURFACES: LazyLock<Surfaces> = LazyLock::new(|| Surfaces::over(Arc::new(Cluster::reading(sample::view()))));
    let Some(request) = parse(bytes) else { return };
    if let Some((status, body)) = SURFACES.send(request) {
        assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{}", String::from_utf8_lossy(&body));
    }
}

/// Status and body; none when the body breaks off.
type Answer = Option<(StatusCode, Bytes)>;

/// Every path of every protocol.
pub(crate) struct Surfaces(Box<dyn Fn(Request<Full<Bytes>>) -> BoxFuture<'static, Answer> + Send + Sync>);

impl Surfaces {
    /// Over a cluster, with a clock that stands.
    pub(crate) fn over(backend: Arc<dyn Backend>) -> Self {
        let config = ApiConfig { inflight_bytes_max: 64 << 20, ..ApiConfig::default() };
        let api = Api::with_clock(backend, config, Vec::new(), || NOW_S * 1_000_000_000);
        let router = server::main_router(&api);
        Self(Box::new(move |request| {
            let router = router.clone();
            Box::pin(async move {
                let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
                let (parts, body) = response.into_parts();
                Some((parts.status, body.collect().await.ok()?.to_bytes()))
            })
        }))
    }

    pub(crate) fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        thread_local! {
            static RUNTIME: tokio::runtime::Runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime without sockets");
        }
        RUNTIME.with(|runtime| runtime.block_on(self.0(request)))
    }
}

fn parse(bytes: &[u8]) -> Option<Request<Full<Bytes>>> {
    let (line, mut rest) = line_of(bytes);
    let (method, path) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).ok()?).uri(path);
    loop {
        let (line, after) = line_of(rest);
        rest = after;
        if line.is_empty() {
            return request.body(Full::new(Bytes::copy_from_slice(rest))).ok();
        }
        let colon = line.iter().position(|b| *b == b':')?;
        request = request.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
}

fn line_of(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|b| *b == b'\n') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}
