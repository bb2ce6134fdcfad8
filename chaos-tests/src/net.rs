//! Links between nodes that can be cut, slowed and made lossy.
//!
//! Nodes advertise the address of a [proxy] of ours instead of their own, so everything that they say to each other
//! passes through it. With root, each node lives in a network namespace, and cuts and losses are real: nftables drops
//! packets. Without, all addresses are loopback ones and the proxy holds back or delays bytes itself. Clients reach nodes
//! directly, whatever is cut.
mod effects;
mod namespaces;
mod owner;
mod proxy;
mod quality;
mod tcp;
mod udp;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use rand::Rng;
use tokio::sync::watch;

pub use effects::EffectId;
use effects::Effects;
pub use quality::Quality;

use crate::error::Result;
use crate::net::namespaces::Namespaces;
use crate::net::proxy::Proxy;
use crate::node::Addresses;

/// The state of every directed link, as the proxy's tasks watch it.
#[derive(Debug)]
pub(crate) struct Table {
    nodes: usize,
    links: Vec<watch::Sender<Quality>>,
}

impl Table {
    fn new(nodes: usize) -> Self {
        Self { nodes, links: (0..nodes * nodes).map(|_| watch::Sender::new(Quality::default())).collect() }
    }

    fn watch(&self, from: usize, to: usize) -> watch::Receiver<Quality> {
        self.links[from * self.nodes + to].subscribe()
    }
}

/// How much of it is real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm {
    /// Namespaces and nftables; needs root.
    Namespaces,
    /// Loopback addresses; the proxy does everything.
    Loopback,
}

/// The network between the nodes of a cluster. Ends with its last clone's drop.
#[derive(Debug)]
pub struct Network {
    net: [u8; 3],
    nodes: usize,
    namespaces: Option<Namespaces>,
    table: Arc<Table>,
    effects: Mutex<Effects>,
    proxy: Option<Proxy>,
}

/// Last byte of the first node's address; its proxy's is as far from [`PROXIES`].
const NODES: u8 = 1;
const PROXIES: u8 = 101;
/// Ports of nodes in namespaces, where nobody else can have them.
const PORTS: [u16; 3] = [9090, 7070, 7071];

impl Network {
    /// A network for `nodes` nodes; `realm` of `None` takes namespaces where root allows them.
    pub fn new(nodes: usize, realm: Option<Realm>) -> Result<Self> {
        let mut rng = rand::rng();
        let wanted = realm.unwrap_or(if namespaces::allowed() { Realm::Namespaces } else { Realm::Loopback });
        // 198.18.0.0/15 is set aside for tests of networks.
        let (net, namespaces) = match wanted {
            Realm::Namespaces => {
                let net = [198, rng.random_range(18..20), rng.random_range(0..255)];
                (net, Some(Namespaces::create(net, nodes)?))
            }
            Realm::Loopback => ([127, rng.random_range(1..255), rng.random_range(1..255)], None),
        };
        let table = Arc::new(Table::new(nodes));
        Ok(Self { net, nodes, namespaces, table, effects: Mutex::default(), proxy: None })
    }

    /// What this network is made of.
    pub fn realm(&self) -> Realm {
        if self.namespaces.is_some() { Realm::Namespaces } else { Realm::Loopback }
    }

    fn ip(&self, base: u8, n: usize) -> Ipv4Addr {
        let last = base + u8::try_from(n).expect("a cluster of a test has few nodes");
        let [a, b, c] = self.net;
        Ipv4Addr::new(a, b, c, last)
    }

    /// Where a node listens.
    pub(crate) fn address(&self, n: usize) -> Result<Addresses> {
        let ip = self.ip(NODES, n);
        match self.namespaces {
            None => Addresses::free_on(ip),
            Some(_) => {
                let [http, rpc, gossip] = PORTS.map(|port| SocketAddr::from((ip, port)));
                Ok(Addresses { http, rpc, gossip })
            }
        }
    }

    /// What a node says that it can be reached by: its proxy.
    pub(crate) fn advertised(&self, n: usize) -> Ipv4Addr {
        self.ip(PROXIES, n)
    }

    /// What a node's process is started with, before the program itself.
    pub(crate) fn prefix(&self, n: usize) -> Vec<String> {
        self.namespaces.as_ref().map(|all| all.enter(n)).unwrap_or_default()
    }

    /// Starts the proxy for nodes at these addresses; replaces one for others.
    pub(crate) async fn start(&mut self, nodes: &[Addresses], pids: Pids) -> Result<()> {
        self.proxy = None;
        let ends = nodes.iter().enumerate().map(|(n, at)| proxy::End { at: *at, alias: self.advertised(n) });
        let real = self.namespaces.is_some();
        self.proxy = Some(Proxy::start(ends.collect(), self.table.clone(), real, pids).await?);
        Ok(())
    }

    /// Applies qualities to directed links `(from, to)`, on top of what else holds, until [`Network::remove`].
    pub fn apply(&self, links: Vec<(usize, usize, Quality)>) -> Result<EffectId> {
        let mut effects = self.effects.lock().unwrap_or_else(PoisonError::into_inner);
        let id = effects.add(links);
        self.refresh(&effects)?;
        Ok(id)
    }

    /// Ends an effect.
    pub fn remove(&self, id: EffectId) -> Result<()> {
        let mut effects = self.effects.lock().unwrap_or_else(PoisonError::into_inner);
        effects.remove(id);
        self.refresh(&effects)
    }

    fn refresh(&self, effects: &Effects) -> Result<()> {
        let quality = |from, to| effects.quality(from, to);
        for from in 0..self.nodes {
            if let Some(namespaces) = &self.namespaces {
                let peers = (0..self.nodes).map(|to| (self.advertised(to), quality(from, to)));
                namespaces.filter(from, &peers.collect::<Vec<_>>())?;
            }
            for to in 0..self.nodes {
                self.table.links[from * self.nodes + to].send_replace(quality(from, to));
            }
        }
        Ok(())
    }
}

/// Process ids by node, for who owns a connection; shared with what starts them.
pub(crate) use owner::Pids;
