//! What the surfaces need of the cluster. Implemented over `actors` by the node, and by a one-shard double in tests.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use trine_query::memory::QueryMemory;
use trine_query::scatter::Scatter;
use trine_store::index::Matcher;
use trine_store::model::{Demotion, LabelOfMetric, Labels, Signal, Slot, Spreads, TenantDemotions};
use trine_store::shard::PartOutcome;

use crate::admin::model::{
    AdminBlocks, AdminCluster, AdminHealing, AdminLedger, AdminNode, AdminScrub, AdminShard, AdminSpreads,
    AdminVerification, FlushReport, RemovedNode,
};

/// A part and where it goes. `slot` is that of the part's first fact; all its facts are `shard`'s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardPart {
    pub shard: u32,
    pub slot: Slot,
    /// An encoded part ([`trine_store::part::PartRef`]).
    pub part: Bytes,
    /// All its series have lost labels, so that samples of several sources may meet in one: of those with one time the first is kept.
    pub demoted: bool,
}

/// Why a write was not acknowledged. Each variant says what the client can do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// A budget is exhausted; the same request may succeed later.
    #[error("too many requests in flight")]
    Busy { retry_after: Duration },
    /// No leader could be reached in time.
    #[error("{reason}")]
    Unavailable { reason: String, retry_after: Duration },
    /// One part is beyond what a log entry may hold; retrying cannot help.
    #[error("a part of the request is too large")]
    TooLarge,
    /// The shard refused the content; retrying cannot help.
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Internal(String),
}

/// A request of one replica of a pair that sends the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaClaim {
    pub tenant: String,
    /// Names the pair.
    pub cluster: String,
    pub replica: String,
    /// When the request was received, Unix ms.
    pub now_ms: i64,
    /// Another replica is elected once the elected one has been silent this long, ms.
    pub failover_ms: i64,
    /// The elected one's lease is renewed this often at most, ms.
    pub renew_ms: i64,
}

/// Whose samples are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Election {
    /// The claimant's.
    Elected,
    /// Those of this replica.
    Other(String),
    /// The tenant has as many pairs as it may have.
    TooMany(usize),
}

/// What keeps a node from doing all it is there for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// It was asked to stop.
    pub is_stopping: bool,
    /// Writes to shards that it leads are refused for lack of room.
    pub is_disk_full: bool,
    /// Shards with a replica on it that has heard of no leader, in order.
    pub leaderless: Vec<u32>,
    /// Shards with damaged blocks on it that are not healed yet, in order.
    pub damaged: Vec<u32>,
}

/// Why a node was not removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRemoved {
    /// There is none of that name.
    Unknown(String),
    /// The cluster cannot do without it, or it is alive.
    Refused(String),
}

impl NotRemoved {
    pub fn unknown(name: &str) -> Self {
        Self::Unknown(format!("the cluster has no node named {name:?}"))
    }
}

/// The cluster, as seen from a protocol surface.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Shard that owns a slot now; splits a request into one part builder a shard.
    fn shard_of(&self, slot: Slot) -> u32;

    /// Slots of log entries, as far as this node knows them.
    fn spreads(&self) -> Spreads {
        Spreads::none()
    }

    /// Labels that samples of the tenant's metrics lose, as far as this node knows; `None`: none.
    fn demotions(&self, _tenant: &str) -> Option<TenantDemotions> {
        None
    }

    /// Facts of the signal before this time, in ms, are not kept any more, since there is no room for them; `i64::MIN`: there is.
    fn room_from_ms(&self, _signal: Signal) -> i64 {
        i64::MIN
    }

    /// Returns once the slots of log entries at `time_ns` are settled and known here.
    async fn settle(&self, _time_ns: i64) -> Result<(), WriteError> {
        Ok(())
    }

    /// All parts of one request, of one tenant and signal; `Ok` once every part is fsynced on a majority and visible. Outcomes in the order of `parts`.
    async fn write(&self, parts: Vec<ShardPart>) -> Result<Vec<PartOutcome>, WriteError>;

    /// Which replica of a pair counts; renews its lease, or elects another once that has run out.
    async fn elect(&self, _claim: &ReplicaClaim) -> Result<Election, WriteError> {
        Ok(Election::Elected)
    }

    /// Counts facts that were refused before they became parts, for a reason of a fixed set.
    fn reject(&self, _tenant: &str, _signal: Signal, _reason: &'static str, _facts: u64) {}

    /// How queries reach the shards.
    fn scatter(&self) -> Arc<dyn Scatter>;

    /// The account of the queries on this node.
    fn query_memory(&self) -> &QueryMemory;

    /// `Err` says why this node does not serve yet, all of it.
    fn ready(&self) -> Result<(), String>;

    /// `Err` says why this node takes no requests at all; one that is not ready may take them, and let those wait that concern
    /// shards which are still being opened.
    fn serving(&self) -> Result<(), String> {
        self.ready()
    }

    /// What keeps this node from doing all it is there for.
    fn troubles(&self) -> Troubles {
        Troubles::default()
    }

    /// Deletes the samples within a time range (ms, inclusive) of the tenant's series that satisfy all matchers; returns once no
    /// query sees them any more.
    async fn delete_series(
        &self,
        _tenant: &str,
        _matchers: Vec<Matcher>,
        _range_ms: (i64, i64),
    ) -> Result<(), WriteError> {
        Err(WriteError::Invalid("series cannot be deleted here".to_owned()))
    }

    /// Returns once no block has deleted samples any more.
    async fn clean_tombstones(&self) -> Result<(), WriteError> {
        Ok(())
    }

    /// Links the blocks of this node into a directory whose name begins with `time`, and names it; seals every head first unless
    /// `skip_heads`.
    async fn snapshot(&self, _time: &str, _skip_heads: bool) -> Result<String, String> {
        Err("there are no blocks here".to_owned())
    }

    async fn cluster(&self) -> AdminCluster;
    async fn nodes(&self) -> Vec<AdminNode>;
    async fn shards(&self) -> Vec<AdminShard>;

    /// How far every node's scrub is, after starting one where none runs if `start`.
    async fn scrub(&self, start: bool) -> AdminScrub;

    /// Seals every shard's head; returns once the blocks are durable.
    async fn flush(&self) -> Result<FlushReport, String>;

    /// What was found damaged, and how far it is healed.
    async fn healing(&self) -> AdminHealing {
        AdminHealing::default()
    }

    /// What is sealed, by shard and window of time; of one tenant, if it is named.
    async fn blocks(&self, _tenant: Option<&str>) -> AdminBlocks {
        AdminBlocks::default()
    }

    /// What became of every fact, as all nodes have it in their books.
    async fn ledger(&self) -> AdminLedger {
        AdminLedger::default()
    }

    /// How far every node's count of everything is, after starting one where none runs if `start`.
    async fn verify_ledger(&self, _start: bool) -> AdminVerification {
        AdminVerification::default()
    }

    /// Log streams that are spread over several slots.
    async fn spread_streams(&self) -> AdminSpreads {
        AdminSpreads::default()
    }

    /// Spreads a log stream, given by its canonical labels, from the entry time `from_ns` on, or as early as possible when that
    /// is 0. Gives the beginning in ns; `Err` says why not.
    async fn spread_stream(&self, _tenant: &str, _stream: &Labels, _slots: u16, _from_ns: i64) -> Result<i64, String> {
        Err("streams are not spread here".into())
    }

    /// The table of demoted labels, in the order in which they were asked for.
    fn demoted_labels(&self) -> Vec<Demotion> {
        Vec::new()
    }

    /// Has samples of a metric lose a label, from the sample time on that is given, in ms. `Err` says why not.
    async fn demote(&self, _what: &LabelOfMetric) -> Result<i64, String> {
        Err("labels are not demoted here".into())
    }

    /// Has them keep it again, from the sample time on that is given, in ms. `Err` says why not.
    async fn restore(&self, _what: &LabelOfMetric) -> Result<i64, String> {
        Err("labels are not demoted here".into())
    }

    /// Has a node's replicas made elsewhere, then forgets it. `Err` says why not; a living node only with `drain`.
    async fn remove_node(&self, name: &str, _drain: bool) -> Result<RemovedNode, NotRemoved> {
        Err(NotRemoved::unknown(name))
    }

    /// The metadata as a checksummed file, as `trine admin recover-metadata` takes it.
    async fn export_metadata(&self) -> Result<Vec<u8>, String> {
        Err("there is no metadata".into())
    }
}
