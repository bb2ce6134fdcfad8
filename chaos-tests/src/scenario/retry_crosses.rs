//! P3 over everything that may lie between a request and its repetition.
mod spread;

use std::time::{Duration, Instant};

use super::check::{check_everything, read_batch};
use crate::client::{Client, Outcome};
use crate::cluster::{Cluster, Options};
use crate::error::{Error, Result};
use crate::fact::{Batch, Run, Signal};
use crate::report::Report;
use crate::settings::Settings;
use crate::wait;
use crate::writers::Ledger;

const PATIENCE: Duration = Duration::from_secs(60);
/// Requests of each signal that are kept, so that they lie in several shards.
const REQUESTS: u64 = 4;
/// Facts of a request: with four of them every series and stream of a run is met.
const FACTS: u64 = 6;
/// After this a client gives up on a cluster that has no majority.
const GIVE_UP: Duration = Duration::from_secs(2);
/// Of the shards, one in so many must be led by the node that got them by snapshot.
const LED: usize = 5;
const ALL: [usize; 3] = [0, 1, 2];
const PROMISE: &str = "P3 (a repeated request is seen once)";

/// Requests that are sent again and again, byte by byte.
struct Kept<'c> {
    client: &'c Client,
    ledger: &'c Ledger,
    batches: Vec<Batch>,
    /// Repetitions so far: each goes through the next node.
    turn: usize,
}

/// Requests are kept, some acknowledged and some given up while there was no majority, and repeated through every node: after
/// their streams were spread over several slots, which one node learns late, after a leader's crash, after a seal, after a snapshot whose receiver then leads, and after restarts of all nodes. Each time
/// every node shows every fact once.
pub async fn retry_crosses(settings: Settings) -> Result<Report> {
    let mut report = Report::new("retry_crosses", settings);
    let mut cluster = Cluster::start(Options::nodes(3).with(&spread::ARGUMENTS)).await?;
    let (client, ledger) = (Client::new(), Ledger::new(Run::from_now("retry-crosses")));
    let mut kept = Kept { client: &client, ledger: &ledger, batches: Vec::new(), turn: 0 };
    let leader = cluster.by_leaders().await?[0];
    kept.send_acknowledged(&cluster, leader).await?;
    let late = cluster.by_leaders().await?[2];
    report.note("streams that are spread", kept.spread_behind(&cluster, late).await?);
    kept.repeat(&cluster, &[late], "a spread that this node did not know of").await?;
    kept.repeat(&cluster, &ALL, "a spread").await?;
    let given_up = kept.give_up(&cluster, leader).await?;
    report.note("requests", kept.batches.len());
    report.note("of them given up without a majority", given_up);

    cluster.kill(leader)?;
    for n in cluster.others(leader) {
        cluster.resume(n)?;
    }
    kept.repeat(&cluster, &cluster.others(leader), "a leader's crash").await?;
    cluster.restart(leader)?;
    cluster.wait_ready(leader).await?;
    cluster.wait_caught_up(leader).await?;
    kept.repeat(&cluster, &ALL, "the old leader's return").await?;

    report.note("blocks of the first seal", cluster.admin(0).flush().await?.blocks_count);
    kept.repeat(&cluster, &ALL, "a seal").await?;

    let away = cluster.by_leaders().await?[1];
    let installed = by_snapshot(&mut cluster, &mut kept, away).await?;
    report.note("shards that came by snapshot", installed);
    let led = leads(&cluster, away).await?;
    report.note("shards that their receiver leads", led);
    kept.repeat(&cluster, &ALL, "a snapshot whose receiver leads").await?;

    for stopped in [false, true] {
        if stopped {
            cluster.stop_all().await?
        } else {
            cluster.kill_all()?
        }
        let started = Instant::now();
        for n in ALL {
            cluster.restart(n)?;
        }
        for n in ALL {
            cluster.wait_ready(n).await?;
        }
        let how = if stopped { "a stop of all nodes" } else { "a crash of all nodes" };
        report.note_ms(format!("ready after {how}"), started.elapsed());
        kept.repeat(&cluster, &ALL, how).await?;
    }
    report.note("repetitions of each request", kept.turn / kept.batches.len());
    check_everything(&cluster, &client, &ledger, &ALL).await?;
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}

impl Kept<'_> {
    fn new_batches(&self) -> Vec<Batch> {
        let all = (0..REQUESTS).flat_map(|_| Signal::ALL);
        all.map(|signal| self.ledger.run.batch(signal, FACTS)).collect()
    }

    /// Repeats a request until it is acknowledged.
    async fn write(&self, cluster: &Cluster, n: usize, batch: Batch) -> Result<()> {
        wait::until("a request acknowledged", PATIENCE, || async move {
            match self.ledger.write_again(self.client, cluster.http(n), batch).await {
                Outcome::Acknowledged => Ok(()),
                other => Err(format!("{batch:?} through {}: {other:?}", cluster.name(n))),
            }
        })
        .await
    }

    async fn send_acknowledged(&mut self, cluster: &Cluster, through: usize) -> Result<()> {
        for batch in self.new_batches() {
            let outcome = self.ledger.write_again(self.client, cluster.http(through), batch).await;
            if outcome != Outcome::Acknowledged {
                return Err(broken(format!("{batch:?} to a sound cluster: {outcome:?}")));
            }
            self.batches.push(batch);
        }
        Ok(())
    }

    /// Sends requests through the only node that runs. It may append them, and sends them to those that do not run; none can be
    /// acknowledged. The others stay frozen.
    async fn give_up(&mut self, cluster: &Cluster, alone: usize) -> Result<usize> {
        for n in cluster.others(alone) {
            cluster.pause(n)?;
        }
        let batches = self.new_batches();
        let sent = batches.iter().map(|batch| {
            tokio::time::timeout(GIVE_UP, self.ledger.write_again(self.client, cluster.http(alone), *batch))
        });
        for (batch, outcome) in batches.iter().zip(futures::future::join_all(sent).await) {
            if outcome == Ok(Outcome::Acknowledged) {
                return Err(Error::Promise {
                    promise: "P1 (acknowledged by a majority)",
                    evidence: format!("{batch:?} was acknowledged while one node of three ran"),
                });
            }
        }
        let count = batches.len();
        self.batches.extend(batches);
        Ok(count)
    }

    /// Repeats every request through each of these nodes; each must be acknowledged, and then every node shows it once.
    async fn repeat(&mut self, cluster: &Cluster, nodes: &[usize], after: &str) -> Result<()> {
        for _ in nodes {
            for batch in self.batches.clone() {
                let n = nodes[self.turn % nodes.len()];
                self.turn += 1;
                self.write(cluster, n, batch).await?;
            }
            // The next round of repetitions goes through the next node each.
            self.turn += 1;
        }
        for &n in nodes {
            for batch in &self.batches {
                self.seen_once(cluster, n, *batch, after).await?;
            }
        }
        Ok(())
    }

    /// By a query for its facts and, if it is a trace, by its id, too. No answer is no proof, but there must be one soon.
    async fn seen_once(&self, cluster: &Cluster, n: usize, batch: Batch, after: &str) -> Result<()> {
        let (at, run) = (cluster.http(n), &self.ledger.run);
        let query = wait::until("an answer", PATIENCE, || async move {
            self.client.read(at, run, batch.signal, batch.numbers()).await.map_err(|e| e.to_string())
        });
        let by_id = wait::until("an answer by id", PATIENCE, || async move {
            read_batch(self.client, cluster, n, run, batch).await.map_err(|e| e.to_string())
        });
        for mut answer in [query.await?, by_id.await?] {
            answer.numbers.sort_unstable();
            if !answer.numbers.iter().copied().eq(batch.numbers()) || !answer.altered.is_empty() {
                let node = cluster.name(n);
                return Err(broken(format!("after {after}, {batch:?} through {node}: {answer:?}")));
            }
        }
        Ok(())
    }
}

/// Takes a node away while the others write and seal, until its log is purged; brings it back by snapshots.
async fn by_snapshot(cluster: &mut Cluster, kept: &mut Kept<'_>, away: usize) -> Result<usize> {
    let present = cluster.others(away);
    let before = cluster.log_lines(away, "installed a snapshot")?;
    cluster.kill(away)?;
    for _ in 0..2 {
        kept.repeat(cluster, &present, "a seal, one node away").await?;
        kept.send_acknowledged(cluster, present[0]).await?;
        cluster.admin(present[0]).flush().await?;
    }
    kept.spread(cluster, present[0], spread::MORE_SLOTS).await?;
    kept.repeat(cluster, &present, "another spread, one node away").await?;
    cluster.restart(away)?;
    cluster.wait_ready(away).await?;
    cluster.wait_caught_up(away).await?;
    let installed = cluster.log_lines(away, "installed a snapshot")? - before;
    if installed == 0 {
        let evidence = format!("{} has installed no snapshot, so the log was not purged", cluster.name(away));
        return Err(Error::Promise { promise: "a sealed log is purged", evidence });
    }
    Ok(installed)
}

/// Waits until a node leads its share of the shards.
async fn leads(cluster: &Cluster, n: usize) -> Result<usize> {
    let name = cluster.name(n).to_owned();
    let leads = |shards: &[crate::admin::Shard]| shards.iter().filter(|s| s.leader.as_ref() == Some(&name)).count();
    let what = format!("{name} leads its share");
    cluster
        .wait_shards(&what, |shards| {
            let led = leads(shards);
            if led >= shards.len() / LED { Ok(()) } else { Err(format!("{led} of {}", shards.len())) }
        })
        .await?;
    Ok(leads(&cluster.admin(n).shards().await?))
}

fn broken(evidence: String) -> Error {
    Error::Promise { promise: PROMISE, evidence }
}
