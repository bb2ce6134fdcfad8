//! The books of a shard: what became of its facts, by tenant and signal. Apply counts what it keeps and drops, a seal what
//! it writes and leaves out; both are kept in the manifest, so that they survive restarts, snapshots and replacements.
//!
//! At every position of the log, and for every row, with the duplicates that compressed heads have left out so far:
//! `applied = facts in heads + their duplicates + sealed + folded + expired + deleted`.
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec::{Error, Reader, put_bytes, put_uvarint};
use crate::model::{Signal, TENANT_BYTES_MAX};
use crate::shard::{OpenBlocks, PartOutcome};

/// Counts of one tenant and signal. A fact is a sample of any kind, a log entry, or a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Kept by apply.
    pub applied: u64,
    /// Dropped by apply: their part was applied before, or their series' newest sample is the same one (P3).
    pub deduplicated: u64,
    /// Refused by apply: their series has another value at that time.
    pub conflicting: u64,
    /// In blocks.
    pub sealed: u64,
    /// Left out when heads became blocks, or blocks one: an older fact had the same natural key.
    pub folded: u64,
    /// Left out by retention.
    pub expired: u64,
    /// Left out by request.
    pub deleted: u64,
}

/// Fields of [`Books`] in the order of the format.
const FIELDS: usize = 7;

impl Books {
    fn fields(&self) -> [u64; FIELDS] {
        let Self { applied, deduplicated, conflicting, sealed, folded, expired, deleted } = *self;
        [applied, deduplicated, conflicting, sealed, folded, expired, deleted]
    }

    fn of_fields(fields: [u64; FIELDS]) -> Self {
        let [applied, deduplicated, conflicting, sealed, folded, expired, deleted] = fields;
        Self { applied, deduplicated, conflicting, sealed, folded, expired, deleted }
    }

    /// The sum of both; stops at the largest number, since rows may come from elsewhere.
    pub fn plus(&self, other: &Self) -> Self {
        let (mut sum, other) = (self.fields(), other.fields());
        sum.iter_mut().zip(other).for_each(|(a, b)| *a = a.saturating_add(b));
        Self::of_fields(sum)
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Applied facts that are accounted for outside of heads.
    pub fn outside_heads(&self) -> u64 {
        [self.sealed, self.folded, self.expired, self.deleted].into_iter().fold(0, u64::saturating_add)
    }
}

/// Facts of a tenant in a block, and its duplicates that a seal left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedFacts {
    pub tenant: Arc<str>,
    pub facts: u64,
    /// Left out, now or when its head was compressed; 0 when a block is counted again.
    pub folded: u64,
}

/// What a compaction made of a tenant's facts in its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactedFacts {
    pub tenant: Arc<str>,
    /// In the new block.
    pub facts: u64,
    /// Left out: an older fact had the same natural key.
    pub folded: u64,
    /// Left out: older than the tenant's retention.
    pub expired: u64,
    /// Left out by request.
    pub deleted: u64,
}

impl CompactedFacts {
    pub(crate) fn of(tenant: &Arc<str>) -> Self {
        Self { tenant: tenant.clone(), facts: 0, folded: 0, expired: 0, deleted: 0 }
    }
}

/// Facts that a reader comes across.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// In answers.
    pub readable: u64,
    /// Not in answers: an older fact has the same natural key.
    pub shadowed: u64,
}

/// Books by tenant and signal. The same on every replica that has applied the same log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Log index at which the books were opened: 0, or that of the manifest of version 1 that they were made from. What came
    /// before is in them as applied and sealed.
    pub since: u64,
    tenants: BTreeMap<Box<str>, [Books; Signal::ALL.len()]>,
}

/// Row of the tenants beyond [`Ledger::TENANTS_MAX`]: no tenant has this name.
const OTHERS: &str = "";

fn at(signal: Signal) -> usize {
    match signal {
        Signal::Metrics => 0,
        Signal::Logs => 1,
        Signal::Traces => 2,
    }
}

impl Ledger {
    /// Tenants with rows of their own; the facts of all others are counted in one row, whose tenant is empty.
    pub const TENANTS_MAX: usize = 4096;

    /// The books of a shard that was written before there were any: what its blocks hold, applied up to `position`.
    pub fn opened(position: u64, blocks: &OpenBlocks) -> Self {
        let mut ledger = Self { since: position, ..Self::default() };
        let mut open = |tenant: &str, signal, facts| {
            let books = ledger.row(tenant, signal);
            books.applied += facts;
            books.sealed += facts;
        };
        for block in &blocks.metrics {
            block.tenant_facts().for_each(|(tenant, facts)| open(tenant, Signal::Metrics, facts));
        }
        for block in blocks.logs.iter().chain(&blocks.traces) {
            block.tenant_facts().for_each(|(tenant, facts)| open(tenant, block.signal(), facts));
        }
        ledger
    }

    /// The tenant under which facts of `tenant` are counted: itself, or the empty one beyond the bound.
    pub fn name_of<'a>(&self, tenant: &'a str) -> &'a str {
        let has_room = self.tenants.contains_key(tenant) || self.tenants.len() < Self::TENANTS_MAX;
        if has_room { tenant } else { OTHERS }
    }

    /// Counts of a row.
    pub fn get(&self, tenant: &str, signal: Signal) -> Books {
        self.tenants.get(tenant).map_or_else(Books::default, |row| row[at(signal)])
    }

    /// Rows with any count, by tenant and signal.
    pub fn rows(&self) -> impl Iterator<Item = (&str, Signal, Books)> {
        self.tenants
            .iter()
            .flat_map(|(tenant, row)| Signal::ALL.into_iter().map(move |s| (&**tenant, s, row[at(s)])))
            .filter(|(_, _, books)| !books.is_empty())
    }

    fn row(&mut self, tenant: &str, signal: Signal) -> &mut Books {
        let tenant = self.name_of(tenant);
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(tenant.into(), Default::default());
        }
        let row = self.tenants.get_mut(tenant).expect("the row was there or has just been made");
        &mut row[at(signal)]
    }

    /// A part was applied.
    pub(super) fn count_applied(&mut self, tenant: &str, signal: Signal, outcome: &PartOutcome) {
        let books = self.row(tenant, signal);
        books.applied += u64::from(outcome.accepted);
        books.deduplicated += u64::from(outcome.repeated);
        books.conflicting += u64::from(outcome.conflicts_count);
    }

    /// A part was not applied, because it was before, with `outcome`.
    pub(super) fn count_repeated(&mut self, tenant: &str, signal: Signal, outcome: &PartOutcome) {
        let PartOutcome { accepted, repeated, conflicts_count, .. } = outcome;
        self.row(tenant, signal).deduplicated +=
            [accepted, repeated, conflicts_count].map(|n| u64::from(*n)).iter().sum::<u64>();
    }

    /// A block was written.
    pub(super) fn count_sealed(&mut self, signal: Signal, tenants: &[SealedFacts]) {
        for sealed in tenants.iter().filter(|t| t.facts > 0 || t.folded > 0) {
            let books = self.row(&sealed.tenant, signal);
            books.sealed += sealed.facts;
            books.folded += sealed.folded;
        }
    }

    /// Blocks were merged into one: what was left out is no longer in blocks.
    pub(super) fn count_compacted(&mut self, signal: Signal, tenants: &[CompactedFacts]) {
        for CompactedFacts { tenant, folded, expired, deleted, .. } in tenants {
            let gone = folded + expired + deleted;
            if gone > 0 {
                let books = self.row(tenant, signal);
                books.sealed = books.sealed.saturating_sub(gone);
                books.folded += folded;
                books.expired += expired;
                books.deleted += deleted;
            }
        }
    }

    /// All blocks of a signal are these now: what is in none of them any more was left out.
    pub(super) fn recount_sealed(&mut self, signal: Signal, blocks: &OpenBlocks) {
        let mut counted: BTreeMap<String, u64> = BTreeMap::new();
        let mut count = |tenant: &str, facts| *counted.entry(self.name_of(tenant).to_owned()).or_default() += facts;
        blocks.metrics.iter().for_each(|block| block.tenant_facts().for_each(|(t, facts)| count(t, facts)));
        let rows = blocks.logs.iter().chain(&blocks.traces);
        rows.for_each(|block| block.tenant_facts().for_each(|(t, facts)| count(t, facts)));
        for (tenant, row) in &mut self.tenants {
            let books = &mut row[at(signal)];
            let sealed = counted.get(&**tenant).copied().unwrap_or(0).min(books.sealed);
            books.folded += books.sealed - sealed;
            books.sealed = sealed;
        }
    }

    /// These books, with the counts of blocks that `sealed` has: apply does not know how far the seals are.
    pub fn with_blocks_of(mut self, sealed: &Self) -> Self {
        for (tenant, rows) in &sealed.tenants {
            for signal in Signal::ALL {
                let Books { sealed, folded, expired, deleted, .. } = rows[at(signal)];
                let books = self.row(tenant, signal);
                *books = Books { sealed, folded, expired, deleted, ..*books };
            }
        }
        self
    }

    /// Rows of a manifest that do not balance: all that was applied up to its position must be in its blocks, or left out.
    pub fn imbalances(&self) -> Vec<(&str, Signal, Books)> {
        self.rows().filter(|(_, _, books)| books.applied != books.outside_heads()).collect()
    }

    /// `since tenants_count (tenant signals(u8) (count*7)*)*`; bit n of `signals` says whether signal n + 1 has counts.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_uvarint(out, self.since);
        put_uvarint(out, self.tenants.len() as u64);
        for (tenant, row) in &self.tenants {
            put_bytes(out, tenant.as_bytes());
            let present = Signal::ALL.map(|s| !row[at(s)].is_empty());
            out.push(present.iter().zip(0..).map(|(is, bit)| u8::from(*is) << bit).sum());
            for (books, _) in row.iter().zip(present).filter(|(_, is)| *is) {
                books.fields().into_iter().for_each(|count| put_uvarint(out, count));
            }
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, Error> {
        let mut ledger = Self { since: r.uvarint("ledger begin")?, ..Self::default() };
        let n = r.count(2, "ledger tenants")?;
        for _ in 0..n {
            let position = r.position();
            let tenant = r.str("ledger tenant")?;
            let signals = r.u8("ledger signals")?;
            let is_known = tenant.len() <= TENANT_BYTES_MAX && signals >> Signal::ALL.len() == 0;
            if !is_known || ledger.tenants.len() > Self::TENANTS_MAX {
                return Err(Error::Invalid { what: "ledger row", at: position });
            }
            let mut row = [Books::default(); Signal::ALL.len()];
            for (books, bit) in row.iter_mut().zip(0..) {
                if signals >> bit & 1 == 1 {
                    let mut fields = [0; FIELDS];
                    for field in &mut fields {
                        *field = r.uvarint("ledger count")?;
                    }
                    *books = Books::of_fields(fields);
                }
            }
            if ledger.tenants.insert(tenant.into(), row).is_some() {
                return Err(Error::Invalid { what: "ledger tenant twice", at: position });
            }
        }
        Ok(ledger)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcome(accepted: u32, repeated: u32, conflicts_count: u32) -> PartOutcome {
        PartOutcome { accepted, repeated, conflicts_count, conflicts: Vec::new() }
    }

    fn encoded(ledger: &Ledger) -> Vec<u8> {
        let mut out = Vec::new();
        ledger.encode(&mut out);
        out
    }

    #[test]
    fn apply_and_seals_are_counted_apart_and_balance_together() {
        let mut live = Ledger::default();
        live.count_applied("a", Signal::Metrics, &outcome(7, 2, 1));
        live.count_repeated("a", Signal::Metrics, &outcome(7, 2, 1));
        let mut sealed = live.clone();
        sealed.count_sealed(Signal::Metrics, &[SealedFacts { tenant: "a".into(), facts: 5, folded: 1 }]);
        let short = [(
            "a",
            Signal::Metrics,
            Books { applied: 7, deduplicated: 12, conflicting: 1, sealed: 5, folded: 1, ..Books::default() },
        )];
        assert_eq!(sealed.imbalances(), short);
        sealed.count_sealed(Signal::Metrics, &[SealedFacts { tenant: "a".into(), facts: 0, folded: 1 }]);
        assert_eq!(sealed.imbalances(), []);
        live.count_applied("a", Signal::Metrics, &outcome(10, 0, 0));
        let cut = live.with_blocks_of(&sealed).get("a", Signal::Metrics);
        assert_eq!((cut.applied, cut.sealed, cut.folded), (17, 5, 2));
    }

    #[test]
    fn tenants_beyond_the_bound_share_a_row() {
        let mut ledger = Ledger::default();
        for i in 0..Ledger::TENANTS_MAX + 3 {
            ledger.count_applied(&format!("t{i}"), Signal::Logs, &outcome(1, 0, 0));
        }
        assert_eq!(ledger.get(OTHERS, Signal::Logs).applied, 3);
        assert_eq!((ledger.name_of("t0"), ledger.name_of("new")), ("t0", OTHERS));
        assert_eq!(ledger.rows().map(|(_, _, b)| b.applied).sum::<u64>(), Ledger::TENANTS_MAX as u64 + 3);
        let bytes = encoded(&ledger);
        assert_eq!(Ledger::decode(&mut Reader::new(&bytes)).unwrap(), ledger);
    }

    #[test]
    fn rows_that_no_ledger_has_are_refused() {
        let cases: [(&str, &[u8]); 4] = [
            ("an unknown signal", b"\x00\x01\x01a\x08"),
            ("a tenant twice", b"\x00\x02\x01a\x00\x01a\x00"),
            ("a count that is missing", b"\x00\x01\x01a\x01\x01\x02\x03"),
            ("more rows than bytes", b"\x00\xff\xff\x03"),
        ];
        for (name, bytes) in cases {
            assert!(Ledger::decode(&mut Reader::new(bytes)).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn comes_back(since: u64, rows: Vec<(u8, u8, [u64; FIELDS])>) {
            let mut ledger = Ledger { since, ..Ledger::default() };
            for (tenant, signal, fields) in rows {
                let signal = Signal::ALL[usize::from(signal) % 3];
                *ledger.row(&format!("t{tenant}"), signal) = Books::of_fields(fields);
            }
            let bytes = encoded(&ledger);
            let mut r = Reader::new(&bytes);
            prop_assert_eq!(Ledger::decode(&mut r).unwrap(), ledger);
            prop_assert!(r.is_empty());
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _unchecked = Ledger::decode(&mut Reader::new(&bytes));
        }
    }
}
