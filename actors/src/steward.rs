//! The task that makes this node follow the metadata: opens and closes replicas, brings raft memberships to what the
//! metadata says, plans new replicas on the metadata leader, and keeps leaders even.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};
use trine_raft::{Group, GroupStatus, NodeId, ReplicaId};

use crate::cluster::{Shared, remember};
use crate::meta::{META_SHARD, MetaState, ShardRecord};
use crate::placement::{MembershipStep, membership_step, plan_replicas, preferred_leaders};
use crate::shard::{Replica, ReplicaContext};

/// How often the steward looks even when nothing seems to have changed.
const TICK: Duration = Duration::from_millis(300);
/// Replicas that the metadata leader adds in one round.
const REPLICAS_A_ROUND: usize = 32;
/// Voters of the metadata group.
const META_VOTERS_MAX: usize = 5;
/// Membership changes at a time.
const CHANGES_AT_ONCE: usize = 8;
/// How long one may take before the steward looks at the group anew.
const CHANGE_PATIENCE: Duration = Duration::from_secs(4);
/// A leader stays at least this long before it is moved for balance.
const LEADER_REST: Duration = Duration::from_secs(3);

pub(crate) struct Steward {
    shared: Arc<Shared>,
    context: ReplicaContext,
    replicas: BTreeMap<u32, Replica>,
    led_since: BTreeMap<u32, Instant>,
    /// Membership changes in progress, one a group: they wait for learners, and the rounds must not.
    changing: BTreeMap<u32, JoinHandle<()>>,
}

impl Steward {
    pub(crate) fn new(shared: Arc<Shared>, context: ReplicaContext) -> Self {
        Self { shared, context, replicas: BTreeMap::new(), led_since: BTreeMap::new(), changing: BTreeMap::new() }
    }

    /// Runs until the node stops, then hands over leaders and closes every replica.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut meta_changes = match self.shared.meta.get() {
            Some(meta) => meta.state.clone(),
            None => return,
        };
        while !*stop.borrow() {
            self.round().await;
            tokio::select! {
                _ = ticks.tick() => {}
                changed = meta_changes.changed() => if changed.is_err() { break },
                _ = stop.changed() => {}
            }
        }
        self.context.multi.hand_over_leaders(Duration::from_secs(5)).await;
        self.shared.handles.store(Arc::default());
        for (_, replica) in std::mem::take(&mut self.replicas) {
            replica.close().await;
        }
    }

    async fn round(&mut self) {
        let state = self.shared.meta();
        self.shared.refresh_slots(&state);
        let live = self.shared.live();
        for (id, node) in &state.nodes {
            remember(&self.shared.book, *id, &node.rpc);
        }
        for (id, peer) in &live {
            remember(&self.shared.book, *id, &peer.node.rpc);
        }
        let live: BTreeSet<u64> = live.keys().copied().collect();
        self.open_and_close(&state).await;
        self.follow_membership(&state);
        self.plan(&state, &live).await;
        self.balance_leaders(&state, &live).await;
    }

    async fn open_and_close(&mut self, state: &MetaState) {
        let me = self.shared.node_id();
        let wanted: Vec<_> = state
            .shards
            .iter()
            .filter_map(|(shard, record)| record.on_node(me).map(|r| (*shard, r.replica, record.founder)))
            .collect();
        let mut changed = false;
        let gone: Vec<u32> = self
            .replicas
            .iter()
            .filter(|(shard, r)| {
                let still = wanted.iter().any(|(s, replica, _)| s == *shard && *replica == r.handle.replica);
                !still || r.failure().is_some()
            })
            .map(|(shard, _)| *shard)
            .collect();
        for shard in gone {
            if let Some(replica) = self.replicas.remove(&shard) {
                warn!(shard, failure = ?replica.failure(), "closing a replica");
                self.publish();
                replica.close().await;
            }
        }
        let missing: Vec<_> = wanted.into_iter().filter(|(shard, ..)| !self.replicas.contains_key(shard)).collect();
        let opens = missing.iter().map(|(shard, replica, _)| Replica::open(&self.context, *shard, *replica));
        let opened = futures::future::join_all(opens).await;
        for ((shard, replica_id, founder), result) in missing.into_iter().zip(opened) {
            match result {
                Ok(replica) => {
                    found(&replica.handle.group, replica_id, founder, me).await;
                    self.replicas.insert(shard, replica);
                    changed = true;
                }
                Err(error) => warn!(shard, error = %error_chain(&error), "replica does not open, trying again"),
            }
        }
        if changed {
            self.publish();
        }
    }

    fn publish(&self) {
        let handles = self.replicas.iter().map(|(shard, r)| (*shard, r.handle.clone())).collect();
        self.shared.handles.store(Arc::new(handles));
    }

    fn follow_membership(&mut self, state: &MetaState) {
        self.changing.retain(|_, task| !task.is_finished());
        let shards = self.replicas.iter().filter_map(|(shard, r)| {
            Some((*shard, r.handle.group.clone(), state.shards.get(shard)?, self.shared.config.replication_factor))
        });
        let meta = self.shared.meta.get().map(|m| (META_SHARD, m.group.clone(), &state.meta, META_VOTERS_MAX));
        // The metadata group first: a node opens its shards' replicas only once it has the metadata.
        for (shard, group, record, voters_max) in meta.into_iter().chain(shards) {
            let status = group.status();
            if !status.is_leader || self.changing.contains_key(&shard) || self.changing.len() >= CHANGES_AT_ONCE {
                continue;
            }
            let Some(next) = next_step(&status, record, voters_max) else { continue };
            let task = async move {
                match tokio::time::timeout(CHANGE_PATIENCE, take_step(&group, next)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => debug!(shard, error, "membership step did not work, trying again"),
                    Err(_) => debug!(shard, "membership step takes long, looking again"),
                }
            };
            self.changing.insert(shard, tokio::spawn(task));
        }
    }

    async fn plan(&self, state: &MetaState, live: &BTreeSet<u64>) {
        let leads = self.shared.meta.get().is_some_and(|m| m.group.status().is_leader);
        if !leads {
            return;
        }
        for command in plan_replicas(state, live, self.shared.config.replication_factor, REPLICAS_A_ROUND) {
            info!(?command, "placing a replica");
            if let Err(error) = self.shared.meta_propose(&command).await {
                warn!(error, "the plan could not be written");
                return;
            }
        }
    }

    /// Moves leaders of shards that another node should lead, a few a round.
    async fn balance_leaders(&mut self, state: &MetaState, live: &BTreeSet<u64>) {
        let mut voters = BTreeMap::new();
        for (shard, record) in &state.shards {
            let status = self.replicas.get(shard).map(|r| r.handle.group.status());
            let votes = |replica: u64| status.as_ref().is_none_or(|s| s.voters.contains_key(&ReplicaId(replica)));
            let nodes = record.replicas.iter().filter(|r| votes(r.replica)).map(|r| r.node).collect();
            voters.insert(*shard, nodes);
        }
        let with_room = self.shared.with_room(&self.shared.live());
        let live: BTreeSet<u64> = live.intersection(&with_room).copied().collect();
        let preferred = preferred_leaders(&voters, &live);
        let me = self.shared.node_id();
        let mut moved = 0;
        for (shard, replica) in &self.replicas {
            let status = replica.handle.group.status();
            if !status.is_leader {
                self.led_since.remove(shard);
                continue;
            }
            let since = *self.led_since.entry(*shard).or_insert_with(Instant::now);
            let Some(&target) = preferred.get(shard) else { continue };
            let rested = since.elapsed() >= LEADER_REST || self.shared.disk.is_full();
            if target == me || !rested || moved >= 4 || !peer_ready(&self.shared, target) {
                continue;
            }
            let Some(to) = state.shards[shard].on_node(target) else { continue };
            if !caught_up(&status, to.replica) {
                continue;
            }
            moved += 1;
            debug!(shard, target, "moving a leader for balance");
            if let Err(error) = replica.handle.group.transfer_leader(ReplicaId(to.replica)).await {
                debug!(shard, %error, "leader not moved");
            }
        }
    }
}

fn peer_ready(shared: &Shared, node: u64) -> bool {
    shared.live().get(&node).is_some_and(|p| p.ready)
}

fn caught_up(status: &GroupStatus, replica: u64) -> bool {
    let last = status.last_log.unwrap_or(0);
    status.matched.get(&ReplicaId(replica)).copied().flatten().is_some_and(|m| m.index + 64 >= last)
}

/// The founder's replica initialises its group, once.
async fn found(group: &Group, replica: u64, founder: u64, node: u64) {
    let status = group.status();
    if replica == founder && status.voters.is_empty() && status.last_log.is_none() {
        let members = BTreeMap::from([(ReplicaId(replica), NodeId(node))]);
        if let Err(error) = group.initialize(members).await {
            debug!(%error, "group was initialised before");
        }
    }
}

fn next_step(status: &GroupStatus, record: &ShardRecord, voters_max: usize) -> Option<MembershipStep> {
    let plain = |set: &BTreeMap<ReplicaId, NodeId>| set.keys().map(|r| r.0).collect::<BTreeSet<u64>>();
    let matched = status.matched.iter().filter_map(|(r, m)| Some((r.0, m.as_ref()?.index))).collect();
    let last = status.last_log.unwrap_or(0);
    membership_step(record, voters_max, &plain(&status.voters), &plain(&status.learners), &matched, last)
}

async fn take_step(group: &Group, step: MembershipStep) -> Result<(), String> {
    match step {
        MembershipStep::AddLearner(r) => {
            group.add_learner(ReplicaId(r.replica), NodeId(r.node)).await.map_err(|e| e.to_string())
        }
        MembershipStep::ChangeVoters(voters) => {
            info!(group = group.id().0, ?voters, "changing voters");
            group.change_voters(voters.into_iter().map(ReplicaId).collect()).await.map_err(|e| e.to_string())
        }
    }
}

/// An error and its sources in one line.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
