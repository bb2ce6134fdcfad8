//! Streams that take too much are spread by themselves, while they are written.
use std::time::{Duration, Instant};

use super::check::{check_everything, retry_misses};
use crate::client::Client;
use crate::cluster::{Cluster, Options};
use crate::error::Result;
use crate::fact::{Run, Signal, now_ms};
use crate::report::Report;
use crate::settings::Settings;
use crate::wait;
use crate::writers::{Ledger, Writers};

const PATIENCE: Duration = Duration::from_secs(60);
const ALL: [usize; 3] = [0, 1, 2];
/// Requests of each writer behind the beginning of a spread.
const MORE: u64 = 30;
/// Some bytes a second are too much, after three seconds, and a spread begins some seconds later.
const ARGUMENTS: [&str; 8] = [
    "--set",
    "spread.bytes_per_s=20",
    "--set",
    "spread.after_s=3",
    "--set",
    "limits.future_s=2",
    "--set",
    "spread.lead_s=1",
];

/// Writers write to streams that are soon found to take too much and are spread by the leaders that take them. Lines of before and
/// after that are all read once through every node, and the books balance.
pub async fn hot_stream(settings: Settings) -> Result<Report> {
    let mut report = Report::new("hot_stream", settings);
    let cluster = Cluster::start(Options::nodes(3).with(&ARGUMENTS)).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::from_now("hot-stream")));
    let nodes = cluster.https(&ALL);
    let writers = Writers::start(&ledger, &client, &nodes, &nodes[1..]);
    let (started, admin) = (Instant::now(), cluster.admin(0));
    let first = wait::until("a stream spread by itself", PATIENCE, || async {
        let spreads = admin.spreads().await.map_err(|e| e.to_string())?;
        spreads.into_iter().find(|s| s.slots > 1).ok_or_else(|| "none".to_owned())
    });
    let first = first.await?;
    report.note_ms("first stream found hot after", started.elapsed());
    report.note("its slots", first.slots);
    wait::until("lines of now are behind the beginning", PATIENCE, || async {
        let left = first.from_unix_ms - now_ms();
        if left < 0 { Ok(()) } else { Err(format!("{left} ms left")) }
    })
    .await?;
    ledger.run.skip_to(Signal::Logs, ledger.run.number_at(first.from_unix_ms));
    writers.progress(MORE, PATIENCE).await?;
    let seen = writers.finish().await?;
    retry_misses(&cluster, &client, &ledger, &ALL, &seen).await?;
    report.note("streams spread in the end", cluster.admin(1).spreads().await?.len());
    check_everything(&cluster, &client, &ledger, &ALL).await?;
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}
