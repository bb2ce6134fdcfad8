//! Growing a group, and members that are behind the log.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::testing::{cluster, open_everywhere, replica, soon, status_is};
use crate::{Error, GroupId};

const GROUP: GroupId = GroupId(1);

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_becomes_three() {
    let mut nodes = cluster(3).await;
    open_everywhere(&mut nodes[..1], GROUP).await;
    let group = nodes[0].group(GROUP);
    soon(group.propose(Bytes::from("before")).unwrap()).await.unwrap();
    for node in &mut nodes[1..] {
        node.open(GROUP).await;
        soon(group.add_learner(replica(GROUP, node.id), node.id)).await.unwrap();
    }
    let voters: BTreeSet<_> = nodes.iter().map(|node| replica(GROUP, node.id)).collect();
    soon(group.change_voters(voters.clone())).await.unwrap();
    let status = status_is(&group, |status| status.voter_sets.len() == 1 && status.learners.is_empty()).await;
    assert_eq!(status.voters.keys().copied().collect::<BTreeSet<_>>(), voters);
    soon(group.propose(Bytes::from("after")).unwrap()).await.unwrap();
    for node in &nodes {
        assert_eq!(node.machine(GROUP).holds(2).await, ["before", "after"]);
    }
    let refused = soon(nodes[1].group(GROUP).change_voters(voters)).await;
    assert!(matches!(refused, Err(Error::NotLeader { leader: Some((_, node)) }) if node == nodes[0].id), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_behind_the_log_gets_the_snapshot() {
    let mut nodes = cluster(3).await;
    open_everywhere(&mut nodes[..1], GROUP).await;
    let group = nodes[0].group(GROUP);
    for nth in 0..10 {
        soon(group.propose(Bytes::from(format!("{nth}"))).unwrap()).await.unwrap();
    }
    let index = nodes[0].machine(GROUP).take_snapshot();
    group.snapshot_taken().await.unwrap();
    status_is(&group, |status| status.snapshot.is_some_and(|at| at.index == index)).await;
    group.purge_through(u64::MAX).await.unwrap();
    status_is(&group, |status| status.purged.is_some_and(|at| at.index == index)).await;
    soon(group.propose(Bytes::from("10")).unwrap()).await.unwrap();

    nodes[1].open(GROUP).await;
    soon(group.add_learner(replica(GROUP, nodes[1].id), nodes[1].id)).await.unwrap();
    let expected: Vec<_> = (0..11).map(|nth| Bytes::from(format!("{nth}"))).collect();
    assert_eq!(nodes[1].machine(GROUP).holds(11).await, expected);
    assert_eq!(*nodes[1].disk.installs.lock().unwrap(), [nodes[0].id]);

    // Both start again from the snapshot and the log after it.
    for node in &mut nodes[..2] {
        node.stop().await;
        node.start().await;
        node.open(GROUP).await;
    }
    crate::testing::introduce(&nodes);
    assert_eq!(nodes[0].machine(GROUP).holds(11).await, expected);
    assert_eq!(nodes[1].machine(GROUP).holds(11).await, expected);
}
