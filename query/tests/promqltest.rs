//! Runs Prometheus' own PromQL test scripts against the engine over shards in memory and over the shards' real storage.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#[path = "promqltest/compare.rs"]
mod compare;
#[path = "promqltest/engine.rs"]
mod engine;
#[path = "promqltest/histogram.rs"]
mod histogram;
#[path = "promqltest/load.rs"]
mod load;
#[path = "promqltest/local.rs"]
mod local;
#[path = "promqltest/memory.rs"]
mod memory;
#[path = "promqltest/runner.rs"]
mod runner;
#[path = "promqltest/script.rs"]
mod script;
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
