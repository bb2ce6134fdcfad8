//! P5: a node is stopped as an operator stops it; clients of the others notice nothing.
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;

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

/// SIGTERM to one node at a time, the one that leads most first; no write and no query through the others fails.
pub async fn planned_stop(settings: Settings) -> Result<Report> {
    let mut report = Report::new("planned_stop", settings);
    let mut cluster = Cluster::start(Options::nodes(3)).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("planned-stop")));
    let mut order = cluster.by_leaders().await?;
    order[1..].shuffle(&mut settings.rng());
    let mut gaps = Vec::new();
    for round in 0..settings.rounds {
        let leaving = order[round as usize % order.len()];
        let others = cluster.https(&cluster.others(leaving));
        let writing = Writers::start(&ledger, &client, &others, &[]);
        let reading = Readers::start(&ledger, &client, &others);
        writing.progress(REQUESTS, PATIENCE).await?;
        let started = Instant::now();
        cluster.stop(leaving).await?;
        let stopped = started.elapsed();
        writing.progress(REQUESTS, PATIENCE).await?;
        cluster.restart(leaving)?;
        cluster.wait_ready(leaving).await?;
        writing.progress(REQUESTS, PATIENCE).await?;
        let answers = reading.finish().await?;
        let seen = writing.finish().await?;
        no_misses("P5 (no write fails at a planned stop)", &seen)?;
        sound_answers("P5 (no query fails at a planned stop)", &answers)?;
        cluster.wait_caught_up(leaving).await?;
        check_everything(&cluster, &client, &ledger, &[0, 1, 2]).await?;
        gaps.push(seen.longest_gap);
        let (gap, stopped, name) = (seen.longest_gap.as_millis(), stopped.as_millis(), cluster.name(leaving));
        let ended = seen.gap_ended.map_or(0, |at| at.saturating_duration_since(started).as_millis());
        let label = format!("round {}, {name}", round + 1);
        report.note(
            label,
            format!("stopped after {stopped} ms, longest gap {gap} ms up to {ended} ms, {} queries", answers.answered),
        );
    }
    report.note_spread("longest gap of a round", &gaps);
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}
