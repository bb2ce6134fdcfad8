//! Damage that the cluster must heal by itself, and pasts that must not come back.
use std::time::{Duration, Instant};

use rand::Rng;

use super::check::{check_everything, no_misses};
use crate::client::{Client, Outcome};
use crate::cluster::{Cluster, Options};
use crate::error::{Error, Result};
use crate::fact::{Run, Signal};
use crate::healing::{copy_tree, files, flip};
use crate::report::Report;
use crate::settings::Settings;
use crate::wait;
use crate::writers::{Ledger, Writers};

const PATIENCE: Duration = Duration::from_secs(60);
/// Acknowledged requests of every writer in each stage.
const REQUESTS: u64 = 15;

/// Flips bytes in the middle of a dead follower's log: what it hit is named, replaced by a new replica, and healed, while
/// writes go on and nothing is lost.
pub async fn corrupt_wal(settings: Settings) -> Result<Report> {
    let mut report = Report::new("corrupt_wal", settings);
    let mut cluster = Cluster::start(Options::nodes(3)).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("corrupt-wal")));
    let hurt = settings.rng().random_range(0..cluster.len());
    let present = cluster.others(hurt);
    let writing = Writers::start(&ledger, &client, &cluster.https(&present), &[]);
    writing.progress(2 * REQUESTS, PATIENCE).await?;
    cluster.kill(hurt)?;
    let segments = files(&cluster.data_dir(hurt).join("wal"), "wal-")?;
    let segment = segments.last().ok_or_else(|| missing("a segment of the log"))?;
    // Early enough that records of every stream follow, so that it cannot be taken for a torn end.
    flip(segment, 400, 200)?;
    writing.progress(REQUESTS, PATIENCE).await?;
    let started = Instant::now();
    cluster.restart(hurt)?;
    let healing = cluster.wait_healed(present[0], 3).await?;
    report.note_ms("healed after", started.elapsed());
    let name = cluster.name(hurt).to_owned();
    let healed = healing.records.iter().filter(|r| r.node == name && r.kind == "wal").count();
    if healed == 0 {
        return Err(promise("damage is named", format!("no damaged stream on {name}: {healing:?}")));
    }
    let seen = writing.finish().await?;
    no_misses("no write fails while a follower's log is damaged", &seen)?;
    check_everything(&cluster, &client, &ledger, &[0, 1, 2]).await?;
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}

/// Damages a dead node's metadata store: it comes back as a new node in its own place, with its old data in quarantine.
pub async fn corrupt_sled(settings: Settings) -> Result<Report> {
    let mut report = Report::new("corrupt_sled", settings);
    let mut cluster = Cluster::start(Options::nodes(3)).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("corrupt-sled")));
    let hurt = settings.rng().random_range(0..cluster.len());
    let present = cluster.others(hurt);
    let writing = Writers::start(&ledger, &client, &cluster.https(&present), &[]);
    writing.progress(REQUESTS, PATIENCE).await?;
    cluster.kill(hurt)?;
    let store = cluster.data_dir(hurt).join("meta").join("log").join("db");
    for part in [5, 200, 500, 900] {
        flip(&store, part, 100)?;
    }
    let started = Instant::now();
    cluster.restart(hurt)?;
    let healing = cluster.wait_healed(present[0], 3).await?;
    report.note_ms("healed after", started.elapsed());
    let of_metadata = healing.records.iter().find(|r| r.kind == "metadata" && r.node == cluster.name(hurt));
    let kept = of_metadata.and_then(|r| r.files.clone()).ok_or_else(|| missing("quarantined metadata"))?;
    if !cluster.data_dir(hurt).join("quarantine").join(kept).join("shards").is_dir() {
        return Err(missing("the old shards in quarantine"));
    }
    let seen = writing.finish().await?;
    no_misses("no write fails while a node loses its metadata", &seen)?;
    check_everything(&cluster, &client, &ledger, &[0, 1, 2]).await?;
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}

/// Wipes the node that founded the cluster and starts it first, alone, allowed to found one: it waits for the others, who
/// belong to the old one, and takes its own place in it.
pub async fn wiped_first_node(settings: Settings) -> Result<Report> {
    let mut report = Report::new("wiped_first_node", settings);
    let mut cluster = Cluster::start(Options::nodes(3)).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("wiped-first-node")));
    let writing = Writers::start(&ledger, &client, &cluster.https(&[0, 1, 2]), &[]);
    writing.progress(REQUESTS, PATIENCE).await?;
    drop(writing.finish().await?);
    let before = cluster.admin(0).cluster_id().await?;
    cluster.kill_all()?;
    cluster.wipe(0)?;
    cluster.set_argument(0, "--bootstrap-expect", "1");
    cluster.restart(0)?;
    wait::until("the first node waiting for its seeds", PATIENCE, || {
        let waits = cluster.log_lines(0, "not creating a cluster").is_ok_and(|n| n > 0);
        async move { if waits { Ok(()) } else { Err("nothing said".to_owned()) } }
    })
    .await?;
    cluster.restart(1)?;
    cluster.restart(2)?;
    cluster.wait_ready(1).await?;
    cluster.wait_ready(0).await?;
    cluster.wait_healed(1, 3).await?;
    for n in 0..3 {
        let id = cluster.admin(n).cluster_id().await?;
        if id != before {
            return Err(promise("there is one cluster", format!("{} says {id}, it was {before}", cluster.name(n))));
        }
    }
    check_everything(&cluster, &client, &ledger, &[0, 1, 2]).await?;
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}

/// Copies a node's data, wipes the node, lets it heal, and then puts the copy back: it is refused and ends by itself.
pub async fn old_replica_returns(settings: Settings) -> Result<Report> {
    let mut report = Report::new("old_replica_returns", settings);
    let mut cluster = Cluster::start(Options::nodes(3)).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("old-replica-returns")));
    let n = settings.rng().random_range(0..cluster.len());
    let present = cluster.others(n);
    let writing = Writers::start(&ledger, &client, &cluster.https(&present), &[]);
    writing.progress(REQUESTS, PATIENCE).await?;
    cluster.kill(n)?;
    let (data, past, present_data) =
        (cluster.data_dir(n).to_owned(), cluster.beside_data(n, "past"), cluster.beside_data(n, "present"));
    copy_tree(&data, &past)?;
    cluster.wipe(n)?;
    cluster.restart(n)?;
    cluster.wait_healed(present[0], 3).await?;
    writing.progress(REQUESTS, PATIENCE).await?;
    cluster.kill(n)?;
    let moved = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::rename(from, to).map_err(crate::error::io(format!("move {}", from.display())))
    };
    moved(&data, &present_data)?;
    moved(&past, &data)?;
    cluster.restart(n)?;
    cluster.wait_ended(n).await?;
    if cluster.log_lines(n, "was replaced by node")? == 0 {
        return Err(promise("a past is refused by name", "the log does not say why the node ended".into()));
    }
    std::fs::remove_dir_all(&data).map_err(crate::error::io("remove the past"))?;
    moved(&present_data, &data)?;
    cluster.restart(n)?;
    cluster.wait_healed(present[0], 3).await?;
    let seen = writing.finish().await?;
    no_misses("no write fails while a past comes back", &seen)?;
    check_everything(&cluster, &client, &ledger, &[0, 1, 2]).await?;
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}

/// Kills one of four nodes for good and has it removed: its replicas are made on the node that had none of them, and it is
/// refused when it comes back. A living node is not removed.
pub async fn remove_dead_node(settings: Settings) -> Result<Report> {
    let mut report = Report::new("remove_dead_node", settings);
    let mut cluster = Cluster::start(Options::nodes(3)).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("remove-dead-node")));
    let n = settings.rng().random_range(0..cluster.len());
    let present = cluster.others(n);
    let name = cluster.name(n).to_owned();
    let writing = Writers::start(&ledger, &client, &cluster.https(&present), &[]);
    writing.progress(REQUESTS, PATIENCE).await?;
    let admin = cluster.admin(present[0]);
    if admin.remove_node(&name).await.is_ok() {
        return Err(promise("a living node is not removed", name));
    }
    cluster.kill(n)?;
    wait::until("a refusal for want of nodes", PATIENCE, || {
        let (admin, name) = (admin.clone(), name.clone());
        async move {
            match admin.remove_node(&name).await {
                Err(e) if e.to_string().contains("no other living node") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        }
    })
    .await?;
    let fourth = cluster.join()?;
    cluster.wait_ready(fourth).await?;
    let started = Instant::now();
    wait::until("the removal accepted", PATIENCE, || {
        let (admin, name) = (admin.clone(), name.clone());
        async move { admin.remove_node(&name).await.map_err(|e| e.to_string()) }
    })
    .await?;
    cluster.wait_healed(present[0], 3).await?;
    report.note_ms("whole without it after", started.elapsed());
    cluster.restart(n)?;
    cluster.wait_ended(n).await?;
    if cluster.log_lines(n, "was removed from the cluster")? == 0 {
        return Err(promise("a removed node is refused by name", "the log does not say why it ended".into()));
    }
    let seen = writing.finish().await?;
    no_misses("no write fails while a dead node is removed", &seen)?;
    check_everything(&cluster, &client, &ledger, &[present[0], present[1], fourth]).await?;
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}

/// Takes away the files of shards that have one replica only: they stay closed and say so, instead of beginning empty, and
/// are whole again once their files are back.
pub async fn only_replica_lost(settings: Settings) -> Result<Report> {
    /// A request of spans is a trace, and a search shows at most 100 of one.
    const FACTS: u64 = 100;
    let mut report = Report::new("only_replica_lost", settings);
    let mut cluster = Cluster::start(Options::nodes(1)).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("only-replica-lost")));
    for signal in Signal::ALL {
        ledger.write(&client, cluster.http(0), signal, FACTS).await;
    }
    cluster.admin(0).flush().await?;
    cluster.kill(0)?;
    let (shards, away) = (cluster.data_dir(0).join("shards"), cluster.beside_data(0, "away"));
    let moved = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::rename(from, to).map_err(crate::error::io(format!("move {}", from.display())))
    };
    moved(&shards, &away)?;
    cluster.restart(0)?;
    cluster.wait_ready(0).await?;
    let admin = cluster.admin(0);
    let healing = wait::until("a record of every lost shard", PATIENCE, || {
        let admin = admin.clone();
        async move {
            let healing = admin.healing().await.map_err(|e| e.to_string())?;
            let failed = healing.records.iter().filter(|r| r.state == "failed").count();
            if failed == 16 { Ok(healing) } else { Err(format!("{failed} failed")) }
        }
    })
    .await?;
    if let Some(odd) = healing.records.iter().find(|r| r.reason != "directory_missing") {
        return Err(promise("the loss is named", format!("{odd:?}")));
    }
    for signal in Signal::ALL {
        let (_, outcome) = ledger.write(&client, cluster.http(0), signal, 1).await;
        if !matches!(&outcome, Outcome::Failed { status: 503, text } if text.contains("is damaged")) {
            return Err(promise("a write to a lost shard is refused by name", format!("{signal:?}: {outcome:?}")));
        }
        let read = client.read(cluster.http(0), &ledger.run, signal, 0..FACTS).await;
        // A trace search answers with what there is, and tells of missing shards in its progress.
        if let Ok(answer) = read
            && signal != Signal::Traces
        {
            return Err(promise("a query names missing shards", format!("{signal:?}: {answer:?}")));
        }
    }
    cluster.kill(0)?;
    moved(&away, &shards)?;
    cluster.restart(0)?;
    cluster.wait_ready(0).await?;
    cluster.wait_healed(0, 1).await?;
    check_everything(&cluster, &client, &ledger, &[0]).await?;
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}

fn missing(what: &str) -> Error {
    promise("what is damaged is found and kept", format!("{what} is not there"))
}

fn promise(promise: &'static str, evidence: String) -> Error {
    Error::Promise { promise, evidence }
}
