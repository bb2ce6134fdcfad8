//! A whole request to the surfaces: path, headers, body, answer.
use std::sync::LazyLock;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::ServiceExt;
use trine_api::{Api, ApiConfig, Backend, server};

use crate::cluster::Cluster;
use crate::sample::{self, NOW_S};

pub(crate) const TARGETS: [crate::Decoder; 1] = [("http_request", request)];

/// `METHOD path?query`, a line each header, an empty line, the body.
fn request(bytes: &[u8]) {
    static API: LazyLock<Api> = LazyLock::new(|| api(std::sync::Arc::new(Cluster::reading(sample::view()))));
    let Some(request) = parse(bytes) else { return };
    if let Some((status, body)) = send(&API, request) {
        assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{}", String::from_utf8_lossy(&body));
    }
}

/// The surfaces over a cluster, with a clock that stands.
pub(crate) fn api(backend: std::sync::Arc<dyn Backend>) -> Api {
    let config = ApiConfig { inflight_bytes_max: 64 << 20, ..ApiConfig::default() };
    Api::with_clock(backend, config, Vec::new(), || NOW_S * 1_000_000_000)
}

/// The status and body of the answer; none when the answer's body breaks off.
pub(crate) fn send(api: &Api, request: Request<Full<Bytes>>) -> Option<(StatusCode, Bytes)> {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime without sockets");
    }
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let response = server::main_router(api).oneshot(request).await.unwrap_or_else(|never| match never {});
            let (parts, body) = response.into_parts();
            Some((parts.status, body.collect().await.ok()?.to_bytes()))
        })
    })
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
