//! The task that makes this node follow the metadata: opens and closes replicas, brings raft memberships to what the
//! metadata says, plans new replicas on the metadata leader, and keeps leaders even.
pub(crate) mod disk;
mod heal;
mod open;
mod relapse;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tracing::{debug, error, info, warn};
use trine_raft::{Group, GroupStatus, NodeId, ReplicaId};

use crate::cluster::{NodeLog, Shared, remember};
use crate::error::Error;
use crate::meta::{Command, META_SHARD, MetaState, ShardRecord};
use crate::placement::{
    ChangeLeader, GroupView, MembershipStep, change_leader, dropped, membership_step, plan_replicas, plan_retirement,
    preferred_leaders,
};
use crate::shard::{Replica, ReplicaContext};
use heal::{Closed, Looked};
use open::Opening;
pub(crate) use relapse::Failure;
use relapse::Relapses;

/// How often the steward looks even when nothing seems to have changed.
const TICK: Duration = Duration::from_millis(300);
/// Replicas that the metadata leader adds in one round.
const REPLICAS_A_ROUND: usize = 32;
/// Replicas of retiring nodes that are replaced at a time.
const REPLACEMENTS_AT_ONCE: usize = 4;
/// Voters of the metadata group.
const META_VOTERS_MAX: usize = 5;
/// Membership changes at a time.
const CHANGES_AT_ONCE: usize = 8;
/// How long one may take before the steward looks at the group anew.
const CHANGE_PATIENCE: Duration = Duration::from_secs(4);
/// A leader stays at least this long before it is moved for balance.
const LEADER_REST: Duration = Duration::from_secs(3);

/// A replica that is to be open here.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    shard: u32,
    replica: u64,
    founder: u64,
}

pub(crate) struct Steward {
    shared: Arc<Shared>,
    log: Arc<NodeLog>,
    context: ReplicaContext,
    replicas: BTreeMap<u32, Replica>,
    /// Replicas on their way, by shard.
    opening: BTreeMap<u32, Opening>,
    arriving: JoinSet<Result<Replica, Error>>,
    led_since: BTreeMap<u32, Instant>,
    /// Membership changes in progress, one a group: they wait for learners, and the rounds must not.
    changing: BTreeMap<u32, JoinHandle<()>>,
    /// Replicas that cannot be opened, by shard.
    damaged: BTreeMap<u32, Closed>,
    looked: Looked,
    relapses: Relapses,
    /// When this round began, all of the metadata log on this node was applied: what an older leader has decided, and what
    /// this node did before it was restarted, is then known.
    metadata_is_current: bool,
}

impl Steward {
    pub(crate) fn new(shared: Arc<Shared>, log: Arc<NodeLog>, context: ReplicaContext) -> Self {
        Self {
            shared,
            log,
            context,
            replicas: BTreeMap::new(),
            opening: BTreeMap::new(),
            arriving: JoinSet::new(),
            led_since: BTreeMap::new(),
            changing: BTreeMap::new(),
            damaged: BTreeMap::new(),
            looked: Looked::default(),
            relapses: Relapses::default(),
            metadata_is_current: false,
        }
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
                Some(arrived) = self.arriving.join_next_with_id() => self.arrived(arrived).await,
                changed = meta_changes.changed() => if changed.is_err() { break },
                _ = stop.changed() => {}
            }
        }
        self.arriving.abort_all();
        self.context.multi.hand_over_leaders(Duration::from_secs(5)).await;
        self.shared.handles.store(Arc::default());
        for (_, replica) in std::mem::take(&mut self.replicas) {
            replica.close().await;
        }
    }

    async fn round(&mut self) {
        // Before the state is read, or it could be older than what this speaks of.
        self.metadata_is_current = self.shared.meta.get().is_some_and(|meta| {
            let status = meta.group.status();
            status.applied.map(|p| p.index) >= status.last_log
        });
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
        self.heal(&state).await;
        self.follow_membership(&state);
        self.plan(&state, &live).await;
        self.balance_leaders(&state, &live).await;
    }

    async fn open_and_close(&mut self, state: &MetaState) {
        let me = self.shared.node_id();
        let wanted: Vec<Wanted> = state
            .shards
            .iter()
            .filter_map(|(shard, record)| {
                let replica = record.opened_on(me)?.replica;
                Some(Wanted { shard: *shard, replica, founder: record.founder })
            })
            .collect();
        self.close_unwanted(&wanted).await;
        self.open_missing(state, wanted).await;
    }

    async fn close_unwanted(&mut self, wanted: &[Wanted]) {
        let gone: Vec<u32> = self
            .replicas
            .iter()
            .filter(|(shard, r)| {
                let still = wanted.iter().any(|w| w.shard == **shard && w.replica == r.handle.replica);
                !still || r.failure().is_some()
            })
            .map(|(shard, _)| *shard)
            .collect();
        for shard in gone {
            if let Some(replica) = self.replicas.remove(&shard) {
                match replica.failure() {
                    Some(failure) => self.relapsed(shard, &failure),
                    None => info!(shard, replica = replica.handle.replica, "closing a replica that is not wanted here"),
                }
                self.publish();
                replica.close().await;
            }
        }
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
            let view = view_of(&status);
            let step = membership_step(record, voters_max, &view).map(Next::Step);
            let Some(next) = step.or_else(|| dropped(record, &view).map(Next::Drop)) else { continue };
            let (shared, record) = (self.shared.clone(), record.clone());
            let task = async move {
                let taken = async {
                    match next {
                        Next::Step(step) => take_step(&group, &record, step).await,
                        Next::Drop(replica) => drop_replica(&shared, shard, replica).await,
                    }
                };
                match tokio::time::timeout(CHANGE_PATIENCE, taken).await {
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
        // A new leader that plans before it knows what the old one did would do it twice.
        if !leads || !self.metadata_is_current {
            return;
        }
        let retirement = plan_retirement(state, live, REPLACEMENTS_AT_ONCE);
        let growth = plan_replicas(state, live, self.shared.config.replication_factor, REPLICAS_A_ROUND);
        for command in retirement.into_iter().chain(growth) {
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
            if !view_of(&status).may_lead(to.replica) {
                continue;
            }
            moved += 1;
            debug!(shard, target, "moving a leader for balance");
            replica.handle.group.transfer_leader(ReplicaId(to.replica));
        }
    }
}

/// Exit status of a process that ends itself over a defect: EX_SOFTWARE.
const EXIT_DEFECT: i32 = 70;

/// Ends the process: opening it again did not help or cannot be done, and a fresh start may help. Nothing acknowledged is lost.
pub(crate) fn end_process(what: &str, reason: &str) -> ! {
    error!(what, reason, "stopped for good, ending the process so that it is started afresh");
    std::process::exit(EXIT_DEFECT);
}

fn peer_ready(shared: &Shared, node: u64) -> bool {
    shared.live().get(&node).is_some_and(|p| p.ready)
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

/// What a group's leader does next.
enum Next {
    Step(MembershipStep),
    /// Tells the metadata that raft is without this leaving replica.
    Drop(u64),
}

async fn drop_replica(shared: &Shared, shard: u32, replica: u64) -> Result<(), String> {
    shared.meta_submit(&Command::DropReplica { shard, replica }).await?;
    shared.replaced.fetch_add(1, Ordering::Relaxed);
    info!(shard, replica, "a replica was replaced: it votes no more and its id is never used again");
    Ok(())
}

/// A group as placement sees it.
fn view_of(status: &GroupStatus) -> GroupView {
    let plain = |set: &BTreeMap<ReplicaId, NodeId>| set.keys().map(|r| r.0).collect::<BTreeSet<u64>>();
    GroupView {
        voters: plain(&status.voters),
        changing_to: match &status.voter_sets[..] {
            [] | [_] => None,
            [.., newer] => Some(newer.iter().map(|r| r.0).collect()),
        },
        learners: plain(&status.learners),
        matched: status.matched.iter().filter_map(|(r, m)| Some((r.0, m.as_ref()?.index))).collect(),
        last_index: status.last_log.unwrap_or(0),
        membership_committed: status.membership.is_some() && status.membership <= status.committed,
    }
}

async fn take_step(group: &Group, record: &ShardRecord, step: MembershipStep) -> Result<(), String> {
    match step {
        MembershipStep::AddLearner(r) => {
            group.add_learner(ReplicaId(r.replica), NodeId(r.node)).await.map_err(|e| e.to_string())
        }
        MembershipStep::RemoveLearners(learners) => {
            group.remove_learners(learners.into_iter().map(ReplicaId).collect()).await.map_err(|e| e.to_string())
        }
        MembershipStep::ChangeVoters(voters) => {
            match change_leader(record, group.replica().0, &voters, &view_of(&group.status())) {
                ChangeLeader::Nobody => return Err("no voter that stays has caught up".into()),
                ChangeLeader::Heir(heir) => {
                    group.transfer_leader(ReplicaId(heir));
                    return Ok(());
                }
                ChangeLeader::Same => {}
            }
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
