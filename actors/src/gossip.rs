//! Gossip: who is alive, where it listens, and whether it has a cluster. A hint; the metadata group is the truth.
//!
//! chitchat runs behind a transport of ours that authenticates every datagram, and under supervision: if its task ends, it
//! is started again.
mod hostile;
mod transport;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use chitchat::{ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat};
use tokio::sync::watch;
use tracing::warn;

pub(crate) use hostile::{receive, sample_datagrams};

use crate::error::Error;
use crate::meta::NodeRecord;
use transport::KeyedTransport;

/// What a live peer says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub node: NodeRecord,
    /// Empty while the peer belongs to no cluster.
    pub cluster: String,
    pub ready: bool,
    /// It takes no writes for want of room.
    pub disk_full: bool,
    /// From which time on it has room for facts, by signal in the order of `Signal::ALL`, in ms; `i64::MIN`: for all.
    pub room_from_ms: [i64; 3],
    /// Where it gossips.
    pub gossip: Option<SocketAddr>,
}

/// Live peers by node id, this node included.
pub type Peers = BTreeMap<u64, Peer>;

/// What this node says of itself.
#[derive(Clone, Debug)]
pub struct Own {
    pub peer: Peer,
    pub listen: SocketAddr,
    pub advertise: SocketAddr,
    pub seeds: Vec<String>,
    pub key: String,
    /// Rises with every start of the node.
    pub generation: u64,
}

/// A running gossip member.
#[derive(Debug)]
pub struct Gossip {
    live: watch::Receiver<Peers>,
    own: watch::Sender<(String, bool)>,
    space: watch::Sender<Space>,
    task: tokio::task::JoinHandle<()>,
}

/// What changes of the room on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Space {
    disk_full: bool,
    room_from_ms: [i64; 3],
}

const INTERVAL: Duration = Duration::from_millis(200);

impl Gossip {
    /// Starts to gossip. The first start must succeed; later ones are retried.
    pub async fn start(own: Own) -> Result<Self, Error> {
        let (live_tx, live) = watch::channel(Peers::new());
        let (own_tx, own_rx) = watch::channel((own.peer.cluster.clone(), own.peer.ready));
        let space = Space { disk_full: own.peer.disk_full, room_from_ms: own.peer.room_from_ms };
        let (space, space_rx) = watch::channel(space);
        let handle = spawn(&own).await?;
        let task = tokio::spawn(supervise(own, handle, live_tx, (own_rx, space_rx)));
        Ok(Self { live, own: own_tx, space, task })
    }

    /// Live peers and their changes.
    pub fn live(&self) -> watch::Receiver<Peers> {
        self.live.clone()
    }

    /// Says which cluster this node belongs to and whether it is ready.
    pub fn announce(&self, cluster: &str, ready: bool) {
        self.own.send_replace((cluster.to_owned(), ready));
    }

    /// Says whether this node's disk is full.
    pub fn announce_disk(&self, is_full: bool) {
        self.space.send_if_modified(|known| std::mem::replace(&mut known.disk_full, is_full) != is_full);
    }

    /// Says from which time on this node has room for facts, by signal, in ms.
    pub fn announce_room(&self, from_ms: [i64; 3]) {
        self.space.send_if_modified(|known| std::mem::replace(&mut known.room_from_ms, from_ms) != from_ms);
    }

    /// Stops talking; peers will take this node for dead.
    pub fn stop(&self) {
        self.task.abort();
    }
}

async fn spawn(own: &Own) -> Result<ChitchatHandle, Error> {
    let node = &own.peer.node;
    let config = ChitchatConfig {
        chitchat_id: ChitchatId::new(format!("{:016x}", node.id), own.generation, own.advertise),
        cluster_id: "trine".to_owned(),
        gossip_interval: INTERVAL,
        listen_addr: own.listen,
        seed_nodes: own.seeds.clone(),
        failure_detector_config: FailureDetectorConfig {
            initial_interval: INTERVAL * 5,
            dead_node_grace_period: Duration::from_secs(3600),
            ..FailureDetectorConfig::default()
        },
        marked_for_deletion_grace_period: Duration::from_secs(3600),
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    };
    let values = [
        ("name", &node.name),
        ("rpc", &node.rpc),
        ("http", &node.http),
        ("zone", &node.zone),
        ("version", &node.version),
        ("cluster", &own.peer.cluster),
    ];
    let values = values.into_iter().map(|(k, v)| (k.to_owned(), v.clone())).collect();
    spawn_chitchat(config, values, &KeyedTransport::new(&own.key))
        .await
        .map_err(|e| Error::Gossip { reason: format!("{e:#}") })
}

/// Keeps a member running and its findings published.
async fn supervise(
    mut own: Own,
    mut handle: ChitchatHandle,
    live: watch::Sender<Peers>,
    (mut announced, mut space): (watch::Receiver<(String, bool)>, watch::Receiver<Space>),
) {
    loop {
        run(&handle, &live, &mut announced, &mut space).await;
        warn!("gossip ended unexpectedly, starting it again");
        handle.abort();
        let (cluster, ready) = announced.borrow().clone();
        (own.peer.cluster, own.peer.ready) = (cluster, ready);
        own.generation += 1;
        announced.mark_changed();
        loop {
            match spawn(&own).await {
                Ok(new) => {
                    handle = new;
                    break;
                }
                Err(error) => {
                    warn!(%error, "gossip does not start");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

/// Returns when the member has ended.
async fn run(
    handle: &ChitchatHandle,
    live: &watch::Sender<Peers>,
    announced: &mut watch::Receiver<(String, bool)>,
    space: &mut watch::Receiver<Space>,
) {
    let mut watcher = handle.with_chitchat(|c| c.live_nodes_watcher()).await;
    let termination = handle.termination_watcher();
    tokio::pin!(termination);
    let mut refresh = tokio::time::interval(INTERVAL * 2);
    loop {
        let (cluster, ready) = announced.borrow_and_update().clone();
        let Space { disk_full, room_from_ms } = *space.borrow_and_update();
        let peers = handle
            .with_chitchat(|c| {
                let state = c.self_node_state();
                state.set("cluster", &cluster);
                state.set("ready", ready.to_string());
                state.set("disk_full", disk_full.to_string());
                state.set("room_from_ms", room_from_ms.map(|ms| ms.to_string()).join(","));
                let states = c.node_states();
                c.live_nodes()
                    .chain(std::iter::once(c.self_chitchat_id()))
                    .filter_map(|id| peer_of(id, states.get(id)?))
                    .collect()
            })
            .await;
        live.send_if_modified(|known: &mut Peers| {
            let changed = *known != peers;
            *known = peers;
            changed
        });
        tokio::select! {
            _ = &mut termination => return,
            changed = watcher.changed() => if changed.is_err() { return },
            changed = announced.changed() => if changed.is_err() { return },
            changed = space.changed() => if changed.is_err() { return },
            _ = refresh.tick() => {}
        }
    }
}

fn peer_of(id: &ChitchatId, state: &chitchat::NodeState) -> Option<(u64, Peer)> {
    let node_id = u64::from_str_radix(&id.node_id, 16).ok()?;
    let get = |key| state.get(key).unwrap_or_default().to_owned();
    let node = NodeRecord {
        id: node_id,
        name: get("name"),
        rpc: get("rpc"),
        http: get("http"),
        zone: get("zone"),
        version: get("version"),
    };
    // A peer whose values have not arrived yet is not useful; above all, "no cluster" must be said, not missing.
    let told = !node.rpc.is_empty() && state.get("cluster").is_some();
    let gossip = Some(id.gossip_advertise_addr);
    let (ready, disk_full) = (get("ready") == "true", get("disk_full") == "true");
    let room_from_ms = room_of(state.get("room_from_ms").unwrap_or_default());
    told.then(|| (node_id, Peer { node, cluster: get("cluster"), ready, disk_full, room_from_ms, gossip }))
}

/// Three numbers of ms; what is no number, or was not said, is room for all.
fn room_of(text: &str) -> [i64; 3] {
    let mut numbers = text.split(',').map(|n| n.parse().unwrap_or(i64::MIN));
    [(); 3].map(|()| numbers.next().unwrap_or(i64::MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_was_said_of_it() {
        assert_eq!(room_of("1,-2,9223372036854775807"), [1, -2, i64::MAX]);
        assert_eq!((room_of(""), room_of("x,5")), ([i64::MIN; 3], [i64::MIN, 5, i64::MIN]));
    }
}
