//! Connections of one [`crate::Multi`] to the other nodes: made on first use, driven by its runtime.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::ids::NodeId;
use crate::peers::PeerBook;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Room for several full append requests in flight.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

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

/// Open connections by node and lane, to the addresses in a [`PeerBook`].
#[derive(Debug)]
pub(crate) struct Connections {
    book: Arc<PeerBook>,
    open: Mutex<HashMap<(NodeId, Lane), Connection>>,
}

#[derive(Debug)]
struct Connection {
    address: String,
    channel: Channel,
}

impl Connections {
    pub(crate) fn new(book: Arc<PeerBook>) -> Self {
        Self { book, open: Mutex::default() }
    }

    /// A connection to `node`. Reconnects by itself after a loss; a changed address is a new one. Must be called on the
    /// runtime that is to drive it. `None` for an unknown node, or an address that is none.
    pub(crate) fn channel(&self, node: NodeId, lane: Lane) -> Option<Channel> {
        let address = self.book.address(node);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(address) = address else {
            open.remove(&(node, lane));
            return None;
        };
        if let Some(connection) = open.get(&(node, lane)).filter(|connection| connection.address == address) {
            return Some(connection.channel.clone());
        }
        let channel = endpoint(&address)?.connect_lazy();
        open.insert((node, lane), Connection { address, channel: channel.clone() });
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
