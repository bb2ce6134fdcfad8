//! `trine admin ledger`: what became of every fact; with `--verify`, everything is counted again first.
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use trine_api::admin::model::{AdminImbalance, AdminLedger, AdminVerification, AdminVerificationNode};

use super::super::out;
use super::Client;
use super::bars::Bars;
use crate::error::Error;

/// Between two looks at the progress.
const POLL: Duration = Duration::from_millis(300);
/// Imbalances and errors that are printed.
const LINES_MAX: usize = 40;
/// Name of the row for all tenants that have none of their own.
const OTHERS: &str = "(others)";

/// Prints the books, of one tenant if named. `Err` when they were verified and do not balance, or could not be.
pub(super) async fn run(client: &Client, verify: bool, tenant: Option<&str>, json: bool) -> Result<(), Error> {
    let then = "GET /admin/v1/ledger/verify shows how far they are, and what they find";
    let verification = if verify { Some(super::unless_interrupted(verified(client, json), then).await?) } else { None };
    let mut ledger: AdminLedger = client.get("/admin/v1/ledger").await?;
    if let Some(tenant) = tenant {
        ledger.retain(tenant);
    }
    if json {
        let mut document = serde_json::json!({ "ledger": ledger });
        if let Some(verification) = &verification {
            document["verification"] = serde_json::json!(verification);
        }
        out::line(format_args!("{document:#}"))?;
    } else {
        out::print(table(&ledger, verify))?;
        if let Some(verification) = &verification {
            out::print(findings(verification))?;
        }
    }
    verification.map_or(Ok(()), |v| verdict(&v))
}

/// Counts everything on every node, following the progress.
async fn verified(client: &Client, quiet: bool) -> Result<AdminVerification, Error> {
    let before: AdminVerification = client.get("/admin/v1/ledger/verify").await?;
    let runs: BTreeMap<String, u64> = before.nodes.iter().map(|n| (n.node.clone(), n.runs)).collect();
    let request = client.http.post(format!("{}/admin/v1/ledger/verify", client.url)).timeout(Duration::from_secs(10));
    let _started: AdminVerification = client.call(request).await?;
    let mut bars = Bars::new();
    let ended = loop {
        let now: AdminVerification = client.get("/admin/v1/ledger/verify").await?;
        if !quiet {
            show(&mut bars, &now);
        }
        let is_over = |n: &AdminVerificationNode| {
            n.unreachable.is_some() || (!n.running && n.runs > runs.get(&n.node).copied().unwrap_or(0))
        };
        if now.nodes.iter().all(is_over) {
            break now;
        }
        tokio::time::sleep(POLL).await;
    };
    bars.clear();
    Ok(ended)
}

fn show(bars: &mut Bars, verification: &AdminVerification) {
    for n in &verification.nodes {
        let message = match &n.unreachable {
            Some(reason) => format!("no answer: {reason}"),
            None => format!("{} of {} shards, {} facts", n.shards_done, n.shards_total, n.facts_counted),
        };
        bars.show(&n.node, n.bytes_done, n.bytes_total, message);
    }
}

fn named(tenant: &str) -> &str {
    if tenant.is_empty() { OTHERS } else { tenant }
}

/// The books as a person reads them; `verified` when all was to be counted for this.
fn table(ledger: &AdminLedger, verified: bool) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        out.write_fmt(text).and_then(|()| out.write_char('\n')).expect("writing to a string does not fail");
    };
    line(format_args!("at the nodes, since the start of each"));
    line(format_args!(
        "{:<16} {:<8} {:>12} {:>12} {:>10} {:>8} {:>9}",
        "TENANT", "SIGNAL", "RECEIVED", "ACKNOWLEDGED", "REJECTED", "UNCLEAR", "IN FLIGHT"
    ));
    for r in ledger.facts.iter().filter(|r| r.received > 0) {
        let reasons: Vec<String> = r.rejected_by_reason.iter().map(|r| format!("{} {}", r.facts, r.reason)).collect();
        line(format_args!(
            "{:<16} {:<8} {:>12} {:>12} {:>10} {:>8} {:>9}  {}",
            named(&r.tenant),
            r.signal,
            r.received,
            r.acknowledged,
            r.rejected,
            r.unclear,
            r.in_flight,
            reasons.join(", "),
        ));
    }
    line(format_args!(""));
    line(format_args!("in the shards, since the first fact"));
    line(format_args!(
        "{:<16} {:<8} {:>12} {:>8} {:>8} {:>12} {:>12} {:>8} {:>8} {:>8} {:>12} {:>8}",
        "TENANT",
        "SIGNAL",
        "APPLIED",
        "REPEATED",
        "CONFLICT",
        "IN HEADS",
        "SEALED",
        "FOLDED",
        "EXPIRED",
        "DELETED",
        "READABLE",
        "SHADOWED"
    ));
    let counted = |count: Option<u64>| count.map_or_else(|| "?".to_owned(), |n| n.to_string());
    for r in ledger.facts.iter().filter(|r| r.applied + r.deduplicated + r.conflicting > 0) {
        line(format_args!(
            "{:<16} {:<8} {:>12} {:>8} {:>8} {:>12} {:>12} {:>8} {:>8} {:>8} {:>12} {:>8}",
            named(&r.tenant),
            r.signal,
            r.applied,
            r.deduplicated,
            r.conflicting,
            r.in_heads,
            r.sealed,
            r.folded,
            r.expired,
            r.deleted,
            counted(r.readable),
            counted(r.shadowed),
        ));
    }
    for n in &ledger.nodes {
        if let Some(reason) = &n.unreachable {
            line(format_args!("{}: NO ANSWER: {reason}; what it took and keeps is not in these figures", n.node));
        }
    }
    for r in &ledger.replicas {
        if let Some(why) = &r.closed {
            line(format_args!("shard {} on {}: NO BOOKS: {why}", r.shard, r.node));
        }
    }
    match (ledger.counted_unix_ms, verified) {
        (Some(_), _) => {}
        (None, true) => line(format_args!("what is readable could not be counted in every shard: see below")),
        (None, false) => line(format_args!("what is readable was not counted: --verify counts it")),
    }
    out
}

/// What a verification found, as a person reads it.
fn findings(verification: &AdminVerification) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        out.write_fmt(text).and_then(|()| out.write_char('\n')).expect("writing to a string does not fail");
    };
    line(format_args!(""));
    for i in verification.imbalances.iter().take(LINES_MAX) {
        let AdminImbalance { shard, node, tenant, signal, rule, books, counted } = i;
        let place = shard.map_or_else(|| node.clone(), |shard| format!("shard {shard} on {node}"));
        let tenant = named(tenant);
        line(format_args!(
            "NOT BALANCED: {place}, {signal} of tenant {tenant}: {rule}: {books} in the books, {counted} counted"
        ));
    }
    for n in &verification.nodes {
        if let Some(reason) = &n.unreachable {
            line(format_args!("{}: not counted: {reason}", n.node));
        }
        for error in n.errors.iter().take(LINES_MAX) {
            line(format_args!("{}: not counted: {error}", n.node));
        }
    }
    if !verification.shards_without_leader.is_empty() {
        line(format_args!(
            "NOT READABLE: shards {:?} have no leader: no query sees what they hold until a majority of their replicas is back",
            verification.shards_without_leader
        ));
    }
    if verification.balanced == Some(true) {
        let facts: u64 = verification.nodes.iter().map(|n| n.facts_counted).sum();
        let (shards, nodes) = (verification.nodes.iter().map(|n| n.shards_done).sum::<u64>(), verification.nodes.len());
        line(format_args!("the books balance: {shards} replicas on {nodes} nodes counted, {facts} facts decoded"));
    }
    out
}

fn verdict(verification: &AdminVerification) -> Result<(), Error> {
    match verification.balanced {
        Some(true) if verification.shards_without_leader.is_empty() => Ok(()),
        Some(true) => Err(Error::Admin(format!(
            "the books balance, but {} shards have no leader and cannot be read; see `trine admin status`",
            verification.shards_without_leader.len()
        ))),
        Some(false) => Err(Error::Admin(format!(
            "the books do not balance: {} figures differ; see docs/operations/ledger.md",
            verification.imbalances.len()
        ))),
        None => Err(Error::Admin(
            "not everything could be counted; see above, and verify again once the nodes answer and are healed".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use trine_api::admin::model::{AdminBooks, AdminIntake, AdminLedgerRow, AdminRejected};

    use super::*;

    #[test]
    fn the_table_has_the_figures_and_says_what_is_missing() {
        let row = AdminLedgerRow {
            tenant: "acme".into(),
            signal: "logs".into(),
            received: 17,
            rejected: 3,
            rejected_by_reason: vec![AdminRejected { reason: "invalid".into(), facts: 3 }],
            applied: 14,
            ..AdminLedgerRow::default()
        };
        let others = AdminLedgerRow { applied: 2, readable: Some(1), ..AdminLedgerRow::default() };
        let down = AdminIntake { node: "n2".into(), unreachable: Some("down".into()), ..AdminIntake::default() };
        let closed = AdminBooks { shard: 3, node: "n1".into(), closed: Some("damage".into()), ..AdminBooks::default() };
        let ledger =
            AdminLedger { facts: vec![row, others], nodes: vec![down], replicas: vec![closed], ..Default::default() };
        let again = table(&ledger, true);
        assert!(again.contains("could not be counted") && !again.contains("--verify"), "{again}");
        let text = table(&ledger, false);
        for wanted in
            ["acme", "3 invalid", "(others)", "n2: NO ANSWER: down", "shard 3 on n1: NO BOOKS: damage", "--verify"]
        {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
    }

    #[test]
    fn only_balanced_books_are_a_success() {
        let of = |balanced| AdminVerification { balanced, ..AdminVerification::default() };
        assert!(verdict(&of(Some(true))).is_ok());
        let unread = AdminVerification { shards_without_leader: vec![4], ..of(Some(true)) };
        assert!(verdict(&unread).is_err() && findings(&unread).contains("NOT READABLE: shards [4]"));
        assert!(verdict(&of(Some(false))).is_err() && verdict(&of(None)).is_err());
        let imbalance = AdminImbalance {
            shard: Some(3),
            node: "n1".into(),
            tenant: "acme".into(),
            signal: "logs".into(),
            rule: "facts in blocks".into(),
            books: 7,
            counted: 6,
        };
        let text = findings(&AdminVerification { imbalances: vec![imbalance], ..AdminVerification::default() });
        let wanted = "NOT BALANCED: shard 3 on n1, logs of tenant acme: facts in blocks: 7 in the books, 6 counted";
        assert!(text.contains(wanted), "{text}");
    }
}
