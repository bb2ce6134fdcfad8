//! Where nodes reach each other: listens at every node's advertised address and passes on what arrives.
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use super::owner::Pids;
use super::{Table, tcp, udp};
use crate::error::{Result, io};
use crate::node::Addresses;

/// A node as the proxy knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) at: Addresses,
    /// The address that stands for it. What comes from it has this source, too.
    pub(super) alias: Ipv4Addr,
}

/// What all tasks of a proxy share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) ends: Vec<End>,
    pub(super) table: Arc<Table>,
    /// Cuts and losses are somebody else's; only delays and rates are ours.
    pub(super) filtered_elsewhere: bool,
    pids: Pids,
}

impl Shared {
    /// The node that a packet or connection comes from.
    pub(super) fn sender(&self, from: SocketAddr) -> Option<usize> {
        let by_ip = self.ends.iter().position(|e| e.at.http.ip() == from.ip());
        by_ip.or_else(|| self.pids.owner(from))
    }

    /// Whether the proxy itself has to hold back what a cut link carries.
    pub(super) fn holds(&self, quality: &super::Quality) -> bool {
        quality.cut && !self.filtered_elsewhere
    }

    /// Whether this packet is lost.
    pub(super) fn loses(&self, quality: &super::Quality) -> bool {
        !self.filtered_elsewhere && rand::random_range(0..100) < quality.loss_percent
    }
}

/// Running listeners; ended when dropped.
#[derive(Debug)]
pub(super) struct Proxy(#[expect(dead_code, reason = "ends its tasks when dropped")] JoinSet<()>);

impl Proxy {
    pub(super) async fn start(ends: Vec<End>, table: Arc<Table>, filtered_elsewhere: bool, pids: Pids) -> Result<Self> {
        let shared = Arc::new(Shared { ends, table, filtered_elsewhere, pids });
        let mut tasks = JoinSet::new();
        let mut gossip = Vec::new();
        for (n, end) in shared.ends.iter().enumerate() {
            let at = (IpAddr::V4(end.alias), end.at.rpc.port());
            let listener = TcpListener::bind(at).await.map_err(io(format!("listen on {at:?} for node {n}")))?;
            tasks.spawn(tcp::listen(shared.clone(), listener, n));
            let at = (IpAddr::V4(end.alias), end.at.gossip.port());
            gossip.push(UdpSocket::bind(at).await.map_err(io(format!("bind {at:?} for node {n}")))?);
        }
        let gossip = Arc::new(gossip);
        for n in 0..shared.ends.len() {
            tasks.spawn(udp::relay(shared.clone(), gossip.clone(), n));
        }
        Ok(Self(tasks))
    }
}
