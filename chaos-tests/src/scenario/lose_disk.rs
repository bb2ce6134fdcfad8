//! P1: one of three nodes loses its disk, and nothing is lost with it.
use std::time::{Duration, Instant};

use rand::Rng;

use super::check::{check_everything, no_misses};
use crate::client::Client;
use crate::cluster::{Cluster, Options};
use crate::error::Result;
use crate::fact::Run;
use crate::report::Report;
use crate::settings::Settings;
use crate::writers::{Ledger, Writers};

const PATIENCE: Duration = Duration::from_secs(30);
/// Acknowledged requests of every writer in each stage.
const REQUESTS: u64 = 15;

/// Kills a node, wipes it, and starts it again empty under its name: it takes its own place, is given all its replicas anew
/// under constant writes, and the cluster has three nodes and three voters of each shard again. Then another node is killed,
/// so that what was acknowledged must be on the new disk.
pub async fn lose_disk(settings: Settings) -> Result<Report> {
    let mut report = Report::new("lose_disk", settings);
    let mut cluster = Cluster::start(Options::nodes(3)).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("lose-disk")));
    let lost = settings.rng().random_range(0..cluster.len());
    let present = cluster.others(lost);
    let writing = Writers::start(&ledger, &client, &cluster.https(&present), &[]);
    writing.progress(REQUESTS, PATIENCE).await?;
    // Beside the writers on purpose: what is written while a shard seals belongs to its next block.
    cluster.admin(present[0]).flush().await?;
    writing.progress(REQUESTS, PATIENCE).await?;
    cluster.kill(lost)?;
    cluster.wipe(lost)?;
    writing.progress(REQUESTS, PATIENCE).await?;
    let started = Instant::now();
    cluster.restart(lost)?;
    cluster.wait_ready(lost).await?;
    report.note_ms("the empty node is ready after", started.elapsed());
    cluster.wait_healed(present[0], 3).await?;
    report.note_ms("the cluster is whole again after", started.elapsed());
    let seen = writing.finish().await?;
    no_misses("no write fails while one node of three loses its disk", &seen)?;
    report.note_ms("longest gap", seen.longest_gap);
    let started = Instant::now();
    check_everything(&cluster, &client, &ledger, &[0, 1, 2]).await?;
    report.note_ms("everything read through every node in", started.elapsed());
    cluster.kill(present[0])?;
    check_everything(&cluster, &client, &ledger, &[lost, present[1]]).await?;
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}
