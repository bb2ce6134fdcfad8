//! Clients of the other nodes: one connection a node, made when it is needed, following changes of its address.
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::transport::{Channel, Endpoint};
use trine_raft::{NodeId, PeerBook};
use trine_store::model::Signal;
use trine_store::shard::BlockEntry;

use super::proto::node_client::NodeClient;
use super::proto::{Addressed, BlockRecord, ListBlocksRequest, ReadBlockRequest};
use super::refusal::{LATE, refusal};
use crate::shard::{BlockSource, ListedBlock, ListedBlocks};

/// Largest message either way: a request's parts, or a frame.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// How long a node may take to list a shard's blocks.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections to peers by node id.
#[derive(Debug)]
pub struct Peers {
    book: Arc<PeerBook>,
    cluster: Mutex<String>,
    clients: Mutex<HashMap<u64, (String, NodeClient<Channel>)>>,
}

impl Peers {
    pub fn new(book: Arc<PeerBook>) -> Self {
        Self { book, cluster: Mutex::new(String::new()), clients: Mutex::new(HashMap::new()) }
    }

    /// Names the cluster in every later request.
    pub fn set_cluster(&self, cluster: &str) {
        *self.cluster.lock().unwrap_or_else(PoisonError::into_inner) = cluster.to_owned();
    }

    /// The address line of a request to `node`.
    pub fn to(&self, node: u64) -> Option<Addressed> {
        let cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(Addressed { cluster, target_node: node })
    }

    /// A client of a node whose address is known.
    pub fn client(&self, node: u64) -> Result<NodeClient<Channel>, String> {
        let address =
            self.book.address(NodeId(node)).ok_or_else(|| format!("the address of node {node} is not known"))?;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, client)) = clients.get(&node)
            && *at == address
        {
            return Ok(client.clone());
        }
        let client = connect(&address)?;
        clients.insert(node, (address, client.clone()));
        Ok(client)
    }
}

/// A client of `host:port`, connected at its first use.
pub fn connect(address: &str) -> Result<NodeClient<Channel>, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|e| e.to_string())?;
    let channel = endpoint
        .connect_timeout(Duration::from_secs(1))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(2))
        .keep_alive_timeout(Duration::from_secs(2))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .connect_lazy();
    Ok(NodeClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX))
}

#[async_trait]
impl BlockSource for Peers {
    async fn read_block(
        &self,
        node: NodeId,
        shard: u32,
        file: &str,
        offset: u64,
    ) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
        let mut client = self.client(node.0).map_err(io::Error::other)?;
        let request = ReadBlockRequest { to: self.to(node.0), shard, file: file.to_owned(), offset };
        let stream = client.read_block(request).await.map_err(failed)?.into_inner();
        Ok(stream.map(|chunk| chunk.map(|c| c.data).map_err(failed)).boxed())
    }

    async fn list_blocks(&self, node: NodeId, shard: u32) -> io::Result<ListedBlocks> {
        let mut client = self.client(node.0).map_err(io::Error::other)?;
        let request = ListBlocksRequest { to: self.to(node.0), shard, tenant: String::new() };
        let reply = tokio::time::timeout(LIST_TIMEOUT, client.list_blocks(request)).await;
        let reply = reply.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, LATE))?.map_err(failed)?;
        let reply = reply.into_inner();
        let blocks = reply.blocks.into_iter().map(listed).collect::<io::Result<_>>()?;
        let compacted = (reply.compactions_pending == 0).then_some(reply.compaction);
        Ok(ListedBlocks { position: reply.position, compacted, blocks })
    }
}

/// A failed call in words: they come before an operator, in what a scrub could not check.
fn failed(status: tonic::Status) -> io::Error {
    io::Error::other(refusal(&status))
}

pub(crate) fn listed(record: BlockRecord) -> io::Result<ListedBlock> {
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, format!("{what} of a listed block"));
    let signal = u8::try_from(record.signal).ok().and_then(Signal::from_u8).ok_or_else(|| invalid("signal"))?;
    let digest = <[u8; 16]>::try_from(&*record.digest).map_err(|_| invalid("digest"))?;
    let BlockRecord { file, bytes, crc, facts, series, min_time, max_time, damaged, made_at, window_ms, .. } = record;
    let digest = u128::from_le_bytes(digest);
    Ok(ListedBlock {
        entry: BlockEntry { signal, file, bytes, crc, facts, series, min_time, max_time, digest, made_at, window_ms },
        damaged,
    })
}
