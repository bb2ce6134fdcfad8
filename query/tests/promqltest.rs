//! Runs Prometheus' own PromQL test scripts against the engine over shards in memory and over the shards' real storage.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#[path = "promqltest/compare.rs"]
mod compare;
#[path = "promqltest/engine.rs"]
mod engine;
#[path = "promqltest/histogram.rs"]
mod histogram;
#[path = "promqltest/info.rs"]
mod info;
#[path = "promqltest/load.rs"]
mod load;
#[path = "promqltest/local.rs"]
mod local;
#[path = "promqltest/memory.rs"]
mod memory;
#[path = "promqltest/pinned.rs"]
mod pinned;
#[path = "promqltest/runner.rs"]
mod runner;
#[path = "promqltest/script.rs"]
mod script;
#[path = "promqltest/statistics.rs"]
mod statistics;
#[path = "promqltest/stored.rs"]
mod stored;

use std::sync::Arc;

use local::LocalEngine;
use memory::MemoryScatter;
use stored::StoreScatter;

const SHARDS: usize = 3;

#[tokio::test]
async fn over_memory() {
    runner::run_all(&mut LocalEngine::new(|series| Arc::new(MemoryScatter::new(series, SHARDS)))).await;
}

#[tokio::test]
async fn over_the_store() {
    runner::run_all(&mut LocalEngine::new(|series| Arc::new(StoreScatter::new(series, SHARDS)))).await;
}

/// What a script expects and an engine does not answer is found.
#[tokio::test]
async fn the_comparison_can_fail() {
    let load = "load 1m
  m 1 2
  h {{count:4 sum:5 buckets:[1 3]}}+{{count:1 buckets:[1]}}x2
";
    let right = "eval instant at 1m m
  m 2

eval instant at 1m h
  h {{count:5 sum:5 counter_reset_hint:not_reset buckets:[2 3]}}

eval instant at 1m quantile(2, m)
  expect warn msg: PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)
  {} +Inf
";
    let wrong = [
        "m\n  m 3",
        "m",
        "m\n  m{a=\"b\"} 2",
        "m\n  m {{count:2}}",
        "m\n  expect fail",
        "h\n  h 5",
        "h\n  h {{count:5 sum:5 buckets:[3 2]}}",
        "h\n  h {{schema:1 count:5 sum:5 buckets:[2 3]}}",
        "h\n  h {{count:5 sum:5 counter_reset_hint:gauge buckets:[2 3]}}",
        "quantile(2, m)\n  expect no_warn\n  {} +Inf",
        "quantile(2, m)\n  expect warn msg: PromQL warning: something else\n  {} +Inf",
        "quantile(0.5, m)\n  expect warn\n  {} 2",
        "m +\n  expect fail msg: something else",
    ];
    let mut engine = LocalEngine::new(|series| Arc::new(MemoryScatter::new(series, SHARDS)));
    let tally = runner::run_script(&format!("{load}\n{right}"), &mut engine).await;
    assert_eq!((tally.passed, tally.wrong), (3, Vec::new()));
    for eval in wrong {
        let tally = runner::run_script(&format!("{load}\neval instant at 1m {eval}\n"), &mut engine).await;
        assert_eq!((tally.passed, tally.wrong.len()), (0, 1), "{eval}");
    }
}
