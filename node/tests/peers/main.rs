//! End-to-end tests of the binary with programs that are not ours: Debian's Prometheus, its node exporter and promtool,
//! OpenTelemetry's Python SDK, and recorded or published data sent as their agents send it.
//!
//! Each test starts three nodes, writes through node 1, and asks every node.
mod grafana_first_contact;
mod ha_pairs;
#[path = "../common/harness.rs"]
mod harness;
mod loghub_push;
mod otel_sdk_traces;
mod prometheus_reads;
mod prometheus_remote_write;
mod promtool;
mod shop_jsonl;
