//! Raft's messages to one other replica, over gRPC.
//!
//! Appends go over one bidirectional stream a replica, pipelined; heartbeats, votes and transfers over a connection of
//! their own, so that they never queue behind data. A peer that cannot be reached is `Unreachable`, which makes openraft
//! back off; so is one that refuses, since it is not who we look for.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use prost::Message as _;
use tonic::{Code, Status, Streaming};

use crate::config::MultiConfig;
use crate::connections::{Connections, Lane};
use crate::ids::{GroupId, NodeId, ReplicaId};
use crate::kept::{Keeper, kept};
use crate::record::encode_membership_message;
use crate::server::MESSAGE_BYTES_MAX;
use crate::type_config::{Member, ShippedSnapshot, Snapshot, TypeConfig, Vote};
use crate::wire::proto::raft_client::RaftClient;
use crate::wire::{self, VERSION, missing, proto};

/// A stream on which an append is not answered for this long is given up. Above any sane fsync; a dead connection is
/// found earlier, by keep-alive.
const STALLED_AFTER: Duration = Duration::from_secs(3);

type Client = RaftClient<tonic::transport::Channel>;
type Rpc = RPCError<TypeConfig>;

/// Makes one group's clients.
pub(crate) struct Network {
    config: Arc<MultiConfig>,
    connections: Arc<Connections>,
    group: GroupId,
    replica: ReplicaId,
}

impl Network {
    pub(crate) fn new(
        config: Arc<MultiConfig>,
        connections: Arc<Connections>,
        group: GroupId,
        replica: ReplicaId,
    ) -> Self {
        Self { config, connections, group, replica }
    }

    fn peer(&self, target: u64, member: &Member, lane: Lane) -> Peer {
        Peer {
            config: Arc::clone(&self.config),
            connections: Arc::clone(&self.connections),
            group: self.group,
            replica: self.replica,
            target: ReplicaId(target),
            target_node: NodeId(member.node),
            lane,
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, Lane::bulk(self.group))
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, Lane::Snapshot)
    }
}

/// A client of one other replica.
pub(crate) struct Peer {
    config: Arc<MultiConfig>,
    connections: Arc<Connections>,
    group: GroupId,
    replica: ReplicaId,
    target: ReplicaId,
    target_node: NodeId,
    lane: Lane,
}

impl Peer {
    fn client(&self, lane: Lane) -> Result<Client, Rpc> {
        let channel = self.connections.channel(self.target_node, lane);
        let channel = channel.ok_or_else(|| unreachable(format!("no address of {} is known", self.target_node)))?;
        Ok(client(channel))
    }

    fn address(&self) -> proto::Target {
        proto::Target {
            version: VERSION,
            cluster: self.config.cluster.clone(),
            node: self.target_node.0,
            group: self.group.0,
            replica: self.target.0,
        }
    }

    /// Awaits `call` for at most `within`.
    async fn unary<T>(
        &self,
        action: RPCTypes,
        within: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Rpc> {
        match tokio::time::timeout(within, call).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(refused(&status)),
            Err(_) => Err(self.timed_out(action, within)),
        }
    }

    fn timed_out(&self, action: RPCTypes, timeout: Duration) -> Rpc {
        RPCError::Timeout(Timeout { action, id: self.replica.0, target: self.target.0, timeout })
    }

    fn vote_request(&self, rpc: &VoteRequest<TypeConfig>) -> proto::VoteRequest {
        proto::VoteRequest {
            target: Some(self.address()),
            vote: Some((&rpc.vote).into()),
            last_log: wire::position(rpc.last_log_id.as_ref()),
            leadership_transfer: rpc.leadership_transfer,
        }
    }

    /// Opens the append stream. Its first message says whom it is for. `input` is polled no more once this has failed or what it
    /// returns is dropped.
    async fn open_stream(
        &self,
        input: impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
        within: Duration,
    ) -> Result<Appends, Rpc> {
        let (keeper, input) = kept(input);
        let mut client = self.client(Lane::bulk(self.group))?;
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        let mut target = Some(self.address());
        let requests = input.map(move |request| {
            counter.fetch_add(1, Ordering::Relaxed);
            append_request(&request, target.take())
        });
        let replies = self.unary(RPCTypes::AppendEntries, within, client.append_stream(requests)).await?;
        Ok(Appends { replies, sent, answered: 0, _keeper: keeper })
    }
}

pub(crate) fn client(channel: tonic::transport::Channel) -> Client {
    RaftClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// An open append stream.
struct Appends {
    replies: Streaming<proto::AppendReply>,
    sent: Arc<AtomicU64>,
    answered: u64,
    _keeper: Keeper,
}

impl Appends {
    /// The next reply; `None` at the stream's end. Waits as long as nothing is owed.
    async fn next(&mut self, peer: &Peer) -> Option<Result<StreamAppendResult<TypeConfig>, Rpc>> {
        loop {
            let owed = self.sent.load(Ordering::Relaxed) > self.answered;
            match tokio::time::timeout(STALLED_AFTER, self.replies.message()).await {
                Ok(Ok(Some(reply))) => {
                    self.answered += 1;
                    return Some(append_outcome(reply));
                }
                Ok(Ok(None)) => return None,
                Ok(Err(status)) => return Some(Err(refused(&status))),
                Err(_) if owed => return Some(Err(peer.timed_out(RPCTypes::AppendEntries, STALLED_AFTER))),
                Err(_) => {}
            }
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = ShippedSnapshot;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Rpc> {
        let mut client = self.client(self.lane)?;
        let request = append_request(&rpc, Some(self.address()));
        let reply = self.unary(RPCTypes::AppendEntries, option.soft_ttl(), client.heartbeat(request)).await?;
        Ok(match append_outcome(reply)? {
            // A request is taken whole or not at all.
            Ok(_) => AppendEntriesResponse::Success,
            Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
            Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
        })
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, Rpc>>, Rpc>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        if self.lane == Lane::Control {
            return stream_append_sequential(self, input, option);
        }
        #[cfg(feature = "fault-injection")]
        if crate::bugs::counts_what_was_sent() {
            return Box::pin(async move { Ok(crate::bugs::append_and_believe(self, input, option)) });
        }
        Box::pin(async move {
            let peer: &'s Peer = self;
            let appends = peer.open_stream(input, option.soft_ttl()).await?;
            let outcomes = futures::stream::unfold(Some(appends), move |appends| async move {
                let mut appends = appends?;
                let outcome = appends.next(peer).await?;
                // Anything but a match ends the stream.
                let go_on = matches!(outcome, Ok(Ok(_)));
                Some((outcome, go_on.then_some(appends)))
            });
            let outcomes: BoxStream<'s, _> = Box::pin(outcomes);
            Ok(outcomes)
        })
    }

    async fn vote(&mut self, rpc: VoteRequest<TypeConfig>, option: RPCOption) -> Result<VoteResponse<TypeConfig>, Rpc> {
        let mut client = self.client(Lane::Control)?;
        let call = client.vote(self.vote_request(&rpc));
        vote_outcome(&self.unary(RPCTypes::Vote, option.soft_ttl(), call).await?)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Rpc> {
        let mut client = self.client(Lane::Control)?;
        let call = client.pre_vote(self.vote_request(&rpc));
        vote_outcome(&self.unary(RPCTypes::Vote, option.soft_ttl(), call).await?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let mut client = self.client(Lane::Snapshot)?;
        let meta = &snapshot.meta;
        let request = proto::SnapshotRequest {
            target: Some(self.address()),
            vote: Some((&vote).into()),
            source: snapshot.snapshot.source.0,
            position: wire::position(meta.last_log_id.as_ref()),
            membership_position: wire::position(meta.last_membership.log_id().as_ref()),
            membership: encode_membership_message(meta.last_membership.membership()),
            id: snapshot.snapshot.id.clone(),
            manifest: snapshot.snapshot.manifest.clone(),
        };
        let call = self.unary(RPCTypes::InstallSnapshot, option.soft_ttl(), client.install_snapshot(request));
        let reply = tokio::select! {
            reply = call => reply?,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        let vote = wire::vote(reply.vote.as_ref()).map_err(|error| NetworkError::new(&error))?;
        Ok(SnapshotResponse::new(vote))
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Rpc> {
        let mut client = self.client(Lane::Control)?;
        let request = proto::TransferRequest {
            target: Some(self.address()),
            from_leader: Some(req.from_leader().into()),
            to_replica: *req.to_node_id(),
            last_log: wire::position(req.last_log_id()),
        };
        let call = client.transfer_leader(request);
        transfer_outcome(self.unary(RPCTypes::TransferLeader, option.soft_ttl(), call).await?)
    }
}

fn append_request(request: &AppendEntriesRequest<TypeConfig>, target: Option<proto::Target>) -> proto::AppendRequest {
    proto::AppendRequest {
        target,
        vote: Some((&request.vote).into()),
        previous: wire::position(request.prev_log_id.as_ref()),
        entries: request.entries.iter().map(wire::entry_message).collect(),
        committed: wire::position(request.leader_commit.as_ref()),
    }
}

fn append_outcome(reply: proto::AppendReply) -> Result<StreamAppendResult<TypeConfig>, Rpc> {
    use proto::append_reply::Outcome;
    Ok(match reply.outcome.ok_or_else(|| malformed(&missing("append outcome")))? {
        Outcome::Matched(matched) => Ok(wire::log_id(matched.position.as_ref())),
        Outcome::Conflict(position) => Err(StreamAppendError::Conflict((&position).into())),
        Outcome::HigherVote(vote) => Err(StreamAppendError::HigherVote((&vote).into())),
    })
}

fn vote_outcome(reply: &proto::VoteReply) -> Result<VoteResponse<TypeConfig>, Rpc> {
    let vote = wire::vote(reply.vote.as_ref()).map_err(|error| malformed(&error))?;
    Ok(VoteResponse::new(vote, wire::log_id(reply.last_log.as_ref()), reply.granted))
}

fn transfer_outcome(reply: proto::TransferReply) -> Result<TransferLeaderResponse<TypeConfig>, Rpc> {
    use proto::transfer_reply::Outcome;
    Ok(match reply.outcome.ok_or_else(|| malformed(&missing("transfer outcome")))? {
        Outcome::Accepted(proto::Accepted {}) => Ok(()),
        Outcome::VoteChanged(changed) => Err(TransferLeaderError::VoteChanged {
            expected: wire::vote(changed.expected.as_ref()).map_err(|error| malformed(&error))?,
            actual: wire::vote(changed.actual.as_ref()).map_err(|error| malformed(&error))?,
        }),
        Outcome::LogNotFlushed(behind) => Err(TransferLeaderError::LogNotFlushed {
            expected: wire::log_id(behind.expected.as_ref()),
            actual: wire::log_id(behind.actual.as_ref()),
        }),
    })
}

/// Takes the bytes for each kind of reply.
pub(crate) fn read_replies(bytes: &[u8]) {
    if let Ok(reply) = proto::AppendReply::decode(bytes) {
        drop(append_outcome(reply));
    }
    if let Ok(reply) = proto::VoteReply::decode(bytes) {
        drop(vote_outcome(&reply));
    }
    if let Ok(reply) = proto::TransferReply::decode(bytes) {
        drop(transfer_outcome(reply));
    }
}

fn unreachable(reason: String) -> Rpc {
    RPCError::Unreachable(Unreachable::from_string(reason))
}

fn malformed(error: &wire::Malformed) -> Rpc {
    RPCError::Network(NetworkError::new(error))
}

fn refused(status: &Status) -> Rpc {
    match status.code() {
        // The connection broke under a request; the next one may do.
        Code::Cancelled | Code::Unknown | Code::Internal => RPCError::Network(NetworkError::new(status)),
        _ => RPCError::Unreachable(Unreachable::new(status)),
    }
}
