//! Hostile bodies of all three export requests: an error or an empty answer, never a panic.
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message;
use trine_store::codec::put_bytes;
use trine_store::model::{Slot, Spreads};

use super::{json_logs, json_metrics, json_trace, logs, metrics, trace, weigh};
use crate::budget::Budget;
use crate::config::ApiConfig;
use crate::loki::entries::EntryLimits;
use crate::otlp::Deltas;
use crate::otlp::metrics::Rules;
use crate::prom::decode::WriteLimits;

fn all_protobuf(bytes: &[u8]) -> usize {
    let shard_of = |_: Slot| 0;
    let mut held = Budget::new(64 << 20).take(0).unwrap();
    let mut decoded = usize::from(weigh::protobuf_bytes(bytes).is_ok());
    if let Ok(request) = ExportTraceServiceRequest::decode(bytes) {
        decoded += usize::from(trace::decode("t", request, 16, &shard_of, &mut held).is_ok());
    }
    if let Ok(request) = ExportLogsServiceRequest::decode(bytes) {
        let limits = EntryLimits::new(&ApiConfig::default(), 1, Spreads::none());
        decoded += usize::from(logs::decode("t", request, &limits, &shard_of, &mut held).is_ok());
    }
    if let Ok(request) = ExportMetricsServiceRequest::decode(bytes) {
        let config =
            ApiConfig { future_ms_max: i64::MAX, retention_ms: 1, series_bytes_max: 100, ..ApiConfig::default() };
        let limits = WriteLimits::of(&config, 1);
        let rules = Rules { config: &config.otlp, deltas: &Deltas::default() };
        decoded += metrics::decode("t", &request, &limits, &rules, &shard_of, &mut held).map_or(0, |p| p.parts.len());
    }
    decoded
}

/// A resource attribute whose value is `depth` arrays, one in the other.
fn nested(depth: usize) -> Vec<u8> {
    let wrap = |tag: u8, inner: &[u8]| {
        let mut out = vec![tag];
        put_bytes(&mut out, inner);
        out
    };
    let mut value = vec![0x18, 1];
    for _ in 0..depth {
        value = wrap(0x2a, &wrap(0x0a, &value));
    }
    let attribute = [wrap(0x0a, b"k"), wrap(0x12, &value)].concat();
    wrap(0x0a, &wrap(0x0a, &wrap(0x0a, &attribute)))
}

#[test]
fn deep_nesting_is_refused_or_flattened() {
    assert!(all_protobuf(&nested(30)) > 0);
    assert!(ExportTraceServiceRequest::decode(nested(5000).as_slice()).is_err());
    let deep = format!(r#"{{"resourceSpans":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    assert!(json_trace::decode(deep.as_bytes()).is_err());
}

#[test]
fn a_retry_gives_the_same_parts() {
    let json = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
        {"traceId":"5bc8fbbcbde5c0994164d8399f767c45","spanId":"a62332553fc1ea36","startTimeUnixNano":"10"},
        {"traceId":"6bc8fbbcbde5c0994164d8399f767c45","spanId":"a62332553fc1ea36","startTimeUnixNano":"10"}]}]}]}"#;
    let parts = || {
        let request = json_trace::decode(json.as_bytes()).unwrap();
        let parts = trace::decode(
            "t",
            request,
            2048,
            &|s: Slot| u32::from(s.0) % 7,
            &mut Budget::new(1 << 20).take(0).unwrap(),
        )
        .unwrap();
        parts.into_iter().map(|p| (p.shard, p.part)).collect::<Vec<_>>()
    };
    assert_eq!(parts(), parts());
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        let _unchecked = all_protobuf(&bytes);
        let _unchecked = json_trace::decode(&bytes).is_ok();
    }

    #[test]
    fn json_of_the_wrong_shape_never_panics(
        list in "resourceSpans|resourceLogs|resourceMetrics",
        inner in r#"(\{"(scopeSpans|scopeLogs|scopeMetrics|resource)":\[?(\{\}|1|"x"|null)\]?\}|5|null)"#,
    ) {
        let body = format!(r#"{{"{list}":[{inner}]}}"#);
        let _unchecked = json_trace::decode(body.as_bytes()).is_ok();
        let _unchecked = json_logs::decode(body.as_bytes()).is_ok();
        let _unchecked = json_metrics::decode(body.as_bytes()).is_ok();
    }
}
