//! One node of three: what it says when no shard has a majority.
use std::sync::Arc;
use std::time::{Duration, Instant};

use trine_query::Error;
use trine_query::memory::Account;
use trine_query::promql::{InstantQuery, LOOKBACK_MS_DEFAULT, instant};
use trine_query::scatter::QueryContext;

use crate::cluster::{Nodes, TENANT, TIME_MS};

/// An empty success would say that there is nothing, and a flush that hangs would not say why.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_queries_fail_in_words_and_a_flush_says_what_hinders_it() {
    let mut nodes = Nodes::start(3).await;
    nodes.write("up", 10).await;
    nodes.stop_one(2).await;
    nodes.stop_one(1).await;
    for strict in [false, true] {
        let deadline = Instant::now() + Duration::from_secs(10);
        let ctx = QueryContext {
            tenant: Arc::from(TENANT),
            deadline,
            strict,
            no_cache: false,
            count_steps: false,
            memory: Account::unbounded(),
        };
        let query = InstantQuery { query: "up".into(), time_ms: TIME_MS, lookback_ms: LOOKBACK_MS_DEFAULT, limit: 0 };
        let failed = instant(&nodes.nodes[0].scatter(), &ctx, &query).await.unwrap_err();
        assert!(Instant::now() < deadline, "before the query's own end: {failed}");
        let said = failed.to_string();
        match failed {
            Error::NoShard { shards_count: 2, .. } => {
                assert!(!strict && said.starts_with("none of 2 shards answered: "))
            }
            Error::ShardMissing(_) => {
                assert!(strict && said.starts_with("shard 0 is missing from this answer (node node-"))
            }
            other => panic!("{other:?}"),
        }
        let reasons = ["no leader", "its leader is changing", "does not answer", "did not answer in time"];
        assert!(reasons.iter().any(|reason| said.ends_with(&format!("): {reason}"))), "{said}");
    }
    let asked = Instant::now();
    let flushed = nodes.nodes[0].flush().await;
    assert!(asked.elapsed() < Duration::from_secs(60), "{:?}", asked.elapsed());
    assert_eq!((flushed.shards_sealed, flushed.errors[0].as_str()), (0, "not sealed: shards 0, 1"), "{flushed:?}");
    assert!(flushed.errors.len() > 1, "and why: {flushed:?}");
    nodes.stop().await;
}
