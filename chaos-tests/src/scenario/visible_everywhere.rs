//! P2: what one node has acknowledged is in the next answer of the others. P3: also when two nodes got it at once.
use std::time::{Duration, Instant};

use rand::Rng;

use super::check::{check_everything, read_batch};
use crate::client::{Client, Outcome};
use crate::cluster::{Cluster, Options};
use crate::error::{Error, Result};
use crate::fact::{Run, Signal};
use crate::report::Report;
use crate::settings::Settings;
use crate::writers::Ledger;

const NODES: usize = 3;
const ROUNDS_SHORT: u32 = 100;
const ROUNDS_LONG: u32 = 1000;
/// Facts of a request: each round has a number of its own up to this.
const BATCH_MAX: u64 = 6;
/// Every so many rounds the same request goes through a second node while the first still has it, as an impatient client's
/// retry does.
const TWICE_EVERY: u32 = 4;

/// Writes through one node and reads at once through the two others, the signals in turn.
pub async fn visible_everywhere(settings: Settings) -> Result<Report> {
    let mut report = Report::new("visible_everywhere", settings);
    let started = Instant::now();
    let cluster = Cluster::start(Options::nodes(NODES)).await?;
    report.note_ms("three nodes with three voters after", started.elapsed());
    let (client, ledger) = (Client::new(), Ledger::new(Run::new("visible")));
    let mut rng = settings.rng();
    let rounds = settings.pick(ROUNDS_SHORT, ROUNDS_LONG);
    let (mut writes, mut reads) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let signal = Signal::ALL[round as usize % Signal::ALL.len()];
        let writer = rng.random_range(0..NODES);
        let at = Instant::now();
        let batch = ledger.run.batch(signal, rng.random_range(1..=BATCH_MAX));
        let others = cluster.others(writer);
        let first = ledger.write_again(&client, cluster.http(writer), batch);
        let (first, second) = if round % TWICE_EVERY == 0 {
            let second = ledger.write_again(&client, cluster.http(others[0]), batch);
            tokio::join!(first, second)
        } else {
            (first.await, Outcome::Acknowledged)
        };
        writes.push(at.elapsed());
        if (&first, &second) != (&Outcome::Acknowledged, &Outcome::Acknowledged) {
            let evidence = format!("round {round}, {signal:?} through {}: {first:?}, {second:?}", cluster.name(writer));
            return Err(Error::Promise { promise: "a write to a sound cluster succeeds", evidence });
        }
        let readers = others;
        let at = Instant::now();
        let (a, b) = tokio::join!(
            read_batch(&client, &cluster, readers[0], &ledger.run, batch),
            read_batch(&client, &cluster, readers[1], &ledger.run, batch)
        );
        reads.push(at.elapsed());
        for (node, answer) in [(readers[0], a?), (readers[1], b?)] {
            let complaints = ledger.oracle().check(signal, batch.numbers(), &answer);
            if !complaints.is_empty() {
                let node = format!("{} in round {round}, written through {}", cluster.name(node), cluster.name(writer));
                return Err(Error::Facts { node, complaints });
            }
        }
    }
    check_everything(&cluster, &client, &ledger, &[0, 1, 2]).await?;
    report.note("rounds without a miss", rounds);
    report.note_ms("write, median", median(&mut writes));
    report.note_ms("two reads at once, median", median(&mut reads));
    cluster.end()?;
    Ok(report)
}

fn median(all: &mut [Duration]) -> Duration {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}
