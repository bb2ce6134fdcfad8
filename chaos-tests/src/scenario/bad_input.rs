//! Requests that no sound client sends, on every port: each gets its contract's status, and nobody else notices.
mod cases;
mod raw;

use std::time::Duration;

use super::check::{check_everything, no_misses, sound_answers};
use crate::client::Client;
use crate::cluster::{Cluster, Options};
use crate::error::{Error, Result};
use crate::fact::Run;
use crate::readers::Readers;
use crate::report::Report;
use crate::settings::Settings;
use crate::writers::{Ledger, Writers};

const PATIENCE: Duration = Duration::from_secs(30);
const REQUESTS: u64 = 20;

/// All bad requests, then garbage on the ports themselves, beside a client whose writes and reads must go on.
pub async fn bad_input(settings: Settings) -> Result<Report> {
    let mut report = Report::new("bad_input", settings);
    let mut cluster = Cluster::start(Options::nodes(1)).await?;
    let (client, ledger) = (Client::new(), Ledger::in_company(Run::new("bad-input")));
    let (at, (rpc, gossip)) = (cluster.http(0), cluster.internal(0));
    let writing = Writers::start(&ledger, &client, &[at], &[]);
    let reading = Readers::start(&ledger, &client, &[at]);
    writing.progress(REQUESTS, PATIENCE).await?;
    let held = raw::half_requests(at).await?;
    let mut wrong = Vec::new();
    let cases = cases::all(&ledger.run);
    let count = cases.len();
    for case in cases {
        let name = case.name;
        let expected = case.expected;
        let seen = case.send(&client, at).await;
        if !expected.contains(&seen.status) {
            wrong.push(format!("{name}: {} ({}), not one of {expected:?}", seen.status, seen.text));
        }
        cluster.check_alive(0)?;
    }
    let mut rng = settings.rng();
    let sent = raw::garbage(&mut rng, at, rpc, gossip).await?;
    drop(held);
    cluster.check_alive(0)?;
    writing.progress(REQUESTS, PATIENCE).await?;
    let answers = reading.finish().await?;
    let seen = writing.finish().await?;
    no_misses("bad input of one client fails no write of another", &seen)?;
    sound_answers("bad input of one client fails no query of another", &answers)?;
    check_everything(&cluster, &client, &ledger, &[0]).await?;
    if !wrong.is_empty() {
        return Err(Error::Promise { promise: "bad input gets its contract's status", evidence: wrong.join("\n") });
    }
    report.note("bad requests with their statuses", count);
    report.note("pieces of garbage on three ports", sent);
    report.note_ms("longest gap of the others", seen.longest_gap);
    report.note_tallies(&ledger);
    cluster.end()?;
    Ok(report)
}
