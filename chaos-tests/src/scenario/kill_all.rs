//! P1: every process dies at once, and nothing that was acknowledged is lost.
use std::time::{Duration, Instant};

use rand::Rng;

use super::check::{check_everything, retry_misses};
use crate::client::Client;
use crate::cluster::{Cluster, Options};
use crate::error::Result;
use crate::fact::Run;
use crate::report::Report;
use crate::settings::Settings;
use crate::writers::{Ledger, Writers};

const PATIENCE: Duration = Duration::from_secs(30);
/// Acknowledged requests of every writer before the kill, at least; up to as many more by the seed.
const REQUESTS: u64 = 15;

/// Kills all three nodes under writes, restarts them, and reads everything; then repeats what was unclear, which must not
/// double anything (P3).
pub async fn kill_all(settings: Settings) -> Result<Report> {
    let mut report = Report::new("kill_all", settings);
    let mut cluster = Cluster::start(Options::nodes(3)).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("kill-all")));
    let mut rng = settings.rng();
    let all = [0, 1, 2];
    for round in 1..=settings.rounds {
        let writers = Writers::start(&ledger, &client, &cluster.https(&all), &[]);
        writers.progress(REQUESTS + rng.random_range(0..REQUESTS), PATIENCE).await?;
        writers.stop_soon();
        cluster.kill_all()?;
        let seen = writers.finish().await?;
        let started = Instant::now();
        for n in all {
            cluster.restart(n)?;
        }
        for n in all {
            cluster.wait_ready(n).await?;
        }
        let ready = started.elapsed();
        cluster.wait_replicated(all.len()).await?;
        check_everything(&cluster, &client, &ledger, &all).await?;
        retry_misses(&cluster, &client, &ledger, &all, &seen).await?;
        check_everything(&cluster, &client, &ledger, &all).await?;
        let unclear = seen.misses.len();
        report.note(format!("round {round}: all ready after"), format!("{} ms, {unclear} unclear", ready.as_millis()));
    }
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}
