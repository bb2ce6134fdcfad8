//! Blocks become one on every replica alike, while everything goes on.
use trine_actors::shard::Retention;
use trine_store::index::Matcher;
use trine_store::limits::DeleteSeries;
use trine_store::model::Signal;
use trine_store::shard::{BlockEntry, CompactionPolicy, read_manifest};

use crate::cluster::{Nodes, PATIENCE, TENANT, TIME_MS, until};

const SERIES: usize = 40;

/// Blocks of metrics as the manifests of a node have them, by shard.
fn manifests(nodes: &Nodes, node: usize) -> Vec<Vec<BlockEntry>> {
    let shards = std::fs::read_dir(nodes.data_dir(node).join("shards")).unwrap();
    let mut dirs: Vec<_> = shards.flatten().map(|shard| shard.path()).collect();
    dirs.sort();
    let of = |dir: &std::path::PathBuf| read_manifest(dir).unwrap().map_or_else(Vec::new, |m| m.blocks);
    let metrics = |blocks: Vec<BlockEntry>| blocks.into_iter().filter(|b| b.signal == Signal::Metrics).collect();
    dirs.iter().map(|dir| metrics(of(dir))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_blocks_become_one_on_every_replica_and_nothing_is_lost() {
    let mut nodes = Nodes::start_with(3, CompactionPolicy::default()).await;
    for name in ["up", "down", "up"] {
        nodes.write(name, SERIES).await;
    }
    for node in 0..3 {
        until("every shard has one block that was compacted", || async {
            let shards = manifests(&nodes, node);
            !shards.is_empty() && shards.iter().all(|blocks| blocks.len() == 1 && blocks[0].window_ms > 0)
        })
        .await;
    }
    let content = |node| -> Vec<(String, u128)> {
        manifests(&nodes, node).into_iter().flatten().map(|b| (b.file, b.digest)).collect()
    };
    let expected: std::collections::BTreeSet<_> = content(0).into_iter().collect();
    for node in 0..3 {
        assert_eq!(content(node).into_iter().collect::<std::collections::BTreeSet<_>>(), expected, "node {node}");
        for name in ["up", "down"] {
            assert_eq!(nodes.ask(node, name).await, (SERIES, Vec::new()), "{name} through node {node}");
        }
        let scrubbed = nodes.scrub(node).await;
        assert_eq!((scrubbed.damaged, scrubbed.disagreeing), (0, 0), "{scrubbed:?}");
        assert_eq!(nodes.nodes[node].unbalanced_rows(), 0);
    }
    assert!((0..3).all(|node| nodes.nodes[node].merged().done > 0 && nodes.nodes[node].merged().failed == 0));
    nodes.restart(1, |_| {}).await;
    assert_eq!(nodes.ask(1, "up").await, (SERIES, Vec::new()));
    assert_eq!(nodes.nodes[1].compactions_pending(), 0);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_series_are_gone_when_the_answer_comes_and_new_ones_are_seen() {
    let mut nodes = Nodes::start_with(3, CompactionPolicy::default()).await;
    nodes.write("up", SERIES).await;
    nodes.write("down", SERIES).await;
    // Some of it in heads.
    for n in SERIES..2 * SERIES {
        nodes.write_one("up", n).await;
    }
    assert_eq!(nodes.ask(0, "up").await.0, 2 * SERIES);
    let matchers = vec![Matcher::equal("__name__", "up")];
    let delete = DeleteSeries { id: 0, tenant: TENANT.into(), matchers, min_ms: i64::MIN, max_ms: i64::MAX };
    nodes.nodes[1].delete_series(delete).await.unwrap();
    for node in 0..3 {
        assert_eq!(nodes.ask(node, "up").await, (0, Vec::new()), "through node {node}");
        assert_eq!(nodes.ask(node, "down").await, (SERIES, Vec::new()));
    }
    nodes.write_one("up", 2 * SERIES).await;
    assert_eq!(nodes.ask(2, "up").await.0, 1, "written after the deletion");
    nodes.nodes[2].clean_tombstones(PATIENCE).await.unwrap();
    assert!(nodes.nodes.iter().any(|node| node.merged().deleted > 0));
    for node in 0..3 {
        until("what was deleted is out of the blocks", || async {
            nodes.nodes[node].merged().deleted > 0 && nodes.nodes[node].compactions_pending() == 0
        })
        .await;
    }
    nodes.restart(0, |_| {}).await;
    assert_eq!((nodes.ask(0, "up").await.0, nodes.ask(0, "down").await.0), (1, SERIES));
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_bytes_a_cluster_keeps_the_newest_blocks_in_every_shard() {
    const HOUR_MS: i64 = 3_600_000;
    let of_hour = |hour: i64| TIME_MS + hour * HOUR_MS;
    // No merging; two shards of three hours are more than the bound, of two hours less.
    let policy = CompactionPolicy { windows_ms: Vec::new(), ..CompactionPolicy::default() };
    let bytes_of_hour = {
        let nodes = Nodes::start_with(1, policy.clone()).await;
        for n in 0..SERIES {
            nodes.write_at("up", n, TIME_MS).await.unwrap();
        }
        assert!(nodes.nodes[0].flush().await.errors.is_empty());
        let bytes: u64 = manifests(&nodes, 0).iter().flatten().map(|b| b.bytes).sum();
        nodes.stop().await;
        bytes
    };
    let retention = Retention { signals_bytes_max: [bytes_of_hour * 5 / 2, 0, 0], ..Retention::default() };
    let nodes = Nodes::start_keeping(3, policy, retention).await;
    for hour in 0..3 {
        for n in 0..SERIES {
            nodes.write_at("up", n, of_hour(hour)).await.unwrap();
        }
        assert!(nodes.nodes[0].flush().await.errors.is_empty());
    }
    for node in 0..3 {
        until("the oldest blocks are out of every shard", || async {
            let shards = manifests(&nodes, node);
            !shards.is_empty() && shards.iter().all(|b| b.len() == 2) && nodes.nodes[node].compactions_pending() == 0
        })
        .await;
        assert_eq!(nodes.ask(node, "up").await, (0, Vec::new()), "the oldest, through node {node}");
        for hour in 1..3 {
            assert_eq!(nodes.ask_at(node, "up", of_hour(hour)).await, (SERIES, Vec::new()), "hour {hour}");
        }
        assert_eq!(nodes.nodes[node].unbalanced_rows(), 0);
        assert_eq!(nodes.nodes[node].merged().expired, SERIES as u64);
        assert_eq!(nodes.nodes[node].room_from_ms(Signal::Metrics), TIME_MS + 1);
        assert_eq!(nodes.nodes[node].room_from_ms(Signal::Logs), i64::MIN);
    }
    // What comes late for a time that is gone is not seen again.
    nodes.write_at("late", 0, TIME_MS).await.unwrap();
    assert_eq!(nodes.ask(0, "late").await, (0, Vec::new()));
    nodes.stop().await;
}
