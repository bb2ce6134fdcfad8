//! `trine admin healing` and `remove-node`.
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use trine_api::admin::model::{AdminHealing, RemovedNode};

use super::super::out;
use super::Client;
use crate::error::Error;

pub(super) async fn show(client: &Client, json: bool) -> Result<(), Error> {
    let view: AdminHealing = client.get("/admin/v1/healing").await?;
    if json {
        return out::line(format_args!("{:#}", serde_json::json!(view)));
    }
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64;
    out::print(table(&view, now_ms))
}

pub(super) async fn remove_node(client: &Client, name: &str, drain: bool) -> Result<(), Error> {
    let url = format!("{}/admin/v1/nodes/{name}/remove?drain={drain}", client.url);
    let removed: RemovedNode = client.call(client.http.post(url).timeout(Duration::from_secs(15))).await?;
    out::line(format_args!(
        "node {} (id {}): {} replicas move to other nodes, then it is forgotten; `trine admin healing` shows how far that is",
        removed.name, removed.id, removed.replicas_count
    ))
}

/// The view as a person reads it.
fn table(view: &AdminHealing, now_ms: u64) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        writeln!(out, "{text}").expect("writing to a string does not fail");
    };
    for node in &view.silent {
        line(format!("node {node} does not answer: what it found is not shown"));
    }
    for node in &view.retiring {
        line(format!("node {node} is being emptied and then removed"));
    }
    if view.replacing.is_empty() {
        line("no replica is being replaced".into());
    }
    for r in &view.replacing {
        let shard = r.shard.map_or("the metadata".to_owned(), |s| format!("shard {s}"));
        let why = if r.lost { "lost" } else { "moved away" };
        let how_far = match (r.matched, r.last_log) {
            (Some(at), Some(last)) => format!("at entry {at} of {last}"),
            (None, Some(_)) => "not there yet".into(),
            (_, None) => "waits for a leader".into(),
        };
        let new = match &r.successor_node {
            _ if r.successor == 0 => "no replica takes its place, it is only let go".to_owned(),
            Some(node) => format!("replica {} on {node} {how_far}", r.successor),
            None => format!("replica {}, which has no node yet, {how_far}", r.successor),
        };
        line(format!("{shard}: replica {} on {} is {why}; {new}", r.replica, r.node));
    }
    line(String::new());
    if view.records.is_empty() {
        line("nothing was found damaged".into());
        return out;
    }
    line(format!(
        "{:>9}  {:<11} {:<14} {:<8} {:<6} {:<18} WHAT, AND WHAT NEXT",
        "AGO", "STATE", "NODE", "KIND", "SHARD", "WHY"
    ));
    for r in &view.records {
        let shard = r.shard.map_or("-".to_owned(), |s| s.to_string());
        let files = r.files.as_ref().map(|f| format!(" [quarantine/{f}]")).unwrap_or_default();
        line(format!(
            "{:>9}  {:<11} {:<14} {:<8} {shard:<6} {:<18} {}: {}{files}",
            ago(now_ms.saturating_sub(r.found_ms)),
            r.state,
            r.node,
            r.kind,
            r.reason,
            r.what,
            r.detail
        ));
    }
    out
}

fn ago(ms: u64) -> String {
    match ms / 1000 {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s => format!("{} h", s / 3600),
    }
}

#[cfg(test)]
mod tests {
    use trine_api::admin::model::{AdminHealingRecord, AdminReplacement};

    use super::*;

    #[test]
    fn the_table_says_what_is_wrong_and_what_next() {
        let record = AdminHealingRecord {
            node: "n2".into(),
            found_ms: 1000,
            state: "failed".into(),
            shard: Some(3),
            what: "replica 9".into(),
            detail: "restore it".into(),
            files: Some("000001".into()),
            ..AdminHealingRecord::default()
        };
        let replacing =
            AdminReplacement { replica: 9, successor: 12, last_log: Some(5), ..AdminReplacement::default() };
        let let_go = AdminReplacement { replica: 10, node: "n5".into(), ..AdminReplacement::default() };
        let view = AdminHealing {
            records: vec![record],
            replacing: vec![replacing, let_go],
            silent: vec!["n3".into()],
            retiring: vec!["n4".into()],
        };
        let text = table(&view, 61_000);
        for wanted in [
            "60 s",
            "failed",
            "replica 9",
            "restore it",
            "quarantine/000001",
            "n3",
            "n4",
            "replica 12",
            "not there",
            "n5 is moved away; no replica",
        ] {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
        assert!(table(&AdminHealing::default(), 0).contains("nothing was found damaged"));
    }
}
