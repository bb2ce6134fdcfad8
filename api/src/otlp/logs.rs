//! Log records of an OTLP request in Loki's model: some resource attributes are labels, all else structured metadata.
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use super::value::text_of;
use crate::budget::Held;
use crate::error::ApiError;
use crate::loki::entries::{Collector, Entries, EntryLimits, Stream};
use crate::parts::ShardOf;

/// Resource attributes that become stream labels.
const INDEXED: [&str; 18] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
    "container.name",
    "k8s.replicaset.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.cronjob.name",
    "k8s.job.name",
];

/// Turns a request into parts and refusals.
pub(crate) fn decode(
    tenant: &str,
    request: ExportLogsServiceRequest,
    limits: &EntryLimits,
    shard_of: ShardOf<'_>,
    held: &mut Held,
) -> Result<Entries, ApiError> {
    let mut collector = Collector::new(tenant, limits, shard_of, held);
    for resource_logs in request.resource_logs {
        let entries: u64 = resource_logs.scope_logs.iter().map(|s| s.log_records.len() as u64).sum();
        if entries == 0 {
            continue;
        }
        let (mut labels, mut shared) = (Vec::new(), Vec::new());
        for kv in resource_logs.resource.unwrap_or_default().attributes {
            let indexed = INDEXED.contains(&kv.key.as_str());
            flatten(kv, "", if indexed { &mut labels } else { &mut shared });
        }
        labels.sort();
        labels.dedup_by(|later, first| later.0 == first.0);
        if labels.iter().all(|(_, v)| v.is_empty()) {
            labels = vec![("service_name".to_owned(), "unknown_service".to_owned())];
        }
        let Some(stream) = collector.stream(labels, entries) else { continue };
        for scope_logs in resource_logs.scope_logs {
            let mut common = shared.clone();
            push_scope(scope_logs.scope.unwrap_or_default(), &mut common);
            let common = Common::new(&common, limits);
            for record in scope_logs.log_records {
                add_record(&mut collector, &stream, record, &common);
            }
        }
    }
    collector.finish()
}

/// Loki's name of an attribute: anything but letters, digits and `_` is `_`, runs are one, a digit in front gets `key_`.
fn sanitize(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        let c = if c.is_ascii_alphanumeric() { c } else { '_' };
        if c != '_' || !out.ends_with('_') {
            out.push(c);
        }
    }
    if out.starts_with(|c: char| c.is_ascii_digit()) { format!("key_{out}") } else { out }
}

fn flatten(kv: KeyValue, prefix: &str, out: &mut Vec<(String, String)>) {
    let name = if prefix.is_empty() { sanitize(&kv.key) } else { format!("{prefix}_{}", sanitize(&kv.key)) };
    let Some(value) = kv.value else { return };
    match value.value {
        Some(Any::KvlistValue(map)) => {
            for inner in map.values {
                flatten(inner, &name, out);
            }
        }
        _ => out.push((name, text_of(&value))),
    }
}

fn push_scope(scope: InstrumentationScope, out: &mut Vec<(String, String)>) {
    for kv in scope.attributes {
        flatten(kv, "", out);
    }
    push_text("scope_name", scope.name, out);
    push_text("scope_version", scope.version, out);
    push_count("scope_dropped_attributes_count", scope.dropped_attributes_count, out);
}

fn push_text(name: &str, text: String, out: &mut Vec<(String, String)>) {
    if !text.is_empty() {
        out.push((name.to_owned(), text));
    }
}

fn push_count(name: &str, count: u32, out: &mut Vec<(String, String)>) {
    if count != 0 {
        out.push((name.to_owned(), count.to_string()));
    }
}

/// Metadata that all records of a scope share.
struct Common<'a> {
    pairs: Vec<(&'a str, &'a str)>,
    /// By itself more than a record may have: what a record adds does not matter any more.
    over: bool,
}

impl<'a> Common<'a> {
    fn new(metadata: &'a [(String, String)], limits: &EntryLimits) -> Self {
        let pairs = unique(metadata.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let over = limits.metadata_is_over(&pairs);
        Self { pairs, over }
    }
}

/// One value a name, the last: what comes first (the resource's) would otherwise become a second column.
fn unique<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(&'a str, &'a str)> {
    let mut out: Vec<(&str, &str)> = Vec::new();
    let mut positions: HashMap<&str, usize> = HashMap::new();
    for (name, value) in pairs {
        match positions.entry(name) {
            Entry::Occupied(at) => out[*at.get()].1 = value,
            Entry::Vacant(slot) => {
                slot.insert(out.len());
                out.push((name, value));
            }
        }
    }
    out
}

fn add_record(collector: &mut Collector<'_>, stream: &Stream, record: LogRecord, common: &Common<'_>) {
    let mut metadata = Vec::new();
    for kv in record.attributes {
        if record.event_name.is_empty() || kv.key != "event_name" {
            flatten(kv, "", &mut metadata);
        }
    }
    let (time, observed) = (record.time_unix_nano, record.observed_time_unix_nano);
    if time != 0 && observed != 0 {
        metadata.push(("observed_timestamp".to_owned(), observed.to_string()));
    }
    push_count("severity_number", record.severity_number.max(0).unsigned_abs(), &mut metadata);
    push_text("severity_text", record.severity_text, &mut metadata);
    push_count("dropped_attributes_count", record.dropped_attributes_count, &mut metadata);
    push_count("flags", record.flags, &mut metadata);
    push_text("trace_id", hex::encode(record.trace_id), &mut metadata);
    push_text("span_id", hex::encode(record.span_id), &mut metadata);
    push_text("event_name", record.event_name, &mut metadata);
    let own = metadata.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let merged = if common.over { Vec::new() } else { unique(common.pairs.iter().copied().chain(own)) };
    let metadata = if common.over { &common.pairs } else { &merged };
    let line = record.body.as_ref().map(text_of).unwrap_or_default();
    let time_ns = entry_time_ns(time, observed);
    collector.entry(stream, time_ns, &line, metadata, record.severity_number);
}

fn entry_time_ns(time: u64, observed: u64) -> i64 {
    i64::try_from(if time != 0 { time } else { observed }).unwrap_or(i64::MAX)
}

/// Times of a request's entries, in ns; 0 for those that the server gives one.
pub(crate) fn times_ns(request: &ExportLogsServiceRequest) -> impl Iterator<Item = i64> {
    let scopes = request.resource_logs.iter().flat_map(|r| &r.scope_logs);
    scopes.flat_map(|s| &s.log_records).map(|r| entry_time_ns(r.time_unix_nano, r.observed_time_unix_nano))
}

#[cfg(test)]
mod tests {
    use trine_store::model::{Labels, Slot, Spreads};
    use trine_store::part::{PartRef, RowsBody};

    use super::*;
    use crate::config::ApiConfig;
    use crate::otlp::json_logs;

    #[test]
    fn records_in_lokis_model() {
        let json = r#"{"resourceLogs":[{"resource":{"attributes":[
            {"key":"service.name","value":{"stringValue":"shop"}},{"key":"host.id","value":{"intValue":"7"}}]},
            "scopeLogs":[{"scope":{"name":"lib"},"logRecords":[
              {"timeUnixNano":"5","observedTimeUnixNano":"6","severityNumber":17,"severityText":"ERROR","body":{"kvlistValue":{"values":[{"key":"a","value":{"intValue":1}}]}},
               "attributes":[{"key":"http","value":{"kvlistValue":{"values":[{"key":"status.code","value":{"intValue":"200"}}]}}}],
               "traceId":"5bc8fbbcbde5c0994164d8399f767c45"},
              {"body":{"stringValue":"no time"}}]}]}]}"#;
        let limits = EntryLimits::new(&ApiConfig::default(), 1_000, Spreads::none());
        let entries = decode(
            "t",
            json_logs::decode(json.as_bytes()).unwrap(),
            &limits,
            &|_: Slot| 0,
            &mut crate::budget::Budget::new(64 << 20).take(0).unwrap(),
        )
        .unwrap();
        assert_eq!((entries.rejected, entries.parts.len()), (0, 1));
        let part = PartRef::decode(&entries.parts[0].part).unwrap();
        assert_eq!(Labels::decode(part.defs[0].key).unwrap().to_string(), r#"{service_name="shop"}"#);
        assert_eq!(part.assigned_ns, 1_000);
        let mut body = RowsBody::new(part.body, 1).unwrap();
        let row = body.next_row().unwrap().unwrap();
        assert_eq!((row.time_ns, row.body), (5, &br#"{"a":1}"#[..]));
        let names: Vec<String> = body.shapes[row.shape as usize].iter().map(|c| c.key.clone()).collect();
        assert_eq!(
            names,
            [
                "host_id",
                "scope_name",
                "http_status_code",
                "observed_timestamp",
                "severity_number",
                "severity_text",
                "trace_id",
                "detected_level"
            ]
        );
        assert_eq!(sanitize("1a..b-c"), "key_1a_b_c");
    }

    #[test]
    fn attributes_of_a_resource_beyond_the_limit_refuse_each_record() {
        let attribute = |i: usize| format!(r#"{{"key":"k{}","value":{{"stringValue":"v"}}}}"#, i % 4000);
        let attributes: Vec<String> = (0..5000).map(attribute).collect();
        let json = format!(
            r#"{{"resourceLogs":[{{"resource":{{"attributes":[{}]}},"scopeLogs":[{{"logRecords":[{}]}}]}}]}}"#,
            attributes.join(","),
            vec!["{}"; 2000].join(",")
        );
        let limits = EntryLimits::new(&ApiConfig::default(), 1, Spreads::none());
        let mut held = crate::budget::Budget::new(64 << 20).take(0).unwrap();
        let request = json_logs::decode(json.as_bytes()).unwrap();
        let entries = decode("t", request, &limits, &|_: Slot| 0, &mut held).unwrap();
        assert_eq!((entries.entries, entries.rejected, entries.parts.len()), (2000, 2000, 0));
        assert!(entries.texts[0].contains("structured metadata labels: '4000', limit: '128'"), "{}", entries.texts[0]);
    }
}
