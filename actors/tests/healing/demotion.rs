//! The table of demoted labels: every node has it, also after a start.
use trine_store::model::{LabelOfMetric, Labels};

use crate::cluster::{Nodes, TENANT, until};

#[tokio::test(flavor = "multi_thread")]
async fn every_node_knows_a_demotion_and_its_end() {
    let mut nodes = Nodes::start(3).await;
    let what = LabelOfMetric { tenant: TENANT.to_owned(), metric: "up".to_owned(), label: "n".to_owned() };
    let from_ms = nodes.nodes[0].demote(&what).await.unwrap();
    assert_eq!(nodes.nodes[2].demote(&what).await.unwrap(), from_ms, "asked of another node it is the same one");
    let series = Labels::from_pairs([("__name__", "up"), ("n", "7")]).unwrap();
    let lost_at = |node: usize, time_ms: i64| {
        let demotions = nodes.nodes[node].demotions().of(TENANT);
        demotions.is_some_and(|d| d.of_series(series.as_bytes()).is_some_and(|s| s.at(time_ms).any()))
    };
    for node in 0..3 {
        until("the node knows it", || async { lost_at(node, from_ms) }).await;
        assert!(!lost_at(node, from_ms - 1), "node {node}");
    }
    nodes.restart(1, |_| {}).await;
    let until_ms = nodes.nodes[1].restore(&what).await.unwrap();
    assert!(until_ms >= from_ms);
    assert_eq!(nodes.nodes[2].restore(&what).await.unwrap(), until_ms, "its end is yet to come");
    let other = LabelOfMetric { label: "m".to_owned(), ..what.clone() };
    assert!(nodes.nodes[0].restore(&other).await.unwrap_err().contains("not demoted"));
    for node in &nodes.nodes {
        until("the node knows its end", || async {
            let rows = node.demotion_rows();
            rows.len() == 1 && (rows[0].of == what) && (rows[0].from_ms, rows[0].until_ms) == (from_ms, until_ms)
        })
        .await;
    }
    nodes.stop().await;
}
