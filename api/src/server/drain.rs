//! Reading on what a refused request still sends, so that its client hears why.
//!
//! A server that answers early and closes with unread bytes in its socket makes the kernel reset the connection, which can
//! overtake the answer: the client sees a network error and sends the same body again, for ever.
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::Version;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;

/// What is read on at most.
const DRAIN_BYTES_MAX: usize = 256 << 20;
/// How long it is read on.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Bodies read on at a time; beyond, the connection is closed at once. Each holds at most what a connection reads ahead.
static DRAINS: Semaphore = Semaphore::const_new(1024);

/// Wraps the bodies of HTTP/1 requests; HTTP/2 ends a stream without its connection.
pub(super) async fn layer(request: Request, next: Next) -> Response {
    let request = match request.version() {
        Version::HTTP_10 | Version::HTTP_11 => request.map(|body| Body::new(Draining { inner: Some(body) })),
        _ => request,
    };
    next.run(request).await
}

/// A body that is read on in the background when it is dropped before its end.
struct Draining {
    inner: Option<Body>,
}

impl HttpBody for Draining {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let polled = Pin::new(inner).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.inner = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        let Some(body) = self.inner.take().filter(|body| !body.is_end_stream()) else { return };
        let (Ok(slot), Ok(runtime)) = (DRAINS.try_acquire(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(async move {
            let _slot = slot;
            // Too much or too slow: the connection is closed, as it would have been at once.
            drop(tokio::time::timeout(DRAIN_TIMEOUT, drain(body)).await);
        });
    }
}

async fn drain(mut body: Body) {
    let mut left = DRAIN_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let len = frame.data_ref().map_or(0, Bytes::len);
        if len > left {
            return;
        }
        left -= len;
    }
}
