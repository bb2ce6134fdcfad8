//! Where the other nodes are, and connections to them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::ids::NodeId;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Room for several full append requests in flight.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

/// Addresses of the cluster's nodes, changed at any time; connections follow. Safe to share.
#[derive(Default)]
pub struct PeerBook {
    peers: Mutex<HashMap<NodeId, Peer>>,
}

struct Peer {
    address: String,
    channels: HashMap<Lane, Channel>,
}

/// Which of a peer's connections: what is short must not queue behind what is long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Votes, heartbeats, read points, leader transfers.
    Control,
    /// Appends.
    Bulk,
    /// Snapshot offers.
    Snapshot,
}

impl PeerBook {
    /// An empty book.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Peer>> {
        // Each change of the map is one call: it is whole after any panic.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `node` is reached at `address`, a `host:port`. A changed address drops the connections to the old one.
    pub fn set(&self, node: NodeId, address: impl Into<String>) {
        let address = address.into();
        let mut peers = self.lock();
        if peers.get(&node).is_some_and(|peer| peer.address == address) {
            return;
        }
        peers.insert(node, Peer { address, channels: HashMap::new() });
    }

    /// Forgets `node`.
    pub fn remove(&self, node: NodeId) {
        self.lock().remove(&node);
    }

    /// The address of `node`, if known.
    pub fn address(&self, node: NodeId) -> Option<String> {
        self.lock().get(&node).map(|peer| peer.address.clone())
    }

    /// A connection to `node`, made on first use and again after a loss. Must be called on a tokio runtime, which
    /// then drives it. `None` for an unknown node or an address that is none.
    pub(crate) fn channel(&self, node: NodeId, lane: Lane) -> Option<Channel> {
        let mut peers = self.lock();
        let peer = peers.get_mut(&node)?;
        if let Some(channel) = peer.channels.get(&lane) {
            return Some(channel.clone());
        }
        let channel = endpoint(&peer.address)?.connect_lazy();
        peer.channels.insert(lane, channel.clone());
        Some(channel)
    }
}

fn endpoint(address: &str) -> Option<Endpoint> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
    Some(
        endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES),
    )
}

impl fmt::Debug for PeerBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peers = self.lock();
        f.debug_map().entries(peers.iter().map(|(node, peer)| (node, &peer.address))).finish()
    }
}
