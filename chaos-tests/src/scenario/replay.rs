//! P6 over a restart: whatever a killed node has in its log, it comes back within its budget, answers from the beginning, and
//! serves what is ready while the rest is applied again.
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;

use super::check::check_everything;
use crate::client::{Client, ReadError, TIMEOUT};
use crate::cluster::{Cluster, Options};
use crate::error::{Error, Result};
use crate::fact::{Run, Signal};
use crate::report::Report;
use crate::settings::Settings;
use crate::wait;
use crate::writers::{Ledger, Writers};

/// The node's whole budget, in the short and in the long form.
const MEMORY_SHORT: u64 = 256 << 20;
const MEMORY_LONG: u64 = 1 << 30;
/// Bytes of lines that are written before the node is killed, in the short and in the long form.
const WRITTEN_SHORT: u64 = 512 << 20;
const WRITTEN_LONG: u64 = 10 << 30;
/// How long that may take, and the node until it is ready again.
const PATIENCE_SHORT: Duration = Duration::from_secs(300);
const PATIENCE_LONG: Duration = Duration::from_secs(3600);
/// Of a restarted node until it answers at all.
const FIRST_ANSWER_PATIENCE: Duration = Duration::from_secs(10);
const CLIENTS: u64 = 6;
/// A request: lines that compress well, so that small heads stand for much log.
const LINES: u64 = 250;
const LINE_BYTES: usize = 4 << 10;
const LOOK: Duration = Duration::from_millis(20);
/// Tenant of the lines: the clients' facts are counted apart from them.
const BALLAST: &str = "ballast";
/// A refused client's pause.
const PAUSE: Duration = Duration::from_millis(200);

/// Fills a node's log, kills it, and watches its memory and its answers until it is ready again.
pub async fn replay(settings: Settings) -> Result<Report> {
    let mut report = Report::new("replay", settings);
    let budget = settings.pick(MEMORY_SHORT, MEMORY_LONG);
    let patience = settings.pick(PATIENCE_SHORT, PATIENCE_LONG);
    let mut cluster = Cluster::start(Options::nodes(1).with(&["--memory-bytes", &budget.to_string()])).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("replay")));
    let idle = cluster.resident_bytes(0).unwrap_or_default();
    let writers = Writers::start(&ledger, &client, &cluster.https(&[0]), &[]);
    let ballast = Ballast::new(client.clone(), cluster.http(0), ledger.run.time_ms(0), &mut settings.rng());
    let started = Instant::now();
    ballast.write(settings.pick(WRITTEN_SHORT, WRITTEN_LONG), patience).await?;
    report.note_ms("wrote for", started.elapsed());
    let written = peak_of(&cluster)?;
    // In the midst of everything.
    cluster.kill(0)?;
    writers.finish().await?;

    cluster.restart(0)?;
    let seen = watch_replay(&mut cluster, &client, &ledger, patience).await?;
    let peak = peak_of(&cluster)?;
    report
        .note("written / in the log at the kill", format!("{} / {} MiB", ballast.bytes() >> 20, seen.log_bytes >> 20));
    report.note_ms("first answer after", seen.first_answer);
    report.note_ms("ready after", seen.ready);
    report.note("queries until then: complete / partial / refused", format!("{:?}", seen.queries));
    let memory = [budget, idle, written, peak].map(|bytes| bytes >> 20);
    let [budget_mib, idle_mib, written_mib, peak_mib] = memory;
    report.note("memory budget / idle / peak before / peak of the replay", {
        format!("{budget_mib} / {idle_mib} / {written_mib} / {peak_mib} MiB")
    });
    // The program itself, which a build for tests is a good part of, is beside the short form's small budget.
    let bound = settings.pick(budget + idle, budget);
    if peak > bound {
        let evidence = format!("the replay took {peak_mib} MiB of {} MiB", bound >> 20);
        return Err(Error::Promise { promise: "P6 (bounded)", evidence });
    }
    check_everything(&cluster, &client, &ledger, &[0]).await?;
    ballast.check().await?;
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}

fn peak_of(cluster: &Cluster) -> Result<u64> {
    let gone = || Error::Promise { promise: "the harness", evidence: "the node's peak memory is not told".into() };
    cluster.peak_resident_bytes(0).ok_or_else(gone)
}

/// What was seen of a replay.
#[derive(Debug, Default)]
struct Seen {
    first_answer: Duration,
    ready: Duration,
    log_bytes: u64,
    /// Complete, partial and said so, refused.
    queries: [u64; 3],
}

/// Asks and writes from the first answer on, until the node is ready.
async fn watch_replay(
    cluster: &mut Cluster,
    client: &Client,
    ledger: &Arc<Ledger>,
    patience: Duration,
) -> Result<Seen> {
    let started = Instant::now();
    let at = cluster.http(0);
    let healthy = format!("http://{at}/-/healthy");
    wait::until("an answer of the restarted node", FIRST_ANSWER_PATIENCE, || async {
        let reply = client.http().get(&healthy).timeout(TIMEOUT).send().await.map_err(|e| e.to_string())?;
        if reply.status().is_success() { Ok(()) } else { Err(reply.status().to_string()) }
    })
    .await?;
    let mut seen = Seen { first_answer: started.elapsed(), ..Seen::default() };
    let stop = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn(ask_until(stop.clone(), client.clone(), ledger.clone(), at));
    let writers = Writers::start(ledger, client, &[at], &[]);
    let admin = cluster.admin(0);
    let ready = loop {
        cluster.check_alive(0)?;
        match admin.ready().await {
            Ok(()) => break Ok(()),
            Err(why) if started.elapsed() > patience => break Err(why),
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    };
    seen.ready = started.elapsed();
    stop.store(true, Ordering::Relaxed);
    writers.finish().await?;
    let asked = asking.await.map_err(|e| Error::Promise { promise: "the harness", evidence: e.to_string() })?;
    ready.map_err(|last| Error::TimedOut { what: "the replay".into(), waited: patience, last })?;
    seen.queries = asked?;
    seen.log_bytes = metric(client, at, "trine_store_replay_bytes").await?;
    Ok(seen)
}

/// Reads the newest facts again and again. Whoever does not say that something is missing must have all that was acknowledged
/// before he was asked.
async fn ask_until(stop: Arc<AtomicBool>, client: Client, ledger: Arc<Ledger>, at: SocketAddr) -> Result<[u64; 3]> {
    const NEWEST: u64 = 400;
    let mut queries = [0; 3];
    for signal in Signal::ALL.into_iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let taken = ledger.run.taken(signal);
        let numbers = taken.saturating_sub(NEWEST)..taken;
        let known = ledger.oracle().clone();
        match client.read(at, &ledger.run, signal, numbers.clone()).await {
            Ok(answer) => {
                // Losses by what was known before, inventions by what is known now.
                let mut complaints = known.check(signal, numbers.clone(), &answer);
                let now = ledger.oracle().check(signal, numbers, &answer);
                complaints.retain(|complaint| now.contains(complaint));
                if !complaints.is_empty() {
                    return Err(Error::Facts { node: "the replaying node".into(), complaints });
                }
                queries[0] += 1;
            }
            Err(ReadError::Incomplete(_)) => queries[1] += 1,
            Err(ReadError::Status { status: 503, .. }) => queries[2] += 1,
            Err(error) => {
                let evidence = format!("{signal:?} during a replay: {error}");
                return Err(Error::Promise { promise: "P4 (partial and said so)", evidence });
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(queries)
}

async fn metric(client: &Client, at: SocketAddr, name: &str) -> Result<u64> {
    let url = format!("http://{at}/metrics");
    let trouble = |reason: String| Error::Request { url: url.clone(), reason };
    let reply = client.http().get(&url).timeout(TIMEOUT).send().await.map_err(|e| trouble(e.to_string()))?;
    let text = reply.text().await.map_err(|e| trouble(e.to_string()))?;
    let value = text.lines().find_map(|l| l.strip_prefix(name)?.trim().parse::<f64>().ok());
    value.map(|v| v as u64).ok_or_else(|| trouble(format!("there is no {name}")))
}

/// Lines that only weigh, and are counted.
struct Ballast {
    client: Client,
    at: SocketAddr,
    time_ms: i64,
    /// What all lines have in common.
    text: Arc<str>,
    requests: AtomicU64,
    acknowledged: AtomicU64,
}

impl Ballast {
    fn new(client: Client, at: SocketAddr, time_ms: i64, rng: &mut StdRng) -> Arc<Self> {
        let text: String = (0..LINE_BYTES).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect();
        let (requests, acknowledged) = Default::default();
        Arc::new(Self { client, at, time_ms, text: text.into(), requests, acknowledged })
    }

    /// Bytes of acknowledged lines.
    fn bytes(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed) * LINES * LINE_BYTES as u64
    }

    /// Writes until so many bytes are acknowledged.
    async fn write(self: &Arc<Self>, bytes: u64, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let mut clients = JoinSet::new();
        for who in 0..CLIENTS {
            let ballast = self.clone();
            clients.spawn(async move {
                while ballast.bytes() < bytes && Instant::now() < deadline {
                    if !ballast.push(who).await {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            });
        }
        clients.join_all().await;
        match self.bytes() {
            enough if enough >= bytes => Ok(()),
            less => {
                let last = format!("{} of {} MiB acknowledged", less >> 20, bytes >> 20);
                Err(Error::TimedOut { what: "writing".into(), waited: patience, last })
            }
        }
    }

    /// Whether a request with new lines was acknowledged.
    async fn push(&self, who: u64) -> bool {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        let first_ns = (self.time_ms + request as i64) * 1_000_000;
        let mut body = Vec::with_capacity(LINES as usize * (LINE_BYTES + 64) + 128);
        // Joined by hand: the client must not be what is slow. Many streams, so that every shard gets its part.
        let stream = request % 64;
        body.extend_from_slice(
            format!(r#"{{"streams":[{{"stream":{{"app":"ballast","who":"{who}-{stream}"}},"values":["#).as_bytes(),
        );
        for n in 0..LINES {
            let comma = if n == 0 { "" } else { "," };
            body.extend_from_slice(format!(r#"{comma}["{}","{request}-{n} "#, first_ns + n as i64).as_bytes());
            body.extend_from_slice(self.text.as_bytes());
            body.extend_from_slice(br#""]"#);
        }
        body.extend_from_slice(b"]}]}");
        let sent = self.client.http().post(format!("http://{}/loki/api/v1/push", self.at)).timeout(TIMEOUT);
        let sent = sent.header("Content-Type", "application/json").header("X-Scope-OrgID", BALLAST).body(body);
        let sent = sent.send().await;
        let acknowledged = sent.is_ok_and(|reply| reply.status().is_success());
        self.acknowledged.fetch_add(u64::from(acknowledged), Ordering::Relaxed);
        acknowledged
    }

    /// No fewer lines are counted than were acknowledged, and no more than were sent.
    async fn check(&self) -> Result<()> {
        let (sent, acknowledged) =
            (self.requests.load(Ordering::Relaxed) * LINES, self.acknowledged.load(Ordering::Relaxed) * LINES);
        let range_ms = self.requests.load(Ordering::Relaxed) + 1000;
        let query = format!("sum(count_over_time({{app=\"ballast\"}}[{range_ms}ms]))");
        let time = format!("{}000000", self.time_ms + range_ms as i64 - 1);
        let url = format!("http://{}/loki/api/v1/query", self.at);
        let asked = self.client.http().get(&url).timeout(TIMEOUT).header("X-Scope-OrgID", BALLAST);
        let trouble = |error: reqwest::Error| Error::Request { url: url.clone(), reason: error.to_string() };
        let reply = asked.query(&[("query", query), ("time", time)]).send().await.map_err(trouble)?;
        let reply: serde_json::Value = reply.json().await.map_err(trouble)?;
        let broken = |evidence: String| Error::Promise { promise: "P1 (nothing acknowledged is lost)", evidence };
        let counted = reply["data"]["result"][0]["value"][1].as_str().and_then(|n| n.parse::<u64>().ok());
        match counted {
            Some(counted) if (acknowledged..=sent).contains(&counted) => Ok(()),
            other => Err(broken(format!("{acknowledged} lines acknowledged, {sent} sent, {other:?} counted"))),
        }
    }
}
