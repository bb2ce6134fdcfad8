//! Electing, proposing, failing and coming back.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;

use crate::testing::{cluster, introduce, leader, leader_among, open_everywhere, replica, soon, status_is};
use crate::{
    Committed, GroupId, Machine, NodeId, Payload, ProposeError, Recovered, ReplicaId, SnapshotManifest, Stopped,
    Storage,
};

const GROUP: GroupId = GroupId(1);

fn item(task: usize, nth: usize) -> Bytes {
    Bytes::from(format!("{task}/{nth}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn proposals_of_one_caller_keep_their_order() {
    let mut nodes = cluster(3).await;
    let leads = open_everywhere(&mut nodes, GROUP).await;
    let tasks = (0..4).map(|task| {
        let group = nodes[leads].group(GROUP);
        tokio::spawn(async move {
            // All in flight at once; only then is the first awaited.
            let sent: Vec<_> = (0..50).map(|nth| group.propose(item(task, nth)).unwrap()).collect();
            join_all(sent).await.into_iter().map(|done| done.unwrap().position.index).collect::<Vec<_>>()
        })
    });
    for indexes in join_all(tasks).await {
        assert!(indexes.unwrap().is_sorted());
    }
    let expected = nodes[leads].machine(GROUP).holds(200).await;
    for task in 0..4 {
        let prefix = format!("{task}/");
        let of_task: Vec<_> = expected.iter().filter(|item| item.starts_with(prefix.as_bytes())).collect();
        assert!(of_task.into_iter().eq(&(0..50).map(|nth| item(task, nth)).collect::<Vec<_>>()));
    }
    for node in &nodes {
        assert_eq!(node.machine(GROUP).holds(200).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn survivors_go_on_and_the_dead_catches_up() {
    let mut nodes = cluster(3).await;
    let dead = open_everywhere(&mut nodes, GROUP).await;
    soon(nodes[dead].group(GROUP).propose(item(0, 0)).unwrap()).await.unwrap();
    nodes[dead].stop().await;

    let leads = leader(&nodes, GROUP).await;
    assert_ne!(leads, dead);
    for nth in 1..20 {
        soon(nodes[leads].group(GROUP).propose(item(0, nth)).unwrap()).await.unwrap();
    }

    nodes[dead].start().await;
    introduce(&nodes);
    nodes[dead].open(GROUP).await;
    let expected: Vec<_> = (0..20).map(|nth| item(0, nth)).collect();
    assert_eq!(nodes[dead].machine(GROUP).holds(20).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_come_back_with_what_was_acknowledged() {
    let mut nodes = cluster(3).await;
    let leads = open_everywhere(&mut nodes, GROUP).await;
    for nth in 0..10 {
        soon(nodes[leads].group(GROUP).propose(item(0, nth)).unwrap()).await.unwrap();
    }
    for node in &mut nodes {
        node.stop().await;
    }
    for node in &mut nodes {
        node.start().await;
    }
    introduce(&nodes);
    for node in &mut nodes {
        node.open(GROUP).await;
    }
    let leads = leader(&nodes, GROUP).await;
    let expected: Vec<_> = (0..10).map(|nth| item(0, nth)).collect();
    // A leader that applied something of its own has applied all that was acknowledged.
    assert_eq!(nodes[leads].machine(GROUP).items(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_are_handed_over() {
    let mut nodes = cluster(3).await;
    let groups = [GroupId(1), GroupId(2), GroupId(3)];
    for group in groups {
        open_everywhere(&mut nodes, group).await;
    }
    let alone = GroupId(9);
    let solo = nodes[0].open(alone).await;
    solo.initialize([(solo.replica(), nodes[0].id)].into()).await.unwrap();
    status_is(&solo, |status| status.is_leader).await;

    let remaining = soon(nodes[0].multi().hand_over_leaders(Duration::from_secs(20))).await;
    assert_eq!(remaining, Vec::new());
    for group in groups {
        assert!(!nodes[0].group(group).status().is_leader);
        let leads = leader(&nodes[1..], group).await;
        soon(nodes[1 + leads].group(group).propose(item(0, 0)).unwrap()).await.unwrap();
    }
    assert!(solo.status().is_leader);
}

/// Nobody would stand for election by itself within the test's time.
#[tokio::test(flavor = "multi_thread")]
async fn an_heir_that_is_gone_is_passed_over() {
    let mut nodes = cluster(3).await;
    for node in &mut nodes {
        node.stop().await;
        node.election = Some(Duration::from_secs(3600));
        node.start().await;
    }
    introduce(&nodes);
    let leads = open_everywhere(&mut nodes, GROUP).await;
    soon(nodes[leads].group(GROUP).propose(item(0, 0)).unwrap()).await.unwrap();
    let (gone, heir) = ((leads + 1) % 3, (leads + 2) % 3);
    nodes[gone].stop().await;
    nodes[leads].group(GROUP).transfer_leader(replica(GROUP, nodes[gone].id));
    assert_eq!(leader_among(&nodes, GROUP, |nth| nth == heir).await, heir);
    soon(nodes[heir].group(GROUP).propose(item(0, 1)).unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_open_once_and_again_after_a_stop() {
    let mut nodes = cluster(1).await;
    open_everywhere(&mut nodes, GROUP).await;
    let group = nodes[0].group(GROUP);
    soon(group.propose(item(0, 0)).unwrap()).await.unwrap();
    let storage = Storage::Device(nodes[0].device.clone());
    let machine = nodes[0].machine(GROUP);
    let again = soon(nodes[0].multi().open(GROUP, group.replica(), storage, machine)).await;
    assert!(matches!(again, Err(crate::Error::AlreadyOpen { .. })), "{again:?}");

    soon(group.stop()).await;
    assert!(matches!(group.propose(item(0, 1)).map(drop), Err(ProposeError::Stopped)));
    nodes[0].open(GROUP).await;
    leader(&nodes, GROUP).await;
    assert_eq!(nodes[0].machine(GROUP).items(), [item(0, 0)]);
}

/// Fails or panics when told to.
struct Fragile;

#[async_trait]
impl Machine for Fragile {
    async fn recovered(&self) -> io::Result<Recovered> {
        Ok(Recovered::default())
    }

    async fn apply(&self, batch: Vec<Committed>) -> io::Result<Vec<Bytes>> {
        let says = |what: &str| batch.iter().any(|entry| entry.payload == Payload::Normal(what.to_owned().into()));
        assert!(!says("panic"), "as told");
        if says("fail") { Err(io::Error::other("as told")) } else { Ok(vec![Bytes::new(); batch.len()]) }
    }

    async fn snapshot(&self) -> io::Result<Option<SnapshotManifest>> {
        Ok(None)
    }

    async fn install(&self, _snapshot: SnapshotManifest, _source: NodeId) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_fails_ends_its_group() {
    for what in ["fail", "panic"] {
        let nodes = cluster(1).await;
        let storage = Storage::Device(nodes[0].device.clone());
        let group = soon(nodes[0].multi().open(GROUP, ReplicaId(5), storage, Arc::new(Fragile))).await.unwrap();
        group.initialize([(ReplicaId(5), nodes[0].id)].into()).await.unwrap();
        status_is(&group, |status| status.is_leader).await;
        soon(group.propose("fine".into()).unwrap()).await.unwrap();
        // Nothing to hand out is no error.
        group.snapshot_taken().await.unwrap();
        let failed = soon(group.propose(what.into()).unwrap()).await.unwrap_err();
        assert!(matches!(failed, ProposeError::Fatal(_)), "{failed:?}");
        status_is(&group, |status| matches!(status.stopped, Some(Stopped::Failed(_)))).await;
        // It may still be queued, but not be left without an answer.
        if let Ok(queued) = group.propose("more".into()) {
            soon(queued).await.unwrap_err();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_core_panics_says_so_is_replaced_and_comes_back() {
    let mut nodes = cluster(3).await;
    let broken = open_everywhere(&mut nodes, GROUP).await;
    soon(nodes[broken].group(GROUP).propose(item(0, 0)).unwrap()).await.unwrap();
    let group = nodes[broken].group(GROUP);
    group.panic_core().await;
    status_is(&group, |status| status.stopped == Some(Stopped::Panicked)).await;
    let status = group.status();
    assert!(!status.is_leader && status.leader.is_none(), "{status:?}");

    // Nothing of the dead core goes on telling the others that it leads.
    let leads = leader_among(&nodes, GROUP, |nth| nth != broken).await;
    soon(nodes[leads].group(GROUP).propose(item(0, 1)).unwrap()).await.unwrap();

    soon(group.stop()).await;
    nodes[broken].open(GROUP).await;
    soon(nodes[leads].group(GROUP).propose(item(0, 2)).unwrap()).await.unwrap();
    let expected: Vec<_> = (0..3).map(|nth| item(0, nth)).collect();
    assert_eq!(nodes[broken].machine(GROUP).holds(3).await, expected);
}
