//! The sections of the configuration: keys, what they mean, and their defaults. `docs/config.md` is made of this file.
use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use trine_api::TranslationStrategy;

use super::size;

/// Who this node is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NodeConfig {
    /// Where this node keeps its log, blocks and metadata.
    pub(crate) data_dir: PathBuf,
    /// Unique in the cluster. Empty: the host's name.
    pub(crate) name: String,
    /// Zone, to spread replicas over.
    pub(crate) zone: String,
    /// Host that the other nodes reach this one by. Empty: the host of `listen.rpc`, or 127.0.0.1.
    pub(crate) advertise: String,
    /// Memory budget, in bytes or as `"512MiB"`; at least 128 MiB. 0: half of the cgroup's or the machine's limit.
    #[serde(deserialize_with = "size::deserialize")]
    pub(crate) memory_bytes: u64,
}

impl Default for NodeConfig {
    fn default() -> Self {
        let s = String::new;
        Self { data_dir: PathBuf::from("data"), name: s(), zone: s(), advertise: s(), memory_bytes: 0 }
    }
}

/// Listeners, as `address:port`; the address is an IP address, not a name. An empty string turns one off, but `http`, `rpc`
/// and `gossip` must be on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListenConfig {
    /// Every HTTP and gRPC API, `/metrics`.
    pub(crate) http: String,
    /// The same APIs where Loki's clients expect them.
    pub(crate) loki: String,
    /// The same APIs where Tempo's clients expect them.
    pub(crate) tempo: String,
    /// The same APIs where Mimir's clients expect them.
    pub(crate) mimir: String,
    /// OTLP over gRPC.
    pub(crate) otlp_grpc: String,
    /// OTLP over HTTP.
    pub(crate) otlp_http: String,
    /// Other nodes (gRPC).
    pub(crate) rpc: String,
    /// Gossip (UDP).
    pub(crate) gossip: String,
}

impl Default for ListenConfig {
    fn default() -> Self {
        let at = |port: u16| format!("0.0.0.0:{port}");
        Self {
            http: at(9090),
            loki: at(3100),
            tempo: at(3200),
            mimir: at(8080),
            otlp_grpc: at(4317),
            otlp_http: at(4318),
            rpc: at(7070),
            gossip: at(7071),
        }
    }
}

/// How nodes find each other and what a new cluster looks like.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClusterSection {
    /// Gossip addresses of peers, `host:port`; DNS names resolve to all their addresses.
    pub(crate) join: Vec<String>,
    /// Create a cluster once this many nodes without one see each other. 0: only join.
    pub(crate) bootstrap_expect: usize,
    /// Secret shared by the nodes; authenticates gossip.
    pub(crate) key: String,
    /// Shards of a new cluster.
    pub(crate) shards: u32,
    /// Replicas of a shard once the cluster has as many nodes.
    pub(crate) replication_factor: usize,
}

impl Default for ClusterSection {
    fn default() -> Self {
        Self { join: Vec::new(), bootstrap_expect: 1, key: String::new(), shards: 16, replication_factor: 3 }
    }
}

/// How data is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StorageConfig {
    /// Facts older than this are no longer seen and are removed, and samples and log lines older than it are refused (spans of any time
    /// are taken), in seconds: 1 to 3153600000 (100 years).
    pub(crate) retention_s: u64,
    /// Seal a head when it is this old, in seconds: at least 1. Larger: better compression, longer replay after a crash.
    pub(crate) head_age_s: u64,
    /// Keep this much log before the shards that hold it back are sealed, in bytes or as `"2GiB"`; at least 256 MiB.
    #[serde(deserialize_with = "size::deserialize")]
    pub(crate) wal_bytes: u64,
    /// Free bytes of the disk below which this node takes no writes; queries go on. Keep room for some 64 MiB segments of log
    /// and for a seal. 0: a twentieth of the disk, at least 256 MiB, at most 2 GiB or a quarter of the disk.
    #[serde(deserialize_with = "size::deserialize")]
    pub(crate) disk_reserve_bytes: u64,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self { retention_s: 30 * 24 * 3600, head_age_s: 2 * 3600, wal_bytes: 2 << 30, disk_reserve_bytes: 0 }
    }
}

/// What goes earlier or later than `storage.retention_s` says. The same on every node, since any may lead a shard.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetentionConfig {
    /// Tenants whose facts are kept for another time, in seconds, by name as in `{ team-a = 604800 }`; 0: for ever.
    pub(crate) tenants_s: BTreeMap<String, u64>,
    /// Bytes of all blocks on a node, or as `"500GiB"`: beyond it the oldest blocks go, whatever their tenants' retention, and of
    /// every shard alike, as the fullest node needs it. The newest hour stays; heads and the log are not counted. 0: unbounded.
    #[serde(deserialize_with = "size::deserialize")]
    pub(crate) bytes: u64,
    /// The same for the blocks of metrics.
    #[serde(deserialize_with = "size::deserialize")]
    pub(crate) metrics_bytes: u64,
    /// The same for the blocks of logs.
    #[serde(deserialize_with = "size::deserialize")]
    pub(crate) logs_bytes: u64,
    /// The same for the blocks of traces.
    #[serde(deserialize_with = "size::deserialize")]
    pub(crate) traces_bytes: u64,
}

/// Merging sealed blocks into fewer ones, by windows of time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CompactionConfig {
    /// Lengths of the windows, in seconds, rising: blocks of a window become one once it is over. Empty: none are merged.
    pub(crate) windows_s: Vec<u64>,
    /// A window is over this long after its end, in seconds: what comes until then is merged with it.
    pub(crate) settle_s: u64,
    /// Blocks whose sizes add up to more are not merged into one, in bytes or as `"512MiB"`.
    #[serde(deserialize_with = "size::deserialize")]
    pub(crate) block_bytes: u64,
    /// Bytes a second that this node reads for it. 0: as fast as it goes.
    pub(crate) bytes_per_s: u64,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        let windows_s = vec![2 * 3600, 24 * 3600, 8 * 24 * 3600];
        Self { windows_s, settle_s: 1800, block_bytes: 512 << 20, bytes_per_s: 32 << 20 }
    }
}

/// Checking sealed data against its checksums and the other replicas.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ScrubConfig {
    /// Scrub this node's blocks when the last scrub is this long ago, in seconds. 0: only by request.
    pub(crate) interval_s: u64,
    /// Bytes a second that a scrub reads.
    pub(crate) bytes_per_second: u64,
}

impl Default for ScrubConfig {
    fn default() -> Self {
        Self { interval_s: 7 * 24 * 3600, bytes_per_second: 32 << 20 }
    }
}

/// How damaged and lost replicas are replaced.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RecoveryConfig {
    /// Bytes a second that this node fetches for new replicas, all together. 0: as fast as it goes.
    pub(crate) fetch_bytes_per_s: u64,
    /// Replicas that fetch their blocks at a time.
    pub(crate) fetches: usize,
    /// Keep the files of healed damage in quarantine this long, in seconds.
    pub(crate) quarantine_s: u64,
    /// Remove files of healed damage earlier, oldest first, while the quarantine has more bytes than this.
    pub(crate) quarantine_bytes: u64,
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        Self { fetch_bytes_per_s: 64 << 20, fetches: 2, quarantine_s: 7 * 24 * 3600, quarantine_bytes: 10 << 30 }
    }
}

/// Bounds on requests and queries.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitsConfig {
    /// How long a query may run, in seconds. 0: 120.
    pub(crate) query_timeout_s: u64,
    /// Samples that a PromQL query may read on a node, or hold on the node that was asked: 1 to 1000000000. A query that needs
    /// more is refused.
    pub(crate) query_samples: u64,
    /// The log tells of PromQL queries that take this long, in ms. 0: of none. `docs/operations/slow-queries.md`.
    pub(crate) slow_query_ms: u64,
    /// Samples and log lines this far in the future are refused, in seconds: 0 to 43200. No spread of a stream begins earlier.
    pub(crate) future_s: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { query_timeout_s: 0, query_samples: 50_000_000, slow_query_ms: 10_000, future_s: 600 }
    }
}

/// Spreading hot log streams over several slots.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SpreadConfig {
    /// Where log lines go is settled this long before the newest that may come, in seconds: 1 to 43200. So long can lines be
    /// taken while the metadata group has no majority; a spread begins so much later.
    pub(crate) lead_s: u64,
    /// Spread a stream that takes more in one shard, in bytes a second. 0: only by request.
    #[serde(deserialize_with = "size::deserialize")]
    pub(crate) bytes_per_s: u64,
    /// For so long, in seconds: 3 to 3153600000.
    pub(crate) after_s: u64,
}

impl Default for SpreadConfig {
    fn default() -> Self {
        Self { lead_s: 1200, bytes_per_s: 8 << 20, after_s: 180 }
    }
}

/// Tenants.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TenancyConfig {
    /// Refuse requests without `X-Scope-OrgID`; otherwise they belong to the tenant `default`.
    pub(crate) require_tenant: bool,
}

/// What this node says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TelemetryConfig {
    /// Log filter, as `info` or `trine_raft=debug,info`.
    pub(crate) log: String,
    /// `text` or `json`.
    pub(crate) log_format: String,
    /// Ingest this node's own metrics, logs and traces under the tenant `trine`.
    pub(crate) ingest_own: bool,
    /// Interval of this node's own metrics, in seconds.
    pub(crate) interval_s: u64,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log: "info,openraft=error".into(), log_format: "text".into(), ingest_own: false, interval_s: 5 }
    }
}

/// Metrics over Prometheus' protocols.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MetricsConfig {
    /// Labels that federation and remote read add to every series, as a table.
    pub(crate) external_labels: BTreeMap<String, String>,
    /// Keep the start timestamps that remote write 2.0 brings: a record more for each sample that has one.
    pub(crate) start_timestamps: bool,
    /// Serve Prometheus' `/api/v1/admin/tsdb/*`, by which whoever reaches this node deletes series and has blocks linked.
    pub(crate) admin_api: bool,
}

/// How OpenTelemetry's metrics become series; the names are those of Prometheus' `otlp` section.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OtlpSection {
    /// `UnderscoreEscapingWithSuffixes`, `UnderscoreEscapingWithoutSuffixes`, `NoUTF8EscapingWithSuffixes` or `NoTranslation`.
    pub(crate) translation_strategy: TranslationStrategy,
    /// Resource attributes that every series of the resource gets as labels.
    pub(crate) promote_resource_attributes: Vec<String>,
    /// Promote all resource attributes but those of `ignore_resource_attributes`.
    pub(crate) promote_all_resource_attributes: bool,
    /// Resource attributes that are not promoted when all are.
    pub(crate) ignore_resource_attributes: Vec<String>,
    /// Give `target_info` the attributes that `job` and `instance` are made of, too.
    pub(crate) keep_identifying_resource_attributes: bool,
    /// Make native histograms with custom buckets of those with explicit bounds.
    pub(crate) convert_histograms_to_nhcb: bool,
    /// Make labels `otel_scope_…` of the scope's name, version, schema and attributes.
    pub(crate) promote_scope_metadata: bool,
    /// Add up what comes with delta temporality; refused without it. Each node adds up what it receives (ADR 0015).
    pub(crate) delta_to_cumulative: bool,
}

/// Pairs of agents that send the same: of each pair one replica is stored, as with Mimir's HA tracker (ADR 0013).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HaSection {
    /// Take part; without it `replica_label` is a label like any other.
    pub(crate) enabled: bool,
    /// Tenants that take part. Empty: all.
    pub(crate) tenants: Vec<String>,
    /// Label that names a pair.
    pub(crate) cluster_label: String,
    /// Label that names one of a pair; it is taken off what is stored.
    pub(crate) replica_label: String,
    /// Elect another replica once the elected one has been silent this long, in seconds.
    pub(crate) failover_s: u64,
    /// Renew the elected replica's lease this often at most, in seconds; less than `failover_s`.
    pub(crate) renew_s: u64,
}

impl Default for HaSection {
    fn default() -> Self {
        let (cluster_label, replica_label) = ("cluster".to_owned(), "__replica__".to_owned());
        Self { enabled: false, tenants: Vec::new(), cluster_label, replica_label, failover_s: 30, renew_s: 15 }
    }
}
