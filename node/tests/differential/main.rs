//! The same data in Trine and in Debian's Prometheus 2.42, the same questions to both, made up at random: the answers agree.
//!
//! Three nodes are asked in turn, the second half of the questions after everything was sealed into blocks. The seed is new in
//! every run and printed first; `TRINE_DIFFERENTIAL_SEED` repeats one, `TRINE_DIFFERENTIAL_QUESTIONS` asks more. Where
//! Prometheus 3 differs from 2.42 is a table: [`rules`].
#![expect(clippy::unwrap_used, reason = "a test may panic")]
mod answer;
mod data;
mod expression;
mod generate;
#[allow(dead_code, unused_imports, reason = "shared with other tests, which use all of it")]
#[path = "../common/harness.rs"]
mod harness;
mod rules;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use prost::Message;
use rand::SeedableRng;
use rand::rngs::StdRng;

use answer::Answer;
use expression::{Dialect, Expr};
use generate::{Generator, Order, Question, When};
use harness::remote::WriteRequest;
use harness::{Cluster, Http, Program, free_tcp_ports, installed, now_ms, until};
use rules::{Verdict, judge};

const QUESTIONS: usize = 700;
const HOUR_MS: i64 = 3_600_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests that the data is written in.
const REQUESTS: i64 = 6;
/// Questions that only a rule excuses are few, and most have an answer with something in it: else the run shows little.
const EXCUSED_MAX: f64 = 0.1;
const EMPTY_MAX: f64 = 0.4;
/// Differences that are shown.
const SHOWN: usize = 12;

/// Both servers, with the data.
struct Servers {
    cluster: Cluster,
    theirs: Http,
    _prometheus: Program,
}

impl Servers {
    async fn start(seed: u64, start_ms: i64) -> Self {
        let cluster = Cluster::start().await;
        let (theirs, prometheus) = start_prometheus(cluster.dir());
        until("Prometheus", PATIENCE, || async { theirs.try_get("/-/ready", &[]).await?.success().map(drop) }).await;
        let all = data::generate(start_ms, &mut StdRng::seed_from_u64(seed));
        let headers = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
        for timeseries in data::slices(&all, start_ms, REQUESTS) {
            let body = WriteRequest { timeseries }.encode_to_vec();
            let body = snap::raw::Encoder::new().compress_vec(&body).unwrap();
            let to = [&cluster.first().http, &theirs].map(|http| http.post("/api/v1/write", &headers, body.clone()));
            for reply in futures::future::join_all(to).await {
                assert_eq!(reply.status, 204, "{}", reply.text());
            }
        }
        Self { cluster, theirs, _prometheus: prometheus }
    }

    /// Asks both at once.
    async fn ask(&self, question: &Question, turn: usize) -> (Result<Answer, String>, Result<Answer, String>) {
        let path = match question.when {
            When::Instant { .. } => "/api/v1/query",
            When::Range { .. } => "/api/v1/query_range",
        };
        let node = &self.cluster.nodes[turn % self.cluster.nodes.len()].http;
        let ask = async |http: &Http, dialect| {
            let form = rules::form(question, dialect);
            let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let reply = http.post_form_with(path, &form, &[("x-trine-strict", "true")]).await;
            Answer::read(reply.status, &reply.body)
        };
        futures::future::join(ask(node, Dialect::Ours), ask(&self.theirs, Dialect::Theirs)).await
    }

    async fn verdict(&self, question: &Question, turn: usize) -> (Verdict, bool) {
        match self.ask(question, turn).await {
            (Ok(ours), Ok(theirs)) => (judge(question, &ours, &theirs), theirs.has_points()),
            (ours, theirs) => {
                let said = [ours.err(), theirs.err()].into_iter().flatten().collect::<Vec<_>>().join("; ");
                (Verdict::Different(said), false)
            }
        }
    }

    /// The smallest part of a question, at one time, that still differs.
    async fn shrink(&self, question: &Question, turn: usize) -> Question {
        let mut smallest = question.clone();
        loop {
            let mut smaller: Vec<Question> = Vec::new();
            if let When::Range { start_s, end_s, step_s } = smallest.when {
                let instants = (start_s..=end_s).step_by(step_s.unsigned_abs() as usize);
                smaller.extend(instants.map(|time_s| Question { when: When::Instant { time_s }, ..smallest.clone() }));
            }
            let parts: Vec<Expr> = smallest.query.parts().into_iter().cloned().collect();
            smaller.extend(parts.into_iter().map(|query| Question { query, order: Order::Any, ..smallest.clone() }));
            let mut found = None;
            for candidate in smaller {
                if matches!(self.verdict(&candidate, turn).await.0, Verdict::Different(_)) {
                    found = Some(candidate);
                    break;
                }
            }
            match found {
                Some(candidate) => smallest = candidate,
                None => return smallest,
            }
        }
    }

    async fn describe(&self, question: &Question, turn: usize) -> String {
        let mut out = String::new();
        let (ours, theirs) = self.ask(question, turn).await;
        for (who, dialect, answer) in [("Trine", Dialect::Ours, ours), ("Prometheus", Dialect::Theirs, theirs)] {
            let text = format!("{answer:?}");
            let shown: String = text.chars().take(1500).collect();
            writeln!(out, "  {who}: {:?}\n    {shown}", rules::form(question, dialect)).unwrap();
        }
        out
    }
}

fn start_prometheus(dir: &Path) -> (Http, Program) {
    let at = format!("127.0.0.1:{}", free_tcp_ports(1)[0]);
    let config = dir.join("prometheus.yml");
    std::fs::write(&config, "global: {}\n").unwrap();
    let mut command = Command::new(installed("prometheus", "prometheus"));
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
        .arg(format!("--web.listen-address={at}"))
        .arg("--web.enable-remote-write-receiver")
        .args(rules::FLAGS);
    (Http::new(&format!("http://{at}")), Program::start("prometheus", &mut command, dir))
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().ok().unwrap_or_else(|| panic!("{name}={text} is no number")))
}

#[tokio::test]
async fn answers_are_those_of_prometheus() {
    let seed: u64 = setting("TRINE_DIFFERENTIAL_SEED").unwrap_or_else(rand::random);
    let count: usize = setting("TRINE_DIFFERENTIAL_QUESTIONS").unwrap_or(QUESTIONS);
    // A whole hour: every grid of the questions is the same in a repeated run.
    let start_ms = now_ms() / HOUR_MS * HOUR_MS - 3 * HOUR_MS;
    let begun = std::time::Instant::now();
    println!("TRINE_DIFFERENTIAL_SEED={seed}, {count} questions about data from {start_ms} ms on");
    let servers = Servers::start(seed, start_ms).await;
    println!("ready after {:?}", begun.elapsed());
    let mut rng = StdRng::seed_from_u64(seed.wrapping_add(1));
    let questions = Generator::new(start_ms / 1000, &mut rng).questions(count);
    let (mut excused, mut empty, mut different) = (BTreeMap::<&str, usize>::new(), 0, Vec::new());
    for (n, question) in questions.iter().enumerate() {
        if n == count / 2 {
            servers.cluster.flush().await;
        }
        let (verdict, has_points) = servers.verdict(question, n).await;
        empty += usize::from(!has_points);
        match verdict {
            Verdict::Same => {}
            Verdict::ByRule(rule) => *excused.entry(rule).or_default() += 1,
            Verdict::Different(how) => different.push((n, how)),
        }
    }
    println!("answered after {:?}", begun.elapsed());
    println!(
        "{} asked, {} cores a round, {empty} without points, by rule {excused:?}",
        questions.len(),
        generate::round()
    );
    let mut shown = String::new();
    for (n, how) in different.iter().take(SHOWN) {
        let smallest = servers.shrink(&questions[*n], *n).await;
        writeln!(shown, "question {n}: {how}").unwrap();
        writeln!(shown, "{}", servers.describe(&smallest, *n).await).unwrap();
    }
    assert!(different.is_empty(), "{} of {count} differ (seed {seed}):\n{shown}", different.len());
    let part = |n: usize| n as f64 / count as f64;
    assert!(part(excused.values().sum()) < EXCUSED_MAX, "too many are excused: {excused:?}");
    assert!(part(empty) < EMPTY_MAX, "too many say nothing: {empty}");
}
