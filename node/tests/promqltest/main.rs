//! Prometheus' own PromQL test scripts against three nodes, over HTTP: samples are written by remote write 2.0 to one node,
//! questions go to all of them in turn.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#[path = "../../../query/tests/promqltest/compare.rs"]
mod compare;
mod engine;
#[allow(dead_code, unused_imports, reason = "shared with other tests, which use all of it")]
#[path = "../common/harness.rs"]
mod harness;
#[path = "../../../query/tests/promqltest/histogram.rs"]
mod histogram;
#[path = "../../../query/tests/promqltest/load.rs"]
mod load;
#[path = "../../../query/tests/promqltest/pinned.rs"]
mod pinned;
#[path = "../../../query/tests/promqltest/runner.rs"]
mod runner;
#[path = "../../../query/tests/promqltest/script.rs"]
mod script;
mod write;

use engine::HttpEngine;
use harness::Cluster;

/// What the scripts need and users can set, too: their samples are of 1970, and some say since when they count.
const SETTINGS: [&str; 2] = ["storage.retention_s=3153600000", "metrics.start_timestamps=true"];

#[tokio::test]
async fn over_a_cluster() {
    let cluster = Cluster::start_with(&SETTINGS).await;
    runner::run_all(&mut HttpEngine::new(&cluster)).await;
}
