//! UDP datagrams of gossip, each authenticated with the cluster key.
//!
//! ```text
//! 0   4   magic "TRNG"
//! 4   1   version 1
//! 5  32   BLAKE3 keyed hash of everything after it
//! 37  ..  chitchat's own envelope
//! ```
//!
//! chitchat keeps the encoding of its envelopes to itself: only its own UDP socket can make and read the bytes. So two of
//! those sit on loopback as encoder and decoder, each talking to a socket of ours and to nobody else, and what crosses the
//! network is framed by us. See `docs/adr/0003-gossip-behind-a-keyed-transport.md`.
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use chitchat::ChitchatEnvelope;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport, UdpSocket as ChitchatSocket};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::debug;

const MAGIC: &[u8; 5] = b"TRNG\x01";
const HEADER_BYTES: usize = MAGIC.len() + 32;
/// Largest UDP payload.
const DATAGRAM_BYTES_MAX: usize = 65_507;

/// Opens authenticated sockets.
pub(super) struct KeyedTransport {
    key: [u8; 32],
}

impl KeyedTransport {
    /// The key is derived from the secret; an empty secret guards against accidents only.
    pub(super) fn new(secret: &str) -> Self {
        Self { key: blake3::derive_key("trine 2026 gossip datagram key v1", secret.as_bytes()) }
    }
}

/// How long chitchat's codec may take on loopback before a datagram counts as lost.
const CODEC_TIMEOUT: Duration = Duration::from_millis(200);
/// Datagrams decoded and not yet taken.
const QUEUE_DATAGRAMS: usize = 64;

#[async_trait]
impl Transport for KeyedTransport {
    async fn open(&self, listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let socket = UdpSocket::bind(listen).await.with_context(|| format!("listen on {listen}/udp"))?;
        let socket = std::sync::Arc::new(socket);
        let (tx, received) = mpsc::channel(QUEUE_DATAGRAMS);
        let receiver = Receiver { key: self.key, socket: socket.clone(), codec: Codec::open().await?, tx };
        let (codec, buf) = (Codec::open().await?, vec![0; DATAGRAM_BYTES_MAX]);
        let task = tokio::spawn(receiver.run());
        Ok(Box::new(KeyedSocket { key: self.key, socket, codec, buf, received, task }))
    }
}

/// A socket of chitchat's on loopback, and ours beside it.
struct Codec {
    theirs: ChitchatSocket,
    theirs_at: SocketAddr,
    ours: UdpSocket,
    ours_at: SocketAddr,
}

impl Codec {
    async fn open() -> anyhow::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (theirs, ours) = (ChitchatSocket::open(any).await?, UdpSocket::bind(any).await?);
        let (theirs_at, ours_at) = (theirs.local_addr()?, ours.local_addr()?);
        Ok(Self { theirs, theirs_at, ours, ours_at })
    }

    /// Bytes of an envelope, in `buf`.
    async fn encode(&mut self, envelope: ChitchatEnvelope, buf: &mut [u8]) -> anyhow::Result<usize> {
        self.theirs.send(self.ours_at, envelope).await?;
        loop {
            let (n, from) = tokio::time::timeout(CODEC_TIMEOUT, self.ours.recv_from(buf)).await??;
            if from == self.theirs_at {
                return Ok(n);
            }
        }
    }

    /// The envelope in authentic bytes.
    async fn decode(&mut self, message: &[u8]) -> anyhow::Result<ChitchatEnvelope> {
        self.ours.send_to(message, self.theirs_at).await?;
        loop {
            let outcome = tokio::time::timeout(CODEC_TIMEOUT, self.theirs.recv()).await??;
            if outcome.from_addr == self.ours_at {
                return Ok(outcome.envelope);
            }
        }
    }
}

/// Reads the network in a task of its own, so that taking a datagram can be cancelled at any point.
struct Receiver {
    key: [u8; 32],
    socket: std::sync::Arc<UdpSocket>,
    codec: Codec,
    tx: mpsc::Sender<RecvOutcome>,
}

impl Receiver {
    async fn run(mut self) {
        let mut buf = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let (num_bytes_received, from_addr) = match self.socket.recv_from(&mut buf).await {
                Ok(received) => received,
                Err(error) => {
                    // ICMP errors of earlier sends surface here.
                    debug!(%error, "gossip datagram not received");
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let Some(message) = open(&self.key, &buf[..num_bytes_received]) else {
                debug!(from = %from_addr, bytes = num_bytes_received, "gossip datagram without the cluster's key dropped");
                continue;
            };
            let envelope = match self.codec.decode(message).await {
                Ok(envelope) => envelope,
                Err(error) => {
                    debug!(from = %from_addr, %error, "gossip datagram does not decode");
                    continue;
                }
            };
            if self.tx.send(RecvOutcome { from_addr, envelope, num_bytes_received }).await.is_err() {
                return;
            }
        }
    }
}

struct KeyedSocket {
    key: [u8; 32],
    socket: std::sync::Arc<UdpSocket>,
    codec: Codec,
    buf: Vec<u8>,
    received: mpsc::Receiver<RecvOutcome>,
    task: JoinHandle<()>,
}

impl Drop for KeyedSocket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Frames one message.
fn seal(key: &[u8; 32], message: &[u8]) -> Vec<u8> {
    let hash = blake3::keyed_hash(key, message);
    [MAGIC.as_slice(), hash.as_bytes(), message].concat()
}

/// The message in an authentic frame.
pub(super) fn open<'a>(key: &[u8; 32], frame: &'a [u8]) -> Option<&'a [u8]> {
    let (header, message) = frame.split_at_checked(HEADER_BYTES)?;
    let mac: [u8; 32] = header.strip_prefix(MAGIC)?.try_into().ok()?;
    // `blake3::Hash` compares in constant time.
    (blake3::keyed_hash(key, message) == blake3::Hash::from_bytes(mac)).then_some(message)
}

#[async_trait]
impl Socket for KeyedSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    async fn send(&mut self, to: SocketAddr, envelope: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        // Gossip repeats itself: a datagram that cannot be sent now is a lost datagram, not a broken transport.
        let sent = async {
            let n = self.codec.encode(envelope, &mut self.buf).await?;
            let frame = seal(&self.key, &self.buf[..n]);
            anyhow::Ok(self.socket.send_to(&frame, to).await?)
        };
        match sent.await {
            Ok(num_bytes_sent) => Ok(SendOutcome { num_bytes_sent }),
            Err(error) => {
                debug!(%to, %error, "gossip datagram not sent");
                Ok(SendOutcome { num_bytes_sent: 0 })
            }
        }
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        self.received.recv().await.context("the gossip receiver ended")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_opens_a_frame() {
        let (a, b) = (KeyedTransport::new("a").key, KeyedTransport::new("b").key);
        let frame = seal(&a, b"hello");
        assert_eq!(open(&a, &frame), Some(&b"hello"[..]));
        assert_eq!(open(&b, &frame), None);
        for i in 0..frame.len() {
            let mut bad = frame.clone();
            bad[i] ^= 1;
            assert_eq!(open(&a, &bad), None, "byte {i}");
        }
        assert_eq!(open(&a, b"short"), None);
    }
}
