//! What the end-to-end tests share: clusters of `trine node` processes, other programs beside them, and HTTP to both.
//!
//! Everything listens on free loopback ports and keeps its files in a temporary directory. A [`Cluster`] or a
//! [`Program`] that is dropped ends its processes; while a test panics it first prints the end of their logs.
mod cluster;
mod compare;
mod http;
mod otlp;
mod otlp_json;
mod ports;
mod process;
mod protobuf;
pub(crate) mod remote;
mod until;

pub(crate) use cluster::Cluster;
pub(crate) use compare::assert_vectors_agree;
pub(crate) use http::Http;
pub(crate) use otlp::{Ids, Spans, spans_of};
pub(crate) use otlp_json::json_of;
pub(crate) use ports::free_tcp_ports;
pub(crate) use process::{Program, installed, output_of};
pub(crate) use protobuf::{LokiEntry, LokiPush, LokiStream, LokiTime};
pub(crate) use until::{now_ms, now_ns, until};

use std::path::PathBuf;

/// Test data that is shared between checkouts: `$TRINE_SHARED`, else `shared` beside the workspace.
pub(crate) fn shared(path: &str) -> PathBuf {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared"));
    let root = std::env::var_os("TRINE_SHARED").map_or_else(beside, PathBuf::from);
    let found = root.join(path);
    assert!(found.exists(), "{} does not exist; set TRINE_SHARED to the directory with the test data", found.display());
    found
}
