//! What the cluster says of itself: its ledger, counted again from the disks, against what clients know.
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::admin::Admin;
use crate::client::Outcome;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::fact::Signal;
use crate::nemesis::checker::{Broken, Violation};
use crate::nemesis::history::{Event, What};
use crate::oracle::Tally;

/// Tenant of all facts of the harness: it sends no tenant header.
pub const TENANT: &str = "default";
/// Between two looks at a count that runs.
const POLL: Duration = Duration::from_millis(100);
/// How long all replicas may take to be counted, including the healing of those that cannot be at first.
const PATIENCE: Duration = Duration::from_secs(60);

/// The count of everything on every node.
#[derive(Clone, Debug, Deserialize)]
pub struct Verification {
    /// None unless all nodes have counted everything.
    pub balanced: Option<bool>,
    pub nodes: Vec<NodeCount>,
    pub imbalances: Vec<serde_json::Value>,
    pub facts: Vec<Counted>,
}

/// A node's count.
#[derive(Clone, Debug, Deserialize)]
pub struct NodeCount {
    pub node: String,
    pub unreachable: Option<String>,
    pub running: bool,
    pub runs: u64,
    pub errors: Vec<String>,
}

/// What was counted of one tenant and signal.
#[derive(Clone, Debug, Deserialize)]
pub struct Counted {
    pub tenant: String,
    pub signal: String,
    pub applied: u64,
    pub deduplicated: u64,
    pub conflicting: u64,
    pub in_blocks: u64,
    pub readable: u64,
    pub shadowed: u64,
}

impl Verification {
    /// Row of the harness' tenant; zeros when nothing of the signal came.
    pub fn of(&self, signal: Signal) -> Counted {
        let name = format!("{signal:?}").to_lowercase();
        let row = self.facts.iter().find(|row| row.tenant == TENANT && row.signal == name).cloned();
        row.unwrap_or(Counted {
            tenant: TENANT.to_owned(),
            signal: name,
            applied: 0,
            deduplicated: 0,
            conflicting: 0,
            in_blocks: 0,
            readable: 0,
            shadowed: 0,
        })
    }
}

/// Has everything counted on every node that answers, again until the nodes of `wanted` could count all they have.
pub async fn count(admin: &Admin, wanted: &[&str]) -> Result<Verification> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let counted = count_once(admin, deadline).await?;
        let is_whole = |name: &&str| {
            let node = counted.nodes.iter().find(|n| n.node == **name);
            node.is_some_and(|n| n.unreachable.is_none() && n.errors.is_empty())
        };
        if wanted.iter().all(is_whole) {
            return Ok(counted);
        }
        if Instant::now() > deadline {
            let last = format!("{:?}", counted.nodes);
            return Err(Error::TimedOut { what: "all replicas are counted".into(), waited: PATIENCE, last });
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn count_once(admin: &Admin, deadline: Instant) -> Result<Verification> {
    let before = admin.verification().await?;
    let runs: BTreeMap<String, u64> = before.nodes.into_iter().map(|n| (n.node, n.runs)).collect();
    admin.verify_ledger().await?;
    loop {
        let now = admin.verification().await?;
        let is_over =
            |n: &NodeCount| n.unreachable.is_some() || (!n.running && n.runs > runs.get(&n.node).copied().unwrap_or(0));
        if now.nodes.iter().all(is_over) {
            return Ok(now);
        }
        if Instant::now() > deadline {
            let last = format!("{:?}", now.nodes);
            return Err(Error::TimedOut { what: "the ledger is verified".into(), waited: PATIENCE, last });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What does not agree: within the books, or with what clients know. `others` says that not only they have written.
pub fn findings(counted: &Verification, known: &[(Signal, Tally)], others: bool) -> Vec<String> {
    let mut found: Vec<String> =
        counted.imbalances.iter().map(|imbalance| format!("the books do not balance: {imbalance}")).collect();
    for (signal, tally) in known {
        let (row, least) = (counted.of(*signal), tally.acknowledged);
        let most = if others { u64::MAX } else { tally.acknowledged + tally.unknown };
        if row.readable < least || row.readable > most {
            found.push(format!(
                "the ledger counts {} readable {}, clients know of {least} acknowledged and {} unclear: {row:?}",
                row.readable, row.signal, tally.unknown
            ));
        }
    }
    found
}

/// What does not agree after a run whose clients have ended and whose faults are over: `events` is all that they saw.
pub async fn after(cluster: &Cluster, events: &[Event]) -> Vec<Violation> {
    let (mut sent, mut acknowledged) = (BTreeSet::new(), BTreeSet::new());
    for event in events {
        if let What::Write { batch, outcome } = &event.what {
            let facts = batch.numbers().map(|number| (batch.signal, number));
            match outcome {
                Outcome::Acknowledged => acknowledged.extend(facts),
                Outcome::Failed { .. } | Outcome::Unknown { .. } => sent.extend(facts),
            }
        }
    }
    let of = |facts: &BTreeSet<(Signal, u64)>, signal| facts.range((signal, 0)..=(signal, u64::MAX)).count() as u64;
    let unknown: BTreeSet<(Signal, u64)> = sent.difference(&acknowledged).copied().collect();
    let tally = |signal| (signal, Tally { acknowledged: of(&acknowledged, signal), unknown: of(&unknown, signal) });
    let names: Vec<&str> = (0..cluster.len()).map(|n| cluster.name(n)).collect();
    let found = match count(&cluster.admin(0), &names).await {
        Ok(counted) => findings(&counted, &Signal::ALL.map(tally), false),
        Err(error) => vec![error.to_string()],
    };
    let at = events.last().map_or(Duration::ZERO, |event| event.ended);
    let violation = |what| Violation { begun: at, ended: at, node: None, broken: Broken::Books { what } };
    found.into_iter().map(violation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_that_disagree_with_clients_are_found() {
        let row = Counted { readable: 7, applied: 7, ..counted(vec![]).of(Signal::Logs) };
        let tally = |acknowledged, unknown| [(Signal::Logs, Tally { acknowledged, unknown })];
        let one = counted(vec![row]);
        for (known, others, sound) in [
            (tally(7, 0), false, true),
            (tally(5, 2), false, true),
            (tally(8, 0), false, false),
            (tally(5, 1), false, false),
            (tally(5, 1), true, true),
        ] {
            assert_eq!(findings(&one, &known, others).is_empty(), sound, "{known:?}");
        }
        let unbalanced = Verification { imbalances: vec![serde_json::json!({"rule": "sealed"})], ..counted(vec![]) };
        assert_eq!(findings(&unbalanced, &[], false).len(), 1);
    }

    fn counted(facts: Vec<Counted>) -> Verification {
        Verification { balanced: Some(true), nodes: Vec::new(), imbalances: Vec::new(), facts }
    }
}
