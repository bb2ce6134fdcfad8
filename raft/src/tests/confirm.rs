//! Read points.

use bytes::Bytes;
use futures::future::join_all;

use crate::testing::{cluster, introduce, leader, open_everywhere, soon};
use crate::{GroupId, NoReadPoint};

const GROUP: GroupId = GroupId(1);

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_gives_read_points_and_others_do_not() {
    let mut nodes = cluster(3).await;
    let leads = open_everywhere(&mut nodes, GROUP).await;
    let calls = (0..100).map(|_| nodes[leads].multi().confirm(&[GROUP, GroupId(77)]));
    for answer in soon(join_all(calls)).await {
        assert_eq!(answer[0], Ok(()));
        assert_eq!(answer[1].as_ref().unwrap_err().reason, NoReadPoint::NotOpen);
    }
    for (nth, node) in nodes.iter().enumerate().filter(|(nth, _)| *nth != leads) {
        let refused = soon(node.multi().confirm(&[GROUP])).await.remove(0).unwrap_err();
        assert_eq!(refused.reason, NoReadPoint::NotLeader, "node {nth}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_needs_nobody() {
    let mut nodes = cluster(1).await;
    open_everywhere(&mut nodes, GROUP).await;
    assert_eq!(soon(nodes[0].multi().confirm(&[GROUP])).await, [Ok(())]);
    nodes[0].stop().await;
    nodes[0].start().await;
    nodes[0].open(GROUP).await;
    leader(&nodes, GROUP).await;
    assert_eq!(soon(nodes[0].multi().confirm(&[GROUP])).await, [Ok(())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolated_leader_gives_none() {
    let mut nodes = cluster(3).await;
    let old = open_everywhere(&mut nodes, GROUP).await;
    assert_eq!(soon(nodes[old].multi().confirm(&[GROUP])).await, [Ok(())]);

    // It hears nobody, and nobody hears it; it goes on believing that it leads.
    let others: Vec<_> = (0..3).filter(|nth| *nth != old).collect();
    for other in &others {
        nodes[*other].peers.remove(nodes[old].id);
        nodes[old].peers.remove(nodes[*other].id);
    }
    let new = loop {
        let (a, b) = (nodes[others[0]].group(GROUP), nodes[others[1]].group(GROUP));
        let (mut first, mut second) = (a.watch(), b.watch());
        let won = soon(futures::future::select(
            Box::pin(first.wait_for(|s| s.is_leader && s.applied.is_some_and(|at| at.term == s.term))),
            Box::pin(second.wait_for(|s| s.is_leader && s.applied.is_some_and(|at| at.term == s.term))),
        ))
        .await;
        break others[if matches!(won, futures::future::Either::Left(_)) { 0 } else { 1 }];
    };
    soon(nodes[new].group(GROUP).propose(Bytes::from("newer")).unwrap()).await.unwrap();

    assert_eq!(soon(nodes[new].multi().confirm(&[GROUP])).await, [Ok(())]);
    let refused = soon(nodes[old].multi().confirm(&[GROUP])).await.remove(0).unwrap_err();
    assert!(matches!(refused.reason, NoReadPoint::NoMajority | NoReadPoint::NotLeader), "{refused:?}");
    assert_eq!(nodes[old].machine(GROUP).items(), Vec::<Bytes>::new());

    // Reachable again, it is told of the newer vote whether or not it has noticed.
    introduce(&nodes);
    let refused = soon(nodes[old].multi().confirm(&[GROUP])).await.remove(0);
    assert!(refused.is_err());
    assert_eq!(nodes[old].machine(GROUP).holds(1).await, ["newer"]);
}
