//! Documents of `/admin/v1/ledger`. A fact is a sample of any kind, a log entry, or a span. An empty tenant stands for those
//! beyond the number that have rows of their own.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What became of every fact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminLedger {
    /// Sums over the cluster, by tenant and signal.
    pub facts: Vec<AdminLedgerRow>,
    /// When the last count of readable facts began, if all shards were counted.
    pub counted_unix_ms: Option<u64>,
    /// What the surfaces of each node did, since its start.
    pub nodes: Vec<AdminIntake>,
    /// The books of each replica.
    pub replicas: Vec<AdminBooks>,
}

/// Facts of one tenant and signal in the whole cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminLedgerRow {
    pub tenant: String,
    pub signal: String,
    /// `received = acknowledged + rejected + unclear + in_flight`, since the start of each node.
    pub received: u64,
    pub acknowledged: u64,
    /// Sum of `rejected_by_reason`.
    pub rejected: u64,
    pub rejected_by_reason: Vec<AdminRejected>,
    /// Of requests that failed: they may be stored, and repeating them completes them.
    pub unclear: u64,
    pub in_flight: u64,
    /// `applied = in_heads + sealed + folded + expired + deleted`, since the first fact of each shard.
    pub applied: u64,
    /// Dropped, being there already.
    pub deduplicated: u64,
    /// Refused by a shard: another value at that time.
    pub conflicting: u64,
    pub in_heads: u64,
    pub sealed: u64,
    /// Left out of blocks: an older fact has the same key.
    pub folded: u64,
    pub expired: u64,
    pub deleted: u64,
    /// Seen by queries when they were last counted; then `applied` was `readable + shadowed + expired + deleted`.
    pub readable: Option<u64>,
    /// Not seen, an older fact having the same key.
    pub shadowed: Option<u64>,
}

/// Facts refused for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminRejected {
    pub reason: String,
    pub facts: u64,
}

/// What the surfaces of a node did with what came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminIntake {
    pub node: String,
    /// Why the node did not answer; then all else is empty.
    pub unreachable: Option<String>,
    /// Start of the node: its counts begin there.
    pub since_unix_ms: Option<u64>,
    pub rows: Vec<AdminIntakeRow>,
}

/// Facts of one tenant and signal that came to a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminIntakeRow {
    pub tenant: String,
    pub signal: String,
    pub received: u64,
    pub acknowledged: u64,
    pub rejected: Vec<AdminRejected>,
    pub unclear: u64,
    pub in_flight: u64,
}

/// The books of one replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminBooks {
    pub shard: u32,
    pub node: String,
    pub replica: u64,
    pub leads: bool,
    /// Log index up to which they go.
    pub position: u64,
    /// Log index at which they begin; not 0 for a shard that was written before there were books.
    pub since: u64,
    /// Why there are none.
    pub closed: Option<String>,
    pub rows: Vec<AdminBooksRow>,
}

/// Counts of one tenant and signal of a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminBooksRow {
    pub tenant: String,
    pub signal: String,
    pub applied: u64,
    pub deduplicated: u64,
    pub conflicting: u64,
    pub sealed: u64,
    pub folded: u64,
    pub expired: u64,
    pub deleted: u64,
}

/// The count of everything on every node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminVerification {
    /// None while a node counts, or has not counted since its start, or does not answer, or could not count a replica.
    pub balanced: Option<bool>,
    /// By name.
    pub nodes: Vec<AdminVerificationNode>,
    /// Figures that should be the same and are not.
    pub imbalances: Vec<AdminImbalance>,
    /// What was counted, by tenant and signal: of each shard the replica that was furthest.
    pub facts: Vec<AdminVerifiedRow>,
    /// What was counted there is on the disks, but no query sees it until a majority of the shard's replicas is back.
    #[serde(default)]
    pub shards_without_leader: Vec<u32>,
}

/// A node's count: the running one, or the last since the node started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminVerificationNode {
    pub node: String,
    /// Why the node did not answer; then all else is empty.
    pub unreachable: Option<String>,
    pub running: bool,
    /// Unix time; none when there was no count.
    pub started_unix_ms: Option<u64>,
    /// None while running.
    pub finished_unix_ms: Option<u64>,
    pub shards_total: u64,
    pub shards_done: u64,
    /// Bytes of blocks.
    pub bytes_total: u64,
    pub bytes_done: u64,
    pub facts_counted: u64,
    /// Counts that ended since the node started.
    pub runs: u64,
    /// What could not be counted, and why.
    pub errors: Vec<String>,
}

/// Two figures that should be the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminImbalance {
    /// None for the counts of a node's surfaces.
    pub shard: Option<u32>,
    pub node: String,
    pub tenant: String,
    pub signal: String,
    /// What the figures are.
    pub rule: String,
    pub books: u64,
    pub counted: u64,
}

/// What was counted of one tenant and signal, beside the books.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminVerifiedRow {
    pub tenant: String,
    pub signal: String,
    pub applied: u64,
    pub deduplicated: u64,
    pub conflicting: u64,
    pub expired: u64,
    pub deleted: u64,
    pub in_blocks: u64,
    pub readable: u64,
    pub shadowed: u64,
}

impl AdminLedger {
    /// Drops the rows of other tenants.
    pub fn retain(&mut self, tenant: &str) {
        self.facts.retain(|row| row.tenant == tenant);
        self.nodes.iter_mut().for_each(|node| node.rows.retain(|row| row.tenant == tenant));
        self.replicas.iter_mut().for_each(|replica| replica.rows.retain(|row| row.tenant == tenant));
    }
}

impl AdminVerification {
    /// Drops the rows of other tenants; what does not balance is told whoever it is of.
    pub fn retain(&mut self, tenant: &str) {
        self.facts.retain(|row| row.tenant == tenant);
    }
}
