//! One of three nodes runs out of room.
use trine_actors::rpc::proto::ReplicaStatus;

use crate::cluster::{Nodes, until};

const FULL: u64 = u64::MAX / 2;

/// Its shards are led by others, writes go on through every node, and it catches up once it has room.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_leads_nothing_and_holds_nobody_up() {
    let mut nodes = Nodes::start(3).await;
    nodes.write("before", 10).await;
    nodes.configs[0].disk_reserve_bytes = FULL;
    nodes.restart(0, |_| {}).await;
    let leads = |node: usize| nodes.nodes[node].own_status().replicas.iter().filter(|r| r.shard < 2 && r.leads).count();
    until("others lead its shards", || async { leads(0) == 0 && leads(1) + leads(2) == 2 }).await;
    let shards = |r: &&ReplicaStatus| r.shard < 2;
    let behind = |nodes: &Nodes| {
        nodes.nodes[0].own_status().replicas.iter().filter(shards).map(|r| r.applied_index).sum::<u64>()
    };
    let applied = behind(&nodes);
    for n in 0..20 {
        nodes.write_one("after", n).await;
    }
    for node in 0..3 {
        assert_eq!(nodes.ask(node, "after").await, (20, Vec::new()), "through node {node}");
    }
    // What it had in its log may have been committed since.
    assert!(behind(&nodes) < applied + 4, "a full node takes no entries");
    nodes.configs[0].disk_reserve_bytes = 1;
    nodes.restart(0, |_| {}).await;
    until("it has caught up", || async { behind(&nodes) > applied + 10 }).await;
    nodes.stop().await;
}

/// When every node is full, the answer says so and which disk it is.
#[tokio::test(flavor = "multi_thread")]
async fn without_room_anywhere_writes_are_refused_by_name() {
    let mut nodes = Nodes::start(1).await;
    nodes.write("before", 5).await;
    nodes.configs[0].disk_reserve_bytes = FULL;
    nodes.restart(0, |_| {}).await;
    let error = nodes.try_write_one("after", 0).await.unwrap_err().to_string();
    assert!(error.contains("the disk of node node-0 is full"), "{error}");
    assert_eq!(nodes.ask(0, "before").await, (5, Vec::new()));
    nodes.stop().await;
}
