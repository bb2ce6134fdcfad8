//! What the surfaces of a node did with the facts that came, since the node started. A fact that is refused is in no log,
//! so these counts are of one node and one uptime.
//!
//! At any time `received = acknowledged + rejected + unclear + in flight`.
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use trine_store::model::Signal;
use trine_store::part::PartHead;
use trine_store::shard::{Ledger, PartOutcome};

use crate::rpc::proto::{IntakeRow, Rejected};

/// A fact whose series has another value at its time: the shard refused it.
const CONFLICT: &str = "conflict";

type Key = (Box<str>, Signal);

/// Counts of one tenant and signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    received: u64,
    acknowledged: u64,
    unclear: u64,
    in_flight: u64,
    rejected: BTreeMap<&'static str, u64>,
}

/// Counts by tenant and signal. One lock a request, never one a fact.
#[derive(Debug, Default)]
pub struct Intake {
    rows: Mutex<BTreeMap<Key, Row>>,
}

impl Intake {
    fn locked(&self) -> MutexGuard<'_, BTreeMap<Key, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, tenant: &str, signal: Signal, change: impl FnOnce(&mut Row)) {
        let mut rows = self.locked();
        let key: Key = (tenant.into(), signal);
        // As in the shards, the tenants beyond a bound share a row.
        let has_room = rows.contains_key(&key) || rows.len() < Ledger::TENANTS_MAX * Signal::ALL.len();
        change(rows.entry(if has_room { key } else { ("".into(), signal) }).or_default());
    }

    /// Facts that came and were refused before any shard saw them. `reason` is one of a fixed set.
    pub fn reject(&self, tenant: &str, signal: Signal, reason: &'static str, facts: u64) {
        if facts > 0 {
            self.change(tenant, signal, |row| {
                row.received += facts;
                *row.rejected.entry(reason).or_default() += facts;
            });
        }
    }

    /// The facts of parts of one tenant and signal are on their way to their shards. What is not acknowledged when the
    /// reply is dropped is unclear.
    pub fn begin<'i, 'p>(&'i self, parts: impl Iterator<Item = &'p Bytes>) -> OnTheirWay<'i> {
        let mut on_their_way = OnTheirWay { intake: self, tenant: "".into(), signal: Signal::Metrics, facts: 0 };
        for part in parts {
            // What has no head is refused by its shard, whole.
            if let Ok(head) = PartHead::decode(part) {
                if *on_their_way.tenant != *head.tenant {
                    on_their_way.tenant = head.tenant.into();
                }
                on_their_way.signal = head.signal;
                on_their_way.facts += u64::from(head.facts_count);
            }
        }
        let OnTheirWay { tenant, signal, facts, .. } = &on_their_way;
        if *facts > 0 {
            self.change(tenant, *signal, |row| {
                row.received += facts;
                row.in_flight += facts;
            });
        }
        on_their_way
    }

    /// All rows, as other nodes are told.
    pub(crate) fn rows(&self) -> Vec<IntakeRow> {
        let row = |((tenant, signal), row): (&Key, &Row)| IntakeRow {
            tenant: tenant.to_string(),
            signal: u32::from(*signal as u8),
            received: row.received,
            acknowledged: row.acknowledged,
            unclear: row.unclear,
            in_flight: row.in_flight,
            rejected: row
                .rejected
                .iter()
                .map(|(reason, facts)| Rejected { reason: (*reason).to_owned(), facts: *facts })
                .collect(),
        };
        self.locked().iter().map(row).collect()
    }
}

/// Facts of one request whose outcome is open.
#[derive(Debug)]
pub struct OnTheirWay<'i> {
    intake: &'i Intake,
    tenant: Box<str>,
    signal: Signal,
    /// Not accounted for yet.
    facts: u64,
}

impl OnTheirWay<'_> {
    /// Every part was applied, and the client is told so.
    pub fn acknowledge(mut self, outcomes: &[PartOutcome]) {
        let facts = std::mem::take(&mut self.facts);
        let stored: u64 = outcomes.iter().map(|o| u64::from(o.accepted) + u64::from(o.repeated)).sum();
        let conflicts: u64 = outcomes.iter().map(|o| u64::from(o.conflicts_count)).sum();
        if facts == 0 {
            return;
        }
        self.intake.change(&self.tenant, self.signal, |row| {
            row.in_flight -= facts;
            row.acknowledged += stored;
            if conflicts > 0 {
                *row.rejected.entry(CONFLICT).or_default() += conflicts;
            }
        });
    }
}

impl Drop for OnTheirWay<'_> {
    fn drop(&mut self) {
        let facts = self.facts;
        if facts > 0 {
            self.intake.change(&self.tenant, self.signal, |row| {
                row.in_flight -= facts;
                row.unclear += facts;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use trine_store::part::RowsPartBuilder;

    use super::*;

    fn part(rows: i64) -> Bytes {
        let mut part = RowsPartBuilder::new(Signal::Logs, "acme");
        let stream = part.stream(1, b"");
        (0..rows).for_each(|i| part.row(stream, i + 1, b"line", [].into_iter()));
        part.finish().into()
    }

    #[test]
    fn every_fact_that_came_is_accounted_for() {
        let intake = Intake::default();
        intake.reject("acme", Signal::Logs, "invalid", 3);
        intake.reject("acme", Signal::Logs, "invalid", 0);
        let (first, second, third) = ([part(4), part(6)], [part(5)], [part(7)]);
        let open = intake.begin(first.iter());
        let failed = intake.begin(second.iter());
        let _waits = intake.begin(third.iter());
        open.acknowledge(&[
            PartOutcome { accepted: 3, repeated: 1, ..PartOutcome::default() },
            PartOutcome { accepted: 4, conflicts_count: 2, ..PartOutcome::default() },
        ]);
        drop(failed);
        let rows = intake.rows();
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((row.received, row.acknowledged, row.unclear, row.in_flight), (25, 8, 5, 7));
        let rejected: Vec<(&str, u64)> = row.rejected.iter().map(|r| (&*r.reason, r.facts)).collect();
        assert_eq!(rejected, [("conflict", 2), ("invalid", 3)]);
        assert_eq!(row.received, row.acknowledged + row.unclear + row.in_flight + 5);
    }
}
