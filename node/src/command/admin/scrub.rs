//! `trine admin scrub`: a bar a node while blocks are read, then what was found.
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use trine_api::admin::model::{AdminScrub, AdminScrubNode};

use super::super::out;
use super::bars::Bars;
use super::{Client, bytes};
use crate::error::Error;

/// Between two looks at the progress.
const POLL: Duration = Duration::from_millis(300);
/// Lines about one node's blocks that could not be checked.
const LINES_MAX: usize = 10;

/// Starts a scrub and follows it to its end; with `watch_only` one that runs already.
pub(super) async fn run(client: &Client, watch_only: bool) -> Result<(), Error> {
    let before: AdminScrub = client.get("/admin/v1/scrub").await?;
    let runs: BTreeMap<String, u64> = before.nodes.iter().map(|n| (n.node.clone(), n.runs)).collect();
    if !watch_only {
        let request = client.http.post(format!("{}/admin/v1/scrub", client.url)).timeout(Duration::from_secs(10));
        let _started: AdminScrub = client.call(request).await?;
    }
    let then = "`trine admin scrub --watch` follows them again";
    let ended = super::unless_interrupted(followed(client, watch_only, &runs), then).await?;
    out::print(table(&ended))?;
    verdict(&ended)
}

async fn followed(client: &Client, watch_only: bool, runs: &BTreeMap<String, u64>) -> Result<AdminScrub, Error> {
    let mut bars = Bars::new();
    let ended = loop {
        let scrub: AdminScrub = client.get("/admin/v1/scrub").await?;
        show(&mut bars, &scrub);
        let is_over = |n: &AdminScrubNode| {
            n.unreachable.is_some() || (!n.running && (watch_only || n.runs > runs.get(&n.node).copied().unwrap_or(0)))
        };
        if scrub.nodes.iter().all(is_over) {
            break scrub;
        }
        tokio::time::sleep(POLL).await;
    };
    bars.clear();
    Ok(ended)
}

/// A success is a scrub that has read everything everywhere and found nothing.
fn verdict(scrub: &AdminScrub) -> Result<(), Error> {
    let silent = scrub.nodes.iter().filter(|n| n.unreachable.is_some()).count();
    let unchecked: usize = scrub.nodes.iter().map(|n| n.errors.len()).sum();
    let bad: u64 = scrub.nodes.iter().map(|n| n.damaged + n.disagreeing).sum();
    let mut flaws = Vec::new();
    if bad > 0 {
        flaws.push(format!("{bad} blocks are damaged or differ between replicas"));
    }
    if silent > 0 {
        flaws.push(format!("{silent} of {} nodes did not answer", scrub.nodes.len()));
    }
    if unchecked > 0 {
        flaws.push(format!("{unchecked} checks could not be made"));
    }
    if flaws.is_empty() { Ok(()) } else { Err(Error::Admin(flaws.join("; "))) }
}

fn show(bars: &mut Bars, scrub: &AdminScrub) {
    for n in &scrub.nodes {
        let message = match &n.unreachable {
            Some(reason) => format!("no answer: {reason}"),
            None => format!("{} of {} blocks, {} damaged", n.blocks_done, n.blocks_total, n.damaged),
        };
        bars.show(&n.node, n.bytes_done, n.bytes_total, message);
    }
}

/// The end of a scrub as a person reads it.
fn table(scrub: &AdminScrub) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        out.write_fmt(text).and_then(|()| out.write_char('\n')).expect("writing to a string does not fail");
    };
    let head = ("NODE", "BLOCKS", "READ", "SECONDS", "DAMAGED", "DISAGREE", "NOT CHECKED");
    let (node, blocks, read, seconds, damaged, disagree, failed) = head;
    line(format_args!("{node:<16} {blocks:>8} {read:>10} {seconds:>8} {damaged:>8} {disagree:>9} {failed:>12}"));
    for n in &scrub.nodes {
        if let Some(reason) = &n.unreachable {
            line(format_args!("{:<16} NO ANSWER: {reason}", n.node));
            continue;
        }
        let took_ms = n.finished_unix_ms.unwrap_or(0).saturating_sub(n.started_unix_ms.unwrap_or(0));
        line(format_args!(
            "{:<16} {:>8} {:>10} {:>8.1} {:>8} {:>9} {:>12}",
            n.node,
            n.blocks_done,
            bytes(n.bytes_done),
            took_ms as f64 / 1000.0,
            n.damaged,
            n.disagreeing,
            n.errors.len(),
        ));
    }
    for n in &scrub.nodes {
        for f in &n.findings {
            line(format_args!("{}: shard {}: {}: {}", n.node, f.shard, f.file, f.text));
        }
        for error in n.errors.iter().take(LINES_MAX) {
            line(format_args!("{}: not checked: {error}", n.node));
        }
        if n.errors.len() > LINES_MAX {
            line(format_args!("{}: not checked: {} more", n.node, n.errors.len() - LINES_MAX));
        }
    }
    if scrub.nodes.iter().any(|n| n.damaged + n.disagreeing > 0) {
        line(format_args!("what is damaged or outvoted is being healed: see /admin/v1/healing"));
    }
    out
}

#[cfg(test)]
mod tests {
    use trine_api::admin::model::AdminScrubFinding;

    use super::*;

    #[test]
    fn the_table_names_what_was_found_and_who_did_not_answer() {
        let finding = AdminScrubFinding { shard: 3, file: "1-logs.trnb".into(), text: "checksum".into() };
        let nodes = vec![
            AdminScrubNode { node: "n1".into(), damaged: 1, findings: vec![finding], ..AdminScrubNode::default() },
            AdminScrubNode { node: "n2".into(), unreachable: Some("down".into()), ..AdminScrubNode::default() },
        ];
        let text = table(&AdminScrub { nodes });
        for wanted in ["n1: shard 3: 1-logs.trnb: checksum", "NO ANSWER: down", "being healed"] {
            assert!(text.contains(wanted), "{text}");
        }
    }

    #[test]
    fn only_a_scrub_that_read_everything_and_found_nothing_is_a_success() {
        let sound = AdminScrubNode { node: "n1".into(), blocks_done: 7, ..AdminScrubNode::default() };
        let of = |second: AdminScrubNode| verdict(&AdminScrub { nodes: vec![sound.clone(), second] });
        assert!(of(sound.clone()).is_ok());
        for (second, said) in [
            (AdminScrubNode { unreachable: Some("down".into()), ..sound.clone() }, "1 of 2 nodes did not answer"),
            (AdminScrubNode { errors: vec!["x".into(); 32], ..sound.clone() }, "32 checks could not be made"),
            (AdminScrubNode { damaged: 1, ..sound.clone() }, "1 blocks are damaged"),
            (AdminScrubNode { disagreeing: 2, ..sound.clone() }, "2 blocks are damaged or differ"),
        ] {
            let text = of(second).unwrap_err().to_string();
            assert!(text.contains(said), "{text}");
        }
        let many = AdminScrubNode { errors: vec!["x".into(); 32], ..sound.clone() };
        let text = table(&AdminScrub { nodes: vec![many] });
        assert!(text.contains("n1: not checked: 22 more") && text.lines().count() == 13, "{text}");
    }
}
