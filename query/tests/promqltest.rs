//! Runs Prometheus' own PromQL test scripts against the engine over shards in memory.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#[path = "promqltest/compare.rs"]
mod compare;
#[path = "promqltest/engine.rs"]
mod engine;
#[path = "promqltest/memory.rs"]
mod memory;
#[path = "promqltest/script.rs"]
mod script;
#[path = "promqltest/stored.rs"]
mod stored;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use compare::Outcome;
use memory::{MemoryScatter, Series};
use script::{Command, Eval, When};
use stored::StoreScatter;
use trine_query::memory::Account;
use trine_query::promql::{self, InstantQuery, RangeQuery};
use trine_query::scatter::{QueryContext, Scatter};

/// Evals that passed when this was last measured; fewer is a step back.
const PASSED_MIN: usize = 975;
const SHARDS: usize = 3;

fn scripts() -> Vec<PathBuf> {
    let shared = std::env::var_os("TRINE_SHARED").map(PathBuf::from);
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let dir = shared.unwrap_or(beside).join("conformance/promqltest");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&dir)
        .unwrap_or_else(|e| panic!("read {}: {e}; set TRINE_SHARED", dir.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "test"))
        .collect();
    files.sort();
    files
}

#[derive(Default)]
struct Tally {
    passed: usize,
    unsupported: usize,
    wrong: Vec<String>,
}

type Build = fn(&[Series]) -> Arc<dyn Scatter>;

async fn run_script(text: &str, build: Build) -> Tally {
    let mut tally = Tally::default();
    let mut series: Vec<Series> = Vec::new();
    let mut scatter = build(&series);
    for command in script::parse(text) {
        match command {
            Command::Clear => {
                series.clear();
                scatter = build(&series);
            }
            Command::Load(loaded) => {
                memory::load(&mut series, loaded);
                scatter = build(&series);
            }
            Command::Eval(eval) => match run_eval(&scatter, &eval).await {
                Outcome::Passed => tally.passed += 1,
                Outcome::Unsupported => tally.unsupported += 1,
                Outcome::Wrong(why) => tally.wrong.push(format!("line {}: {}: {why}", eval.line, eval.query)),
            },
        }
    }
    tally
}

async fn run_eval(scatter: &Arc<dyn Scatter>, eval: &Eval) -> Outcome {
    let ctx = QueryContext {
        tenant: Arc::from(stored::TENANT),
        deadline: Instant::now() + Duration::from_secs(60),
        strict: true,
        memory: Account::unbounded(),
    };
    let lookback_ms = promql::LOOKBACK_MS_DEFAULT;
    let query = eval.query.clone();
    match eval.when {
        When::Range { start_ms, end_ms, step_ms } => {
            let query = RangeQuery { query, start_ms, end_ms, step_ms, lookback_ms, limit: 0 };
            compare::check(eval, promql::range(scatter, &ctx, &query).await)
        }
        When::Instant { time_ms } => {
            let instant = InstantQuery { query: query.clone(), time_ms, lookback_ms, limit: 0 };
            let outcome = compare::check(eval, promql::instant(scatter, &ctx, &instant).await);
            if !matches!(outcome, Outcome::Passed) || !eval.also_as_range() {
                return outcome;
            }
            // As Prometheus' own runner: the value must be the same inside a range.
            let (start_ms, end_ms) = (time_ms - 60_000, time_ms + 60_000);
            let range = RangeQuery { query, start_ms, end_ms, step_ms: 60_000, lookback_ms, limit: 0 };
            compare::check_inside_range(eval, time_ms, promql::range(scatter, &ctx, &range).await)
        }
    }
}

#[tokio::test]
async fn over_memory() {
    prometheus_scripts(|series| Arc::new(MemoryScatter::new(series, SHARDS))).await;
}

#[tokio::test]
async fn over_the_store() {
    prometheus_scripts(|series| Arc::new(StoreScatter::new(series, SHARDS))).await;
}

async fn prometheus_scripts(build: Build) {
    let (mut passed, mut unsupported, mut wrong) = (0, 0, Vec::new());
    println!("{:<28} {:>6} {:>11} {:>5}", "script", "passed", "unsupported", "wrong");
    for path in scripts() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let tally = run_script(&std::fs::read_to_string(&path).unwrap(), build).await;
        println!("{name:<28} {:>6} {:>11} {:>5}", tally.passed, tally.unsupported, tally.wrong.len());
        passed += tally.passed;
        unsupported += tally.unsupported;
        wrong.extend(tally.wrong.into_iter().map(|w| format!("{name} {w}")));
    }
    println!("{:<28} {passed:>6} {unsupported:>11} {:>5}", "all", wrong.len());
    wrong.iter().for_each(|w| println!("WRONG {w}"));
    assert!(wrong.is_empty(), "{} wrong results", wrong.len());
    assert!(passed >= PASSED_MIN, "{passed} evals passed, {PASSED_MIN} did before");
}
