//! `trine bench`: how much a server takes, what that costs it, and what it keeps.
//!
//! Requests are generated from a seed and encoded before the clock starts ([`load`]); each connection sends its own in order
//! ([`send`]); only acknowledged facts count. CPU time is read until the servers have sealed everything and are idle again,
//! so that no work is hidden behind the acknowledgement ([`mod@measure`]).
mod lines;
mod load;
mod local;
mod logs;
mod measure;
mod metrics;
mod process;
mod queries;
mod report;
mod send;
mod series;
mod target;
mod traces;
mod wire;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indicatif::ProgressBar;

use self::load::{Load, Signal};
use self::local::Local;
use self::measure::{Measured, measure};
use self::queries::Asked;
use self::report::{LoadSize, Machine, Report};
use self::target::{Target, endpoint, recognise};
use super::out;
use crate::cli::{BenchFlags, BenchSignal, BenchTarget};
use crate::error::{Error, io};
use crate::stop::Stop;

pub(crate) fn run(flags: &BenchFlags) -> Result<(), Error> {
    check(flags)?;
    let load = generate(flags)?;
    // One thread: what the generator takes is what the servers on this machine cannot have.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io("start the runtime"))?;
    // Outlives everything that is started: removed when the run is over, however it ends.
    let scratch = Scratch::new(flags.target().data_dir.clone())?;
    let report = runtime.block_on(async {
        let mut stop = Stop::by_signals()?;
        tokio::select! {
            report = bench(flags, &load, &scratch.path) => report,
            () = stop.asked() => Err(Error::Bench("interrupted".into())),
        }
    });
    drop((runtime, scratch));
    let report = report?;
    if flags.target().json {
        out::line(serde_json::to_string_pretty(&report).map_err(|e| Error::Bench(e.to_string()))?)?;
    } else {
        out::print(report.table())?;
    }
    let flaws: Vec<String> = report.runs.iter().filter_map(Measured::flaw).collect();
    if flaws.is_empty() { Ok(()) } else { Err(Error::Bench(flaws.join("; "))) }
}

fn check(flags: &BenchFlags) -> Result<(), Error> {
    let target = flags.target();
    let bad = |text: &str| Err(Error::Bench(text.to_owned()));
    if target.local.iter().any(|n| ![1, 3].contains(n)) {
        return bad("--local takes 1 or 3");
    }
    let peers = [&target.prometheus, &target.victoria_metrics];
    if target.url.is_empty() && target.local.is_empty() && peers.iter().all(|peer| peer.is_none()) {
        return bad("say what to measure: --url, --local, --prometheus or --victoria-metrics");
    }
    if peers.iter().any(|peer| peer.is_some()) && !matches!(flags.signal, BenchSignal::Metrics(_)) {
        return bad("--prometheus and --victoria-metrics take metrics only");
    }
    if target.connections == 0 {
        return bad("--connections is at least 1");
    }
    Ok(())
}

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_nanos()).ok()).unwrap_or(0)
}

fn generate(flags: &BenchFlags) -> Result<Load, Error> {
    let t = flags.target();
    let spinner = ProgressBar::new_spinner().with_message("encoding requests");
    spinner.enable_steady_tick(Duration::from_millis(100));
    let (seed, connections) = (t.seed, t.connections);
    let end_ns = t.end_ms.map_or_else(now_ns, |ms| ms.saturating_mul(1_000_000));
    let span_ns = i64::try_from(t.span_s).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    let load = match &flags.signal {
        BenchSignal::Metrics(m) => metrics::generate(&metrics::MetricsShape {
            seed,
            connections,
            hosts: m.hosts.max(1),
            series: m.series.max(1),
            interval_ms: i64::from(m.interval_s.max(1)) * 1000,
            samples: m.samples,
            samples_per_request: m.samples_per_request.max(1),
            // The last scrape of the slowest host is not in the future.
            end_ms: end_ns / 1_000_000 - 2 * i64::from(m.interval_s.max(1)) * 1000,
        }),
        BenchSignal::Logs(l) => logs::generate(&logs::LogsShape {
            seed,
            connections,
            lines: l.lines,
            streams: l.streams.max(1),
            request_bytes: l.request_bytes.max(1),
            span_ns,
            end_ns,
        }),
        BenchSignal::Traces(s) => traces::generate(&traces::TracesShape {
            seed,
            connections,
            spans: s.spans,
            spans_per_request: s.spans_per_request.max(1),
            span_ns,
            end_ns,
        }),
    };
    spinner.finish_and_clear();
    load
}

async fn bench(flags: &BenchFlags, load: &Load, dir: &Path) -> Result<Report, Error> {
    let t = flags.target();
    let client =
        reqwest::Client::builder().no_proxy().build().map_err(|e| Error::Bench(format!("make a client: {e}")))?;
    let asked = asked(flags, load);
    let mut runs = Vec::new();
    if !t.url.is_empty() {
        let target = given(&client, load.signal, t).await?;
        runs.push(measure(&client, load, &target, asked).await?);
    }
    for run in 0..t.repeat.max(1) {
        // A server at a time: each has the machine for itself.
        for &nodes in &t.local {
            let at = dir.join(format!("trine-{nodes}-{run}"));
            let (local, target) = Local::trine(&at, nodes, load.signal, &t.set).await?;
            runs.push(measure_local(&client, load, local, &target, asked).await?);
        }
        if let Some(program) = &t.prometheus {
            let (local, target) = Local::prometheus(&dir.join(format!("prometheus-{run}")), program).await?;
            runs.push(measure_local(&client, load, local, &target, asked).await?);
        }
        if let Some(program) = &t.victoria_metrics {
            let at = dir.join(format!("victoria-metrics-{run}"));
            let (local, target) = Local::victoria_metrics(&at, program).await?;
            runs.push(measure_local(&client, load, local, &target, asked).await?);
        }
    }
    Ok(Report {
        signal: load.signal,
        command: std::env::args().skip(1).fold("trine".to_owned(), |all, arg| format!("{all} {arg}")),
        version: env!("CARGO_PKG_VERSION"),
        debug_build: cfg!(debug_assertions),
        machine: Machine::this(),
        load: LoadSize::of(load),
        runs,
    })
}

/// What to ask of the targets, if anything.
fn asked(flags: &BenchFlags, load: &Load) -> Option<Asked> {
    let BenchSignal::Metrics(m) = &flags.signal else { return None };
    let (first_ms, last_ms) = load.times_ms?;
    (m.queries > 0).then_some(Asked { end_ms: last_ms, span_ms: last_ms - first_ms, repeat: m.queries })
}

async fn measure_local(
    client: &reqwest::Client,
    load: &Load,
    local: Local,
    target: &Target,
    asked: Option<Asked>,
) -> Result<Measured, Error> {
    let measured = measure(client, load, target, asked).await;
    local.stop().await;
    let mut measured = measured?;
    if target.kind == target::Kind::VictoriaMetrics {
        // It keeps its newest parts in memory and writes them when it ends.
        measured.rest_bytes = target.bytes_at_rest()?;
    }
    Ok(measured)
}

/// The server that the URLs name.
async fn given(client: &reqwest::Client, signal: Signal, flags: &BenchTarget) -> Result<Target, Error> {
    let ends: Vec<(String, String)> = flags.url.iter().map(|u| endpoint(u, signal.path())).collect::<Result<_, _>>()?;
    let (bases, urls): (Vec<String>, Vec<String>) = ends.into_iter().unzip();
    let kind = match bases.first() {
        Some(base) => recognise(client, base).await,
        None => target::Kind::Other,
    };
    Ok(Target {
        name: bases.join(" "),
        kind,
        bases,
        urls,
        pids: flags.pid.clone(),
        data_dirs: flags.server_data_dir.clone(),
    })
}

/// Where servers that the bench starts keep their data; removed when dropped, unless it was named.
struct Scratch {
    path: PathBuf,
    remove: bool,
}

impl Scratch {
    fn new(named: Option<PathBuf>) -> Result<Self, Error> {
        let remove = named.is_none();
        let path = named.unwrap_or_else(|| std::env::temp_dir().join(format!("trine-bench-{}", std::process::id())));
        std::fs::create_dir_all(&path).map_err(io(format!("create {}", path.display())))?;
        Ok(Self { path, remove })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.remove {
            return;
        }
        // Servers that were killed may write a last file while the directory is being emptied.
        let mut removed = std::fs::remove_dir_all(&self.path);
        for _ in 0..REMOVE_RETRIES {
            if !self.path.exists() {
                return;
            }
            std::thread::sleep(REMOVE_PAUSE);
            removed = std::fs::remove_dir_all(&self.path);
        }
        if let Err(error) = removed {
            eprintln!("{} stays behind: {error}", self.path.display());
        }
    }
}

/// How often and in what rhythm the removal of started servers' data is tried again.
const REMOVE_RETRIES: u32 = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_directory_of_its_own_is_removed() {
        let named = tempfile::tempdir().unwrap();
        drop(Scratch::new(Some(named.path().to_owned())).unwrap());
        assert!(named.path().exists());
        let own = Scratch::new(None).unwrap();
        let path = own.path.clone();
        std::fs::write(path.join("f"), "x").unwrap();
        drop(own);
        assert!(!path.exists());
    }
}
