//! P5: a cluster grows from one node to three while it is written to, and then does without the first.
use std::time::{Duration, Instant};

use super::check::{check_everything, no_misses, sound_answers};
use crate::client::Client;
use crate::cluster::{Cluster, Options};
use crate::error::Result;
use crate::fact::Run;
use crate::readers::Readers;
use crate::report::Report;
use crate::settings::Settings;
use crate::writers::{Ledger, Writers};

const PATIENCE: Duration = Duration::from_secs(30);
/// Acknowledged requests of every writer in each stage.
const REQUESTS: u64 = 20;

/// One node, then three; no write and no query fails. Then the first node is killed, and nothing is missing.
pub async fn grow(settings: Settings) -> Result<Report> {
    let mut report = Report::new("grow", settings);
    let mut cluster = Cluster::start(Options::nodes(1)).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("grow")));
    let first = Writers::start(&ledger, &client, &cluster.https(&[0]), &[]);
    let reading = Readers::start(&ledger, &client, &cluster.https(&[0]));
    first.progress(REQUESTS, PATIENCE).await?;
    let started = Instant::now();
    let joined = [cluster.join()?, cluster.join()?];
    for n in joined {
        cluster.wait_ready(n).await?;
    }
    report.note_ms("both ready after", started.elapsed());
    cluster.wait_replicated(3).await?;
    report.note_ms("three voters of every shard after", started.elapsed());
    first.progress(REQUESTS, PATIENCE).await?;
    let answers = reading.finish().await?;
    let seen = first.finish().await?;
    no_misses("P5 (no write fails while nodes join)", &seen)?;
    sound_answers("P5 (no query fails while nodes join)", &answers)?;
    report.note_ms("longest gap while growing", seen.longest_gap);
    report.note("queries while growing", answers.answered);
    check_everything(&cluster, &client, &ledger, &[0, 1, 2]).await?;

    let others = Writers::start(&ledger, &client, &cluster.https(&joined), &[]);
    others.progress(REQUESTS, PATIENCE).await?;
    cluster.kill(0)?;
    others.progress(REQUESTS, PATIENCE).await?;
    let seen = others.finish().await?;
    no_misses("no write fails when the first node is killed", &seen)?;
    report.note_ms("longest gap at the kill", seen.longest_gap);
    check_everything(&cluster, &client, &ledger, &joined).await?;
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}
