//! Requests for somebody else, and bytes that are none.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::connections::{Connections, Lane};
use crate::testing::{cluster, leader, open_everywhere, replica, soon};
use crate::wire::{VERSION, proto};
use crate::{Error, GroupId, MultiConfig, NodeId, ReplicaId, Storage};

const GROUP: GroupId = GroupId(1);

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_somebody_else_are_refused() {
    let mut nodes = cluster(1).await;
    open_everywhere(&mut nodes, GROUP).await;
    let before = nodes[0].group(GROUP).status();
    let right = proto::Target {
        version: VERSION,
        cluster: "test".to_owned(),
        node: 1,
        group: GROUP.0,
        replica: replica(GROUP, NodeId(1)).0,
    };
    let channel = Connections::new(Arc::clone(&nodes[0].peers)).channel(NodeId(1), Lane::Control).unwrap();
    let mut client = crate::network::client(channel);
    let vote = Some(proto::Vote { term: 1000, leader: 7, committed: false });
    for (target, expected) in [
        (None, Code::InvalidArgument),
        (Some(proto::Target { version: 2, ..right.clone() }), Code::InvalidArgument),
        (Some(proto::Target { cluster: "other".to_owned(), ..right.clone() }), Code::PermissionDenied),
        (Some(proto::Target { node: 2, ..right.clone() }), Code::PermissionDenied),
        (Some(proto::Target { group: 2, ..right.clone() }), Code::NotFound),
        (Some(proto::Target { replica: 2, ..right.clone() }), Code::NotFound),
    ] {
        let request = proto::VoteRequest { target: target.clone(), vote, last_log: None, leadership_transfer: true };
        assert_eq!(soon(client.vote(request.clone())).await.unwrap_err().code(), expected, "{target:?}");
        assert_eq!(soon(client.pre_vote(request)).await.unwrap_err().code(), expected, "{target:?}");
        let append = proto::AppendRequest { target: target.clone(), vote, ..Default::default() };
        assert_eq!(soon(client.heartbeat(append.clone())).await.unwrap_err().code(), expected, "{target:?}");
        let stream = soon(client.append_stream(futures::stream::iter([append]))).await.unwrap();
        assert_eq!(soon(stream.into_inner().message()).await.unwrap_err().code(), expected, "{target:?}");
        let snapshot = proto::SnapshotRequest { target: target.clone(), vote, ..Default::default() };
        assert_eq!(soon(client.install_snapshot(snapshot)).await.unwrap_err().code(), expected, "{target:?}");
        let transfer = proto::TransferRequest { target: target.clone(), from_leader: vote, ..Default::default() };
        assert_eq!(soon(client.transfer_leader(transfer)).await.unwrap_err().code(), expected, "{target:?}");
    }
    assert_eq!(nodes[0].group(GROUP).status().term, before.term);
    let asked = proto::ConfirmRequest { version: VERSION, cluster: "test".to_owned(), node: 1, questions: Vec::new() };
    for (request, expected) in [
        (proto::ConfirmRequest { version: 2, ..asked.clone() }, Code::InvalidArgument),
        (proto::ConfirmRequest { cluster: "other".to_owned(), ..asked.clone() }, Code::PermissionDenied),
        (proto::ConfirmRequest { node: 2, ..asked.clone() }, Code::PermissionDenied),
    ] {
        assert_eq!(soon(client.confirm(request)).await.unwrap_err().code(), expected);
    }
    let mine = proto::Vote { term: before.term, leader: right.replica, committed: true };
    let older = proto::Vote { term: before.term - 1, ..mine };
    let question = |group, replica, vote| proto::Question { group, replica, vote };
    let questions = vec![
        question(GROUP.0, right.replica, Some(mine)),
        question(GROUP.0, right.replica, Some(older)),
        question(GROUP.0, right.replica + 1, Some(mine)),
        question(GROUP.0 + 1, right.replica, Some(mine)),
        question(GROUP.0, right.replica, None),
    ];
    let reply = soon(client.confirm(proto::ConfirmRequest { questions, ..asked })).await.unwrap();
    assert_eq!(reply.into_inner().still, [true, false, false, false, false]);

    // Who is found still checks what it is sent.
    let hole = proto::Entry { position: Some(proto::Position { term: 1, leader: 7, index: 5 }), payload: None };
    for broken in [
        proto::AppendRequest { target: Some(right.clone()), ..Default::default() },
        proto::AppendRequest { target: Some(right.clone()), vote, entries: vec![hole], ..Default::default() },
    ] {
        let refused = soon(client.heartbeat(broken.clone())).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{broken:?}");
        let stream = soon(client.append_stream(futures::stream::iter([broken]))).await.unwrap();
        assert_eq!(soon(stream.into_inner().message()).await.unwrap_err().code(), Code::InvalidArgument);
    }
    soon(nodes[0].group(GROUP).propose("still here".into()).unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_port_harms_nobody() {
    let mut nodes = cluster(1).await;
    open_everywhere(&mut nodes, GROUP).await;
    let address = nodes[0].running.as_ref().unwrap().address;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let noise: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for garbage in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), noise.clone(), [preface, noise].concat()] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may hang up while we still write.
        drop(stream.write_all(&garbage).await);
        drop(stream.shutdown().await);
        drop(soon(stream.read_to_end(&mut Vec::new())).await);
    }
    soon(nodes[0].group(GROUP).propose("still here".into()).unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_somebody_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = async |cluster: &str, group: u64, replica: u64| {
        let multi =
            crate::Multi::start(MultiConfig::new(cluster, NodeId(1)), Arc::new(crate::PeerBook::new())).unwrap();
        let machine = Arc::new(crate::testing::ListMachine::new(NodeId(1), crate::testing::Disk::default()));
        let storage = Storage::Sled(dir.path().join("meta"));
        let opened = soon(multi.open(GroupId(group), ReplicaId(replica), storage, machine)).await;
        soon(multi.stop()).await;
        opened.map(drop)
    };
    open("a", 0, 1).await.unwrap();
    for (cluster, group, replica) in [("b", 0, 1), ("a", 3, 1), ("a", 0, 2)] {
        let refused = open(cluster, group, replica).await;
        assert!(matches!(refused, Err(Error::WrongIdentity { .. })), "{refused:?}");
    }
    open("a", 0, 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_store_remembers() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("meta")).unwrap();
    std::fs::write(dir.path().join("meta/snap.0000000000000001.generating"), b"half").unwrap();
    let mut nodes = cluster(1).await;
    let meta = GroupId(0);
    for round in 1..4 {
        let machine = Arc::new(crate::testing::ListMachine::new(NodeId(1), crate::testing::Disk::default()));
        let storage = Storage::Sled(dir.path().join("meta"));
        let running = nodes[0].running.as_mut().unwrap();
        running.machines.insert(meta, Arc::clone(&machine));
        let group = soon(running.multi.open(meta, ReplicaId(1), storage, machine)).await.unwrap();
        group.initialize([(ReplicaId(1), NodeId(1))].into()).await.unwrap();
        leader(&nodes, meta).await;
        let done = soon(group.propose(format!("{round}").into()).unwrap()).await.unwrap();
        assert_eq!(done.reply, format!("{round}"));
        soon(group.stop()).await;
    }
}
