//! Read points.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::sync::watch;

use crate::testing::{cluster, introduce, leader, leader_among, open_everywhere, soon};
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
    let new = leader_among(&nodes, GROUP, |nth| nth != old).await;
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

/// Leaders change all the time; whenever one gives a read point, it holds all that was acknowledged before it was asked.
#[tokio::test(flavor = "multi_thread")]
async fn read_points_hold_what_was_acknowledged() {
    let mut nodes = cluster(3).await;
    open_everywhere(&mut nodes, GROUP).await;
    let nodes = Arc::new(nodes);
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let (writing, at, stopped) = (Arc::clone(&nodes), Arc::clone(&acknowledged), Arc::clone(&stop));
    let writer = tokio::spawn(async move {
        while !stopped.load(Ordering::SeqCst) {
            let leads = leader(&writing, GROUP).await;
            let Ok(proposed) = writing[leads].group(GROUP).propose(Bytes::from("x")) else { continue };
            if let Ok(done) = soon(proposed).await {
                // The list's length after this item: items whose outcome is unknown may be in it too.
                at.fetch_max(std::str::from_utf8(&done.reply).unwrap().parse().unwrap(), Ordering::SeqCst);
            }
        }
    });
    let (given, mut gives) = watch::channel([0; 3]);
    let (reading, stopped) = (Arc::clone(&nodes), Arc::clone(&stop));
    let reader = tokio::spawn(async move {
        while !stopped.load(Ordering::SeqCst) {
            for (nth, node) in reading.iter().enumerate() {
                let wanted = acknowledged.load(Ordering::SeqCst);
                if soon(node.multi().confirm(&[GROUP])).await[0].is_ok() {
                    let held = node.machine(GROUP).items().len();
                    assert!(held >= wanted, "node {nth} holds {held} of {wanted}");
                    given.send_modify(|given| given[nth] += 1);
                }
            }
        }
    });
    for _ in 0..9 {
        let leads = leader(&nodes, GROUP).await;
        let before = gives.borrow_and_update()[leads];
        soon(gives.wait_for(|given| given[leads] > before)).await.unwrap();
        let left = soon(nodes[leads].multi().hand_over_leaders(Duration::from_secs(20))).await;
        assert_eq!(left, Vec::new());
    }
    stop.store(true, Ordering::SeqCst);
    soon(writer).await.unwrap();
    soon(reader).await.unwrap();
}
