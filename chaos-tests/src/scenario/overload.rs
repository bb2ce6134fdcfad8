//! P6: many times the load that a small node can take ends in typed refusals, not in memory.
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;

use crate::client::{Client, Outcome, ReadError, TIMEOUT, chain};
use crate::cluster::{Cluster, Options};
use crate::error::{Error, Result};
use crate::fact::{Run, Signal};
use crate::oracle::Complaint;
use crate::report::Report;
use crate::settings::Settings;
use crate::writers::Ledger;

/// The node's whole budget, in the short and in the long form.
const MEMORY_SHORT: u64 = 256 << 20;
const MEMORY_LONG: u64 = 1 << 30;
/// Beside the budget: the program itself, its threads, and what an allocator keeps.
const ALLOWANCE_BYTES: u64 = 256 << 20;
/// Clients whose facts are numbered and checked.
const CLIENTS: usize = 12;
/// Clients that only weigh, for each 256 MiB of the budget: each keeps a request of this many bytes on its way, together more
/// than the node may hold.
const HEAVY_CLIENTS: u64 = 48;
const HEAVY_LINES: usize = 96;
const HEAVY_LINE_BYTES: usize = 16 << 10;
/// Samples or lines of a request, and spans: a search shows at most 100 of a trace, and a request is a trace.
const BATCH: u64 = 500;
const SPANS: u64 = 100;
const SHORT: Duration = Duration::from_secs(15);
const LONG: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
/// Parts of what was acknowledged that are read back and checked, of each signal.
const CHECKS: usize = 6;
const CHECK_FACTS: u64 = 2000;

/// Writes as fast as the clients can to one node of a small budget, and asks it something all the time.
pub async fn overload(settings: Settings) -> Result<Report> {
    let mut report = Report::new("overload", settings);
    let budget = settings.pick(MEMORY_SHORT, MEMORY_LONG);
    let options = Options::nodes(1).with(&["--memory-bytes", &budget.to_string()]);
    let mut cluster = Cluster::start(options).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("overload")));
    let at = cluster.http(0);
    let idle = cluster.resident_bytes(0).unwrap_or_default();
    let stop = Arc::new(AtomicBool::new(false));
    let mut pushing = JoinSet::new();
    for n in 0..CLIENTS {
        let signal = Signal::ALL[n % Signal::ALL.len()];
        pushing.spawn(push_until(stop.clone(), ledger.clone(), client.clone(), at, signal));
    }
    for n in 0..HEAVY_CLIENTS * (budget / MEMORY_SHORT) {
        let line = random_line(&mut settings.rng());
        pushing.spawn(weigh_until(stop.clone(), client.clone(), at, ledger.run.time_ms(0), n, line));
    }
    let asking = tokio::spawn(ask_until(stop.clone(), client.clone(), at));
    let peak = watch_memory(&mut cluster, settings.pick(SHORT, LONG)).await;
    stop.store(true, Ordering::Relaxed);
    let mut replies: BTreeMap<u16, u64> = BTreeMap::new();
    let mut odd = Vec::new();
    while let Some(one) = pushing.join_next().await {
        let one = one.map_err(|e| Error::Promise { promise: "the harness", evidence: e.to_string() })?;
        one.replies.into_iter().for_each(|(status, count)| *replies.entry(status).or_default() += count);
        odd.extend(one.odd);
    }
    let asked = asking.await.map_err(|e| Error::Promise { promise: "the harness", evidence: e.to_string() })?;
    let peak = peak?;
    cluster.check_alive(0)?;
    report.note("writes by status (0: no reply)", format!("{replies:?}"));
    report.note("memory budget / idle / peak", format!("{} / {} / {} MiB", budget >> 20, idle >> 20, peak >> 20));
    report.note("queries answered / refused", format!("{} / {}", asked.answered, asked.refused));
    report.note_ms("longest query", asked.longest);
    judge(budget, &replies, &odd, &asked, peak)?;
    check_parts(&cluster, &client, &ledger, settings).await?;
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}

/// What a pushing client got.
#[derive(Debug, Default)]
struct Pushed {
    replies: BTreeMap<u16, u64>,
    /// Replies that are neither success nor a typed refusal.
    odd: Vec<String>,
}

async fn push_until(
    stop: Arc<AtomicBool>,
    ledger: Arc<Ledger>,
    client: Client,
    at: SocketAddr,
    signal: Signal,
) -> Pushed {
    let mut pushed = Pushed::default();
    let count = if signal == Signal::Traces { SPANS } else { BATCH };
    while !stop.load(Ordering::Relaxed) {
        let (status, odd) = match ledger.write(&client, at, signal, count).await.1 {
            Outcome::Acknowledged => (200, None),
            Outcome::Failed { status: status @ (429 | 503), .. } => (status, None),
            Outcome::Failed { status, text } => (status, Some(format!("{signal:?}: {status} {text}"))),
            Outcome::Unknown { reason } => (0, Some(format!("{signal:?}: {reason}"))),
        };
        *pushed.replies.entry(status).or_default() += 1;
        pushed.odd.extend(odd);
    }
    pushed
}

fn random_line(rng: &mut StdRng) -> String {
    (0..HEAVY_LINE_BYTES).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect()
}

/// A push of [`HEAVY_LINES`] lines. Joined by hand: the client must not be what is slow.
fn heavy_body(who: u64, first_ns: i64, line: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(HEAVY_LINES * (line.len() + 32) + 128);
    body.extend_from_slice(
        format!(r#"{{"streams":[{{"stream":{{"app":"ballast","who":"{who}"}},"values":["#).as_bytes(),
    );
    for n in 0..HEAVY_LINES as i64 {
        let comma = if n == 0 { "" } else { "," };
        body.extend_from_slice(format!(r#"{comma}["{}",""#, first_ns + n).as_bytes());
        body.extend_from_slice(line.as_bytes());
        body.extend_from_slice(br#""]"#);
    }
    body.extend_from_slice(b"]}]}");
    body
}

async fn weigh_until(
    stop: Arc<AtomicBool>,
    client: Client,
    at: SocketAddr,
    time_ms: i64,
    who: u64,
    line: String,
) -> Pushed {
    let mut pushed = Pushed::default();
    for request in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let body = heavy_body(who, (time_ms + request) * 1_000_000, &line);
        let sent = client.http().post(format!("http://{at}/loki/api/v1/push")).timeout(TIMEOUT);
        let sent = sent.header("Content-Type", "application/json").body(body).send().await;
        let (status, odd) = match sent {
            Ok(reply) if reply.status().is_success() => (200, None),
            Ok(reply) => match reply.status().as_u16() {
                status @ (429 | 503) => (status, None),
                status => (status, Some(format!("ballast: {status} {}", reply.text().await.unwrap_or_default()))),
            },
            Err(error) => (0, Some(format!("ballast: {}", chain(&error)))),
        };
        *pushed.replies.entry(status).or_default() += 1;
        pushed.odd.extend(odd);
    }
    pushed
}

/// What an asking client got.
#[derive(Debug, Default)]
struct Asked {
    answered: u64,
    /// 429 or 503.
    refused: u64,
    odd: Vec<String>,
    longest: Duration,
}

/// Small questions, as a dashboard's: they must not wait behind the writes.
async fn ask_until(stop: Arc<AtomicBool>, client: Client, at: SocketAddr) -> Asked {
    let mut asked = Asked::default();
    let questions = [
        ("/api/v1/query", vec![("query", "count(chaos_fact{spread=\"1\"})".to_owned())]),
        ("/loki/api/v1/labels", Vec::new()),
        ("/api/traces/1234", Vec::new()),
    ];
    for (path, pairs) in questions.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let started = Instant::now();
        match client.get(at, path, pairs.clone()).await {
            // The trace is not there, and to say so is an answer.
            Ok(_) | Err(ReadError::Status { status: 404, .. }) => {
                asked.answered += 1;
                asked.longest = asked.longest.max(started.elapsed());
            }
            Err(ReadError::Status { status: 429 | 503, .. }) => asked.refused += 1,
            Err(error) => asked.odd.push(format!("{path} after {:?}: {error}", started.elapsed())),
        }
        tokio::time::sleep(LOOK).await;
    }
    asked
}

/// Peak of the resident memory over `length`.
async fn watch_memory(cluster: &mut Cluster, length: Duration) -> Result<u64> {
    let deadline = Instant::now() + length;
    let mut peak = 0;
    while Instant::now() < deadline {
        cluster.check_alive(0)?;
        peak = peak.max(cluster.resident_bytes(0).unwrap_or_default());
        tokio::time::sleep(LOOK).await;
    }
    Ok(peak)
}

fn judge(budget: u64, replies: &BTreeMap<u16, u64>, odd: &[String], asked: &Asked, peak: u64) -> Result<()> {
    let broken = |what: String| {
        let evidence = format!("{what} (writes by status {replies:?}, peak {} MiB)", peak >> 20);
        Err(Error::Promise { promise: "P6 (bounded)", evidence })
    };
    if peak > budget + ALLOWANCE_BYTES {
        return broken(format!("resident {} MiB of a budget of {} MiB", peak >> 20, budget >> 20));
    }
    if !odd.is_empty() {
        let kinds: BTreeSet<&str> = odd.iter().map(String::as_str).collect();
        let some: Vec<&&str> = kinds.iter().take(5).collect();
        return broken(format!("{} writes are neither acknowledged nor 429/503: {some:?}", odd.len()));
    }
    if !replies.contains_key(&200) {
        return broken("no write was acknowledged".into());
    }
    if !asked.odd.is_empty() || asked.answered == 0 {
        return broken(format!(
            "queries: {} answered, {} refused, {:?}",
            asked.answered,
            asked.refused,
            asked.odd.first()
        ));
    }
    Ok(())
}

/// Reads random parts of what was written.
async fn check_parts(cluster: &Cluster, client: &Client, ledger: &Ledger, settings: Settings) -> Result<()> {
    let mut rng = settings.rng();
    let mut complaints: Vec<Complaint> = Vec::new();
    for signal in Signal::ALL {
        let taken = ledger.run.taken(signal);
        for _ in 0..CHECKS {
            let first = rng.random_range(0..taken.saturating_sub(CHECK_FACTS).max(1));
            let numbers = first..taken.min(first + CHECK_FACTS);
            let answer = client.read(cluster.http(0), &ledger.run, signal, numbers.clone()).await;
            let answer = answer.map_err(|e| Error::Promise { promise: "P2", evidence: format!("{signal:?}: {e}") })?;
            complaints.extend(ledger.oracle().check(signal, numbers, &answer));
        }
    }
    if complaints.is_empty() { Ok(()) } else { Err(Error::Facts { node: cluster.name(0).into(), complaints }) }
}
