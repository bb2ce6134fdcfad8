//! Runs scripts against any engine.
use std::path::PathBuf;
use std::sync::Arc;

use trine_query::promql::histogram::Histogram;
use trine_store::model::Labels;

use crate::compare;
use crate::load::{self, Series};
use crate::pinned;
use crate::script::{self, Command, Eval, When};

/// An engine under test: something that keeps samples and answers queries.
pub(crate) trait Engine {
    /// Ask every instant query five times more, pinned to its time by `@`.
    const PINNED: bool;

    /// Forgets all samples.
    async fn clear(&mut self);

    /// Adds samples.
    async fn load(&mut self, series: &[Series]);

    /// The answer, or what the engine says is wrong with the query.
    async fn eval(&self, query: &str, when: When) -> Result<Answer, String>;
}

/// An engine's answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) value: Value,
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar(f64),
    Text(String),
    /// In the engine's order.
    Vector(Vec<Points>),
    Matrix(Vec<Points>),
}

/// A series of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Points {
    pub(crate) labels: Labels,
    pub(crate) floats: Vec<(i64, f64)>,
    pub(crate) histograms: Vec<(i64, Native)>,
}

/// A histogram of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Native {
    pub(crate) shown: Shown,
    /// With what is not shown: schema, zero bucket, custom bounds, reset hint.
    pub(crate) whole: Option<Arc<Histogram>>,
}

/// A histogram as the HTTP API shows it: count, sum, and buckets: which bounds belong to them, lower and upper bound, count.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shown {
    pub(crate) count: f64,
    pub(crate) sum: f64,
    pub(crate) buckets: Vec<ShownBucket>,
}

/// Which bounds belong to it (0 to 3), lower and upper bound, count.
pub(crate) type ShownBucket = (u64, f64, f64, f64);

/// How a script went.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) wrong: Vec<String>,
}

/// The scripts of Prometheus' own tests.
pub(crate) fn scripts() -> Vec<PathBuf> {
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

/// Runs all scripts; every eval must pass.
pub(crate) async fn run_all(engine: &mut impl Engine) {
    let only = std::env::var("PROMQLTEST").unwrap_or_default();
    let (mut passed, mut wrong) = (0, Vec::new());
    println!("{:<28} {:>6} {:>5}", "script", "passed", "wrong");
    for path in scripts() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.contains(&only) {
            continue;
        }
        let tally = run_script(&std::fs::read_to_string(&path).unwrap(), engine).await;
        println!("{name:<28} {:>6} {:>5}", tally.passed, tally.wrong.len());
        passed += tally.passed;
        wrong.extend(tally.wrong.into_iter().map(|w| format!("{name} {w}")));
    }
    println!("{:<28} {passed:>6} {:>5}", "all", wrong.len());
    wrong.iter().for_each(|w| println!("WRONG {w}"));
    assert!(wrong.is_empty(), "{} wrong results", wrong.len());
    assert!(passed > 0, "no eval was found");
}

pub(crate) async fn run_script(text: &str, engine: &mut impl Engine) -> Tally {
    let mut tally = Tally::default();
    engine.clear().await;
    for command in script::parse(text) {
        match command {
            Command::Clear => engine.clear().await,
            Command::Load(loaded) => engine.load(&load::series_of(loaded)).await,
            Command::Eval(eval) => match run_evals(engine, &eval).await {
                Ok(()) => tally.passed += 1,
                Err(why) => tally.wrong.push(format!("line {}: {}: {why}", eval.line, eval.query)),
            },
        }
    }
    tally
}

async fn run_evals<E: Engine>(engine: &E, eval: &Eval) -> Result<(), String> {
    run_eval(engine, eval).await?;
    let pinned = if E::PINNED { pinned::evals(eval) } else { Vec::new() };
    for eval in pinned {
        let query = &eval.query;
        run_eval(engine, &eval).await.map_err(|why| format!("pinned, {:?}: {query}: {why}", eval.when))?;
    }
    Ok(())
}

async fn run_eval(engine: &impl Engine, eval: &Eval) -> Result<(), String> {
    let answer = engine.eval(&eval.query, eval.when).await;
    let answered = answer.is_ok();
    compare::check(eval, answer)?;
    let When::Instant { time_ms } = eval.when else { return Ok(()) };
    if !answered || !eval.also_as_range() {
        return Ok(());
    }
    // As Prometheus' own runner: the value must be the same in the middle of a range.
    let when = When::Range { start_ms: time_ms - 60_000, end_ms: time_ms + 60_000, step_ms: 60_000 };
    compare::check_inside_range(eval, time_ms, engine.eval(&eval.query, when).await)
}
