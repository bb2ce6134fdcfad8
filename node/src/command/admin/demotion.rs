//! `trine admin demotions`.
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use trine_api::admin::model::{AdminDemotion, AdminDemotions, DemotionOutcome, DemotionRequest, RestoreRequest};

use super::super::out;
use super::Client;
use crate::cli::DemotionCommand;
use crate::error::Error;

/// Counting the series of a metric may take some seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Characters of a name that are shown.
const NAME_CHARS_MAX: usize = 80;

pub(super) async fn run(client: &Client, command: Option<DemotionCommand>, json: bool) -> Result<(), Error> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
    let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let post = |path: &str| client.http.post(format!("{}{path}", client.url)).timeout(PATIENCE);
    match command {
        None | Some(DemotionCommand::List) => {
            let rows: AdminDemotions = client.get("/admin/v1/demotions").await?;
            print(json, &rows, || table(&rows, now_ms))
        }
        Some(DemotionCommand::Add { metric, label, tenant, dry_run, force }) => {
            let request = DemotionRequest { tenant: Some(tenant), metric, label, dry_run, force };
            let outcome: DemotionOutcome = client.call(post("/admin/v1/demotions").json(&request)).await?;
            print(json, &outcome, || outcome_text(&outcome, now_ms))
        }
        Some(DemotionCommand::End { metric, label, tenant }) => {
            let request = RestoreRequest { tenant: Some(tenant), metric, label };
            let row: AdminDemotion = client.call(post("/admin/v1/demotions/restore").json(&request)).await?;
            print(json, &row, || format!("{}\n", sentence(&row, now_ms)))
        }
    }
}

fn print<T: serde::Serialize>(json: bool, document: &T, text: impl FnOnce() -> String) -> Result<(), Error> {
    match json {
        true => out::line(format_args!("{:#}", serde_json::json!(document))),
        false => out::print(text()),
    }
}

fn outcome_text(outcome: &DemotionOutcome, now_ms: i64) -> String {
    let DemotionOutcome { series, series_left, shared, sources_most, .. } = outcome;
    let mut out = format!("{series} series with a current sample, {series_left} without the label");
    if *shared > 0 {
        out.push_str(&format!(
            "; {shared} of these have up to {sources_most} sources that send now: one sample of each time is kept"
        ));
    }
    out.push('\n');
    if let (Some(objection), None) = (&outcome.objection, &outcome.demotion) {
        out.push_str(&format!("without --force it is refused: {objection}\n"));
    }
    outcome.warnings.iter().for_each(|warning| out.push_str(&format!("INCOMPLETE: {warning}\n")));
    match &outcome.demotion {
        Some(row) => out.push_str(&format!("{}\n", sentence(row, now_ms))),
        None => out.push_str("nothing was changed\n"),
    }
    out
}

fn sentence(row: &AdminDemotion, now_ms: i64) -> String {
    let AdminDemotion { tenant, from_unix_ms, until_unix_ms, .. } = row;
    let (metric, label) = (shown(&row.metric), shown(&row.label));
    match until_unix_ms {
        None => {
            format!("samples of {metric} of tenant {tenant} lose label {label}, from {}", when(*from_unix_ms, now_ms))
        }
        Some(ms) => {
            format!("samples of {metric} of tenant {tenant} keep label {label} again, from {}", when(*ms, now_ms))
        }
    }
}

/// A name without what would move the cursor, and not much longer than a line.
fn shown(name: &str) -> String {
    let mut out: String = name.chars().take(NAME_CHARS_MAX).flat_map(char::escape_debug).collect();
    if name.chars().nth(NAME_CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}

/// A sample time as a person reads it.
fn when(ms: i64, now_ms: i64) -> String {
    match ms.saturating_sub(now_ms) {
        left if left > 0 => format!("{ms} ms on, in {} s", (left + 999) / 1000),
        past => format!("{ms} ms on, {} s ago", past.unsigned_abs() / 1000),
    }
}

/// The table as a person reads it.
fn table(rows: &AdminDemotions, now_ms: i64) -> String {
    if rows.demotions.is_empty() {
        return "no label is demoted\n".to_owned();
    }
    let mut out = format!("{:<16} {:<10} {:<24} {:<34} METRIC\n", "TENANT", "STATE", "LABEL", "AT");
    for row in &rows.demotions {
        let (state, at_ms) = match row.until_unix_ms {
            Some(until) if until <= now_ms => ("ended", until),
            Some(until) => ("ending", until),
            None if row.in_effect => ("in effect", row.from_unix_ms),
            None => ("coming", row.from_unix_ms),
        };
        let (label, metric, at) = (shown(&row.label), shown(&row.metric), when(at_ms, now_ms));
        writeln!(out, "{:<16} {state:<10} {label:<24} {at:<34} {metric}", row.tenant)
            .expect("writing to a string does not fail");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(from_unix_ms: i64, until_unix_ms: Option<i64>, in_effect: bool) -> AdminDemotion {
        let (tenant, metric, label) = ("team-a".to_owned(), "logins_total".to_owned(), "user".to_owned());
        AdminDemotion { tenant, metric, label, from_unix_ms, until_unix_ms, in_effect }
    }

    #[test]
    fn the_table_says_what_is_in_effect() {
        let demotions = vec![
            row(9_000, None, true),
            row(12_500, None, false),
            row(1_000, Some(8_000), false),
            row(1_000, Some(12_000), true),
        ];
        let shown = table(&AdminDemotions { demotions }, 10_000);
        for said in [
            "in effect  user                     9000 ms on, 1 s ago",
            "coming     user                     12500 ms on, in 3 s",
            "ended      user                     8000 ms on, 2 s ago",
            "ending     user                     12000 ms on, in 2 s",
        ] {
            assert!(shown.contains(said), "{said:?} is not in\n{shown}");
        }
        assert_eq!(table(&AdminDemotions::default(), 0), "no label is demoted\n");
    }

    #[test]
    fn names_cannot_move_the_cursor() {
        assert_eq!(shown("a\u{1b}[2Jb\n\0"), "a\\u{1b}[2Jb\\n\\0");
        assert_eq!(shown(&"ü".repeat(81)), format!("{}…", "ü".repeat(80)));
    }

    #[test]
    fn an_outcome_says_what_is_left() {
        let outcome = DemotionOutcome { series: 9, series_left: 2, shared: 1, sources_most: 8, ..Default::default() };
        assert_eq!(
            outcome_text(&outcome, 0),
            "9 series with a current sample, 2 without the label; 1 of these have up to 8 sources that send now: one sample of each time is kept\nnothing was changed\n"
        );
        let outcome = DemotionOutcome {
            demotion: Some(row(15_000, None, false)),
            series: 2,
            series_left: 2,
            ..Default::default()
        };
        assert!(outcome_text(&outcome, 0).ends_with("of tenant team-a lose label user, from 15000 ms on, in 15 s\n"));
    }
}
