//! The way of a query: one fragment to every node that leads a shard, frames back as they are made.
mod accounts;
mod damage;
mod inline;
mod missed;
mod pool;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use trine_query::fragment::{Fragment, FragmentLimits, Language, run_fragment};
use trine_query::memory::{self, Exceeded};
use trine_query::scatter::{Item, QueryContext, Scatter, ShardAnswer};
use trine_query::{Error, Result};

use crate::cluster::Shared;
use crate::rpc::proto::{self, fragment_reply};
use crate::rpc::{LATE, refusal};
use crate::shard::PoolError;
use accounts::accounted;
pub(crate) use damage::Asked;
use damage::{Patience, Watch, without_lost};
use missed::{Missed, give_up, not_leading};
pub(crate) use pool::QueryPool;

/// Frames between the pool and whoever reads them, each at most about 1 MiB.
const FRAMES_QUEUED: usize = 8;
/// A node's frames are held back up to this many bytes, so that a node that dies before can be asked again.
const HELD_BYTES: usize = 4 << 20;
/// How long a node may take to begin its answer.
const OPEN_PATIENCE: Duration = Duration::from_secs(4);
const RETRY_PAUSE: Duration = Duration::from_millis(40);

/// The cluster as the query engines see it.
#[derive(Clone)]
pub struct ClusterScatter {
    shared: Arc<Shared>,
}

impl ClusterScatter {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Scatter for ClusterScatter {
    fn scatter(&self, ctx: &QueryContext, fragment: Fragment) -> BoxStream<'static, Result<Item>> {
        let (tx, rx) = mpsc::channel(FRAMES_QUEUED);
        let (started, give_up) = (Instant::now(), give_up(Instant::now(), ctx.deadline));
        let shards: BTreeSet<u32> = self.shared.meta().shards.keys().copied().collect();
        let me = self.shared.node_name(self.shared.node_id());
        let drive = Drive {
            shared: self.shared.clone(),
            ctx: ctx.clone(),
            fragment,
            shards: shards.clone(),
            started,
            give_up,
            tx,
        };
        accounted(driven(drive.run(), rx), shards, me, ctx.strict)
    }
}

/// What `work` sends to `items`, which goes on as they are asked for: a query needs no task beside the one that waits for it, and
/// ends with it.
fn driven<T: Send + 'static>(
    work: impl Future<Output = ()> + Send + 'static,
    items: mpsc::Receiver<T>,
) -> BoxStream<'static, T> {
    let work = futures::stream::once(work).filter_map(|()| std::future::ready(None));
    futures::stream::select(ReceiverStream::new(items), work).boxed()
}

/// One scatter in progress. Ends when all shards have answered or nobody listens any more.
struct Drive {
    shared: Arc<Shared>,
    ctx: QueryContext,
    fragment: Fragment,
    shards: BTreeSet<u32>,
    started: Instant,
    /// From here on shards that have not answered are left out.
    give_up: Instant,
    tx: mpsc::Sender<Result<Item>>,
}

/// What one node made of its shards.
#[derive(Debug, Default)]
struct NodeAnswer {
    /// The node's name; none when no node could be asked.
    node: Option<String>,
    /// Ask again: (shard, leader if known, why).
    again: Vec<(u32, Option<u64>, String)>,
    /// The node has met a damaged block; whether waiting for its healing is hopeless.
    damage: Option<bool>,
    /// The whole query is over: an error of the fragment, or nobody listens.
    over: bool,
}

impl Drive {
    /// Ends early once nobody listens: dropping the asks cancels the fragments.
    async fn run(self) {
        tokio::select! {
            () = self.tx.closed() => {}
            () = self.ask_all() => {}
        }
    }

    async fn ask_all(&self) {
        let me = self.shared.node_name(self.shared.node_id());
        let mut pending = self.shards.clone();
        if pending.is_empty() {
            let error = Some("the cluster has not been created yet".to_owned());
            let first = ShardAnswer { node: me, error, ..ShardAnswer::default() };
            return self.send(Err(Error::ShardMissing(first.into()))).await;
        }
        let shards_count = pending.len();
        let mut missed = Missed::default();
        let mut patience = Patience::until(self.started + self.give_up.saturating_duration_since(self.started) / 2);
        let mut attempt = 0;
        while !pending.is_empty() {
            if attempt > 0 {
                if Instant::now() + RETRY_PAUSE >= self.give_up || self.tx.is_closed() {
                    break;
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            attempt += 1;
            let mut by_node: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
            for shard in std::mem::take(&mut pending) {
                by_node.entry(self.shared.leader_of(shard, attempt).unwrap_or(0)).or_default().push(shard);
            }
            let accept_incomplete = patience.accept_incomplete();
            let asks = by_node.into_iter().map(|(node, shards)| self.ask(node, Asked { shards, accept_incomplete }));
            for answer in join_all(asks).await {
                if answer.over {
                    return;
                }
                if let Some(hopeless) = answer.damage {
                    patience.met(hopeless);
                }
                for (shard, leader, reason) in answer.again {
                    self.shared.hints.set(shard, leader);
                    missed.note(shard, answer.node.as_deref(), reason);
                    pending.insert(shard);
                }
            }
        }
        let nothing = pending.len() == shards_count;
        for shard in pending {
            let account = missed.account(shard, &me);
            if self.ctx.strict {
                return self.send(Err(Error::ShardMissing(account.into()))).await;
            }
            if nothing {
                return self.send(Err(Error::NoShard { shards_count, first: account.into() })).await;
            }
            self.send(Ok(Item::ShardDone(account))).await;
        }
    }

    fn out(&self) -> Out<'_> {
        Out { tx: &self.tx, strict: self.ctx.strict }
    }

    async fn send(&self, item: Result<Item>) {
        self.out().send(item).await;
    }

    async fn ask(&self, node: u64, asked: Asked) -> NodeAnswer {
        if node == 0 {
            return again(None, asked.shards, "no leader is known");
        }
        let reply_bytes_max = self.shared.budget.shares.query;
        let limits = FragmentLimits::new(reply_bytes_max, self.ctx.deadline, self.ctx.memory.clone());
        let name = self.shared.node_name(node);
        let replies = if node == self.shared.node_id() {
            let fragment = self.fragment.clone();
            local(self.shared.clone(), fragment, self.ctx.tenant.clone(), asked.clone(), limits)
        } else {
            match self.remote(node, &asked, &limits).await {
                Ok(replies) => replies,
                Err(reason) => return again(Some(name), asked.shards, &reason),
            }
        };
        self.out().forward(replies, asked.shards, name).await
    }

    async fn remote(
        &self,
        node: u64,
        asked: &Asked,
        limits: &FragmentLimits,
    ) -> std::result::Result<BoxStream<'static, Result<Reply>>, String> {
        let mut client = self.shared.peers.client(node).map_err(|_| "its address is not known".to_owned())?;
        let patience = self.ctx.deadline.saturating_duration_since(Instant::now());
        let mut request = tonic::Request::new(proto::FragmentRequest {
            to: self.shared.peers.to(node),
            tenant: self.ctx.tenant.to_string(),
            language: u32::from(self.fragment.language as u8),
            payload: self.fragment.payload.clone(),
            shards: asked.shards.clone(),
            timeout_ms: patience.as_millis() as u64,
            reply_bytes_max: limits.reply_bytes_max,
            accept_incomplete: asked.accept_incomplete,
        });
        request.set_timeout(patience);
        let begin = OPEN_PATIENCE.min(self.give_up.saturating_duration_since(Instant::now()));
        let opened = tokio::time::timeout(begin, client.run_fragment(request)).await;
        let opened = opened.map_err(|_| LATE.to_owned())?;
        let stream = opened.map_err(|status| refusal(&status))?.into_inner();
        let memory = self.ctx.memory.clone();
        let take = move |reply: std::result::Result<proto::FragmentReply, tonic::Status>| {
            match Reply::from_proto(reply.map_err(|s| Error::Io(std::io::Error::other(refusal(&s))))?)? {
                // Charged until the engine has taken it apart.
                Reply::Frame(frame) => Ok(Reply::Frame(memory::hold(&memory, frame)?)),
                other => Ok(other),
            }
        };
        Ok(stream.map(take).boxed())
    }
}

/// Where what nodes answer goes.
struct Out<'d> {
    tx: &'d mpsc::Sender<Result<Item>>,
    strict: bool,
}

impl Out<'_> {
    async fn send(&self, item: Result<Item>) {
        // Nobody may be listening any more: the next look at the channel ends the work.
        drop(self.tx.send(item).await);
    }

    /// Passes a node's replies on. Until [`HELD_BYTES`] are exceeded they are held back, so that a node that dies can be
    /// asked again without a frame arriving twice; beyond, its shards are reported missing instead.
    async fn forward(
        &self,
        mut replies: BoxStream<'static, Result<Reply>>,
        shards: Vec<u32>,
        name: String,
    ) -> NodeAnswer {
        let mut answer = NodeAnswer { node: Some(name.clone()), ..NodeAnswer::default() };
        let mut held: Vec<Item> = Vec::with_capacity(shards.len() + 1);
        let (mut held_bytes, mut streaming) = (0, false);
        let mut open: BTreeSet<u32> = shards.iter().copied().collect();
        // Once all shards are done the answer is whole, whatever becomes of the connection: its end is not waited for.
        while !open.is_empty()
            && let Some(reply) = replies.next().await
        {
            match reply {
                Ok(Reply::Frame(frame)) => {
                    held_bytes += frame.len();
                    held.push(Item::Frame(frame));
                }
                Ok(Reply::Done { shard, replica, position, incomplete: error }) => {
                    open.remove(&shard);
                    let account = ShardAnswer { shard, node: name.clone(), replica, position, error };
                    if self.strict && account.error.is_some() {
                        self.send(Err(Error::ShardMissing(account.into()))).await;
                        answer.over = true;
                        return answer;
                    }
                    held.push(Item::ShardDone(account));
                }
                Ok(Reply::Damage { hopeless, reason }) => {
                    answer.damage = Some(hopeless);
                    return self.broken((&shards, open), streaming, answer, name, &std::io::Error::other(reason)).await;
                }
                Ok(Reply::NotLeader { shard, leader }) => {
                    open.remove(&shard);
                    answer.again.push((shard, leader, not_leading(leader)));
                }
                Err(Error::Io(error)) => return self.broken((&shards, open), streaming, answer, name, &error).await,
                Err(error) => {
                    self.send(Err(error)).await;
                    answer.over = true;
                    return answer;
                }
            }
            streaming |= held_bytes > HELD_BYTES;
            if streaming && !self.release(&mut held).await {
                answer.over = true;
                return answer;
            }
        }
        if !open.is_empty() {
            let error = std::io::Error::other("the answer ended early");
            return self.broken((&shards, open), streaming, answer, name, &error).await;
        }
        answer.over = !self.release(&mut held).await;
        answer
    }

    async fn release(&self, held: &mut Vec<Item>) -> bool {
        for item in held.drain(..) {
            if self.tx.send(Ok(item)).await.is_err() {
                return false;
            }
        }
        true
    }

    /// A node went away in the middle of its answer. What is held back is dropped, so that all its shards are asked again; once something was
    /// passed on, those that are `open` are missing.
    async fn broken(
        &self,
        (shards, open): (&[u32], BTreeSet<u32>),
        streaming: bool,
        mut answer: NodeAnswer,
        name: String,
        error: &std::io::Error,
    ) -> NodeAnswer {
        if !streaming {
            let refused: BTreeSet<u32> = answer.again.iter().map(|(shard, ..)| *shard).collect();
            let left = shards.iter().filter(|shard| !refused.contains(shard));
            answer.again.extend(left.map(|shard| (*shard, None, error.to_string())));
            return answer;
        }
        for shard in open {
            let error = Some(format!("the answer broke off: {error}"));
            let account = ShardAnswer { shard, node: name.clone(), error, ..ShardAnswer::default() };
            if self.strict {
                self.send(Err(Error::ShardMissing(account.into()))).await;
                answer.over = true;
                return answer;
            }
            self.send(Ok(Item::ShardDone(account))).await;
        }
        answer
    }
}

fn again(node: Option<String>, shards: Vec<u32>, reason: &str) -> NodeAnswer {
    let again = shards.into_iter().map(|s| (s, None, reason.to_owned())).collect();
    NodeAnswer { node, again, ..NodeAnswer::default() }
}

/// One reply of a node.
#[derive(Debug)]
pub(crate) enum Reply {
    Frame(Bytes),
    /// `incomplete` says what is missing.
    Done {
        shard: u32,
        replica: u64,
        position: u64,
        incomplete: Option<String>,
    },
    /// The fragment ended at a damaged block: nothing of this answer counts.
    Damage {
        hopeless: bool,
        reason: String,
    },
    NotLeader {
        shard: u32,
        leader: Option<u64>,
    },
}

impl Reply {
    pub(crate) fn from_proto(reply: proto::FragmentReply) -> Result<Self> {
        use fragment_reply::Item as I;
        match reply.item {
            Some(I::Frame(frame)) => Ok(Self::Frame(frame)),
            Some(I::Done(proto::ShardDone { shard, replica, position, not_leader: None, incomplete })) => {
                Ok(Self::Done { shard, replica, position, incomplete: (!incomplete.is_empty()).then_some(incomplete) })
            }
            Some(I::Done(proto::ShardDone { shard, not_leader: Some(n), .. })) => {
                Ok(Self::NotLeader { shard, leader: (n.leader_node != 0).then_some(n.leader_node) })
            }
            Some(I::Error(e)) if e.kind == DAMAGE => Ok(Self::Damage { hopeless: e.hopeless, reason: e.message }),
            Some(I::Error(e)) => Err(error_from_proto(e)),
            None => Err(Error::Corrupt { what: "fragment reply", reason: "unknown kind".into() }),
        }
    }

    pub(crate) fn into_proto(reply: Result<Self>) -> proto::FragmentReply {
        use fragment_reply::Item as I;
        let item = match reply {
            Ok(Self::Frame(frame)) => I::Frame(frame),
            Ok(Self::Done { shard, replica, position, incomplete }) => {
                let incomplete = incomplete.unwrap_or_default();
                I::Done(proto::ShardDone { shard, replica, position, not_leader: None, incomplete })
            }
            Ok(Self::Damage { hopeless, reason }) => {
                I::Error(proto::QueryError { kind: DAMAGE, message: reason, hopeless })
            }
            Ok(Self::NotLeader { shard, leader }) => {
                let not_leader = Some(proto::NotLeader { leader_node: leader.unwrap_or(0) });
                I::Done(proto::ShardDone { shard, not_leader, ..proto::ShardDone::default() })
            }
            Err(error) => I::Error(error_to_proto(&error)),
        };
        proto::FragmentReply { item: Some(item) }
    }
}

/// Kind of a [`Reply::Damage`] among the query errors.
const DAMAGE: u32 = 10;

/// Numbers of query errors between nodes; never reuse one. 10 is [`DAMAGE`].
fn error_to_proto(error: &Error) -> proto::QueryError {
    let kind = match error {
        Error::Parse { .. } => 1,
        Error::Execution { .. } => 2,
        Error::Unsupported { .. } => 3,
        Error::Limit { .. } => 4,
        Error::Timeout => 5,
        Error::Canceled => 6,
        Error::ShardMissing(_) | Error::NoShard { .. } => 7,
        Error::Corrupt { .. } => 8,
        Error::Io(_) => 9,
        Error::Memory(Exceeded::Query { .. }) => 11,
        Error::Memory(Exceeded::Node { .. }) => 12,
        Error::Overloaded { .. } => 13,
    };
    let message = match error {
        Error::Memory(Exceeded::Query { bytes_max } | Exceeded::Node { bytes_max }) => bytes_max.to_string(),
        Error::Unsupported { what } => what.clone(),
        other => other.to_string(),
    };
    proto::QueryError { kind, message, hopeless: false }
}

fn error_from_proto(error: proto::QueryError) -> Error {
    let message = error.message;
    match error.kind {
        1 => Error::Parse { message },
        3 => Error::Unsupported { what: message },
        4 => Error::Limit { message },
        5 => Error::Timeout,
        6 => Error::Canceled,
        11 => Error::Memory(Exceeded::Query { bytes_max: message.parse().unwrap_or(0) }),
        12 => Error::Memory(Exceeded::Node { bytes_max: message.parse().unwrap_or(0) }),
        13 => Error::Overloaded { reason: message },
        8 | 9 => Error::Corrupt { what: "shard data", reason: message },
        _ => Error::Execution { message },
    }
}

/// Runs a fragment over this node's shards of the list; used for local shards and to answer other nodes.
pub(crate) fn local(
    shared: Arc<Shared>,
    fragment: Fragment,
    tenant: Arc<str>,
    asked: Asked,
    limits: FragmentLimits,
) -> BoxStream<'static, Result<Reply>> {
    let (tx, rx) = mpsc::channel(FRAMES_QUEUED);
    driven(run_local(shared, fragment, tenant, asked, limits, tx), rx)
}

async fn run_local(
    shared: Arc<Shared>,
    fragment: Fragment,
    tenant: Arc<str>,
    asked: Asked,
    limits: FragmentLimits,
    tx: mpsc::Sender<Result<Reply>>,
) {
    let handles = shared.handles();
    let watch = Watch::new(handles.clone(), &asked.shards);
    let (views, not_led) = shared.confirmed_views(&asked.shards).await;
    for (shard, leader) in not_led {
        if tx.send(Ok(Reply::NotLeader { shard, leader })).await.is_err() {
            return;
        }
    }
    if views.is_empty() {
        return;
    }
    let (views, mut missing) = if asked.accept_incomplete { without_lost(views) } else { (views, BTreeMap::new()) };
    let watch = watch.over(&views);
    let replica = |shard: u32| handles.get(&shard).map_or(0, |h| h.replica);
    let answered: Vec<_> = views.iter().map(|v| (v.shard, replica(v.shard), v.position)).collect();
    let frames = tx.clone();
    let stop = limits.stop.clone();
    let node = shared.node_name(shared.node_id());
    let limits = limits.with_helpers(shared.query_pool.helpers()).with_segments(shared.segments.clone());
    let of_tenant = tenant.clone();
    // A fragment that still waits for a thread never begins, one that runs ends at its next look.
    let _waiting = stop.on_drop();
    let slot = inline::way(&fragment, &views).and_then(|way| Some((way, shared.query_pool.free_slot(&of_tenant)?)));
    let here = slot.and_then(|(way, _slot)| inline::run(way, &fragment, &tenant, &views, &limits));
    let ran = if let Some((ran, frames)) = here {
        for frame in frames {
            if tx.send(Ok(Reply::Frame(frame))).await.is_err() {
                return;
            }
        }
        Ok(ran)
    } else {
        let job = move || {
            let mut sink = |frame: Bytes| frames.blocking_send(Ok(Reply::Frame(frame))).map_err(|_| Error::Canceled);
            run_fragment(&fragment, &tenant, &views, &limits, &mut sink)
        };
        tokio::select! {
            ran = shared.query_pool.run(&of_tenant, job) => ran,
            () = tx.closed() => return,
        }
    };
    let result = match ran {
        Ok(result) => result,
        Err(PoolError::Full) => {
            Err(Error::Overloaded { reason: format!("too many queries wait on node {node}: try again later") })
        }
        Err(e @ PoolError::Broken(_)) => Err(Error::Execution { message: e.to_string() }),
    };
    let closing: Vec<Result<Reply>> = match result {
        Ok(()) => answered
            .into_iter()
            .map(|(shard, replica, position)| {
                Ok(Reply::Done { shard, replica, position, incomplete: missing.remove(&shard) })
            })
            .collect(),
        Err(error) => match watch.explains(&error) {
            Some(met) => vec![Ok(Reply::Damage { hopeless: met.hopeless, reason: met.reason })],
            None => vec![Err(error)],
        },
    };
    for reply in closing {
        if tx.send(reply).await.is_err() {
            return;
        }
    }
}

/// Language of a fragment from another node.
pub(crate) fn language_of(number: u32) -> Option<Language> {
    u8::try_from(number).ok().and_then(Language::from_u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(shard: u32) -> Result<Reply> {
        Ok(Reply::Done { shard, replica: 1, position: 1, incomplete: None })
    }

    fn frame() -> Result<Reply> {
        Ok(Reply::Frame(Bytes::from_static(b"frame")))
    }

    fn gone() -> Result<Reply> {
        Err(Error::Io(std::io::Error::other("the connection was reset")))
    }

    /// What is passed on of a node's replies: frames and shards, and the shards that are to be asked for again.
    async fn forwarded(replies: Vec<Result<Reply>>) -> (usize, Vec<u32>, Vec<u32>) {
        let (tx, mut rx) = mpsc::channel(16);
        let replies = futures::stream::iter(replies).boxed();
        let answer = Out { tx: &tx, strict: false }.forward(replies, vec![3, 4], "n2".to_owned()).await;
        assert!(!answer.over);
        drop(tx);
        let (mut frames, mut shards) = (0, Vec::new());
        while let Some(item) = rx.recv().await {
            match item.unwrap() {
                Item::Frame(_) => frames += 1,
                Item::ShardDone(account) => shards.push(account.shard),
            }
        }
        (frames, shards, answer.again.into_iter().map(|(shard, ..)| shard).collect())
    }

    /// Found by a soak: a node that died between its last shard and the end of its stream was left out of the answer in silence.
    #[tokio::test]
    async fn every_shard_is_passed_on_or_asked_for_again() {
        let nothing = (0, vec![], vec![3, 4]);
        assert_eq!(forwarded(vec![frame(), done(3), done(4), gone()]).await, (1, vec![3, 4], vec![]));
        assert_eq!(forwarded(vec![frame(), done(3), done(4)]).await, (1, vec![3, 4], vec![]));
        let refused = || Ok(Reply::NotLeader { shard: 3, leader: None });
        for broken in [
            vec![gone()],
            vec![],
            vec![frame(), gone()],
            vec![frame()],
            vec![frame(), done(3), gone()],
            vec![frame(), done(3)],
            vec![refused(), frame(), gone()],
        ] {
            assert_eq!(forwarded(broken).await, nothing);
        }
    }
}
