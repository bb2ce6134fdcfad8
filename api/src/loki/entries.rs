//! Log streams and entries of a request on their way into parts: checks, discovery of service and level, limits.
use std::collections::BTreeMap;

use trine_store::model::signal::key_hash;
use trine_store::model::{Labels, LabelsBuilder, Scope, Signal, Spreads, Value};

use super::level;
use crate::backend::ShardPart;
use crate::budget::Held;
use crate::config::ApiConfig;
use crate::error::ApiError;
use crate::parts::{RowsSplit, ShardOf, StreamKey};
use crate::prom::decode::expired_before_ms;
use crate::state::Api;
use crate::time::rfc3339_text;

/// Label that names the service; found among [`SERVICE_LABELS`] when it is not given.
const SERVICE_NAME: &str = "service_name";
/// Where the service's name is looked for, best first.
pub(super) const SERVICE_LABELS: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];
/// Reasons in the ledger; the others are spelled where they are found.
const INVALID_STREAM: &str = "invalid_stream";
const METADATA_TOO_LARGE: &str = "metadata_too_large";
/// Refusals that are spelled out; the others are only counted.
const TEXTS_MAX: usize = 20;

/// Bounds on streams and entries; bytes and counts as in [`ApiConfig`].
#[derive(Clone, Debug)]
pub(crate) struct EntryLimits {
    spreads: Spreads,
    now_ns: i64,
    newest_ns: i64,
    oldest_ns: i64,
    line_bytes: usize,
    labels: usize,
    name_bytes: usize,
    value_bytes: usize,
    metadata_entries: usize,
    metadata_bytes: usize,
}

impl EntryLimits {
    /// For what is received of a tenant now.
    pub(crate) fn of_tenant(api: &Api, tenant: &str) -> Self {
        let expired = expired_before_ms(api.config().retention_ms_of(tenant), api.now_ms());
        let oldest_ms = expired.max(api.backend().room_from_ms(Signal::Logs));
        let limits = Self::new(api.config(), api.now_ns(), api.backend().spreads());
        Self { oldest_ns: oldest_ms.saturating_mul(1_000_000), ..limits }
    }

    /// Those of most tenants. `spreads` says which slots entries go to.
    pub(crate) fn new(config: &ApiConfig, now_ns: i64, spreads: Spreads) -> Self {
        let ns = |ms: i64| ms.saturating_mul(1_000_000);
        Self {
            spreads,
            now_ns,
            newest_ns: now_ns.saturating_add(ns(config.future_ms_max)),
            oldest_ns: if config.retention_ms > 0 { now_ns.saturating_sub(ns(config.retention_ms)) } else { i64::MIN },
            line_bytes: config.line_bytes_max,
            labels: config.stream_labels_max,
            name_bytes: config.label_name_bytes_max,
            value_bytes: config.label_value_bytes_max,
            metadata_entries: config.structured_metadata_entries_max,
            metadata_bytes: config.structured_metadata_bytes_max,
        }
    }

    /// The newest of these entry times that is accepted and has no settled slot yet.
    pub(crate) fn unsettled(&self, times_ns: impl Iterator<Item = i64>) -> Option<i64> {
        let from = self.spreads.final_before_ns();
        times_ns.filter(|t| (from..=self.newest_ns).contains(t) && *t != 0).max()
    }

    /// Whether an entry with this metadata is refused.
    pub(crate) fn metadata_is_over(&self, metadata: &[(&str, &str)]) -> bool {
        metadata.len() > self.metadata_entries || bytes_of(metadata) > self.metadata_bytes
    }
}

/// A decoded request.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    pub(crate) parts: Vec<ShardPart>,
    /// Streams that the request named, good or bad.
    pub(crate) streams: u64,
    pub(crate) entries: u64,
    pub(crate) rejected: u64,
    /// The same by reason, as the ledger has them.
    pub(crate) rejected_by: BTreeMap<&'static str, u64>,
    /// Why, in Loki's words, at most [`TEXTS_MAX`].
    pub(crate) texts: Vec<String>,
    /// The newest entry whose slot is not settled as far as this node knows: there are no parts then, and the request is to be
    /// decoded again once it is.
    pub(crate) unsettled_ns: Option<i64>,
}

/// Takes streams and their entries one after the other.
pub(crate) struct Collector<'a> {
    tenant: &'a str,
    limits: &'a EntryLimits,
    split: RowsSplit<'a>,
    builder: LabelsBuilder,
    out: Entries,
    values: Vec<(String, Value)>,
}

/// A stream that was accepted.
#[derive(Debug)]
pub(crate) struct Stream {
    number: u32,
    hash: u64,
    labels: Labels,
    /// From the stream's own labels.
    level: Option<String>,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(tenant: &'a str, limits: &'a EntryLimits, shard_of: ShardOf<'a>, held: &'a mut Held) -> Self {
        Self {
            tenant,
            limits,
            split: RowsSplit::new(Signal::Logs, tenant, shard_of, limits.now_ns, held),
            builder: LabelsBuilder::default(),
            out: Entries::default(),
            values: Vec::new(),
        }
    }

    fn reject(&mut self, reason: &'static str, entries: u64, text: impl FnOnce() -> String) {
        self.out.rejected += entries;
        *self.out.rejected_by.entry(reason).or_default() += entries;
        if self.out.texts.len() < TEXTS_MAX {
            self.out.texts.push(text());
        }
    }

    /// Refuses a stream whose labels cannot be read, with its `entries` entries; the other streams are taken.
    pub(crate) fn unreadable_stream(&mut self, entries: u64, why: &str) {
        self.out.streams += 1;
        self.out.entries += entries;
        self.reject(INVALID_STREAM, entries, || format!("couldn't parse labels: {why}"));
    }

    /// Checks a stream with `entries` entries; `None` when it is refused with all of them.
    pub(crate) fn stream(&mut self, mut pairs: Vec<(String, String)>, entries: u64) -> Option<Stream> {
        let number = u32::try_from(self.out.streams).unwrap_or(u32::MAX);
        self.out.streams += 1;
        if pairs.iter().all(|(_, v)| v.is_empty()) {
            self.reject(INVALID_STREAM, entries, || "error at least one label pair is required per stream".to_owned());
            return None;
        }
        let given = pairs.iter().filter(|(n, _)| n != SERVICE_NAME).count();
        add_service_name(&mut pairs);
        self.builder.clear();
        for (name, value) in &pairs {
            self.builder.push(name, value);
        }
        let labels = match self.builder.build() {
            Ok(labels) => labels,
            Err(duplicate) => {
                let name = duplicate.name;
                self.reject(INVALID_STREAM, entries, || {
                    format!("stream '{}' has duplicate label name: '{name}'", show(&pairs))
                });
                return None;
            }
        };
        if let Some(text) = self.bad_labels(&labels, given) {
            self.reject(INVALID_STREAM, entries, || text);
            return None;
        }
        let hash = key_hash(self.tenant, labels.as_bytes());
        let level = labels.iter().find(|(n, _)| level::is_level_field(n)).map(|(_, v)| level::normalize(v).to_owned());
        Some(Stream { number, hash, labels, level })
    }

    fn bad_labels(&self, labels: &Labels, given: usize) -> Option<String> {
        let l = self.limits;
        if given > l.labels {
            return Some(format!("entry for stream '{labels}' has {given} label names; limit {}", l.labels));
        }
        labels.iter().find_map(|(name, value)| {
            if name.len() > l.name_bytes {
                Some(format!("stream '{labels}' has label name too long: '{name}'"))
            } else if value.len() > l.value_bytes {
                Some(format!("stream '{labels}' has label value too long: '{value}'"))
            } else {
                None
            }
        })
    }

    /// Adds an entry of `stream`. `time_ns` 0 means now. `severity` is OpenTelemetry's number, 0 if there is none.
    pub(crate) fn entry(
        &mut self,
        stream: &Stream,
        time_ns: i64,
        line: &str,
        metadata: &[(&str, &str)],
        severity: i32,
    ) {
        self.out.entries += 1;
        if let Some((reason, text)) = self.bad_entry(stream, time_ns, line, metadata) {
            self.reject(reason, 1, || text);
            return;
        }
        let slot = match self.limits.spreads.place(stream.hash, time_ns) {
            Ok(slot) => slot,
            Err(_) => {
                self.out.unsettled_ns = self.out.unsettled_ns.max(Some(time_ns));
                return;
            }
        };
        self.values.clear();
        let mut explicit = None;
        for (name, value) in metadata {
            if *name == level::DETECTED_LEVEL {
                explicit = Some(level::normalize(value).to_owned());
            } else if !value.is_empty() {
                self.values.push(((*name).to_owned(), Value::Str((*value).to_owned())));
            }
        }
        let level = explicit.unwrap_or_else(|| detect(stream, line, metadata, severity));
        self.values.push((level::DETECTED_LEVEL.to_owned(), Value::Str(level)));
        let key = StreamKey { number: stream.number, key: stream.labels.as_bytes(), hash: stream.hash };
        let attrs = self.values.iter().map(|(n, v)| (Scope::Record, n.as_str(), v));
        self.split.row(slot, key, time_ns, line.as_bytes(), attrs);
    }

    /// The reason for the ledger, and the text for the client.
    fn bad_entry(
        &self,
        stream: &Stream,
        time_ns: i64,
        line: &str,
        metadata: &[(&str, &str)],
    ) -> Option<(&'static str, String)> {
        let (l, labels) = (self.limits, &stream.labels);
        let metadata_bytes = bytes_of(metadata);
        let (reason, text) = if line.len() > l.line_bytes {
            (
                "line_too_long",
                format!(
                    "max entry size '{}' bytes exceeded for stream '{labels}' while adding an entry with length '{}' bytes",
                    l.line_bytes,
                    line.len()
                ),
            )
        } else if time_ns != 0 && time_ns < l.oldest_ns {
            (
                "too_old",
                format!(
                    "entry for stream '{labels}' has timestamp too old: {}, oldest acceptable timestamp is: {}",
                    rfc3339_text(time_ns),
                    rfc3339_text(l.oldest_ns)
                ),
            )
        } else if time_ns > l.newest_ns {
            let text = format!("entry for stream '{labels}' has timestamp too new: {}", rfc3339_text(time_ns));
            ("too_far_in_future", text)
        } else if metadata_bytes > l.metadata_bytes {
            (
                METADATA_TOO_LARGE,
                format!(
                    "stream '{labels}' has structured metadata too large: '{metadata_bytes}' bytes, limit: '{}' bytes. Please see `limits_config.max_structured_metadata_size` or contact your Loki administrator to increase it.",
                    l.metadata_bytes
                ),
            )
        } else if metadata.len() > l.metadata_entries {
            (
                METADATA_TOO_LARGE,
                format!(
                    "stream '{labels}' has too many structured metadata labels: '{}', limit: '{}'. Please see `limits_config.max_structured_metadata_entries_count` or contact your Loki administrator to increase it.",
                    metadata.len(),
                    l.metadata_entries
                ),
            )
        } else {
            return None;
        };
        Some((reason, text))
    }

    pub(crate) fn finish(mut self) -> Result<Entries, ApiError> {
        self.out.parts = self.split.finish()?;
        if self.out.unsettled_ns.is_some() {
            self.out.parts.clear();
        }
        Ok(self.out)
    }
}

fn bytes_of(metadata: &[(&str, &str)]) -> usize {
    metadata.iter().map(|(n, v)| n.len() + v.len()).sum()
}

/// The canonical labels of the stream that a push with these labels goes to; `Err` says what is wrong with them.
pub(crate) fn stream_labels(text: &str) -> Result<Labels, String> {
    let mut pairs = super::selector::parse_labels(text)?;
    if pairs.iter().all(|(_, v)| v.is_empty()) {
        return Err("at least one label pair is required per stream".to_owned());
    }
    add_service_name(&mut pairs);
    Labels::from_pairs(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))).map_err(|e| e.to_string())
}

fn add_service_name(pairs: &mut Vec<(String, String)>) {
    if pairs.iter().any(|(n, v)| n == SERVICE_NAME && !v.is_empty()) {
        return;
    }
    let found = SERVICE_LABELS.iter().find_map(|wanted| pairs.iter().find(|(n, v)| n == wanted && !v.is_empty()));
    let name = found.map_or_else(|| "unknown_service".to_owned(), |(_, v)| v.clone());
    pairs.retain(|(n, _)| n != SERVICE_NAME);
    pairs.push((SERVICE_NAME.to_owned(), name));
}

fn detect(stream: &Stream, line: &str, metadata: &[(&str, &str)], severity: i32) -> String {
    if let Some(level) = &stream.level {
        return level.clone();
    }
    if let Some((_, v)) = metadata.iter().find(|(n, v)| level::is_level_field(n) && !v.is_empty()) {
        return level::normalize(v).to_owned();
    }
    level::of_severity_number(severity).map_or_else(|| level::of_line(line), str::to_owned)
}

fn show(pairs: &[(String, String)]) -> String {
    let inner: Vec<String> = pairs.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
    format!("{{{}}}", inner.join(", "))
}
