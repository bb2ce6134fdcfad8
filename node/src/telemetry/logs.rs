//! Own log lines as parts.
use std::collections::BTreeMap;

use trine_api::{Backend, ShardPart};
use trine_store::model::signal::{key_hash, slot_of_hash};
use trine_store::model::{Labels, Scope, Signal, Value};
use trine_store::part::RowsPartBuilder;

use super::TENANT;
use super::capture::LogLine;

/// One stream a node and level, as Loki's clients would push them.
pub(super) fn parts(backend: &dyn Backend, node: &str, lines: &[LogLine]) -> Vec<ShardPart> {
    let mut streams: BTreeMap<&'static str, Vec<&LogLine>> = BTreeMap::new();
    for line in lines {
        streams.entry(level(line)).or_default().push(line);
    }
    streams.into_iter().filter_map(|(level, lines)| part(backend, node, level, &lines)).collect()
}

fn level(line: &LogLine) -> &'static str {
    match line.level {
        tracing::Level::ERROR => "error",
        tracing::Level::WARN => "warn",
        tracing::Level::INFO => "info",
        tracing::Level::DEBUG => "debug",
        tracing::Level::TRACE => "trace",
    }
}

fn part(backend: &dyn Backend, node: &str, level: &str, lines: &[&LogLine]) -> Option<ShardPart> {
    let labels = [("service_name", "trine"), ("node", node), ("level", level)];
    let labels = Labels::from_pairs(labels).ok()?;
    let hash = key_hash(TENANT, labels.as_bytes());
    // Always the stream's own slot, spread or not: nobody sends these lines again through another node.
    let slot = slot_of_hash(hash);
    let mut builder = RowsPartBuilder::new(Signal::Logs, TENANT);
    let stream = builder.stream(hash, labels.as_bytes());
    let detected = Value::Str(level.to_owned());
    for line in lines {
        let target = Value::Str(line.target.to_owned());
        let attrs = [(Scope::Record, "detected_level", &detected), (Scope::Record, "target", &target)];
        builder.row(stream, line.time_ns, line.line.as_bytes(), attrs.into_iter());
    }
    Some(ShardPart { shard: backend.shard_of(slot), slot, part: builder.finish().into(), demoted: false })
}
