//! P1: one of three nodes loses its disk, and the others give it everything again.
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

/// Kills a node, wipes it, starts it again empty under its name, waits until every shard has three voters that agree, and
/// then does without another node: what was acknowledged before the loss is there.
pub async fn lose_disk(settings: Settings) -> Result<Report> {
    let mut report = Report::new("lose_disk", settings);
    let mut cluster = Cluster::start(Options::nodes(3)).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("lose-disk")));
    let lost = settings.rng().random_range(0..cluster.len());
    let present = cluster.others(lost);
    let writing = Writers::start(&ledger, &client, &cluster.https(&present), &[]);
    writing.progress(REQUESTS, PATIENCE).await?;
    cluster.admin(present[0]).flush().await?;
    writing.progress(REQUESTS, PATIENCE).await?;
    cluster.kill(lost)?;
    cluster.wipe(lost)?;
    writing.progress(REQUESTS, PATIENCE).await?;
    let started = Instant::now();
    cluster.restart(lost)?;
    cluster.wait_ready(lost).await?;
    let seen = writing.finish().await?;
    no_misses("no write fails while one node of three loses its disk", &seen)?;
    let name = cluster.name(lost).to_owned();
    cluster
        .wait_shards("three living voters of every shard", |shards| crate::admin::living_voters(shards, &name, 3))
        .await?;
    report.note_ms("three voters again after", started.elapsed());
    check_everything(&cluster, &client, &ledger, &[0, 1, 2]).await?;

    cluster.kill(present[0])?;
    let rest = [lost, present[1]];
    let writing = Writers::start(&ledger, &client, &cluster.https(&rest), &[]);
    writing.progress(REQUESTS, PATIENCE).await?;
    no_misses("a majority with the new disk takes writes", &writing.finish().await?)?;
    check_everything(&cluster, &client, &ledger, &rest).await?;
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}
