//! What this node says of itself: logs to the terminal, and, when asked to, its own metrics, logs and traces into the
//! cluster under the tenant [`TENANT`].
//!
//! The own ingest is capped, and never about itself: what it does is neither logged, counted nor traced.
mod capture;
mod logs;
pub(crate) mod metrics;
mod traces;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};
use trine_api::{Api, Backend};

use crate::config::{Config, TelemetryConfig};
use crate::error::Error;
use capture::{CaptureLayer, LogLine};

/// Tenant of the nodes' own telemetry.
pub(crate) const TENANT: &str = "trine";
/// Lines of own log that are kept a second; more are dropped and counted.
const LINES_A_SECOND: usize = 100;

/// Log lines of this process on their way into the cluster.
#[derive(Debug)]
pub(crate) struct Captured {
    lines: mpsc::Receiver<LogLine>,
}

/// Starts logging to the terminal, and captures what [`ingest`] will keep.
pub(crate) fn init(config: &TelemetryConfig) -> Result<Captured, Error> {
    let filter = EnvFilter::try_new(&config.log)
        .map_err(|e| Error::Config { key: "telemetry.log".into(), reason: format!(": {e}") })?;
    let terminal = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let terminal =
        if config.log_format == "json" { terminal.json().boxed() } else { terminal.with_ansi(false).boxed() };
    let (tx, lines) = mpsc::channel(4 * LINES_A_SECOND);
    let capture = config.ingest_own.then(|| CaptureLayer::new(tx));
    tracing_subscriber::registry()
        .with(terminal.with_filter(filter))
        .with(capture)
        .try_init()
        .map_err(|e| Error::Config { key: "telemetry.log".into(), reason: format!(": {e}") })?;
    Ok(Captured { lines })
}

/// Ingests this node's own telemetry until it is aborted.
pub(crate) async fn ingest(backend: Arc<dyn Backend>, api: Api, config: Config, mut own: Captured) {
    let node = config.node.name.clone();
    let interval = Duration::from_secs(config.telemetry.interval_s);
    let mut metric_ticks = tokio::time::interval(interval);
    let mut log_ticks = tokio::time::interval(Duration::from_secs(1));
    for ticks in [&mut metric_ticks, &mut log_ticks] {
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            _ = metric_ticks.tick() => {
                if backend.ready().is_err() {
                    metric_ticks.reset_after(Duration::from_millis(200));
                    continue;
                }
                let check = traces::SelfCheck::begin(&node);
                let families = check.step("collect metrics", || api.families());
                let metrics = metrics::parts(&*backend, &node, unix_ns() / 1_000_000, &families);
                let spans = check.finish(&*backend).await;
                write(&*backend, metrics).await;
                write(&*backend, spans).await;
            }
            _ = log_ticks.tick() => {
                if backend.ready().is_err() {
                    continue;
                }
                let mut lines = Vec::new();
                while lines.len() < LINES_A_SECOND
                    && let Ok(line) = own.lines.try_recv()
                {
                    lines.push(line);
                }
                write(&*backend, logs::parts(&*backend, &node, &lines)).await;
            }
        }
    }
}

async fn write(backend: &dyn Backend, parts: Vec<trine_api::ShardPart>) {
    // Lost own telemetry must not become telemetry: the node's health shows elsewhere.
    if !parts.is_empty() {
        drop(backend.write(parts).await);
    }
}

/// Wall clock in ns.
fn unix_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
