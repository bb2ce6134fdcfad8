//! Answers other nodes.
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};
use trine_query::fragment::{Fragment, FragmentLimits};
use trine_store::codec::Reader;
use trine_store::entry::encode_delete;
use trine_store::limits::DeleteSeries;

use super::client::MESSAGE_BYTES_MAX;
use super::proto::node_server::{Node, NodeServer};
use super::proto::{
    Addressed, BlockChunk, DeleteReply, DeleteRequest, FlushReply, FlushRequest, FragmentReply, FragmentRequest,
    HealingReply, HealingRequest, JoinReply, JoinRequest, LedgerReply, LedgerRequest, ListBlocksReply,
    ListBlocksRequest, NodeRecord, ProposeReply, ProposeRequest, ReadBlockRequest, ScrubReply, ScrubRequest,
    StandingReply, StandingRequest, StatusReply, StatusRequest, SubmitReply, SubmitRequest,
};
use crate::cluster::Shared;
use crate::router::to_proto;
use crate::scatter::{self, Reply};
use crate::scrub;

/// Bytes of a block in one message.
const CHUNK_BYTES: usize = 1 << 20;
/// How long a flush waits for a shard's blocks.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// Why a leader cannot seal.
const TOO_FEW: &str = "a majority of the other replicas does not answer";

/// The service on the node-to-node port.
#[derive(Clone)]
pub struct NodeService {
    shared: Arc<Shared>,
}

impl NodeService {
    pub(crate) fn server(shared: Arc<Shared>) -> NodeServer<Self> {
        NodeServer::new(Self { shared })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Refuses requests for another cluster or node: addresses get reused.
    fn check(&self, to: Option<&Addressed>) -> Result<(), Status> {
        let to = to.ok_or_else(|| Status::invalid_argument("request without an address line"))?;
        let (cluster, node) = (self.shared.cluster_id(), self.shared.node_id());
        if to.cluster != cluster {
            return Err(Status::failed_precondition(format!("this node belongs to cluster {cluster:?}")));
        }
        if to.target_node != node {
            return Err(Status::failed_precondition(format!("this is node {node}")));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Node for NodeService {
    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<SubmitReply>, Status> {
        let request = request.into_inner();
        self.check(request.to.as_ref())?;
        let submits = request.parts.into_iter().map(|p| self.shared.submit(p.shard, p.part));
        let results = join_all(submits).await.into_iter().map(to_proto).collect();
        Ok(Response::new(SubmitReply { results }))
    }

    type RunFragmentStream = BoxStream<'static, Result<FragmentReply, Status>>;

    async fn run_fragment(
        &self,
        request: Request<FragmentRequest>,
    ) -> Result<Response<Self::RunFragmentStream>, Status> {
        let request = request.into_inner();
        self.check(request.to.as_ref())?;
        let language = scatter::language_of(request.language)
            .ok_or_else(|| Status::unimplemented(format!("query language {}", request.language)))?;
        let fragment = Fragment { language, payload: request.payload };
        let deadline = Instant::now() + Duration::from_millis(request.timeout_ms.min(3_600_000));
        let memory = self.shared.budget.queries.account();
        let limits = FragmentLimits::new(request.reply_bytes_max, deadline, memory);
        let tenant: Arc<str> = request.tenant.into();
        let asked = scatter::Asked { shards: request.shards, accept_incomplete: request.accept_incomplete };
        let replies = scatter::local(self.shared.clone(), fragment, tenant, asked, limits);
        Ok(Response::new(replies.map(|reply| Ok(Reply::into_proto(reply))).boxed()))
    }

    type ReadBlockStream = BoxStream<'static, Result<BlockChunk, Status>>;

    async fn read_block(&self, request: Request<ReadBlockRequest>) -> Result<Response<Self::ReadBlockStream>, Status> {
        let request = request.into_inner();
        self.check(request.to.as_ref())?;
        let path = self.shared.block_path(request.shard, &request.file).ok_or_else(|| {
            Status::not_found(format!("no block {:?} in the manifest of shard {}", request.file, request.shard))
        })?;
        let file = std::fs::File::open(&path).map_err(|e| Status::not_found(format!("{}: {e}", path.display())))?;
        let state = (Arc::new(file), request.offset);
        let chunks = futures::stream::try_unfold(state, |(file, offset)| async move {
            let reading = file.clone();
            let read = tokio::task::spawn_blocking(move || {
                let mut buf = vec![0; CHUNK_BYTES];
                let n = std::os::unix::fs::FileExt::read_at(&*reading, &mut buf, offset)?;
                buf.truncate(n);
                std::io::Result::Ok(buf)
            });
            let buf = read.await.map_err(|e| Status::internal(e.to_string()))?;
            let buf = buf.map_err(|e| Status::data_loss(e.to_string()))?;
            let next = offset + buf.len() as u64;
            Ok((!buf.is_empty()).then(|| (BlockChunk { data: buf.into() }, (file, next))))
        });
        Ok(Response::new(chunks.boxed()))
    }

    async fn list_blocks(&self, request: Request<ListBlocksRequest>) -> Result<Response<ListBlocksReply>, Status> {
        let request = request.into_inner();
        self.check(request.to.as_ref())?;
        let handle = self.shared.handles().get(&request.shard).cloned();
        let handle = handle.ok_or_else(|| Status::not_found(format!("shard {} is not here", request.shard)))?;
        Ok(Response::new(crate::blocks::tell(&handle, &request.tenant)))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let request = request.into_inner();
        let cluster = self.shared.cluster_id();
        if !request.cluster.is_empty() && request.cluster != cluster {
            return Err(Status::failed_precondition(format!("this node belongs to cluster {cluster:?}")));
        }
        let node = request.node.ok_or_else(|| Status::invalid_argument("join without a node"))?;
        self.shared.join(node).await.map(Response::new).map_err(Status::unavailable)
    }

    async fn flush(&self, request: Request<FlushRequest>) -> Result<Response<FlushReply>, Status> {
        let request = request.into_inner();
        self.check(request.to.as_ref())?;
        let handles = self.shared.handles();
        let led = request.shards.iter().filter_map(|s| handles.get(s)).filter(|h| h.group.status().is_leader);
        let led: Vec<_> = led.collect();
        let asked: Vec<u32> = led.iter().map(|h| h.shard).collect();
        // A seal is an entry of the log: without a majority it would be waited for to no end.
        let (_, not_led) = self.shared.confirmed_views(&asked).await;
        let alone = |shard: u32| not_led.iter().any(|(s, leader)| *s == shard && leader.is_none());
        let seals = led.into_iter().map(|h| async move {
            match alone(h.shard) {
                true => (h.shard, Err(TOO_FEW.to_owned())),
                false => (h.shard, h.seal_now(FLUSH_TIMEOUT).await.map_err(|e| e.to_string())),
            }
        });
        let mut reply = FlushReply::default();
        let mut hindered = Vec::new();
        for (shard, result) in join_all(seals).await {
            match result {
                Ok(()) => reply.shards_sealed.push(shard),
                Err(reason) => hindered.push((shard, reason)),
            }
        }
        reply.errors = crate::cluster::flush::grouped(hindered);
        Ok(Response::new(reply))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteReply>, Status> {
        let request = request.into_inner();
        self.check(request.to.as_ref())?;
        let delete = DeleteSeries::decode(&mut Reader::new(&request.delete));
        let entry = encode_delete(&delete.map_err(|e| Status::invalid_argument(e.to_string()))?);
        let handles = self.shared.handles();
        let led = request.shards.iter().filter_map(|s| handles.get(s)).filter(|h| h.group.status().is_leader);
        let proposed = led.map(|h| async { (h.shard, h.propose(entry.clone(), true).await) });
        let mut reply = DeleteReply::default();
        for (shard, result) in join_all(proposed).await {
            match result {
                Ok(_) => reply.shards_done.push(shard),
                Err(e) => reply.errors.push(format!("shard {shard}: {e}")),
            }
        }
        Ok(Response::new(reply))
    }

    async fn scrub(&self, request: Request<ScrubRequest>) -> Result<Response<ScrubReply>, Status> {
        let request = request.into_inner();
        self.check(request.to.as_ref())?;
        if request.start {
            scrub::start(&self.shared, false);
        }
        Ok(Response::new(self.shared.scrub.progress()))
    }

    async fn ledger(&self, request: Request<LedgerRequest>) -> Result<Response<LedgerReply>, Status> {
        let request = request.into_inner();
        self.check(request.to.as_ref())?;
        if request.verify {
            crate::ledger::start(&self.shared);
        }
        Ok(Response::new(crate::ledger::tell(&self.shared, request.books).await))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        self.check(request.into_inner().to.as_ref())?;
        Ok(Response::new(self.shared.status()))
    }

    async fn propose(&self, request: Request<ProposeRequest>) -> Result<Response<ProposeReply>, Status> {
        let request = request.into_inner();
        self.check(request.to.as_ref())?;
        let command = crate::meta::decode("command", &request.command);
        let command = command.map_err(|e| Status::invalid_argument(e.to_string()))?;
        let reply = self.shared.meta_reply(&command).await.map_err(Status::unavailable)?;
        Ok(Response::new(ProposeReply { reply: crate::meta::encode(&reply).into() }))
    }

    async fn standing(&self, request: Request<StandingRequest>) -> Result<Response<StandingReply>, Status> {
        let request = request.into_inner();
        let cluster = self.shared.cluster_id();
        if request.cluster != cluster {
            return Err(Status::failed_precondition(format!("this node belongs to cluster {cluster:?}")));
        }
        let meta = self.shared.meta();
        let (gone, member) = (meta.refusal(request.node).unwrap_or_default(), meta.nodes.contains_key(&request.node));
        Ok(Response::new(StandingReply { member, gone, meta_gone: meta.has_dropped_meta(request.meta_replica) }))
    }

    async fn healing(&self, request: Request<HealingRequest>) -> Result<Response<HealingReply>, Status> {
        self.check(request.into_inner().to.as_ref())?;
        let records = self.shared.healing.records().into_iter().map(Into::into).collect();
        Ok(Response::new(HealingReply { records }))
    }
}

impl From<crate::healing::Record> for super::proto::HealingRecord {
    fn from(r: crate::healing::Record) -> Self {
        Self {
            id: r.id,
            time_ms: r.time_ms,
            changed_ms: r.changed_ms,
            kind: r.kind.as_str().to_owned(),
            state: r.state.as_str().to_owned(),
            shard: r.shard,
            what: r.what,
            reason: r.reason,
            detail: r.detail,
            kept: r.kept,
        }
    }
}

impl From<crate::meta::NodeRecord> for NodeRecord {
    fn from(n: crate::meta::NodeRecord) -> Self {
        Self { id: n.id, name: n.name, rpc: n.rpc, http: n.http, zone: n.zone, version: n.version }
    }
}

impl From<NodeRecord> for crate::meta::NodeRecord {
    fn from(n: NodeRecord) -> Self {
        Self { id: n.id, name: n.name, rpc: n.rpc, http: n.http, zone: n.zone, version: n.version }
    }
}
