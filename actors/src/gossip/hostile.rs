//! A gossip member that is sent whatever comes, for the fuzzer in `chaos-tests/fuzz`.
use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use chitchat::transport::UdpTransport;
use chitchat::{ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat};
use tokio::net::UdpSocket;
use tokio::runtime::Runtime;

use super::{peer_of, transport};

/// Datagrams that one member is sent before a fresh one takes its place: what they said of nodes adds up.
const DATAGRAMS_MAX: usize = 256;
/// How long a member may take for a datagram.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What is inside an authentic datagram, from a peer with the key; and the same bytes as the datagram.
pub(crate) fn receive(message: &[u8]) {
    thread_local! {
        static VICTIM: RefCell<Option<Victim>> = const { RefCell::new(None) };
    }
    assert!(transport::open(&[7; 32], message).is_none(), "a frame without the key is taken");
    VICTIM.with_borrow_mut(|slot| {
        let victim = match slot.take() {
            Some(victim) if victim.datagrams < DATAGRAMS_MAX => Some(victim),
            _ => Victim::new(),
        };
        *slot = victim.map(|mut victim| {
            victim.send(message);
            victim
        });
    });
}

/// A handshake as chitchat makes it: its first message, and the answer.
pub(crate) fn sample_datagrams() -> Vec<Vec<u8>> {
    let Some(victim) = Victim::new() else { return Vec::new() };
    let answer = victim.runtime.block_on(victim.ask(&victim.greeting));
    vec![victim.greeting, answer]
}

/// A running member, and sockets to send from: what it answers to `sender` is not looked at.
struct Victim {
    runtime: Runtime,
    handle: ChitchatHandle,
    address: SocketAddr,
    sender: UdpSocket,
    asker: UdpSocket,
    /// A first message that it answers.
    greeting: Vec<u8>,
    datagrams: usize,
}

impl Victim {
    /// None where there are no sockets.
    fn new() -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let (handle, address, sender, asker, greeting) = runtime.block_on(async {
            let (sender, asker) = (UdpSocket::bind(LOOPBACK).await.ok()?, UdpSocket::bind(LOOPBACK).await.ok()?);
            // A port that is free now; whoever takes it first makes this fail, and the next input tries again.
            let address = UdpSocket::bind(LOOPBACK).await.ok()?.local_addr().ok()?;
            let seed = asker.local_addr().ok()?.to_string();
            let handle = spawn_chitchat(config(address, seed), values(), &UdpTransport).await.ok()?;
            let mut greeting = vec![0; 65_507];
            let received = tokio::time::timeout(ANSWER_TIMEOUT, asker.recv_from(&mut greeting)).await;
            greeting.truncate(received.ok()?.ok()?.0);
            Some((handle, address, sender, asker, greeting))
        })?;
        Some(Self { runtime, handle, address, sender, asker, greeting, datagrams: 0 })
    }

    fn send(&mut self, message: &[u8]) {
        self.datagrams += 1;
        self.runtime.block_on(async {
            if self.sender.send_to(message, self.address).await.is_err() {
                return;
            }
            // Datagrams of one host are taken in order: the answer says that the message was, too.
            drop(self.ask(&self.greeting).await);
            let looked_at = self
                .handle
                .with_chitchat(|c| c.node_states().iter().filter_map(|(id, state)| peer_of(id, state)).count());
            looked_at.await;
        });
    }

    async fn ask(&self, message: &[u8]) -> Vec<u8> {
        let mut answer = vec![0; 65_507];
        self.asker.send_to(message, self.address).await.expect("a datagram to loopback");
        let received = tokio::time::timeout(ANSWER_TIMEOUT, self.asker.recv_from(&mut answer)).await;
        let (len, _) = received.expect("gossip answers no more").expect("a datagram from loopback");
        answer.truncate(len);
        answer
    }
}

fn config(address: SocketAddr, seed: String) -> ChitchatConfig {
    ChitchatConfig {
        chitchat_id: ChitchatId::new("000000000000002a".to_owned(), 1, address),
        cluster_id: "trine".to_owned(),
        // It speaks first once, to the seed, and then only answers.
        gossip_interval: Duration::from_secs(3600),
        listen_addr: address,
        seed_nodes: vec![seed],
        failure_detector_config: FailureDetectorConfig::default(),
        marked_for_deletion_grace_period: Duration::from_secs(3600),
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    }
}

fn values() -> Vec<(String, String)> {
    [("name", "n"), ("rpc", "127.0.0.1:1"), ("cluster", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_goes_on_after_garbage() {
        let samples = sample_datagrams();
        assert!(samples.iter().all(|s| s.len() > 10), "{samples:?}");
        for sample in &samples {
            receive(&sample[..sample.len() - 1]);
            receive(sample);
        }
    }
}
