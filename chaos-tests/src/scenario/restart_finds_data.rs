//! What is in blocks, in the log, or in both is there after a restart, and reaches a node that was away.
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::check::{check_everything, no_misses};
use crate::client::Client;
use crate::cluster::{Cluster, Options};
use crate::error::{Error, Result};
use crate::fact::Run;
use crate::report::Report;
use crate::settings::Settings;
use crate::writers::{Ledger, Writers};

const PATIENCE: Duration = Duration::from_secs(30);
/// Acknowledged requests of every writer in each stage.
const REQUESTS: u64 = 15;
const ALL: [usize; 3] = [0, 1, 2];

/// Restarts with nothing sealed, with a block and a tail, and with blocks only; alternately by SIGKILL and SIGTERM.
pub async fn restart_finds_data(settings: Settings) -> Result<Report> {
    let mut report = Report::new("restart_finds_data", settings);
    let mut cluster = Cluster::start(Options::nodes(3)).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("restart")));

    write_some(&cluster, &client, &ledger, &ALL).await?;
    restart_all(&mut cluster, &client, &ledger, Ending::Kill, "log only, killed", &mut report).await?;

    let flushed = cluster.admin(1).flush().await?;
    report.note("blocks after the first flush", flushed.blocks_count);
    check_everything(&cluster, &client, &ledger, &ALL).await?;
    write_some(&cluster, &client, &ledger, &ALL).await?;
    restart_all(&mut cluster, &client, &ledger, Ending::Stop, "block and log, stopped", &mut report).await?;

    write_some(&cluster, &client, &ledger, &ALL).await?;
    cluster.admin(2).flush().await?;
    restart_all(&mut cluster, &client, &ledger, Ending::Kill, "blocks only, killed", &mut report).await?;
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}

/// A node that was away while others wrote, sealed, purged their logs and wrote again gets a snapshot and the rest.
pub async fn behind_a_purge(settings: Settings) -> Result<Report> {
    let mut report = Report::new("behind_a_purge", settings);
    let mut cluster = Cluster::start(Options::nodes(3)).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("behind")));
    write_some(&cluster, &client, &ledger, &ALL).await?;
    let away = cluster.by_leaders().await?[0];
    let present = cluster.others(away);
    cluster.kill(away)?;
    for _ in 0..2 {
        write_some(&cluster, &client, &ledger, &present).await?;
        cluster.admin(present[0]).flush().await?;
    }
    write_some(&cluster, &client, &ledger, &present).await?;
    let started = Instant::now();
    cluster.restart(away)?;
    cluster.wait_ready(away).await?;
    cluster.wait_caught_up(away).await?;
    report.note_ms("caught up after", started.elapsed());
    let installed = cluster.log_lines(away, "installed a snapshot")?;
    if installed == 0 {
        let evidence = format!("{} has installed no snapshot, so the log was not purged", cluster.name(away));
        return Err(Error::Promise { promise: "a sealed log is purged", evidence });
    }
    report.note("shards that came by snapshot", installed);
    check_everything(&cluster, &client, &ledger, &ALL).await?;

    // What it fetched must carry it without the others' help in the next election, too.
    cluster.kill(present[0])?;
    write_some(&cluster, &client, &ledger, &[away, present[1]]).await?;
    check_everything(&cluster, &client, &ledger, &[away, present[1]]).await?;
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}

async fn write_some(cluster: &Cluster, client: &Client, ledger: &Arc<Ledger>, nodes: &[usize]) -> Result<()> {
    let writers = Writers::start(ledger, client, &cluster.https(nodes), &[]);
    writers.progress(REQUESTS, PATIENCE).await?;
    no_misses("a write to a sound majority succeeds", &writers.finish().await?)
}

#[derive(Clone, Copy)]
enum Ending {
    Kill,
    Stop,
}

async fn restart_all(
    cluster: &mut Cluster,
    client: &Client,
    ledger: &Ledger,
    ending: Ending,
    label: &str,
    report: &mut Report,
) -> Result<()> {
    match ending {
        Ending::Kill => cluster.kill_all()?,
        Ending::Stop => cluster.stop_all().await?,
    }
    let started = Instant::now();
    for n in ALL {
        cluster.restart(n)?;
    }
    for n in ALL {
        cluster.wait_ready(n).await?;
    }
    report.note_ms(format!("ready after, {label}"), started.elapsed());
    cluster.wait_replicated(ALL.len()).await?;
    check_everything(cluster, client, ledger, &ALL).await
}
