//! Which encoding a reader wants.
use http::HeaderMap;
use http::header::ACCEPT;

/// Encodings that Tempo answers in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accept {
    Json,
    Protobuf,
}

/// By substring, as Tempo does; JSON unless protobuf is named.
pub(super) fn accept_of(headers: &HeaderMap) -> Accept {
    let wants = |v: &http::HeaderValue| v.to_str().is_ok_and(|v| v.contains("application/protobuf"));
    if headers.get_all(ACCEPT).iter().any(wants) { Accept::Protobuf } else { Accept::Json }
}
