//! One measurement: a load, sent to one target at rest, until it is at rest again with everything sealed.
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::load::Load;
use super::process::{cpu_seconds, peak_memory_bytes, rest_shares, wait_idle};
use super::queries::{Asked, QueryTime, ask};
use super::send::{Sent, send};
use super::target::{Kind, Target};
use crate::error::Error;

/// What was measured at one target.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    pub(super) target: String,
    pub(super) nodes: usize,
    pub(super) sent: Sent,
    /// Elections while the load ran. `None` where there are none to count.
    pub(super) elections: Option<u64>,
    /// CPU of the server processes; `None` when no process was given.
    pub(super) cpu: Option<Cpu>,
    /// Peak resident memory of each process.
    pub(super) peak_memory_bytes: Vec<u64>,
    /// What sealing the load added to the data directories, all replicas together.
    pub(super) rest_bytes: Option<u64>,
    /// False when a process was still busy at the end of the patience.
    pub(super) came_to_rest: bool,
    /// Series that were sent, for metrics.
    pub(super) series: Option<u64>,
    /// Answer times of queries, asked when everything was at rest.
    pub(super) queries: Vec<QueryTime>,
}

/// CPU seconds of all server processes since the first request.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Cpu {
    /// Until the last acknowledgement.
    pub(super) acknowledged_s: f64,
    /// Until everything was sealed and the processes idle.
    pub(super) sealed_s: f64,
}

impl Measured {
    pub(super) fn facts_per_second(&self) -> f64 {
        self.sent.facts as f64 / self.sent.seconds.max(1e-9)
    }

    pub(super) fn raw_bytes_per_second(&self) -> f64 {
        self.sent.raw_bytes as f64 / self.sent.seconds.max(1e-9)
    }

    /// CPU seconds for a million facts, until sealed and idle.
    pub(super) fn cpu_s_per_million(&self) -> Option<f64> {
        self.cpu.map(|c| c.sealed_s / (self.sent.facts as f64 / 1e6))
    }

    /// CPU seconds for 10^9 raw bytes, until sealed and idle.
    pub(super) fn cpu_s_per_gb(&self) -> Option<f64> {
        self.cpu.map(|c| c.sealed_s / (self.sent.raw_bytes as f64 / 1e9))
    }

    /// Sealed bytes of one replica for a fact.
    pub(super) fn rest_bytes_per_fact(&self) -> Option<f64> {
        self.rest_bytes.map(|b| b as f64 / self.nodes as f64 / self.sent.facts as f64)
    }

    /// Raw bytes for a sealed byte of one replica.
    pub(super) fn compression_ratio(&self) -> Option<f64> {
        self.rest_bytes.map(|b| self.sent.raw_bytes as f64 * self.nodes as f64 / b as f64)
    }

    /// Peak memory of one process for a series.
    pub(super) fn memory_bytes_per_series(&self) -> Option<f64> {
        let most = *self.peak_memory_bytes.iter().max()?;
        self.series.map(|series| most as f64 / series as f64)
    }

    /// Why this measurement must not be used.
    pub(super) fn flaw(&self) -> Option<String> {
        if self.sent.failed > 0 {
            let first = self.sent.failure.as_deref().unwrap_or("no reason given");
            return Some(format!(
                "{}: {} requests were refused, the first with {first}",
                self.target, self.sent.failed
            ));
        }
        if let Some(elections) = self.elections.filter(|e| *e > 0) {
            return Some(format!(
                "{}: {elections} elections during the load: the nodes are starved or the disk stalls; what was measured is not \
                 the steady state",
                self.target
            ));
        }
        if self.cpu.is_some() && !self.came_to_rest {
            return Some(format!(
                "{}: the servers did not become idle, so their CPU seconds are not complete",
                self.target
            ));
        }
        if let Some(empty) = self.queries.iter().find(|query| query.results == 0) {
            return Some(format!("{}: \"{}\" found nothing", self.target, empty.name));
        }
        None
    }
}

/// Runs `load` against `target`, then asks what is to be asked.
pub(super) async fn measure(
    client: &reqwest::Client,
    load: &Load,
    target: &Target,
    asked: Option<Asked>,
) -> Result<Measured, Error> {
    target.settle(client).await?;
    let pids = target.pids.as_slice();
    let watched = !pids.is_empty();
    let rest = if watched { rest_shares(pids).await? } else { Vec::new() };
    let terms_before = target.terms(client).await?;
    let rest_before = target.bytes_at_rest()?;
    let cpu_before = cpu_seconds(pids)?;
    let bar = progress(load, &target.name);
    let sent = send(load, &target.urls, &bar).await?;
    bar.finish_and_clear();
    let acknowledged_s = cpu_seconds(pids)? - cpu_before;
    let terms_after = target.terms(client).await?;
    if target.kind != Kind::Other {
        target.seal(client).await?;
    }
    let came_to_rest = if watched { wait_idle(pids, &rest).await? } else { true };
    let cpu = if watched { Some(Cpu { acknowledged_s, sealed_s: cpu_seconds(pids)? - cpu_before }) } else { None };
    let rest_after = target.bytes_at_rest()?;
    let peak_memory_bytes = peak_memory_bytes(pids)?;
    let queries = match asked {
        Some(asked) => ask(client, target, asked).await?,
        None => Vec::new(),
    };
    Ok(Measured {
        target: target.name.clone(),
        nodes: target.data_dirs.len().max(1),
        sent,
        elections: terms_before.zip(terms_after).map(|(before, after)| after.saturating_sub(before)),
        cpu,
        peak_memory_bytes,
        rest_bytes: rest_before.zip(rest_after).map(|(before, after)| after.saturating_sub(before)),
        came_to_rest,
        series: load.series,
        queries,
    })
}

fn progress(load: &Load, name: &str) -> ProgressBar {
    let bar = ProgressBar::new(load.facts()).with_message(format!("{} to {name}", load.signal.facts()));
    let template = "{msg} {wide_bar} {human_pos} of {human_len}  {per_sec}  {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
