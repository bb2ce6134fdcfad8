//! `trine admin spread`.
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use trine_api::admin::model::{AdminSpread, AdminSpreads, SpreadRequest};

use super::super::out;
use super::{Client, bytes};
use crate::cli::SpreadCommand;
use crate::error::Error;

pub(super) async fn run(client: &Client, command: Option<SpreadCommand>, json: bool) -> Result<(), Error> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
    let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let Some(SpreadCommand::Set { stream, slots, tenant, from_ms }) = command else {
        let spreads: AdminSpreads = client.get("/admin/v1/spread").await?;
        return match json {
            true => out::line(format_args!("{:#}", serde_json::json!(spreads))),
            false => out::print(table(&spreads, now_ms)),
        };
    };
    let request = SpreadRequest { tenant: Some(tenant), stream, slots, from_unix_ms: from_ms };
    let post = client.http.post(format!("{}/admin/v1/spread", client.url)).timeout(Duration::from_secs(15));
    let spread: AdminSpread = client.call(post.json(&request)).await?;
    match json {
        true => out::line(format_args!("{:#}", serde_json::json!(spread))),
        false => {
            let outcome = outcome(&spread, now_ms);
            out::line(format_args!("{} of tenant {} {outcome}", spread.stream, spread.tenant))
        }
    }
}

fn outcome(spread: &AdminSpread, now_ms: i64) -> String {
    let over = match spread.slots {
        1 => "is not spread any more".to_owned(),
        n => format!("is spread over {n} slots"),
    };
    format!("{over} from entries of {} ms on, {}", spread.from_unix_ms, when(spread.from_unix_ms, now_ms))
}

/// How far a time is from now, in seconds.
fn when(ms: i64, now_ms: i64) -> String {
    match ms.saturating_sub(now_ms) {
        left if left > 0 => format!("in {} s", (left + 999) / 1000),
        past => format!("{} s ago", past.unsigned_abs() / 1000),
    }
}

/// The table as a person reads it.
fn table(spreads: &AdminSpreads, now_ms: i64) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        writeln!(out, "{text}").expect("writing to a string does not fail");
    };
    match spreads.bytes_per_second {
        0 => line("streams are spread by request only".into()),
        n => line(format!("streams that take more than {}/s in a shard are spread by themselves", bytes(n))),
    }
    line(format!("a spread that is asked for now begins {}", when(spreads.earliest_unix_ms, now_ms)));
    if spreads.spreads.is_empty() {
        line("no stream is spread".into());
        return out;
    }
    line(String::new());
    line(format!("{:<16} {:>5}  {:<16} {:<14} STREAM", "TENANT", "SLOTS", "FROM (ms)", ""));
    for s in &spreads.spreads {
        let from = when(s.from_unix_ms, now_ms);
        line(format!("{:<16} {:>5}  {:<16} {from:<14} {}", s.tenant, s.slots, s.from_unix_ms, s.stream));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_begins_when() {
        let row = |from_unix_ms, slots| AdminSpread {
            tenant: "t".into(),
            stream: r#"{app="a"}"#.into(),
            from_unix_ms,
            slots,
            ..AdminSpread::default()
        };
        let mut spreads =
            AdminSpreads { earliest_unix_ms: 61_000, bytes_per_second: 8 << 20, ..AdminSpreads::default() };
        let empty = table(&spreads, 1_000);
        assert!(
            empty.contains("8.0 MiB/s") && empty.contains("begins in 60 s") && empty.contains("no stream"),
            "{empty}"
        );
        spreads.spreads = vec![row(500, 4), row(70_000, 1)];
        let text = table(&spreads, 2_000);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[4].contains("1 s ago") && lines[5].contains("in 68 s") && lines[5].contains("{app="), "{text}");
        assert!(outcome(&row(70_000, 1), 1_000).contains("not spread any more"));
    }
}
