//! `/admin/v1/ledger`: the books of all nodes in one document, and whether they balance.
use std::collections::BTreeMap;

use trine_actors::ledger::{Imbalance, imbalances};
use trine_actors::rpc::proto::{BooksRow, IntakeRow, LedgerReply, Recount, Rejected, ReplicaBooks, Verification};
use trine_api::admin::model::{
    AdminBooks, AdminBooksRow, AdminImbalance, AdminIntake, AdminIntakeRow, AdminLedger, AdminLedgerRow, AdminRejected,
    AdminVerification, AdminVerificationNode, AdminVerifiedRow,
};
use trine_store::model::Signal;
use trine_store::shard::Books;

/// What each node answered, by name.
pub(super) type Answers = Vec<(String, Result<LedgerReply, String>)>;

/// Rows by tenant and signal.
type ByKey<T> = BTreeMap<(String, String), T>;

fn signal(number: u32) -> String {
    u8::try_from(number).ok().and_then(Signal::from_u8).map_or("unknown", Signal::as_str).to_owned()
}

/// The books of the cluster.
pub(super) fn ledger(mut answers: Answers) -> AdminLedger {
    answers.sort_by(|a, b| a.0.cmp(&b.0));
    let mut rows: ByKey<AdminLedgerRow> = BTreeMap::new();
    let mut out = AdminLedger::default();
    for (node, answer) in &answers {
        out.nodes.push(intake(node, answer));
        let Ok(reply) = answer else { continue };
        reply.intake.iter().for_each(|came| add_intake(&mut rows, came));
        out.replicas.extend(reply.replicas.iter().map(|replica| books(node, replica)));
    }
    for replica in furthest(out.replicas.iter().filter(|r| r.closed.is_none()), |r| (r.shard, r.position)) {
        replica.rows.iter().for_each(|row| add_books(&mut rows, row));
    }
    let verifications = verifications(&answers);
    let counted = furthest(verifications.iter().flat_map(|(_, v)| &v.recounts), |r| (r.shard, r.position));
    let shards = furthest(&out.replicas, |r| (r.shard, r.position)).len();
    if shards > 0 && counted.len() == shards {
        out.counted_unix_ms = verifications.iter().map(|(_, v)| v.started_unix_ms).filter(|ms| *ms > 0).min();
        for row in rows.values_mut() {
            (row.readable, row.shadowed) = (Some(0), Some(0));
        }
        for (key, verified) in verified(&counted) {
            let row = row_of(&mut rows, key);
            (row.readable, row.shadowed) = (Some(verified.readable), Some(verified.shadowed));
        }
    }
    out.facts = rows.into_values().collect();
    out.replicas.sort_by(|a, b| (a.shard, &a.node).cmp(&(b.shard, &b.node)));
    out
}

/// How the count of everything goes, and what it found.
pub(super) fn verification(mut answers: Answers, shards_without_leader: Vec<u32>) -> AdminVerification {
    answers.sort_by(|a, b| a.0.cmp(&b.0));
    let verifications = verifications(&answers);
    let counted = furthest(verifications.iter().flat_map(|(_, v)| &v.recounts), |r| (r.shard, r.position));
    let facts = verified(&counted).into_values().collect();
    let mut found: Vec<AdminImbalance> =
        imbalances(verifications.iter().map(|(n, v)| (*n, *v))).into_iter().map(imbalance).collect();
    for (node, answer) in &answers {
        let rows = answer.iter().flat_map(|reply| &reply.intake);
        found.extend(rows.filter_map(|row| unbalanced_intake(node, row)));
    }
    let nodes: Vec<AdminVerificationNode> = answers.iter().map(|(node, answer)| progress(node, answer)).collect();
    let is_over =
        |n: &AdminVerificationNode| n.unreachable.is_none() && !n.running && n.runs > 0 && n.errors.is_empty();
    let is_whole = !nodes.is_empty() && nodes.iter().all(is_over);
    let balanced = if found.is_empty() { is_whole.then_some(true) } else { Some(false) };
    AdminVerification { balanced, nodes, imbalances: found, facts, shards_without_leader }
}

fn verifications(answers: &Answers) -> Vec<(&str, &Verification)> {
    let answered = answers.iter().filter_map(|(node, answer)| Some((node, answer.as_ref().ok()?)));
    answered.filter_map(|(node, reply)| Some((node.as_str(), reply.verification.as_ref()?))).collect()
}

/// Of each shard the item with the highest position.
fn furthest<'a, T>(items: impl IntoIterator<Item = &'a T>, key: impl Fn(&T) -> (u32, u64)) -> Vec<&'a T> {
    let mut best: BTreeMap<u32, &T> = BTreeMap::new();
    for item in items {
        let (shard, position) = key(item);
        if best.get(&shard).is_none_or(|known| key(known).1 < position) {
            best.insert(shard, item);
        }
    }
    best.into_values().collect()
}

fn rejected(rows: &[Rejected]) -> Vec<AdminRejected> {
    rows.iter().map(|r| AdminRejected { reason: r.reason.clone(), facts: r.facts }).collect()
}

fn intake(node: &str, answer: &Result<LedgerReply, String>) -> AdminIntake {
    let node = node.to_owned();
    match answer {
        Err(reason) => AdminIntake { node, unreachable: Some(reason.clone()), ..AdminIntake::default() },
        Ok(reply) => {
            let row = |r: &IntakeRow| AdminIntakeRow {
                tenant: r.tenant.clone(),
                signal: signal(r.signal),
                received: r.received,
                acknowledged: r.acknowledged,
                rejected: rejected(&r.rejected),
                unclear: r.unclear,
                in_flight: r.in_flight,
            };
            let (since_unix_ms, rows) = (Some(reply.since_unix_ms), reply.intake.iter().map(row).collect());
            AdminIntake { node, unreachable: None, since_unix_ms, rows }
        }
    }
}

fn books(node: &str, replica: &ReplicaBooks) -> AdminBooks {
    AdminBooks {
        shard: replica.shard,
        node: node.to_owned(),
        replica: replica.replica,
        leads: replica.leads,
        position: replica.position,
        since: replica.since,
        closed: Some(replica.closed.clone()).filter(|why| !why.is_empty()),
        rows: replica.rows.iter().map(books_row).collect(),
    }
}

fn books_row(row: &BooksRow) -> AdminBooksRow {
    let Books { applied, deduplicated, conflicting, sealed, folded, expired, deleted } = row.into();
    let (tenant, signal) = (row.tenant.clone(), signal(row.signal));
    AdminBooksRow { tenant, signal, applied, deduplicated, conflicting, sealed, folded, expired, deleted }
}

fn row_of(rows: &mut ByKey<AdminLedgerRow>, key: (String, String)) -> &mut AdminLedgerRow {
    let (tenant, signal) = key.clone();
    rows.entry(key).or_insert_with(|| AdminLedgerRow { tenant, signal, ..AdminLedgerRow::default() })
}

fn add_intake(rows: &mut ByKey<AdminLedgerRow>, came: &IntakeRow) {
    let row = row_of(rows, (came.tenant.clone(), signal(came.signal)));
    row.received += came.received;
    row.acknowledged += came.acknowledged;
    row.unclear += came.unclear;
    row.in_flight += came.in_flight;
    for Rejected { reason, facts } in &came.rejected {
        row.rejected += facts;
        match row.rejected_by_reason.iter_mut().find(|known| known.reason == *reason) {
            Some(known) => known.facts += facts,
            None => row.rejected_by_reason.push(AdminRejected { reason: reason.clone(), facts: *facts }),
        }
    }
}

fn add_books(rows: &mut ByKey<AdminLedgerRow>, books: &AdminBooksRow) {
    let row = row_of(rows, (books.tenant.clone(), books.signal.clone()));
    let outside = books.sealed + books.folded + books.expired + books.deleted;
    row.applied += books.applied;
    row.deduplicated += books.deduplicated;
    row.conflicting += books.conflicting;
    row.in_heads += books.applied.saturating_sub(outside);
    row.sealed += books.sealed;
    row.folded += books.folded;
    row.expired += books.expired;
    row.deleted += books.deleted;
}

fn verified(recounts: &[&Recount]) -> ByKey<AdminVerifiedRow> {
    let mut rows: ByKey<AdminVerifiedRow> = BTreeMap::new();
    for row in recounts.iter().flat_map(|recount| &recount.rows) {
        let Some(told) = &row.books else { continue };
        let (tenant, signal) = (told.tenant.clone(), signal(told.signal));
        let sum = rows.entry((tenant.clone(), signal.clone())).or_insert_with(|| AdminVerifiedRow {
            tenant,
            signal,
            ..AdminVerifiedRow::default()
        });
        sum.applied += told.applied;
        sum.deduplicated += told.deduplicated;
        sum.conflicting += told.conflicting;
        sum.expired += told.expired;
        sum.deleted += told.deleted;
        sum.in_blocks += row.in_blocks;
        sum.readable += row.readable;
        sum.shadowed += row.shadowed;
    }
    rows
}

fn imbalance(found: Imbalance) -> AdminImbalance {
    let Imbalance { shard, node, tenant, signal, rule, books, counted } = found;
    let (shard, signal, rule) = (Some(shard), signal.to_owned(), rule.to_owned());
    AdminImbalance { shard, node, tenant, signal, rule, books, counted }
}

fn unbalanced_intake(node: &str, row: &IntakeRow) -> Option<AdminImbalance> {
    let rejected: u64 = row.rejected.iter().map(|r| r.facts).sum();
    let counted = row.acknowledged + rejected + row.unclear + row.in_flight;
    (counted != row.received).then(|| AdminImbalance {
        shard: None,
        node: node.to_owned(),
        tenant: row.tenant.clone(),
        signal: signal(row.signal),
        rule: "received = acknowledged + rejected + unclear + in flight".to_owned(),
        books: row.received,
        counted,
    })
}

fn progress(node: &str, answer: &Result<LedgerReply, String>) -> AdminVerificationNode {
    let node = node.to_owned();
    let v = match answer {
        Ok(reply) => reply.verification.clone().unwrap_or_default(),
        Err(reason) => {
            let unreachable = Some(reason.clone());
            return AdminVerificationNode { node, unreachable, ..AdminVerificationNode::default() };
        }
    };
    let time = |ms: u64| (ms != 0).then_some(ms);
    AdminVerificationNode {
        node,
        unreachable: None,
        running: v.running,
        started_unix_ms: time(v.started_unix_ms),
        finished_unix_ms: time(v.finished_unix_ms),
        shards_total: v.shards_total,
        shards_done: v.shards_done,
        bytes_total: v.bytes_total,
        bytes_done: v.bytes_done,
        facts_counted: v.facts_counted,
        runs: v.runs,
        errors: v.errors,
    }
}

#[cfg(test)]
mod tests {
    use trine_actors::rpc::proto::RecountRow;

    use super::*;

    fn told(applied: u64, sealed: u64) -> BooksRow {
        BooksRow { tenant: "acme".into(), signal: 2, applied, sealed, ..BooksRow::default() }
    }

    /// A node with a replica of shard 7 that has counted itself.
    fn answer(position: u64, applied: u64, readable: u64) -> LedgerReply {
        let rejected = vec![Rejected { reason: "invalid".into(), facts: 2 }];
        let (tenant, signal) = ("acme".to_owned(), 2);
        let came =
            IntakeRow { tenant, signal, received: 12, acknowledged: 9, unclear: 1, rejected, ..IntakeRow::default() };
        let rows = vec![RecountRow { books: Some(told(applied, 4)), in_blocks: 4, readable, shadowed: 1 }];
        let recount = Recount { shard: 7, position, rows, ..Recount::default() };
        let verification = Verification { runs: 1, started_unix_ms: 5, recounts: vec![recount], ..Default::default() };
        LedgerReply {
            since_unix_ms: 3,
            intake: vec![came],
            replicas: vec![ReplicaBooks { shard: 7, position, rows: vec![told(applied, 4)], ..Default::default() }],
            verification: Some(verification),
        }
    }

    #[test]
    fn sums_are_over_nodes_at_the_surfaces_and_over_shards_behind_them() {
        let answers = vec![("n2".into(), Ok(answer(9, 10, 9))), ("n1".into(), Ok(answer(8, 9, 8)))];
        let ledger = ledger(answers);
        let [row] = &ledger.facts[..] else { panic!("{ledger:?}") };
        assert_eq!((row.received, row.acknowledged, row.rejected, row.unclear), (24, 18, 4, 2));
        assert_eq!((row.applied, row.sealed, row.in_heads), (10, 4, 6));
        assert_eq!((row.readable, row.shadowed, ledger.counted_unix_ms), (Some(9), Some(1), Some(5)));
        assert_eq!(ledger.nodes[0].node, "n1");
    }

    #[test]
    fn a_cluster_balances_only_when_all_of_it_was_counted() {
        let balanced = |answers: Answers| verification(answers, Vec::new()).balanced;
        let sound = || ("n1".to_owned(), Ok(answer(9, 10, 9)));
        assert_eq!(balanced(vec![sound()]), Some(true));
        assert_eq!(balanced(vec![]), None);
        assert_eq!(balanced(vec![sound(), ("n2".into(), Err("down".into()))]), None);
        let mut running = answer(9, 10, 9);
        running.verification.get_or_insert_default().running = true;
        assert_eq!(balanced(vec![sound(), ("n2".into(), Ok(running))]), None);
        let mut uncounted = answer(9, 10, 9);
        uncounted.verification.get_or_insert_default().errors.push("shard 8: lost".into());
        assert_eq!(balanced(vec![("n2".into(), Ok(uncounted))]), None);
        assert_eq!(balanced(vec![sound(), ("n2".into(), Ok(answer(9, 10, 8)))]), Some(false));
    }

    #[test]
    fn a_surface_that_loses_count_is_named() {
        let mut lost = answer(9, 10, 9);
        lost.intake[0].received += 1;
        let found = verification(vec![("n1".into(), Ok(lost))], Vec::new()).imbalances;
        let figures: Vec<_> = found.iter().map(|i| (i.shard, i.books, i.counted)).collect();
        assert_eq!(figures, [(None, 13, 12)]);
    }
}
