//! Reading everything back through every node.
use crate::audit;
use crate::client::{Answer, Client, Outcome, ReadError};
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::fact::{Batch, Run, Signal};
use crate::oracle::Complaint;
use crate::readers::Answers;
use crate::writers::{Ledger, Seen};

/// Asks each of `nodes` for all facts and compares the answers with the oracle. Writers must have ended.
pub(super) async fn check_everything(
    cluster: &Cluster,
    client: &Client,
    ledger: &Ledger,
    nodes: &[usize],
) -> Result<()> {
    for &n in nodes {
        let node = cluster.name(n).to_owned();
        let mut complaints: Vec<Complaint> = Vec::new();
        for signal in Signal::ALL {
            let numbers = 0..ledger.run.taken(signal);
            let answer = client.read(cluster.http(n), &ledger.run, signal, numbers.clone()).await;
            let answer = answer.map_err(|e| unanswered(&node, signal, &e))?;
            complaints.extend(ledger.oracle().check(signal, numbers, &answer));
        }
        if !complaints.is_empty() {
            return Err(Error::Facts { node, complaints });
        }
    }
    check_books(cluster, ledger, nodes).await
}

/// Has the cluster count its facts from the disks: the books must balance, and agree with the oracle. `nodes` are up.
async fn check_books(cluster: &Cluster, ledger: &Ledger, nodes: &[usize]) -> Result<()> {
    let Some(&asked) = nodes.first() else { return Ok(()) };
    let names: Vec<&str> = nodes.iter().map(|n| cluster.name(*n)).collect();
    let counted = audit::count(&cluster.admin(asked), &names).await?;
    let known: Vec<_> = Signal::ALL.into_iter().map(|signal| (signal, ledger.oracle().tally(signal))).collect();
    match audit::findings(&counted, &known, ledger.has_company()).as_slice() {
        [] => Ok(()),
        found => Err(Error::Promise { promise: "the ledger balances", evidence: found.join("; ") }),
    }
}

/// Asks a node for one batch, by trace id where it is a trace.
pub(super) async fn read_batch(
    client: &Client,
    cluster: &Cluster,
    n: usize,
    run: &Run,
    batch: Batch,
) -> Result<Answer> {
    let at = cluster.http(n);
    let answer = match batch.signal {
        Signal::Traces => client.read_trace(at, run, batch).await,
        signal => client.read(at, run, signal, batch.numbers()).await,
    };
    answer.map_err(|e| unanswered(cluster.name(n), batch.signal, &e))
}

fn unanswered(node: &str, signal: Signal, error: &ReadError) -> Error {
    Error::Promise {
        promise: "P2 (readable through any node)",
        evidence: format!("{signal:?} through {node}: {error}"),
    }
}

/// `Err` if a write was not acknowledged at once.
pub(super) fn no_misses(promise: &'static str, seen: &Seen) -> Result<()> {
    if seen.misses.is_empty() {
        return Ok(());
    }
    Err(Error::Promise { promise, evidence: list(seen) })
}

/// `Err` if a write that was not acknowledged at once was not acknowledged by its retry either.
pub(super) fn retries_succeeded(promise: &'static str, seen: &Seen) -> Result<()> {
    let sound = seen.misses.iter().all(|m| matches!(m.retry, Some((Outcome::Acknowledged, _))));
    if sound { Ok(()) } else { Err(Error::Promise { promise, evidence: list(seen) }) }
}

/// `Err` if an answer that called itself complete was wrong.
pub(super) fn honest_answers(promise: &'static str, answers: &Answers) -> Result<()> {
    if answers.complaints.is_empty() {
        return Ok(());
    }
    let complaints = answers.complaints.clone();
    Err(Error::Facts { node: format!("a node, {promise}"), complaints })
}

/// `Err` if a query was not answered, or wrongly.
pub(super) fn sound_answers(promise: &'static str, answers: &Answers) -> Result<()> {
    honest_answers(promise, answers)?;
    if answers.refused.is_empty() {
        return Ok(());
    }
    let evidence = format!("{} of {} queries: {:?}", answers.refused.len(), answers.answered, answers.refused);
    Err(Error::Promise { promise, evidence: evidence.chars().take(2000).collect() })
}

/// Repeats every write that was not acknowledged, through the nodes in turn; each must succeed at once.
pub(super) async fn retry_misses(
    cluster: &Cluster,
    client: &Client,
    ledger: &Ledger,
    nodes: &[usize],
    seen: &Seen,
) -> Result<()> {
    for (miss, &n) in seen.misses.iter().zip(nodes.iter().cycle()) {
        let outcome = ledger.write_again(client, cluster.http(n), miss.batch).await;
        if outcome != Outcome::Acknowledged {
            let evidence = format!("{miss:?}, again through {}: {outcome:?}", cluster.name(n));
            return Err(Error::Promise { promise: "P3 (a retry completes an unclear write)", evidence });
        }
    }
    Ok(())
}

fn list(seen: &Seen) -> String {
    const SHOWN: usize = 6;
    let misses: Vec<String> = seen.misses.iter().take(SHOWN).map(|m| format!("{m:?}")).collect();
    format!("{} of {} writes: {}", seen.misses.len(), seen.acknowledged, misses.join("; "))
}
