//! The ledger has every fact that came, once, through repetitions, refusals, seals, kills and restarts; and says so when a
//! replica's books are false.
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use trine_store::shard::{read_manifest, write_manifest};

use super::check::check_everything;
use crate::audit::{self, Counted, TENANT};
use crate::client::{Client, Outcome, TIMEOUT};
use crate::cluster::{Cluster, Options};
use crate::error::{Error, Result, io};
use crate::fact::{Batch, Run, Signal};
use crate::report::Report;
use crate::settings::Settings;
use crate::wire::{TimeSeries, WriteRequest};
use crate::writers::Ledger;

const ALL: [usize; 3] = [0, 1, 2];
/// Requests of each signal, facts of each, and how many requests are sent twice.
const BATCHES: u64 = 10;
const FACTS: u64 = 8;
const TWICE: u64 = 3;
const DAY_MS: i64 = 24 * 3_600_000;

/// What the ledger must say of one signal.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    readable: u64,
    /// Facts sent again in requests of their own. A part that is the same all the same is recognised; of traces none is.
    alone: u64,
    in_blocks_min: u64,
}

/// Exact figures of everything that is sent, then books that are false on one node.
pub async fn ledger(settings: Settings) -> Result<Report> {
    let mut report = Report::new("ledger", settings);
    let mut cluster = Cluster::start(Options::nodes(3)).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("ledger")));

    let [firsts, seconds] = write_all(&cluster, &client, &ledger).await?;
    refused(&cluster, &client, &ledger).await?;
    // A fact in another request is another part: applied, and shadowed by the older one.
    alone(&cluster, &client, &ledger, &firsts).await?;
    check_intake(&cluster).await?;
    let mut expected = Expected { readable: BATCHES * FACTS, alone: 1, in_blocks_min: 0 };
    let first = check(&cluster, &ALL, expected).await?;

    cluster.admin(1).flush().await?;
    alone(&cluster, &client, &ledger, &seconds).await?;
    (expected.alone, expected.in_blocks_min) = (2, BATCHES * FACTS);
    let sealed = check(&cluster, &ALL, expected).await?;
    report.note("metrics as applied, then sealed", format!("{:?}, {:?}", first[0], sealed[0]));

    cluster.kill(0)?;
    same(&sealed, &check(&cluster, &[1, 2], expected).await?)?;
    cluster.restart(0)?;
    cluster.wait_ready(0).await?;
    cluster.kill_all()?;
    for n in ALL {
        cluster.restart(n)?;
    }
    for n in ALL {
        cluster.wait_ready(n).await?;
    }
    cluster.wait_replicated(ALL.len()).await?;
    same(&sealed, &check(&cluster, &ALL, expected).await?)?;
    check_everything(&cluster, &client, &ledger, &ALL).await?;
    command(&cluster, true)?;

    cluster.stop_all().await?;
    let falsified = falsify(cluster.data_dir(2))?;
    for n in ALL {
        cluster.restart(n)?;
    }
    for n in ALL {
        cluster.wait_ready(n).await?;
    }
    noticed(&cluster, &falsified).await?;
    report.note("books that were exchanged on one node", format!("shards {falsified:?}, noticed"));
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}

/// New facts through the nodes in turn, and some of them again through another node. The first facts of the
/// first and of the second batch of each signal.
async fn write_all(cluster: &Cluster, client: &Client, ledger: &Arc<Ledger>) -> Result<[Vec<Batch>; 2]> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for signal in Signal::ALL {
        for i in 0..BATCHES {
            let n = i as usize % ALL.len();
            let (batch, outcome) = ledger.write(client, cluster.http(n), signal, FACTS).await;
            acknowledged(&outcome)?;
            if i < TWICE {
                let again = ledger.write_again(client, cluster.http((n + 1) % ALL.len()), batch).await;
                acknowledged(&again)?;
            }
            match i {
                0 => first.push(Batch { count: 1, ..batch }),
                1 => second.push(Batch { count: 1, ..batch }),
                _ => {}
            }
        }
    }
    Ok([first, second])
}

fn acknowledged(outcome: &Outcome) -> Result<()> {
    match outcome {
        Outcome::Acknowledged => Ok(()),
        other => Err(Error::Promise { promise: "a sound cluster takes a write", evidence: format!("{other:?}") }),
    }
}

/// The first fact of a batch in a request of its own.
async fn alone(cluster: &Cluster, client: &Client, ledger: &Arc<Ledger>, batches: &[Batch]) -> Result<()> {
    for batch in batches {
        acknowledged(&ledger.write_again(client, cluster.http(2), *batch).await)?;
    }
    Ok(())
}

/// One fact of each signal that no shard may see.
async fn refused(cluster: &Cluster, client: &Client, ledger: &Arc<Ledger>) -> Result<()> {
    let future_ms = ledger.run.time_ms(0) + 30 * DAY_MS;
    let sample = TimeSeries::of(&[("__name__", "chaos_future")], 1.0, future_ms);
    let line = json!({"streams": [{"stream": {"app": "x"}, "values": [[format!("{future_ms}000000"), "l"]]}]});
    let span = json!({"traceId": "0102030405060708090a0b0c0d0e0f10", "spanId": "", "name": "x"});
    let spans = json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]});
    let requests = [
        ("/api/v1/write", "application/x-protobuf", WriteRequest { timeseries: vec![sample] }.to_body()),
        ("/loki/api/v1/push", "application/json", line.to_string().into_bytes()),
        ("/v1/traces", "application/json", spans.to_string().into_bytes()),
    ];
    for (path, content_type, body) in requests {
        let request = client.http().post(format!("http://{}{path}", cluster.http(0))).timeout(TIMEOUT).body(body);
        let reply = request.header("content-type", content_type).send().await;
        let status = reply.map_or(0, |reply| reply.status().as_u16());
        if status != 400 {
            let evidence = format!("{path} answered {status}");
            return Err(Error::Promise { promise: "a fact that is refused gets 400", evidence });
        }
    }
    Ok(())
}

fn wrong<T>(evidence: String) -> Result<T> {
    Err(Error::Promise { promise: "the ledger has every fact once", evidence })
}

/// What the surfaces of all nodes say, none of which was restarted so far.
async fn check_intake(cluster: &Cluster) -> Result<()> {
    let document = cluster.admin(1).ledger().await?;
    let sent = BATCHES * FACTS + TWICE * FACTS + 1;
    let reasons = [("metrics", "too_far_in_future"), ("logs", "too_far_in_future"), ("traces", "invalid")];
    for (signal, reason) in reasons {
        let rows = document["facts"].as_array().into_iter().flatten();
        let row = rows.into_iter().find(|r| r["tenant"] == TENANT && r["signal"] == signal);
        let row = row.cloned().unwrap_or(Value::Null);
        let figures = ["received", "acknowledged", "rejected", "unclear", "in_flight"].map(|f| row[f].as_u64());
        let right = [sent + 1, sent, 1, 0, 0].map(Some);
        if figures != right || row["rejected_by_reason"] != json!([{"reason": reason, "facts": 1}]) {
            return wrong(format!("{signal}: {figures:?} instead of {right:?}, one {reason}: {row}"));
        }
    }
    Ok(())
}

/// Counts everything on the nodes, and compares with the figures; those of the three signals.
async fn check(cluster: &Cluster, nodes: &[usize], expected: Expected) -> Result<Vec<Counted>> {
    let names: Vec<&str> = nodes.iter().map(|n| cluster.name(*n)).collect();
    let counted = audit::count(&cluster.admin(nodes[0]), &names).await?;
    if !counted.imbalances.is_empty() || (nodes.len() == ALL.len() && counted.balanced != Some(true)) {
        return wrong(format!("{counted:?}"));
    }
    let rows: Vec<Counted> = Signal::ALL.into_iter().map(|signal| counted.of(signal)).collect();
    for row in &rows {
        let Expected { readable, alone, in_blocks_min } = expected;
        let sent = readable + TWICE * FACTS + alone;
        // Nodes may repeat parts among themselves, which is recognised too.
        let sound = (row.readable, row.conflicting) == (readable, 0)
            && row.applied == row.readable + row.shadowed
            && row.applied + row.deduplicated >= sent
            && row.shadowed <= alone
            && (row.shadowed == alone || row.signal != "traces")
            && row.in_blocks >= in_blocks_min;
        if !sound {
            return wrong(format!("{row:?} instead of {expected:?}"));
        }
    }
    Ok(rows)
}

/// Nothing was sent in between: every figure is what it was.
fn same(before: &[Counted], after: &[Counted]) -> Result<()> {
    let figures = |rows: &[Counted]| -> Vec<[u64; 4]> {
        rows.iter().map(|r| [r.applied, r.deduplicated, r.readable, r.shadowed]).collect()
    };
    if figures(before) == figures(after) { Ok(()) } else { wrong(format!("{before:?}, then {after:?}")) }
}

/// Exchanges the books of two shards of a stopped node; which.
fn falsify(data_dir: &Path) -> Result<[u32; 2]> {
    let failed = |e: trine_store::shard::FileError| Error::Promise { promise: "the harness", evidence: e.to_string() };
    let shards = data_dir.join("shards");
    let mut manifests = Vec::new();
    for replica in std::fs::read_dir(&shards).map_err(io("list the replicas"))? {
        let dir = replica.map_err(io("list the replicas"))?.path();
        if let Some(manifest) = read_manifest(&dir).map_err(failed)? {
            manifests.push((dir, manifest));
        }
    }
    // Those of a shard with facts, and of another one whose are different.
    for i in 1..manifests.len() {
        let (before, after) = manifests.split_at_mut(i);
        let ((one_dir, one), (other_dir, other)) = (&mut before[i - 1], &mut after[0]);
        if one.ledger != other.ledger {
            std::mem::swap(&mut one.ledger, &mut other.ledger);
            write_manifest(one_dir, one).and_then(|()| write_manifest(other_dir, other)).map_err(failed)?;
            return Ok([one.shard, other.shard]);
        }
    }
    wrong("no two shards have different books".into())
}

/// The false books are named, with node and shard, and the command fails.
async fn noticed(cluster: &Cluster, shards: &[u32]) -> Result<()> {
    let names: Vec<&str> = ALL.iter().map(|n| cluster.name(*n)).collect();
    let counted = audit::count(&cluster.admin(0), &names).await?;
    let named = |shard: &u32| {
        counted.imbalances.iter().any(|i| i["shard"] == json!(shard) && i["node"] == json!(cluster.name(2)))
    };
    if counted.balanced != Some(false) || !shards.iter().all(named) {
        return wrong(format!("the books of shards {shards:?} are false, and it is said: {counted:?}"));
    }
    command(cluster, false)
}

/// `trine admin ledger --verify` succeeds or not, as it should.
fn command(cluster: &Cluster, balanced: bool) -> Result<()> {
    let url = format!("http://{}", cluster.http(1));
    let mut command = Command::new(crate::binary::path()?);
    let output =
        command.args(["admin", "--url", &url, "ledger", "--verify"]).output().map_err(io("run trine admin"))?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let code = if balanced { 0 } else { 1 };
    let text = if balanced { "the books balance" } else { "NOT BALANCED: shard" };
    if output.status.code() != Some(code) || !said.contains(text) {
        return wrong(format!("trine admin ledger --verify ended with {} and said: {said}", output.status));
    }
    Ok(())
}
