//! Whether the books balance: each replica's with what was counted there, and those of the replicas with each other.
use std::collections::BTreeMap;
use std::fmt;

use trine_store::model::Signal;
use trine_store::shard::Books;

use crate::rpc::proto::{BooksRow, Recount, RecountRow, Verification};

/// Two figures that should be the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imbalance {
    pub shard: u32,
    /// Name of the node whose replica it is.
    pub node: String,
    pub tenant: String,
    pub signal: &'static str,
    /// What the figures are.
    pub rule: &'static str,
    pub books: u64,
    pub counted: u64,
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard, node, tenant, signal, rule, books, counted } = self;
        write!(
            f,
            "shard {shard} on {node}, {signal} of tenant {tenant}: {rule}: {books} in the books, {counted} counted"
        )
    }
}

const SEALED: &str = "facts in blocks";
const APPLIED: &str = "applied = readable + shadowed + expired + deleted";
const MANIFEST: &str = "applied as of the manifest = sealed + folded + expired + deleted";
const REPLICAS_APPLIED: &str = "applied on another replica at the same position";
const REPLICAS_DEDUPLICATED: &str = "deduplicated on another replica at the same position";
const REPLICAS_READABLE: &str = "readable on another replica at the same position";

/// Every imbalance of a cluster's verification: within each node's replicas and between them.
pub fn imbalances<'v>(nodes: impl IntoIterator<Item = (&'v str, &'v Verification)>) -> Vec<Imbalance> {
    let (mut all, mut by_shard) = (Vec::new(), BTreeMap::<u32, Vec<(&str, &Recount)>>::new());
    for (node, verification) in nodes {
        all.extend(imbalances_of(node, verification));
        for recount in &verification.recounts {
            by_shard.entry(recount.shard).or_default().push((node, recount));
        }
    }
    for replicas in by_shard.values() {
        for (at, (_, first)) in replicas.iter().enumerate() {
            for (node, second) in &replicas[at + 1..] {
                between(first, node, second, &mut all);
            }
        }
    }
    all
}

/// The imbalances within the replicas of one node.
pub(super) fn imbalances_of(node: &str, verification: &Verification) -> Vec<Imbalance> {
    verification.recounts.iter().flat_map(|recount| within(node, recount)).collect()
}

fn signal_of(row: &BooksRow) -> &'static str {
    u8::try_from(row.signal).ok().and_then(Signal::from_u8).map_or("unknown", Signal::as_str)
}

fn within(node: &str, recount: &Recount) -> Vec<Imbalance> {
    let mut found = Vec::new();
    let mut check = |row: &BooksRow, rule, books, counted| {
        if books != counted {
            let (shard, node) = (recount.shard, node.to_owned());
            let (tenant, signal) = (row.tenant.clone(), signal_of(row));
            found.push(Imbalance { shard, node, tenant, signal, rule, books, counted });
        }
    };
    for row in &recount.rows {
        let Some(told) = &row.books else { continue };
        let (b, RecountRow { in_blocks, readable, shadowed, .. }) = (Books::from(told), row);
        check(told, SEALED, b.sealed, *in_blocks);
        let counted = [*readable, *shadowed, b.expired, b.deleted].into_iter().fold(0, u64::saturating_add);
        check(told, APPLIED, b.applied, counted);
    }
    for told in &recount.sealed_rows {
        let b = Books::from(told);
        check(told, MANIFEST, b.applied, b.outside_heads());
    }
    found
}

/// Compares two replicas of a shard where they are at the same position, and what their manifests say where those are. Books
/// that begin elsewhere are not comparable.
fn between(first: &Recount, node: &str, second: &Recount, found: &mut Vec<Imbalance>) {
    if first.since != second.since {
        return;
    }
    let mut check = |tenant: &str, row: &BooksRow, rule, expected, counted| {
        if expected != counted {
            let (shard, node) = (second.shard, node.to_owned());
            let (tenant, signal) = (tenant.to_owned(), signal_of(row));
            found.push(Imbalance { shard, node, tenant, signal, rule, books: expected, counted });
        }
    };
    let mut compare = |first: &[&BooksRow], second: &[&BooksRow]| {
        for (a, b) in pairs(first, second) {
            check(&a.tenant, &a, REPLICAS_APPLIED, a.applied, b.applied);
            check(&a.tenant, &a, REPLICAS_DEDUPLICATED, a.deduplicated, b.deduplicated);
        }
    };
    if first.position == second.position {
        let rows = |r: &Recount| r.rows.iter().filter_map(|row| row.books.clone()).collect::<Vec<_>>();
        let (a, b) = (rows(first), rows(second));
        compare(&a.iter().collect::<Vec<_>>(), &b.iter().collect::<Vec<_>>());
        readable(first, node, second, found);
    } else if first.sealed_position == second.sealed_position {
        compare(&first.sealed_rows.iter().collect::<Vec<_>>(), &second.sealed_rows.iter().collect::<Vec<_>>());
    }
}

fn readable(first: &Recount, node: &str, second: &Recount, found: &mut Vec<Imbalance>) {
    // What has expired or was deleted is readable to a verification until it is compacted away, which replicas do by themselves.
    let by_key = |r: &Recount| -> BTreeMap<(String, u32), (u64, u64)> {
        let keyed = r.rows.iter().filter_map(|row| row.books.as_ref().map(|b| (b, row.readable)));
        keyed.map(|(b, readable)| ((b.tenant.clone(), b.signal), (readable, b.expired + b.deleted))).collect()
    };
    let (a, b) = (by_key(first), by_key(second));
    for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
        let of = |side: &BTreeMap<_, (u64, u64)>| side.get(key).copied().unwrap_or_default();
        let ((books, gone), (counted, gone_there)) = (of(&a), of(&b));
        if books != counted && gone == gone_there {
            let row = BooksRow { signal: key.1, ..BooksRow::default() };
            let (shard, node, tenant) = (second.shard, node.to_owned(), key.0.clone());
            let (signal, rule) = (signal_of(&row), REPLICAS_READABLE);
            found.push(Imbalance { shard, node, tenant, signal, rule, books, counted });
        }
    }
}

/// Rows of both with the same key; a row that one of them lacks is empty there.
fn pairs(first: &[&BooksRow], second: &[&BooksRow]) -> Vec<(BooksRow, BooksRow)> {
    let mut all: BTreeMap<(String, u32), (BooksRow, BooksRow)> = BTreeMap::new();
    let empty = |row: &BooksRow| BooksRow { tenant: row.tenant.clone(), signal: row.signal, ..BooksRow::default() };
    for row in first {
        all.insert((row.tenant.clone(), row.signal), ((*row).clone(), empty(row)));
    }
    for row in second {
        let pair = all.entry((row.tenant.clone(), row.signal)).or_insert_with(|| (empty(row), empty(row)));
        pair.1 = (*row).clone();
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(applied: u64, sealed: u64, folded: u64) -> BooksRow {
        BooksRow { tenant: "acme".into(), signal: 2, applied, sealed, folded, ..BooksRow::default() }
    }

    fn verification(position: u64, rows: Vec<RecountRow>, sealed_rows: Vec<BooksRow>) -> Verification {
        let recount = Recount { shard: 3, position, rows, sealed_rows, sealed_position: 5, ..Recount::default() };
        Verification { recounts: vec![recount], ..Verification::default() }
    }

    fn row(books: BooksRow, in_blocks: u64, readable: u64, shadowed: u64) -> RecountRow {
        RecountRow { books: Some(books), in_blocks, readable, shadowed }
    }

    fn rules(nodes: &[&Verification]) -> Vec<(&'static str, u64, u64)> {
        let named = nodes.iter().zip(["n1", "n2"]).map(|(v, name)| (name, *v));
        imbalances(named).into_iter().map(|i| (i.rule, i.books, i.counted)).collect()
    }

    #[test]
    fn sound_books_balance_at_any_position() {
        let sound = verification(9, vec![row(books(10, 6, 1), 6, 8, 2)], vec![books(7, 6, 1)]);
        let ahead = verification(10, vec![row(books(11, 6, 1), 6, 9, 2)], vec![books(7, 6, 1)]);
        assert_eq!(rules(&[&sound, &sound]), []);
        assert_eq!(rules(&[&sound, &ahead]), []);
    }

    #[test]
    fn every_false_figure_is_named_with_both_figures() {
        let sound = verification(9, vec![row(books(10, 6, 1), 6, 8, 2)], vec![books(7, 6, 1)]);
        let false_sealed = verification(9, vec![row(books(10, 7, 1), 6, 8, 2)], vec![]);
        assert_eq!(rules(&[&false_sealed]), [(SEALED, 7, 6)]);
        let lost = verification(9, vec![row(books(10, 6, 1), 6, 7, 2)], vec![]);
        assert_eq!(rules(&[&lost]), [(APPLIED, 10, 9)]);
        assert_eq!(rules(&[&sound, &lost]), [(APPLIED, 10, 9), (REPLICAS_READABLE, 8, 7)]);
        let lost_in_a_seal = verification(9, vec![row(books(10, 6, 1), 6, 8, 2)], vec![books(8, 6, 1)]);
        assert_eq!(rules(&[&lost_in_a_seal]), [(MANIFEST, 8, 7)]);
        let short = verification(9, vec![row(books(9, 6, 1), 6, 7, 2)], vec![]);
        assert_eq!(rules(&[&sound, &short]), [(REPLICAS_APPLIED, 10, 9), (REPLICAS_READABLE, 8, 7)]);
        let none = verification(9, vec![], vec![]);
        assert_eq!(rules(&[&sound, &none]), [(REPLICAS_APPLIED, 10, 0), (REPLICAS_READABLE, 8, 0)]);
        let behind = verification(8, vec![row(books(9, 5, 1), 5, 7, 2)], vec![books(6, 5, 1)]);
        assert_eq!(rules(&[&sound, &behind]), [(REPLICAS_APPLIED, 7, 6)], "as of the same manifest");
        let text = imbalances([("n1", &false_sealed)])[0].to_string();
        assert_eq!(text, "shard 3 on n1, logs of tenant acme: facts in blocks: 7 in the books, 6 counted");
    }
}
