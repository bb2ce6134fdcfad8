//! One node of a cluster, from boot to stop.
mod boot;
mod deletions;
mod demotions;
mod election;
pub(crate) mod flush;
pub(crate) mod founding;
mod membership;
mod preflight;
mod progress;
mod shared;
mod snapshots;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use trine_query::memory::QueryMemory;
use trine_query::promql::SegmentCache;
use trine_query::scatter::Scatter;
use trine_store::model::{Signal, Slot, Spreads};
use trine_store::shard::{Ledger, PartOutcome};

use crate::config::ClusterConfig;
use crate::error::{Error, WriteError};
use crate::healing::Healing;
use crate::meta::MetaState;
use crate::router::Router;
use crate::rpc::{LATE, proto, refusal};
use crate::scatter::ClusterScatter;
use crate::spread::SpreadView;

pub use deletions::DeleteError;
pub use flush::Flushed;
pub(crate) use membership::COMMAND_PATIENCE;
pub use progress::Replayed;
pub(crate) use shared::{NodeLog, remember, unix_ms};
pub use shared::{Shared, resident_bytes};

/// Exit status of a node that the cluster has replaced or removed.
const EXIT_GONE: i32 = 78;
/// How long admin calls wait for a node.
pub(crate) const ADMIN_TIMEOUT: Duration = Duration::from_secs(3);
/// A running node; cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
    tasks: Arc<tokio::sync::Mutex<Vec<JoinHandle<()>>>>,
    /// Why the boot failed, if it does.
    failed: Arc<tokio::sync::Mutex<oneshot::Receiver<Error>>>,
}

/// A node's scrub as the admin API shows it.
#[derive(Clone, Debug)]
pub struct ScrubView {
    pub record: crate::meta::NodeRecord,
    /// `Err` says why the node did not answer.
    pub progress: Result<proto::ScrubReply, String>,
}

/// A node as the admin API shows it.
#[derive(Clone, Debug)]
pub struct NodeView {
    pub record: crate::meta::NodeRecord,
    pub alive: bool,
    /// `Err` says why the node did not answer.
    pub status: Result<proto::StatusReply, String>,
}

impl Cluster {
    /// Takes the data directory and returns; the log is opened, and a cluster joined or created, in the background. Call
    /// [`Self::ready`] to see how far that is, and [`Self::failed`] to hear that it cannot be done.
    pub async fn start(config: ClusterConfig) -> Result<Self, Error> {
        boot::start(config).await
    }

    /// Returns when the boot has failed, for good: end the process. Else it waits for ever. For one caller.
    pub async fn failed(&self) -> Error {
        match (&mut *self.failed.lock().await).await {
            Ok(error) => error,
            // Booted: what fails later is dealt with where it does.
            Err(_) => std::future::pending().await,
        }
    }

    /// Writes the parts of one request, all of one tenant and signal: see [`Router::write`].
    pub async fn write(&self, parts: Vec<(u32, Bytes)>) -> Result<Vec<PartOutcome>, WriteError> {
        let on_their_way = self.shared.intake.begin(parts.iter().map(|(_, part)| part));
        let outcomes = Router::new(self.shared.clone()).write(parts).await?;
        on_their_way.acknowledge(&outcomes);
        Ok(outcomes)
    }

    /// Counts facts that were refused before they became parts: see [`crate::ledger::Intake::reject`].
    pub fn reject(&self, tenant: &str, signal: Signal, reason: &'static str, facts: u64) {
        self.shared.intake.reject(tenant, signal, reason, facts);
    }

    /// The replica of a pair of agents that counts: the claimant, or the one that is elected. `renew_ms` is how often a lease
    /// is renewed at most.
    pub async fn elect(&self, claim: crate::meta::Claim, renew_ms: i64) -> Result<String, String> {
        self.shared.elect(claim, renew_ms).await
    }

    pub fn scatter(&self) -> Arc<dyn Scatter> {
        Arc::new(ClusterScatter::new(self.shared.clone()))
    }

    /// The shard of a slot; 0 before the node belongs to a cluster.
    pub fn shard_of(&self, slot: Slot) -> u32 {
        self.shared.shard_of(slot)
    }

    /// Where log entries go, as far as this node knows it.
    pub fn spreads(&self) -> Spreads {
        self.shared.spreads()
    }

    /// Returns once the place of log entries at `time_ns` is settled and known here; `Err` says why not, after some seconds.
    pub async fn settle(&self, time_ns: i64) -> Result<(), String> {
        self.shared.settle(time_ns).await
    }

    /// The table of spread streams.
    pub fn spread_view(&self) -> SpreadView {
        SpreadView::of(&self.shared)
    }

    /// Spreads a log stream (canonical labels) over `slots` slots from the entry time `from_ns` on, or as early as possible
    /// when that is 0. Gives the beginning; `Err` says why not.
    pub async fn spread(&self, tenant: &str, stream: &[u8], slots: u16, from_ns: i64) -> Result<i64, String> {
        let from_ns = self.shared.spread(tenant, stream, slots, from_ns).await?;
        let stream = crate::spread::text_of(stream);
        tracing::info!(tenant, stream, slots, from_ns, "a log stream is going to be spread, by request");
        Ok(from_ns)
    }

    /// `Err` says why this node cannot serve yet, all of it.
    pub fn ready(&self) -> Result<(), String> {
        self.shared.ready()
    }

    /// `Err` says why this node cannot take requests at all: before it knows its cluster, and when it stops. In between some
    /// shards may still be opened; requests for those wait.
    pub fn serving(&self) -> Result<(), String> {
        self.shared.serving()
    }

    /// What replicas of this node had to apply again from the log, and how far that is.
    pub fn replayed(&self) -> Replayed {
        self.shared.boot.replayed()
    }

    /// Replicas that stopped by themselves and were opened again, since the process started: over their storage, and over
    /// panics.
    pub fn reopened(&self) -> [(&'static str, u64); 2] {
        self.shared.reopened.counts()
    }

    pub fn meta(&self) -> Arc<MetaState> {
        self.shared.meta()
    }

    pub fn node_id(&self) -> u64 {
        self.shared.node_id()
    }

    pub fn config(&self) -> &ClusterConfig {
        &self.shared.config
    }

    /// Counters of the write-ahead log.
    pub fn wal_stats(&self) -> trine_store::wal::WalStats {
        self.shared.wal().map(trine_store::wal::Wal::stats).unwrap_or_default()
    }

    /// The account of the disk.
    pub fn disk(&self) -> &crate::disk::DiskGuard {
        &self.shared.disk
    }

    /// Bytes in heads that are not sealed yet.
    pub fn heads_bytes(&self) -> u64 {
        self.shared.budget.heads_bytes()
    }

    /// What was found damaged on this node, and how far it is healed.
    pub fn healing(&self) -> &Healing {
        &self.shared.healing
    }

    /// This node's own status.
    pub fn own_status(&self) -> proto::StatusReply {
        self.shared.status()
    }

    /// Every node of the cluster with its status, asked at once.
    pub async fn nodes(&self) -> Vec<NodeView> {
        let (meta, live, me) = (self.shared.meta(), self.shared.live(), self.shared.node_id());
        let asks = meta.nodes.values().map(|record| {
            let alive = record.id == me || live.contains_key(&record.id);
            async move {
                let status = if record.id == me { Ok(self.shared.status()) } else { self.ask_status(record.id).await };
                NodeView { record: record.clone(), alive, status }
            }
        });
        join_all(asks).await
    }

    /// What every node of the cluster found damaged, by its name; `Err` for one that does not answer.
    pub async fn healing_of_all(&self) -> Vec<(String, Result<Vec<proto::HealingRecord>, String>)> {
        let (meta, me) = (self.shared.meta(), self.shared.node_id());
        let own = || self.shared.healing.records().into_iter().map(Into::into).collect();
        if !meta.nodes.contains_key(&me) {
            return vec![(self.shared.config.node_name.clone(), Ok(own()))];
        }
        let asks = meta.nodes.values().map(|record| async move {
            let records = if record.id == me { Ok(own()) } else { self.ask_healing(record.id).await };
            (record.name.clone(), records)
        });
        join_all(asks).await
    }

    async fn ask_healing(&self, node: u64) -> Result<Vec<proto::HealingRecord>, String> {
        let mut client = self.shared.peers.client(node)?;
        let ask = client.healing(proto::HealingRequest { to: self.shared.peers.to(node) });
        let reply = tokio::time::timeout(ADMIN_TIMEOUT, ask).await.map_err(|_| LATE.to_owned())?;
        reply.map(|r| r.into_inner().records).map_err(|s| refusal(&s))
    }

    /// Has a node's replicas made elsewhere, then forgets it and refuses it for good. `Err` says why not; a living node goes
    /// only with `drain`. Gives its id.
    pub async fn remove_node(&self, name: &str, drain: bool) -> Result<u64, String> {
        self.shared.retire(name, drain).await
    }

    /// The metadata as of now in its file format, to be kept as a backup.
    pub fn export_metadata(&self) -> Result<Vec<u8>, String> {
        let meta = self.shared.meta.get().ok_or("this node belongs to no cluster yet")?;
        Ok(meta.machine.export_bytes())
    }

    /// Replicas whose replacement this node has brought to its end, since the process started.
    pub fn replicas_replaced(&self) -> u64 {
        self.shared.replaced.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// What new replicas on this node have fetched, since the process started.
    pub fn fetched(&self) -> crate::shard::FetchCounts {
        self.shared.fetches.counts()
    }

    /// What this node has compacted since the process started.
    pub fn merged(&self) -> crate::shard::MergeCounts {
        self.shared.merges.counts()
    }

    /// Facts of the signal before this time, in ms, have no room: they go from every shard. `i64::MIN`: there is room for all.
    pub fn room_from_ms(&self, signal: Signal) -> i64 {
        self.shared.room.from_ms(signal)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Compactions that replicas of this node have noted and not carried out.
    pub fn compactions_pending(&self) -> usize {
        self.shared.handles().values().map(|handle| handle.observed().pending.load().len()).sum()
    }

    async fn ask_status(&self, node: u64) -> Result<proto::StatusReply, String> {
        let mut client = self.shared.peers.client(node)?;
        let ask = client.status(proto::StatusRequest { to: self.shared.peers.to(node) });
        let reply = tokio::time::timeout(ADMIN_TIMEOUT, ask).await.map_err(|_| LATE.to_owned())?;
        reply.map(tonic::Response::into_inner).map_err(|s| refusal(&s))
    }

    /// Asks every node how far its scrub is, after starting one where none runs if `start`.
    pub async fn scrub(&self, start: bool) -> Vec<ScrubView> {
        let (meta, me) = (self.shared.meta(), self.shared.node_id());
        let asks = meta.nodes.values().map(|record| async move {
            let here = record.id == me;
            let progress = if here { Ok(self.scrub_here(start)) } else { self.scrub_there(record.id, start).await };
            ScrubView { record: record.clone(), progress }
        });
        join_all(asks).await
    }

    /// The same for this node alone.
    pub fn scrub_here(&self, start: bool) -> proto::ScrubReply {
        if start {
            crate::scrub::start(&self.shared, false);
        }
        self.shared.scrub.progress()
    }

    async fn scrub_there(&self, node: u64, start: bool) -> Result<proto::ScrubReply, String> {
        let mut client = self.shared.peers.client(node)?;
        let ask = client.scrub(proto::ScrubRequest { to: self.shared.peers.to(node), start });
        let reply = tokio::time::timeout(ADMIN_TIMEOUT, ask).await.map_err(|_| LATE.to_owned())?;
        reply.map(tonic::Response::into_inner).map_err(|s| refusal(&s))
    }

    /// Every node's books, by its name, after starting a verification where none runs if `verify`; without those of the
    /// replicas unless `books`. `Err` for a node that does not answer.
    pub async fn ledger(&self, verify: bool, books: bool) -> Vec<(String, Result<proto::LedgerReply, String>)> {
        let (meta, me) = (self.shared.meta(), self.shared.node_id());
        let asks = meta.nodes.values().map(|record| async move {
            let told = match record.id == me {
                true => Ok(self.ledger_here(verify, books).await),
                false => self.ledger_there(record.id, verify, books).await,
            };
            (record.name.clone(), told)
        });
        join_all(asks).await
    }

    async fn ledger_here(&self, verify: bool, books: bool) -> proto::LedgerReply {
        if verify {
            crate::ledger::start(&self.shared);
        }
        crate::ledger::tell(&self.shared, books).await
    }

    /// How this node's verification goes.
    pub fn verification(&self) -> proto::Verification {
        self.shared.verify.progress()
    }

    /// Rows of manifests on this node that do not balance.
    pub fn unbalanced_rows(&self) -> usize {
        let manifests = self.shared.handles();
        let of = |ledger: &Ledger| ledger.imbalances().len();
        manifests.values().filter_map(|h| h.observed().manifest.load().ledger.as_ref().map(of)).sum()
    }

    async fn ledger_there(&self, node: u64, verify: bool, books: bool) -> Result<proto::LedgerReply, String> {
        let mut client = self.shared.peers.client(node)?;
        let ask = client.ledger(proto::LedgerRequest { to: self.shared.peers.to(node), verify, books });
        let reply = tokio::time::timeout(ADMIN_TIMEOUT, ask).await.map_err(|_| LATE.to_owned())?;
        reply.map(tonic::Response::into_inner).map_err(|s| refusal(&s))
    }

    /// The account of the queries on this node.
    pub fn query_memory(&self) -> &QueryMemory {
        &self.shared.budget.queries
    }

    /// What is kept of answers over sealed data.
    pub fn segments(&self) -> &SegmentCache {
        &self.shared.segments
    }

    /// Refuses new work, hands over leaders, closes replicas, raft and the log. Nothing acknowledged is lost either way.
    pub async fn stop(&self) {
        self.shared.stopping.send_replace(true);
        if let Some(gossip) = self.shared.gossip.get() {
            gossip.announce(&self.shared.cluster_id(), false);
        }
        let tasks = std::mem::take(&mut *self.tasks.lock().await);
        for task in tasks {
            if let Err(error) = task.await
                && !error.is_cancelled()
            {
                tracing::warn!(%error, "a task ended badly");
            }
        }
        if let Some(multi) = self.shared.multi.get() {
            multi.stop().await;
        }
        if let Some(gossip) = self.shared.gossip.get() {
            gossip.stop();
        }
    }

    /// Turns true when the node begins to stop.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.shared.stopping.subscribe()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use trine_store::shard::CompactionPolicy;

    use crate::config::ClusterConfig;
    use crate::shard::Retention;

    /// Settings of a node that no test starts.
    pub(crate) fn config(data_dir: &Path, join: &[&str]) -> ClusterConfig {
        let any = "127.0.0.1:1".parse().unwrap();
        ClusterConfig {
            data_dir: data_dir.to_owned(),
            node_name: "n1".into(),
            zone: String::new(),
            rpc_listen: any,
            gossip_listen: any,
            advertise_host: "127.0.0.1".into(),
            http_advertise: String::new(),
            join: join.iter().map(ToString::to_string).collect(),
            bootstrap_expect: 1,
            cluster_key: String::new(),
            shards_count: 1,
            replication_factor: 3,
            memory_budget_bytes: 1 << 30,
            head_age_ms_max: 1000,
            wal_bytes_soft: 1 << 30,
            disk_reserve_bytes: 1,
            scrub_interval_ms: 0,
            scrub_bytes_per_second: 1 << 30,
            pool_threads: 1,
            compaction: CompactionPolicy::default(),
            compaction_bytes_per_second: 0,
            retention: Retention::default(),
            quarantine_keep_ms: 0,
            quarantine_bytes_max: 0,
            fetch_bytes_per_second: 0,
            fetches_max: 2,
            future_ms_max: 600_000,
            spread_lead_ms: 60_000,
            spread_bytes_per_second: 0,
            spread_after_ms: 60_000,
            version: String::new(),
        }
    }
}
