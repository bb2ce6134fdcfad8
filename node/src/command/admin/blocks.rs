//! `trine admin blocks`.
use std::fmt::Write;

use trine_api::admin::model::{AdminBlockWindow, AdminBlocks};

use super::super::out;
use super::{Client, bytes};
use crate::error::Error;

pub(super) async fn run(client: &Client, tenant: Option<&str>, json: bool) -> Result<(), Error> {
    let params = tenant.map(|t| ("tenant", t));
    let blocks: AdminBlocks = client.get_with("/admin/v1/blocks", params).await?;
    match json {
        true => out::line(format_args!("{:#}", serde_json::json!(blocks))),
        false => out::print(table(&blocks)),
    }
}

/// A time to the minute, in UTC.
fn minute(unix_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(unix_ms);
    time.map_or_else(|_| format!("{unix_ms} ms"), |t| t.strftime("%Y-%m-%d %H:%M").to_string())
}

/// A length in its greatest whole unit.
fn length(seconds: u64) -> String {
    match seconds {
        s if s > 0 && s.is_multiple_of(86_400) => format!("{} d", s / 86_400),
        s if s > 0 && s.is_multiple_of(3600) => format!("{} h", s / 3600),
        s => format!("{s} s"),
    }
}

fn row(shard: u32, w: &AdminBlockWindow) -> String {
    let per_row = if w.rows == 0 { 0.0 } else { w.bytes as f64 / w.rows as f64 };
    let mut notes = Vec::new();
    if w.tombstones > 0 {
        notes.push(format!("{} deletions pending", w.tombstones));
    }
    if w.damaged > 0 {
        notes.push(format!("{} DAMAGED", w.damaged));
    }
    format!(
        "{shard:<6} {:<8} {:<16} {:>6} {:>5} {:>6} {:>12} {:>10} {per_row:>8.2} {:<16} {:<16} {}",
        w.signal,
        minute(w.start_unix_ms),
        length(w.length_s),
        w.level,
        w.blocks_count,
        w.rows,
        bytes(w.bytes),
        minute(w.min_unix_ms),
        minute(w.max_unix_ms),
        notes.join(", ")
    )
    .trim_end()
    .to_owned()
}

/// The document as a person reads it; all times are UTC.
fn table(blocks: &AdminBlocks) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        writeln!(out, "{text}").expect("writing to a string does not fail");
    };
    for room in &blocks.room {
        line(format!(
            "{}: what is older than {} goes, there is no room for it",
            room.signal,
            minute(room.from_unix_ms)
        ));
    }
    if !blocks.silent_shards.is_empty() {
        line(format!("NO ANSWER from any replica of shards {:?}", blocks.silent_shards));
    }
    line(format!(
        "{:<6} {:<8} {:<16} {:>6} {:>5} {:>6} {:>12} {:>10} {:>8} {:<16} {:<16}",
        "SHARD", "SIGNAL", "WINDOW", "LENGTH", "LEVEL", "BLOCKS", "ROWS", "BYTES", "BYTES/ROW", "OLDEST", "NEWEST"
    ));
    for shard in &blocks.shards {
        shard.windows.iter().for_each(|window| line(row(shard.shard, window)));
    }
    let windows = || blocks.shards.iter().flat_map(|shard| &shard.windows);
    let sum = |of: fn(&AdminBlockWindow) -> u64| windows().map(of).sum::<u64>();
    line(format!(
        "{} blocks, {} rows, {}, each once and not in all its replicas",
        sum(|w| w.blocks_count),
        sum(|w| w.rows),
        bytes(sum(|w| w.bytes))
    ));
    let noted: Vec<_> = blocks.shards.iter().flat_map(|s| s.compactions.iter().map(move |c| (s.shard, c))).collect();
    if !noted.is_empty() {
        line(String::new());
        line("compactions that are noted and not done".to_owned());
        line(format!(
            "{:<6} {:<16} {:<8} {:>10} {:>6} {:>6}  STATE",
            "SHARD", "NODE", "SIGNAL", "INDEX", "LENGTH", "BLOCKS"
        ));
    }
    for (shard, c) in noted {
        let state = if c.ready { "ready" } else { "waits for blocks" };
        line(format!(
            "{shard:<6} {:<16} {:<8} {:>10} {:>6} {:>6}  {state}",
            c.node,
            c.signal,
            c.index,
            length(c.length_s),
            c.inputs
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use trine_api::admin::model::{AdminCompaction, AdminRoom, AdminShardBlocks};

    use super::*;

    #[test]
    fn the_table_says_what_there_is_and_what_is_to_be_done() {
        let window = AdminBlockWindow {
            signal: "metrics".into(),
            level: 3,
            start_unix_ms: 1_767_225_600_000,
            length_s: 7200,
            blocks_count: 2,
            rows: 1000,
            bytes: 700,
            min_unix_ms: 1_767_225_600_000,
            max_unix_ms: 1_767_229_200_000,
            tombstones: 1,
            damaged: 1,
            ..AdminBlockWindow::default()
        };
        let noted = AdminCompaction { node: "n1".into(), length_s: 86_400, ..AdminCompaction::default() };
        let shard = AdminShardBlocks {
            shard: 4,
            windows: vec![window],
            compactions: vec![noted],
            ..AdminShardBlocks::default()
        };
        let room = vec![AdminRoom { signal: "logs".into(), from_unix_ms: 0 }];
        let text = table(&AdminBlocks { shards: vec![shard], silent_shards: vec![5], room });
        for said in [
            "logs: what is older than 1970-01-01 00:00",
            "any replica of shards [5]",
            "2026-01-01 00:00    2 h",
            "0.70 2026-01-01 00:00 2026-01-01 01:00 1 deletions pending, 1 DAMAGED",
            "2 blocks, 1000 rows, 700 B",
            "   1 d      0  waits for blocks",
        ] {
            assert!(text.contains(said), "{said:?} is not in\n{text}");
        }
    }

    #[test]
    fn times_and_lengths_are_short() {
        assert_eq!([length(0), length(90), length(7200), length(691_200)], ["0 s", "90 s", "2 h", "8 d"]);
        assert_eq!(minute(i64::MIN), format!("{} ms", i64::MIN));
    }
}
