//! One of three nodes is killed while all write: nobody at the other two may notice more than a pause.
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;

use super::check::{check_everything, honest_answers, no_misses, retries_succeeded};
use crate::client::Client;
use crate::cluster::{Cluster, Options};
use crate::error::Result;
use crate::fact::Run;
use crate::readers::Readers;
use crate::report::Report;
use crate::settings::Settings;
use crate::writers::{Ledger, Writers};

/// A write may take as long as a client waits, and then one more has to succeed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Acknowledged requests of every writer before the kill, and again after it.
const REQUESTS: u64 = 20;

/// P1, P2, P3 with one node killed at a time. The first to go leads most shards; then each in turn.
pub async fn kill_one(settings: Settings) -> Result<Report> {
    let mut report = Report::new("kill_one", settings);
    let mut cluster = Cluster::start(Options::nodes(3)).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("kill-one")));
    let mut order = cluster.by_leaders().await?;
    order[1..].shuffle(&mut settings.rng());
    let (mut gaps, mut backs) = (Vec::new(), Vec::new());
    for round in 0..settings.rounds {
        let victim = order[round as usize % order.len()];
        let seen = round_of(&mut cluster, &client, &ledger, victim).await?;
        let name = cluster.name(victim);
        report.note(format!("round {}, {name}: longest gap / back after", round + 1), seen.text);
        gaps.push(seen.gap);
        backs.push(seen.back);
    }
    report.note_spread("longest gap of a round", &gaps);
    report.note_spread("back after", &backs);
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}

/// What a round measured.
struct Seen {
    gap: Duration,
    back: Duration,
    text: String,
}

async fn round_of(
    cluster: &mut Cluster,
    client: &Client,
    ledger: &std::sync::Arc<Ledger>,
    victim: usize,
) -> Result<Seen> {
    let survivors = cluster.https(&cluster.others(victim));
    let steady = Writers::start(ledger, client, &survivors, &[]);
    let reading = Readers::start(ledger, client, &survivors);
    let victims = Writers::start(ledger, client, &[cluster.http(victim)], &survivors);
    steady.progress(REQUESTS, PATIENCE).await?;
    victims.progress(REQUESTS, PATIENCE).await?;
    cluster.kill(victim)?;
    steady.progress(REQUESTS, PATIENCE).await?;
    let unlucky = victims.finish().await?;
    retries_succeeded("P3 (a retry through another node succeeds)", &unlucky)?;
    let started = Instant::now();
    cluster.restart(victim)?;
    cluster.wait_ready(victim).await?;
    steady.progress(REQUESTS, PATIENCE).await?;
    let answers = reading.finish().await?;
    let seen = steady.finish().await?;
    cluster.wait_caught_up(victim).await?;
    let back = started.elapsed();
    no_misses("no write fails while one node of three is killed", &seen)?;
    honest_answers("P4 (an answer that misses a shard says so)", &answers)?;
    let all: Vec<usize> = (0..cluster.len()).collect();
    check_everything(cluster, client, ledger, &all).await?;
    let (unclear, refused) = (unlucky.misses.len(), answers.refused.len());
    let gap = seen.longest_gap;
    let text = format!(
        "{} ms / {} ms, {unclear} unclear writes retried, {refused} queries of {} without answer",
        gap.as_millis(),
        back.as_millis(),
        answers.answered
    );
    Ok(Seen { gap, back, text })
}
