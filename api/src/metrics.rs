//! Counters of the surfaces and the text of `/metrics`. Names are listed in `docs/metrics.md`.
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use trine_query::memory::QueryMemory;
use trine_store::shard::PartOutcome;

use crate::number::push_float;

/// Kind of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
}

/// One sample of a family: label pairs and a value.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSample {
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}

/// One family with its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricFamily {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: MetricKind,
    pub samples: Vec<MetricSample>,
}

/// Adds families to `/metrics`; called at each scrape, so it must be quick.
pub trait MetricsSource: Send + Sync + 'static {
    fn families(&self) -> Vec<MetricFamily>;
}

#[derive(Clone, Copy, Debug, Default)]
struct RequestCount {
    requests: u64,
    seconds: f64,
}

/// Counters of this crate.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    requests: Mutex<BTreeMap<(&'static str, u16), RequestCount>>,
    rejected: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    body_bytes: AtomicU64,
    accepted: AtomicU64,
    repeated: AtomicU64,
    conflicts: AtomicU64,
    demoted: AtomicU64,
}

impl Registry {
    /// One finished request.
    pub(crate) fn count_request(&self, operation: &'static str, status: u16, took: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let count = requests.entry((operation, status)).or_default();
        count.requests += 1;
        count.seconds += took.as_secs_f64();
    }

    /// Facts that were dropped before the shards saw them.
    pub(crate) fn count_rejected(&self, signal: &'static str, reason: &'static str, facts: u64) {
        if facts > 0 {
            let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
            *rejected.entry((signal, reason)).or_default() += facts;
        }
    }

    pub(crate) fn count_body(&self, bytes: usize) {
        self.body_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Outcomes of parts, each with whether its series have lost labels.
    pub(crate) fn count_outcomes<'o>(&self, outcomes: impl Iterator<Item = (bool, &'o PartOutcome)>) {
        for (demoted, o) in outcomes {
            self.accepted.fetch_add(u64::from(o.accepted), Ordering::Relaxed);
            self.repeated.fetch_add(u64::from(o.repeated), Ordering::Relaxed);
            let conflicts = if demoted { &self.demoted } else { &self.conflicts };
            conflicts.fetch_add(u64::from(o.conflicts_count), Ordering::Relaxed);
        }
    }

    /// This crate's families; `inflight_bytes` is what the budget holds now.
    pub(crate) fn families(&self, inflight_bytes: usize, queries: &QueryMemory) -> Vec<MetricFamily> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let by_request = |value: fn(&RequestCount) -> f64| {
            requests
                .iter()
                .map(|((operation, code), count)| MetricSample {
                    labels: vec![("operation", (*operation).to_owned()), ("code", code.to_string())],
                    value: value(count),
                })
                .collect::<Vec<_>>()
        };
        let plain = |value: f64| vec![MetricSample { labels: Vec::new(), value }];
        let facts = [
            ("accepted", &self.accepted),
            ("repeated", &self.repeated),
            ("conflict", &self.conflicts),
            ("demoted_conflict", &self.demoted),
        ];
        let family = |name, help, kind, samples| MetricFamily { name, help, kind, samples };
        vec![
            family(
                "trine_api_requests_total",
                "Requests by operation and status.",
                MetricKind::Counter,
                by_request(|c| c.requests as f64),
            ),
            family(
                "trine_api_request_seconds_total",
                "Time spent on requests.",
                MetricKind::Counter,
                by_request(|c| c.seconds),
            ),
            family(
                "trine_api_body_bytes_total",
                "Bytes of request bodies as they came.",
                MetricKind::Counter,
                plain(self.body_bytes.load(Ordering::Relaxed) as f64),
            ),
            family(
                "trine_api_inflight_bytes",
                "Bytes of request bodies in flight, encoded and decoded.",
                MetricKind::Gauge,
                plain(inflight_bytes as f64),
            ),
            family(
                "trine_api_query_bytes",
                "Bytes that running queries hold of their share of the budget.",
                MetricKind::Gauge,
                plain(queries.held_bytes() as f64),
            ),
            family(
                "trine_api_query_bytes_max",
                "Bytes that running queries may hold together.",
                MetricKind::Gauge,
                plain(queries.bytes_max() as f64),
            ),
            family(
                "trine_api_query_refusals_total",
                "Times that a query did not get memory that it needed.",
                MetricKind::Counter,
                plain(queries.refused_count() as f64),
            ),
            family(
                "trine_api_facts_total",
                "Samples, lines and spans by what the shards did with them.",
                MetricKind::Counter,
                facts
                    .into_iter()
                    .map(|(outcome, n)| MetricSample {
                        labels: vec![("outcome", outcome.to_owned())],
                        value: n.load(Ordering::Relaxed) as f64,
                    })
                    .collect(),
            ),
            family(
                "trine_api_rejected_facts_total",
                "Samples, lines and spans refused before the shards saw them.",
                MetricKind::Counter,
                rejected
                    .iter()
                    .map(|((signal, reason), n)| MetricSample {
                        labels: vec![("signal", (*signal).to_owned()), ("reason", (*reason).to_owned())],
                        value: *n as f64,
                    })
                    .collect(),
            ),
        ]
    }
}

/// Families in the text format 0.0.4.
pub(crate) fn render(families: &[MetricFamily]) -> String {
    let mut out = String::new();
    for f in families {
        let kind = match f.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        let written = writeln!(out, "# HELP {} {}\n# TYPE {} {kind}", f.name, f.help, f.name);
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
        for s in &f.samples {
            out.push_str(f.name);
            push_labels(&mut out, &s.labels);
            out.push(' ');
            push_float(&mut out, s.value);
            out.push('\n');
        }
    }
    out
}

fn push_labels(out: &mut String, labels: &[(&'static str, String)]) {
    if labels.is_empty() {
        return;
    }
    for (i, (name, value)) in labels.iter().enumerate() {
        let value = value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
        let written = write!(out, "{}{name}=\"{value}\"", if i == 0 { '{' } else { ',' });
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_format() {
        let r = Registry::default();
        r.count_request("push", 204, Duration::from_millis(500));
        r.count_rejected("logs", "line_too_long", 2);
        let text = render(&r.families(1024, &QueryMemory::unbounded()));
        assert!(text.contains(
            "# TYPE trine_api_requests_total counter\ntrine_api_requests_total{operation=\"push\",code=\"204\"} 1\n"
        ));
        assert!(text.contains("trine_api_rejected_facts_total{signal=\"logs\",reason=\"line_too_long\"} 2\n"));
        assert!(text.contains("trine_api_inflight_bytes 1024\n"));
    }
}
