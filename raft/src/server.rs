//! The gRPC service that the other nodes' [`crate::network`] talks to.
//!
//! Every request names cluster, node, group and replica, and is refused if any is not this one. Work is done on the
//! groups' runtime, whoever runs the server.

use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendError, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, VoteRequest, VoteResponse,
};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::config::{Admit, MultiConfig};
use crate::ids::{GroupId, NodeId};
use crate::registry::{Opened, Registry};
use crate::type_config::{
    Entry, LogId, Membership, Raft, ShippedSnapshot, Snapshot, SnapshotMeta, StoredMembership, TypeConfig,
};
use crate::wire::proto::raft_server;
use crate::wire::{self, Malformed, VERSION, missing, proto};

/// No message is bigger, either way: above [`crate::READ_BYTES_MAX`] and one entry.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// Append replies that wait for a slow reader of a stream.
const REPLIES_WAITING_MAX: usize = 64;

/// The service to mount on the node-to-node port.
pub type RaftServer = raft_server::RaftServer<Service>;

pub(crate) fn service(config: &MultiConfig, registry: Arc<Registry>, handle: Handle) -> RaftServer {
    let admit = config.admit.clone();
    let local = Arc::new(Local { cluster: config.cluster.clone(), node: config.node, registry, admit });
    raft_server::RaftServer::new(Service { local, handle })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// Answers the other nodes. Made by [`crate::Multi::server`].
pub struct Service {
    local: Arc<Local>,
    handle: Handle,
}

/// Who this node is, and what it has open.
struct Local {
    cluster: String,
    node: NodeId,
    registry: Arc<Registry>,
    admit: Admit,
}

/// This node takes no entries now.
fn no_room() -> Status {
    Status::resource_exhausted("there is no room for more entries here")
}

impl Local {
    /// The replica a request is for, if it is here.
    fn find(&self, target: Option<&proto::Target>) -> Result<Opened, Status> {
        let target = target.ok_or_else(|| invalid(&missing("target")))?;
        self.check_node(target.version, &target.cluster, target.node)?;
        let opened = self.registry.get(GroupId(target.group));
        opened
            .filter(|opened| opened.replica.0 == target.replica)
            .ok_or_else(|| Status::not_found(format!("group {} replica {} is not here", target.group, target.replica)))
    }

    fn check_node(&self, version: u32, cluster: &str, node: u64) -> Result<(), Status> {
        if version != VERSION {
            return Err(invalid(&Malformed::Version { found: version }));
        }
        if cluster != self.cluster {
            return Err(Status::permission_denied("this is another cluster"));
        }
        if node != self.node.0 {
            return Err(Status::permission_denied(format!("this is {}", self.node)));
        }
        Ok(())
    }
}

impl Service {
    async fn on_runtime<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let done = self.handle.spawn(work).await;
        done.map_err(|_| Status::unavailable("the raft runtime stopped"))?.map(Response::new)
    }
}

#[tonic::async_trait]
impl raft_server::Raft for Service {
    type AppendStreamStream = ReceiverStream<Result<proto::AppendReply, Status>>;

    async fn append_stream(
        &self,
        request: Request<Streaming<proto::AppendRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let (replies, receiver) = mpsc::channel(REPLIES_WAITING_MAX);
        let local = Arc::clone(&self.local);
        self.handle.spawn(async move {
            if let Err(status) = serve_appends(&local, request.into_inner(), &replies).await {
                // The other end is gone if this fails, and needs no answer.
                drop(replies.send(Err(status)).await);
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn heartbeat(&self, request: Request<proto::AppendRequest>) -> Result<Response<proto::AppendReply>, Status> {
        let local = Arc::clone(&self.local);
        self.on_runtime(async move {
            let message = request.into_inner();
            let opened = local.find(message.target.as_ref())?;
            let request = append_request(message).map_err(|error| invalid(&error))?;
            let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
            let previous = request.prev_log_id;
            let reply = opened.raft.append_entries(request).await.map_err(failed)?;
            if reply.is_conflict() && previous.is_none() {
                return Err(Status::internal("conflict at the start of the log"));
            }
            Ok(append_reply(&reply.into_stream_result(previous, last)))
        })
        .await
    }

    async fn vote(&self, request: Request<proto::VoteRequest>) -> Result<Response<proto::VoteReply>, Status> {
        let local = Arc::clone(&self.local);
        self.on_runtime(async move {
            let (raft, request) = vote_request(&local, request.get_ref())?;
            Ok(vote_reply(&raft.vote(request).await.map_err(failed)?))
        })
        .await
    }

    async fn pre_vote(&self, request: Request<proto::VoteRequest>) -> Result<Response<proto::VoteReply>, Status> {
        let local = Arc::clone(&self.local);
        self.on_runtime(async move {
            let (raft, request) = vote_request(&local, request.get_ref())?;
            Ok(vote_reply(&raft.pre_vote(request).await.map_err(failed)?))
        })
        .await
    }

    async fn transfer_leader(
        &self,
        request: Request<proto::TransferRequest>,
    ) -> Result<Response<proto::TransferReply>, Status> {
        let local = Arc::clone(&self.local);
        self.on_runtime(async move {
            let message = request.get_ref();
            let opened = local.find(message.target.as_ref())?;
            let from = wire::vote(message.from_leader.as_ref()).map_err(|error| invalid(&error))?;
            let last_log = wire::log_id(message.last_log.as_ref());
            let request = TransferLeaderRequest::new(from, message.to_replica, last_log);
            let outcome = opened.raft.handle_transfer_leader(request).await.map_err(failed)?;
            Ok(transfer_reply(outcome.err()))
        })
        .await
    }

    async fn install_snapshot(
        &self,
        request: Request<proto::SnapshotRequest>,
    ) -> Result<Response<proto::SnapshotReply>, Status> {
        let local = Arc::clone(&self.local);
        self.on_runtime(async move {
            let message = request.into_inner();
            let group = message.target.as_ref().map(|target| GroupId(target.group));
            let opened = local.find(message.target.as_ref())?;
            let vote = wire::vote(message.vote.as_ref()).map_err(|error| invalid(&error))?;
            let snapshot = snapshot(message).map_err(|error| invalid(&error))?;
            if !group.is_some_and(|group| local.admit.ask(group)) {
                return Err(no_room());
            }
            let reply: SnapshotResponse<TypeConfig> =
                opened.raft.install_full_snapshot(vote, snapshot).await.map_err(failed)?;
            Ok(proto::SnapshotReply { vote: Some((&reply.vote).into()) })
        })
        .await
    }

    async fn confirm(&self, request: Request<proto::ConfirmRequest>) -> Result<Response<proto::ConfirmReply>, Status> {
        let message = request.get_ref();
        self.local.check_node(message.version, &message.cluster, message.node)?;
        let still = |question: &proto::Question| {
            let (opened, vote) = (self.local.registry.get(GroupId(question.group))?, question.vote.as_ref()?);
            Some(opened.replica.0 == question.replica && opened.progress.is_still(&vote.into()))
        };
        let still = message.questions.iter().map(|question| still(question).unwrap_or(false)).collect();
        Ok(Response::new(proto::ConfirmReply { still }))
    }
}

/// Feeds an append stream into its replica, and the outcomes into `replies`, until either ends.
async fn serve_appends(
    local: &Local,
    mut messages: Streaming<proto::AppendRequest>,
    replies: &mpsc::Sender<Result<proto::AppendReply, Status>>,
) -> Result<(), Status> {
    let Some(first) = messages.message().await? else { return Ok(()) };
    let group = first.target.as_ref().map_or(GroupId(0), |target| GroupId(target.group));
    let opened = local.find(first.target.as_ref())?;
    let admit = local.admit.clone();
    let broken = Arc::new(Mutex::new(None));
    let requests = requests(first, messages, Arc::clone(&broken), move || admit.ask(group));
    let mut outcomes = std::pin::pin!(opened.raft.stream_append(requests));
    loop {
        let outcome = tokio::select! {
            outcome = outcomes.next() => outcome,
            () = replies.closed() => return Ok(()),
        };
        let Some(outcome) = outcome else { break };
        if replies.send(Ok(append_reply(&outcome.map_err(failed)?))).await.is_err() {
            return Ok(());
        }
    }
    let broken = broken.lock().unwrap_or_else(PoisonError::into_inner).take();
    broken.map_or(Ok(()), Err)
}

/// The stream's messages as requests. Ends at the first that is none; why is left in `broken`.
fn requests(
    first: proto::AppendRequest,
    messages: Streaming<proto::AppendRequest>,
    broken: Arc<Mutex<Option<Status>>>,
    admit: impl Fn() -> bool + Clone + Send + 'static,
) -> impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + 'static {
    futures::stream::unfold((Some(first), messages), move |(first, mut messages)| {
        let (broken, admit) = (Arc::clone(&broken), admit.clone());
        async move {
            let message = match first {
                Some(first) => Ok(Some(first)),
                None => messages.message().await,
            };
            let request = match message {
                Ok(Some(message)) if !message.entries.is_empty() && !admit() => Err(no_room()),
                Ok(Some(message)) => append_request(message).map_err(|error| invalid(&error)),
                Ok(None) => return None,
                Err(status) => Err(status),
            };
            match request {
                Ok(request) => Some((request, (None, messages))),
                Err(status) => {
                    *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                    None
                }
            }
        }
    })
}

pub(crate) fn append_request(message: proto::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, Malformed> {
    let prev_log_id = wire::log_id(message.previous.as_ref());
    let entries: Vec<Entry> = message.entries.into_iter().map(wire::entry).collect::<Result<_, _>>()?;
    let first = prev_log_id.as_ref().map_or(0, |id: &LogId| id.index().saturating_add(1));
    for (entry, expected) in entries.iter().zip(first..) {
        if entry.log_id.index() != expected {
            return Err(Malformed::NotConsecutive { expected, found: entry.log_id.index() });
        }
    }
    Ok(AppendEntriesRequest {
        vote: wire::vote(message.vote.as_ref())?,
        prev_log_id,
        entries,
        leader_commit: wire::log_id(message.committed.as_ref()),
    })
}

fn append_reply(outcome: &StreamAppendResult<TypeConfig>) -> proto::AppendReply {
    use proto::append_reply::Outcome;
    let outcome = match outcome {
        Ok(matched) => Outcome::Matched(proto::Matched { position: wire::position(matched.as_ref()) }),
        Err(StreamAppendError::Conflict(log_id)) => Outcome::Conflict(log_id.into()),
        Err(StreamAppendError::HigherVote(vote)) => Outcome::HigherVote(vote.into()),
    };
    proto::AppendReply { outcome: Some(outcome) }
}

fn vote_request(local: &Local, message: &proto::VoteRequest) -> Result<(Raft, VoteRequest<TypeConfig>), Status> {
    let opened = local.find(message.target.as_ref())?;
    let vote = wire::vote(message.vote.as_ref()).map_err(|error| invalid(&error))?;
    let mut request = VoteRequest::new(vote, wire::log_id(message.last_log.as_ref()));
    request.leadership_transfer = message.leadership_transfer;
    Ok((opened.raft, request))
}

fn vote_reply(reply: &VoteResponse<TypeConfig>) -> proto::VoteReply {
    proto::VoteReply {
        vote: Some((&reply.vote).into()),
        granted: reply.vote_granted,
        last_log: wire::position(reply.last_log_id.as_ref()),
    }
}

fn transfer_reply(error: Option<TransferLeaderError<TypeConfig>>) -> proto::TransferReply {
    use proto::transfer_reply::Outcome;
    let outcome = match error {
        None => Outcome::Accepted(proto::Accepted {}),
        Some(TransferLeaderError::VoteChanged { expected, actual }) => Outcome::VoteChanged(proto::VoteChanged {
            expected: Some((&expected).into()),
            actual: Some((&actual).into()),
        }),
        Some(TransferLeaderError::LogNotFlushed { expected, actual }) => Outcome::LogNotFlushed(proto::LogNotFlushed {
            expected: wire::position(expected.as_ref()),
            actual: wire::position(actual.as_ref()),
        }),
    };
    proto::TransferReply { outcome: Some(outcome) }
}

pub(crate) fn snapshot(message: proto::SnapshotRequest) -> Result<Snapshot, Malformed> {
    let membership = match &message.membership {
        Some(membership) => wire::membership(membership)?,
        None => Membership::default(),
    };
    let meta = SnapshotMeta {
        last_log_id: wire::log_id(message.position.as_ref()),
        last_membership: StoredMembership::new(wire::log_id(message.membership_position.as_ref()), membership),
    };
    let source = NodeId(message.source);
    Ok(Snapshot { meta, snapshot: ShippedSnapshot { source, id: message.id, manifest: message.manifest } })
}

fn invalid(error: &Malformed) -> Status {
    Status::invalid_argument(error.to_string())
}

/// The replica is stopped or failed.
fn failed(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}
