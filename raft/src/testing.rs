//! Doubles for tests: a log device and a machine in memory, and nodes on loopback ports.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tonic::transport::server::TcpIncoming;

use crate::{
    Bounds, Committed, Done, Group, GroupId, GroupStatus, LogDevice, Machine, Mark, Multi, MultiConfig, NodeId,
    Payload, PeerBook, Position, Recovered, ReplicaId, SnapshotManifest, Storage,
};

/// Streams in memory. Keep it to restart on the same "disk".
#[derive(Debug, Default)]
pub(crate) struct MemoryDevice {
    streams: Mutex<HashMap<u64, Stream>>,
}

#[derive(Debug, Default)]
struct Stream {
    first_index: u64,
    records: Vec<Bytes>,
    marks: BTreeMap<Mark, Bytes>,
}

impl Stream {
    fn next_index(&self) -> u64 {
        self.first_index + self.records.len() as u64
    }
}

impl MemoryDevice {
    fn with<T>(&self, stream: u64, work: impl FnOnce(&mut Stream) -> T) -> T {
        work(self.streams.lock().unwrap().entry(stream).or_default())
    }
}

impl LogDevice for MemoryDevice {
    fn bounds(&self, stream: u64) -> Bounds {
        self.with(stream, |s| Bounds { first_index: s.first_index, next_index: s.next_index() })
    }

    fn mark(&self, stream: u64, mark: Mark) -> Option<Bytes> {
        self.with(stream, |s| s.marks.get(&mark).cloned())
    }

    fn append(&self, stream: u64, first_index: u64, records: Vec<Bytes>, done: Done) {
        self.with(stream, |s| {
            if s.records.is_empty() {
                s.first_index = first_index;
            }
            assert_eq!(first_index, s.next_index(), "no holes, no overwriting");
            s.records.extend(records);
        });
        done(Ok(()));
    }

    fn set_mark(&self, stream: u64, mark: Mark, value: Bytes, done: Option<Done>) {
        self.with(stream, |s| s.marks.insert(mark, value));
        if let Some(done) = done {
            done(Ok(()));
        }
    }

    fn truncate_from(&self, stream: u64, index: u64, done: Done) {
        self.with(stream, |s| s.records.truncate(index.saturating_sub(s.first_index) as usize));
        done(Ok(()));
    }

    fn purge_through(&self, stream: u64, index: u64, mark: Bytes, done: Done) {
        self.with(stream, |s| {
            if index + 1 >= s.next_index() {
                s.records.clear();
                s.first_index = index + 1;
            } else if index >= s.first_index {
                s.records.drain(..=(index - s.first_index) as usize);
                s.first_index = index + 1;
            }
            s.marks.insert(Mark::Purged, mark);
        });
        done(Ok(()));
    }

    fn read(&self, stream: u64, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Bytes>> {
        Ok(self.with(stream, |s| {
            let mut bytes = 0;
            let skip = range.start.saturating_sub(s.first_index) as usize;
            let take = range.end.saturating_sub(range.start) as usize;
            let fits = |record: &&Bytes| {
                let first = bytes == 0;
                bytes += record.len();
                first || bytes <= bytes_max
            };
            s.records.iter().skip(skip).take(take).take_while(fits).cloned().collect()
        }))
    }

    fn remove_stream(&self, stream: u64, done: Done) {
        self.streams.lock().unwrap().remove(&stream);
        done(Ok(()));
    }
}

/// What a [`ListMachine`] holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) position: Option<Position>,
    pub(crate) membership: Option<(Position, Bytes)>,
    pub(crate) items: Vec<Bytes>,
}

/// Snapshots by the node that serves them and their id: the "files".
pub(crate) type Warehouse = Arc<Mutex<HashMap<(NodeId, String), List>>>;

/// Appends what is proposed to a list; replies with its length. Durable only through [`ListMachine::take_snapshot`].
#[derive(Debug)]
pub(crate) struct ListMachine {
    node: NodeId,
    list: watch::Sender<List>,
    disk: Disk,
    /// For openraft's suite: entries may skip indexes, and snapshots are of the current state.
    lenient: bool,
}

/// What outlives a [`ListMachine`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    snapshot: Arc<Mutex<Option<(String, List)>>>,
    warehouse: Warehouse,
    pub(crate) installs: Arc<Mutex<Vec<NodeId>>>,
}

impl Disk {
    pub(crate) fn new(warehouse: Warehouse) -> Self {
        Self { warehouse, ..Self::default() }
    }
}

impl ListMachine {
    pub(crate) fn new(node: NodeId, disk: Disk) -> Self {
        let list = disk.snapshot.lock().unwrap().clone().map(|(_, list)| list).unwrap_or_default();
        Self { node, list: watch::Sender::new(list), disk, lenient: false }
    }

    pub(crate) fn lenient(node: NodeId, disk: Disk) -> Self {
        Self { lenient: true, ..Self::new(node, disk) }
    }

    pub(crate) fn items(&self) -> Vec<Bytes> {
        self.list.borrow().items.clone()
    }

    /// Waits until the list holds `count` items.
    pub(crate) async fn holds(&self, count: usize) -> Vec<Bytes> {
        let mut list = self.list.subscribe();
        let reached = list.wait_for(|list| list.items.len() >= count);
        soon(reached).await.unwrap().items.clone()
    }

    /// Makes the current state the durable snapshot; returns its last index.
    pub(crate) fn take_snapshot(&self) -> u64 {
        let list = self.list.borrow().clone();
        let index = list.position.map_or(0, |position| position.index);
        let id = format!("snapshot-{index}");
        self.disk.warehouse.lock().unwrap().insert((self.node, id.clone()), list.clone());
        *self.disk.snapshot.lock().unwrap() = Some((id, list));
        index
    }
}

#[async_trait]
impl Machine for ListMachine {
    async fn recovered(&self) -> io::Result<Recovered> {
        let list = self.list.borrow().clone();
        let snapshot_id = self.disk.snapshot.lock().unwrap().as_ref().map(|(id, _)| id.clone());
        Ok(Recovered { position: list.position, membership: list.membership, snapshot_id })
    }

    async fn apply(&self, batch: Vec<Committed>) -> io::Result<Vec<Bytes>> {
        let mut replies = Vec::new();
        self.list.send_modify(|list| {
            for entry in batch {
                let next = list.position.map_or(0, |position| position.index + 1);
                assert!(self.lenient || entry.position.index == next, "entries come in order, once");
                list.position = Some(entry.position);
                match entry.payload {
                    Payload::Blank => {}
                    Payload::Normal(item) => list.items.push(item),
                    Payload::Membership(bytes) => list.membership = Some((entry.position, bytes)),
                }
                replies.push(Bytes::from(list.items.len().to_string()));
            }
        });
        Ok(replies)
    }

    async fn snapshot(&self) -> io::Result<Option<SnapshotManifest>> {
        if self.lenient && self.list.borrow().position.is_some() {
            self.take_snapshot();
        }
        Ok(self.disk.snapshot.lock().unwrap().clone().map(|(id, list)| SnapshotManifest {
            position: list.position,
            membership: match list.membership {
                Some((position, bytes)) => (Some(position), bytes),
                None => (None, Bytes::new()),
            },
            manifest: Bytes::from(id.clone()),
            id,
        }))
    }

    async fn install(&self, snapshot: SnapshotManifest, source: NodeId) -> io::Result<()> {
        let id = String::from_utf8_lossy(&snapshot.manifest).into_owned();
        assert_eq!(id, snapshot.id);
        let fetched = self.disk.warehouse.lock().unwrap().get(&(source, id.clone())).cloned();
        let list = fetched.ok_or_else(|| io::Error::other("no such snapshot"))?;
        assert_eq!(list.position, snapshot.position);
        self.disk.warehouse.lock().unwrap().insert((self.node, id.clone()), list.clone());
        *self.disk.snapshot.lock().unwrap() = Some((id, list.clone()));
        self.disk.installs.lock().unwrap().push(source);
        self.list.send_replace(list);
        Ok(())
    }
}

/// Awaits `future`, or fails the test: no test waits for ever.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("nothing happened for 30 s")
}

/// Waits until `group`'s status is as wanted.
pub(crate) async fn status_is(group: &Group, wanted: impl FnMut(&GroupStatus) -> bool) -> GroupStatus {
    let mut status = group.watch();
    soon(status.wait_for(wanted)).await.unwrap().clone()
}

/// A node: its "disk", which outlives restarts, and what runs on it.
pub(crate) struct TestNode {
    pub(crate) id: NodeId,
    pub(crate) device: Arc<MemoryDevice>,
    pub(crate) disk: Disk,
    pub(crate) peers: Arc<PeerBook>,
    pub(crate) running: Option<Running>,
    /// How long silence of a leader is borne from the next start on; the default without.
    pub(crate) election: Option<Duration>,
}

/// What is gone after a stop.
pub(crate) struct Running {
    pub(crate) multi: Multi,
    pub(crate) address: SocketAddr,
    pub(crate) machines: HashMap<GroupId, Arc<ListMachine>>,
    stop_server: oneshot::Sender<()>,
}

/// Serves `multi` on a free loopback port until the sender is dropped.
pub(crate) async fn serve(multi: &Multi) -> (SocketAddr, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tonic::transport::Server::builder().add_service(multi.server());
    // Without it, replies wait for the peer's delayed acknowledgements: 40 ms.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    // Aborted rather than drained: a killed node finishes nothing.
    let serving = tokio::spawn(server.serve_with_incoming(incoming));
    tokio::spawn(async move {
        drop(stopped.await);
        serving.abort();
    });
    (address, stop)
}

impl TestNode {
    pub(crate) fn new(id: u64, warehouse: &Warehouse) -> Self {
        Self {
            id: NodeId(id),
            device: Arc::default(),
            disk: Disk::new(Arc::clone(warehouse)),
            peers: Arc::default(),
            running: None,
            election: None,
        }
    }

    pub(crate) async fn start(&mut self) -> SocketAddr {
        let mut config = MultiConfig::new("test", self.id);
        if let Some(election) = self.election {
            (config.election_min, config.election_max) = (election, election * 2);
        }
        let multi = Multi::start(config, Arc::clone(&self.peers)).unwrap();
        let (address, stop_server) = serve(&multi).await;
        self.running = Some(Running { multi, address, machines: HashMap::new(), stop_server });
        address
    }

    /// Opens `group` under a replica id derived from both.
    pub(crate) async fn open(&mut self, group: GroupId) -> Group {
        let machine = Arc::new(ListMachine::new(self.id, self.disk.clone()));
        let storage = Storage::Device(Arc::clone(&self.device) as Arc<dyn LogDevice>);
        let replica = replica(group, self.id);
        let running = self.running.as_mut().unwrap();
        running.machines.insert(group, Arc::clone(&machine));
        soon(running.multi.open(group, replica, storage, machine)).await.unwrap()
    }

    pub(crate) async fn stop(&mut self) {
        let Running { multi, stop_server, .. } = self.running.take().unwrap();
        drop(stop_server);
        soon(multi.stop()).await;
    }

    pub(crate) fn multi(&self) -> &Multi {
        &self.running.as_ref().unwrap().multi
    }

    pub(crate) fn group(&self, group: GroupId) -> Group {
        self.multi().group(group).unwrap()
    }

    pub(crate) fn machine(&self, group: GroupId) -> Arc<ListMachine> {
        Arc::clone(&self.running.as_ref().unwrap().machines[&group])
    }
}

/// The replica id of `group` on `node` in tests.
pub(crate) fn replica(group: GroupId, node: NodeId) -> ReplicaId {
    ReplicaId(group.0 * 100 + node.0)
}

/// Nodes 1..=n that know each other, without groups.
pub(crate) async fn cluster(n: u64) -> Vec<TestNode> {
    let warehouse = Warehouse::default();
    let mut nodes: Vec<TestNode> = (1..=n).map(|id| TestNode::new(id, &warehouse)).collect();
    for node in &mut nodes {
        node.start().await;
    }
    introduce(&nodes);
    nodes
}

/// Tells all nodes where the running ones are.
pub(crate) fn introduce(nodes: &[TestNode]) {
    for node in nodes {
        for other in nodes {
            if let Some(running) = &other.running {
                node.peers.set(other.id, running.address.to_string());
            }
        }
    }
}

/// Opens `group` on all nodes with all as voters; returns the index of the node that leads.
pub(crate) async fn open_everywhere(nodes: &mut [TestNode], group: GroupId) -> usize {
    let mut members = BTreeMap::new();
    for node in nodes.iter_mut() {
        node.open(group).await;
        members.insert(replica(group, node.id), node.id);
    }
    nodes[0].group(group).initialize(members).await.unwrap();
    leader(nodes, group).await
}

/// Index of the running node that leads `group` with something applied, as soon as there is one.
pub(crate) async fn leader(nodes: &[TestNode], group: GroupId) -> usize {
    leader_among(nodes, group, |_| true).await
}

/// Like [`leader`], among the nodes whose index is `wanted`.
pub(crate) async fn leader_among(nodes: &[TestNode], group: GroupId, wanted: impl Fn(usize) -> bool) -> usize {
    let running = nodes.iter().enumerate().filter(|(nth, node)| wanted(*nth) && node.running.is_some());
    let waits = running.map(|(nth, node)| {
        let mut status = node.group(group).watch();
        let leads = |s: &GroupStatus| s.is_leader && s.applied.is_some_and(|applied| applied.term == s.term);
        Box::pin(async move { status.wait_for(leads).await.map(|_| nth).unwrap() })
    });
    soon(futures::future::select_all(waits)).await.0
}
