//! Two replicas of an agent send the same to different nodes: one is stored, and the other once it has been silent.
use std::time::Duration;

use prost::Message;

use crate::harness::remote::{Label, Sample, TimeSeries, WriteRequest};
use crate::harness::{Cluster, Http, now_ms, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// One sample of a replica; the answer's status.
async fn send(to: &Http, replica: &str, time_ms: i64, value: f64) -> u16 {
    let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
    let labels = vec![label("__name__", "paired"), label("__replica__", replica), label("cluster", "east")];
    let samples = vec![Sample { value, timestamp: time_ms }];
    let request = WriteRequest { timeseries: vec![TimeSeries { labels, samples, histograms: Vec::new() }] };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).expect("a small message");
    let headers = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
    to.post("/api/v1/push", &headers, body).await.status
}

#[tokio::test]
async fn the_other_replica_takes_over_on_any_node() {
    let cluster = Cluster::start_with(&["ha.enabled=true", "ha.failover_s=3", "ha.renew_s=1"]).await;
    let [one, two, three] = [0, 1, 2].map(|n| &cluster.nodes[n].http);
    let start_ms = now_ms();
    // The group that elects may have no leader yet.
    until("an election", PATIENCE, || async {
        match send(one, "a", start_ms, 1.0).await {
            200 => Ok(()),
            status => Err(format!("status {status}")),
        }
    })
    .await;
    assert_eq!(send(two, "b", start_ms + 1, 2.0).await, 202);
    assert_eq!(send(three, "a", start_ms + 2, 3.0).await, 200);
    until("a failover", PATIENCE, || async {
        match send(three, "b", now_ms(), 4.0).await {
            200 => Ok(()),
            status => Err(format!("status {status}")),
        }
    })
    .await;
    assert!(now_ms() - start_ms >= 3000, "the lease was not waited for");
    assert_eq!(send(two, "a", now_ms(), 5.0).await, 202, "every node knows who was elected");
    let query = [("query", "paired[1h]")];
    for node in &cluster.nodes {
        let answer = node.http.json("/api/v1/query", &query).await;
        let series = answer["data"]["result"].as_array().expect("a matrix");
        assert_eq!(series.len(), 1, "replicas are not told apart: {answer}");
        let values: Vec<&str> =
            series[0]["values"].as_array().expect("values").iter().filter_map(|v| v[1].as_str()).collect();
        assert_eq!(values, ["1", "3", "4"], "{answer}");
    }
}
