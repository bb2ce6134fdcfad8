//! One of three nodes freezes (SIGSTOP) with its connections open, and comes back believing that it still leads.
use std::time::Duration;

use rand::seq::SliceRandom;

use super::check::{check_everything, honest_answers, no_misses};
use crate::client::Client;
use crate::cluster::{Cluster, Options};
use crate::error::Result;
use crate::fact::Run;
use crate::readers::Readers;
use crate::report::Report;
use crate::settings::Settings;
use crate::writers::{Ledger, Writers};

const PATIENCE: Duration = Duration::from_secs(30);
/// Acknowledged requests of every writer before the freeze, during it, and after it.
const REQUESTS: u64 = 20;

/// No write through the others fails, and what the frozen node answers when it wakes up is not stale (P2).
pub async fn pause_one(settings: Settings) -> Result<Report> {
    let mut report = Report::new("pause_one", settings);
    let cluster = Cluster::start(Options::nodes(3)).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("pause-one")));
    let mut rng = settings.rng();
    for round in 1..=settings.rounds.div_ceil(2) {
        let mut order = cluster.by_leaders().await?;
        order[1..].shuffle(&mut rng);
        // The one that leads most, and in every other round any other.
        let frozen = order[usize::from(round % 2 == 0)];
        let others = cluster.https(&cluster.others(frozen));
        let writing = Writers::start(&ledger, &client, &others, &[]);
        let reading = Readers::start(&ledger, &client, &others);
        writing.progress(REQUESTS, PATIENCE).await?;
        cluster.pause(frozen)?;
        let went_on = writing.progress(REQUESTS, PATIENCE).await;
        cluster.resume(frozen)?;
        went_on?;
        let woken = Readers::start(&ledger, &client, &[cluster.http(frozen)]);
        writing.progress(REQUESTS, PATIENCE).await?;
        let (woken, answers) = (woken.finish().await?, reading.finish().await?);
        let seen = writing.finish().await?;
        no_misses("no write through others fails while a node is frozen", &seen)?;
        honest_answers("P2 (a node that wakes up serves nothing stale)", &woken)?;
        honest_answers("P4 (an answer that misses a shard says so)", &answers)?;
        cluster.wait_caught_up(frozen).await?;
        check_everything(&cluster, &client, &ledger, &[0, 1, 2]).await?;
        let (gap, refused, name) = (seen.longest_gap.as_millis(), answers.refused.len(), cluster.name(frozen));
        let text = format!("longest gap {gap} ms, {refused} queries of {} without answer", answers.answered);
        report.note(format!("round {round}, {name}"), text);
    }
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}
