//! The configuration file, the environment and the flags, as one validated value.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};
use trine_actors::ClusterConfig;
use trine_actors::shard::Retention;
use trine_api::{ApiConfig, HaConfig, OtlpConfig, TranslationStrategy};
use trine_store::shard::CompactionPolicy;

use crate::cli::NodeFlags;
use crate::error::Error;
use crate::memory;

#[cfg(test)]
mod deployed;
#[cfg(test)]
mod document;
#[cfg(test)]
mod hostile;
mod refusal;
pub(crate) mod size;

/// Everything that can be configured. Later sources win: defaults, file, environment, flags.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) node: NodeConfig,
    pub(crate) listen: ListenConfig,
    pub(crate) cluster: ClusterSection,
    pub(crate) storage: StorageConfig,
    pub(crate) retention: RetentionConfig,
    pub(crate) compaction: CompactionConfig,
    pub(crate) scrub: ScrubConfig,
    pub(crate) recovery: RecoveryConfig,
    pub(crate) limits: LimitsConfig,
    pub(crate) spread: SpreadConfig,
    pub(crate) tenancy: TenancyConfig,
    pub(crate) metrics: MetricsConfig,
    pub(crate) otlp: OtlpSection,
    pub(crate) ha: HaSection,
    pub(crate) telemetry: TelemetryConfig,
}

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

impl CompactionConfig {
    fn policy(&self) -> CompactionPolicy {
        CompactionPolicy {
            windows_ms: self.windows_s.iter().map(|s| s * 1000).collect(),
            settle_ms: self.settle_s.saturating_mul(1000),
            bytes_max: self.block_bytes,
            ..CompactionPolicy::default()
        }
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

/// Keys whose value is text even where it looks like a number: a key of digits, a node named `7`.
const TEXT_KEYS: [&str; 4] = ["cluster.key", "node.name", "node.zone", "node.advertise"];

/// Most memory for the identities of series, some 250 bytes each.
const SERIES_CACHE_BYTES_MAX: usize = 512 << 20;
/// No duration is longer: 100 years. In ms and in ns it fits 63 bits.
const SECONDS_MAX: u64 = 100 * 365 * 24 * 3600;

/// What concerns the future is no more than half a day ahead: after a recovery of the metadata, no stream is spread for a day.
const AHEAD_MAX_S: u64 = 12 * 3600;

/// More samples than a node has memory for.
const QUERY_SAMPLES_MAX: u64 = 1_000_000_000;

impl Config {
    /// Reads all sources and validates the result.
    pub(crate) fn load(flags: &NodeFlags) -> Result<Self, Error> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(path) = &flags.config {
            // For the reason in the system's words: figment leaves a file out that it cannot find.
            if let Err(error) = std::fs::read_to_string(path) {
                let path = path.display();
                return Err(Error::ConfigSource(format!(
                    "cannot read the configuration file {path}, which --config or TRINE_CONFIG names: {error}"
                )));
            }
            figment = figment.merge(Toml::file_exact(path));
        }
        figment = figment.merge(Env::prefixed("TRINE__").split("__"));
        for key in TEXT_KEYS {
            let variable = format!("TRINE__{}", key.replace('.', "__").to_uppercase());
            if let Ok(text) = std::env::var(variable) {
                figment = figment.merge(Serialized::default(key, text));
            }
        }
        for pair in &flags.set {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| Error::ConfigSource(format!("--set {pair}: it takes section.key=value")))?;
            // The value is TOML when it reads as TOML (numbers, booleans, lists), else a string.
            let parsed = format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("v"));
            let parsed = parsed.filter(|p| p.is_str() || !TEXT_KEYS.contains(&key));
            let parsed = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
            figment = figment.merge(Serialized::default(key, parsed));
        }
        let mut config: Self = figment.extract().map_err(|e| refusal::refusal(&e))?;
        config.override_with(flags);
        config.fill()?;
        config.validate()?;
        Ok(config)
    }

    fn override_with(&mut self, flags: &NodeFlags) {
        fn set<T: Clone>(target: &mut T, flag: &Option<T>) {
            if let Some(value) = flag {
                *target = value.clone();
            }
        }
        set(&mut self.node.data_dir, &flags.data_dir);
        set(&mut self.node.name, &flags.node_name);
        set(&mut self.node.advertise, &flags.advertise);
        set(&mut self.node.memory_bytes, &flags.memory_bytes);
        set(&mut self.cluster.join, &flags.join);
        set(&mut self.cluster.bootstrap_expect, &flags.bootstrap_expect);
        set(&mut self.listen.http, &flags.http.map(|a| a.to_string()));
        set(&mut self.listen.rpc, &flags.rpc.map(|a| a.to_string()));
        set(&mut self.listen.gossip, &flags.gossip.map(|a| a.to_string()));
    }

    /// Fills what depends on the machine.
    fn fill(&mut self) -> Result<(), Error> {
        if self.node.name.is_empty() {
            let uname = rustix::system::uname();
            self.node.name = uname.nodename().to_string_lossy().into_owned();
        }
        if self.node.memory_bytes == 0 {
            self.node.memory_bytes = memory::default_budget_bytes();
        }
        if self.node.advertise.is_empty() {
            let rpc = address("listen.rpc", &self.listen.rpc)?;
            let any = rpc.ip().is_unspecified();
            self.node.advertise = if any { "127.0.0.1".into() } else { rpc.ip().to_string() };
        }
        Ok(())
    }

    fn validate(&self) -> Result<(), Error> {
        let bad = |key: &str, reason: String| Err(Error::Config { key: key.into(), reason: format!(": {reason}") });
        for (key, value) in self.listeners() {
            if !value.is_empty() {
                address(key, value)?;
            }
        }
        for key in ["listen.http", "listen.rpc", "listen.gossip"] {
            if self.listeners().iter().any(|(k, v)| *k == key && v.is_empty()) {
                return bad(key, "cannot be turned off".into());
            }
        }
        let mut taken: Vec<(&str, &str)> = Vec::new();
        for (key, value) in self.listeners() {
            let port_zero = value.ends_with(":0");
            if let Some((other, _)) = taken.iter().find(|(k, v)| {
                *v == value && !value.is_empty() && !port_zero && *k != "listen.gossip" && key != "listen.gossip"
            }) {
                return bad(key, format!("{value} is taken by {other} already"));
            }
            taken.push((key, value));
        }
        if self.node.name.is_empty() || self.node.name.len() > 200 || self.node.name.contains(char::is_whitespace) {
            return bad(
                "node.name",
                format!("{:?} is not a name of 1 to 200 characters without spaces", self.node.name),
            );
        }
        if self.node.memory_bytes < 128 << 20 {
            return bad("node.memory_bytes", format!("{} is less than 128 MiB", self.node.memory_bytes));
        }
        if let Some(peer) = self.cluster.join.iter().find(|peer| !is_host_and_port(peer)) {
            return bad(
                "cluster.join",
                format!("{peer:?} is not host:port, like trine-0:7071 (the peer's gossip port)"),
            );
        }
        for (key, seconds, least, most) in [
            ("storage.retention_s", self.storage.retention_s, 1, SECONDS_MAX),
            ("storage.head_age_s", self.storage.head_age_s, 1, SECONDS_MAX),
            ("limits.query_timeout_s", self.limits.query_timeout_s, 0, SECONDS_MAX),
            ("limits.future_s", self.limits.future_s, 0, AHEAD_MAX_S),
            ("telemetry.interval_s", self.telemetry.interval_s, 1, SECONDS_MAX),
            ("spread.after_s", self.spread.after_s, 3, SECONDS_MAX),
            ("spread.lead_s", self.spread.lead_s, 1, AHEAD_MAX_S),
            ("ha.failover_s", self.ha.failover_s, 1, SECONDS_MAX),
            ("ha.renew_s", self.ha.renew_s, 0, SECONDS_MAX),
        ] {
            if !(least..=most).contains(&seconds) {
                return bad(key, format!("{seconds} is not a number of seconds within {least} and {most}"));
            }
        }
        if let Some((tenant, seconds)) = self.retention.tenants_s.iter().find(|(_, s)| **s > SECONDS_MAX) {
            return bad("retention.tenants_s", format!("{seconds} of {tenant:?} is more than {SECONDS_MAX} seconds"));
        }
        if !(1..=QUERY_SAMPLES_MAX).contains(&self.limits.query_samples) {
            let samples = self.limits.query_samples;
            return bad("limits.query_samples", format!("{samples} is not within 1 and {QUERY_SAMPLES_MAX}"));
        }
        if self.ha.renew_s >= self.ha.failover_s {
            return bad("ha.renew_s", format!("{} is not less than ha.failover_s", self.ha.renew_s));
        }
        if self.ha.cluster_label.is_empty() || self.ha.replica_label.is_empty() {
            return bad("ha.replica_label", "neither label of a pair may be empty".into());
        }
        if self.cluster.shards == 0 || self.cluster.shards > 4096 {
            return bad("cluster.shards", format!("{} is not within 1 and 4096", self.cluster.shards));
        }
        if ![1, 3, 5].contains(&self.cluster.replication_factor) {
            return bad("cluster.replication_factor", format!("{} is not 1, 3 or 5", self.cluster.replication_factor));
        }
        if self.storage.wal_bytes < 256 << 20 {
            return bad("storage.wal_bytes", format!("{} is less than 256 MiB", self.storage.wal_bytes));
        }
        let windows = &self.compaction.windows_s;
        if !windows.is_sorted_by(|a, b| a < b) || !windows.iter().all(|s| (1..=SECONDS_MAX).contains(s)) {
            return bad("compaction.windows_s", format!("{windows:?} are not rising numbers of seconds"));
        }
        if self.scrub.bytes_per_second == 0 {
            return bad("scrub.bytes_per_second", "0 bytes a second never ends".into());
        }
        if !["text", "json"].contains(&self.telemetry.log_format.as_str()) {
            return bad("telemetry.log_format", format!("{:?} is neither text nor json", self.telemetry.log_format));
        }
        Ok(())
    }

    /// (key, value) of every listener.
    pub(crate) fn listeners(&self) -> [(&'static str, &str); 8] {
        let l = &self.listen;
        [
            ("listen.http", &l.http),
            ("listen.loki", &l.loki),
            ("listen.tempo", &l.tempo),
            ("listen.mimir", &l.mimir),
            ("listen.otlp_grpc", &l.otlp_grpc),
            ("listen.otlp_http", &l.otlp_http),
            ("listen.rpc", &l.rpc),
            ("listen.gossip", &l.gossip),
        ]
    }

    fn retention(&self) -> Retention {
        let RetentionConfig { tenants_s, bytes, metrics_bytes, logs_bytes, traces_bytes } = &self.retention;
        Retention {
            signals_ms: [self.storage.retention_s * 1000; 3],
            tenants_ms: tenants_s.iter().map(|(tenant, s)| (tenant.clone(), s * 1000)).collect(),
            bytes_max: *bytes,
            signals_bytes_max: [*metrics_bytes, *logs_bytes, *traces_bytes],
        }
    }

    /// Settings of the cluster layer.
    pub(crate) fn cluster_config(&self) -> Result<ClusterConfig, Error> {
        let http = address("listen.http", &self.listen.http)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(ClusterConfig {
            data_dir: self.node.data_dir.clone(),
            node_name: self.node.name.clone(),
            zone: self.node.zone.clone(),
            rpc_listen: address("listen.rpc", &self.listen.rpc)?,
            gossip_listen: address("listen.gossip", &self.listen.gossip)?,
            advertise_host: self.node.advertise.clone(),
            http_advertise: format!("{}:{}", self.node.advertise, http.port()),
            join: self.cluster.join.clone(),
            bootstrap_expect: self.cluster.bootstrap_expect,
            cluster_key: self.cluster.key.clone(),
            shards_count: self.cluster.shards,
            replication_factor: self.cluster.replication_factor,
            memory_budget_bytes: self.node.memory_bytes,
            head_age_ms_max: self.storage.head_age_s * 1000,
            wal_bytes_soft: self.storage.wal_bytes,
            disk_reserve_bytes: self.storage.disk_reserve_bytes,
            scrub_interval_ms: self.scrub.interval_s.saturating_mul(1000),
            scrub_bytes_per_second: self.scrub.bytes_per_second,
            pool_threads: cores,
            compaction: self.compaction.policy(),
            compaction_bytes_per_second: self.compaction.bytes_per_s,
            retention: self.retention(),
            quarantine_keep_ms: self.recovery.quarantine_s.saturating_mul(1000),
            quarantine_bytes_max: self.recovery.quarantine_bytes,
            fetch_bytes_per_second: self.recovery.fetch_bytes_per_s,
            fetches_max: self.recovery.fetches,
            future_ms_max: self.limits.future_s * 1000,
            spread_lead_ms: self.spread.lead_s * 1000,
            spread_bytes_per_second: self.spread.bytes_per_s,
            spread_after_ms: self.spread.after_s * 1000,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// Settings of the surfaces.
    pub(crate) fn api_config(&self) -> ApiConfig {
        let defaults = ApiConfig::default();
        let ms = |seconds: u64| i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
        let share = usize::try_from(self.node.memory_bytes / 8).unwrap_or(usize::MAX);
        ApiConfig {
            require_tenant: self.tenancy.require_tenant,
            inflight_bytes_max: share,
            series_cache_bytes: (share / 4).min(SERIES_CACHE_BYTES_MAX),
            retention_ms: ms(self.storage.retention_s),
            tenants_retention_ms: self.retention.tenants_s.iter().map(|(t, s)| (t.clone(), ms(*s))).collect(),
            future_ms_max: i64::try_from(self.limits.future_s * 1000).unwrap_or(i64::MAX),
            query_timeout_ms: match self.limits.query_timeout_s {
                0 => defaults.query_timeout_ms,
                s => s * 1000,
            },
            query_samples_max: self.limits.query_samples,
            slow_query_ms: self.limits.slow_query_ms,
            external_labels: self.metrics.external_labels.clone(),
            start_timestamps: self.metrics.start_timestamps,
            admin_api: self.metrics.admin_api,
            otlp: self.otlp_config(),
            ha: HaConfig {
                enabled: self.ha.enabled,
                tenants: self.ha.tenants.clone(),
                cluster_label: self.ha.cluster_label.clone(),
                replica_label: self.ha.replica_label.clone(),
                failover_ms: i64::try_from(self.ha.failover_s * 1000).unwrap_or(i64::MAX),
                renew_ms: i64::try_from(self.ha.renew_s * 1000).unwrap_or(i64::MAX),
            },
            ..defaults
        }
    }

    fn otlp_config(&self) -> OtlpConfig {
        let otlp = self.otlp.clone();
        OtlpConfig {
            translation_strategy: otlp.translation_strategy,
            promote_resource_attributes: otlp.promote_resource_attributes,
            promote_all_resource_attributes: otlp.promote_all_resource_attributes,
            ignore_resource_attributes: otlp.ignore_resource_attributes,
            keep_identifying_resource_attributes: otlp.keep_identifying_resource_attributes,
            convert_histograms_to_nhcb: otlp.convert_histograms_to_nhcb,
            promote_scope_metadata: otlp.promote_scope_metadata,
            delta_to_cumulative: otlp.delta_to_cumulative,
        }
    }
}

/// Parses a listener's address.
pub(crate) fn address(key: &str, value: &str) -> Result<SocketAddr, Error> {
    let parsed = if value.is_empty() { Err("cannot be turned off".to_owned()) } else { listen_address(value) };
    parsed.map_err(|reason| Error::Config { key: key.into(), reason: format!(": {reason}") })
}

/// Parses a listener's address; the error says what is expected.
pub(crate) fn listen_address(value: &str) -> Result<SocketAddr, String> {
    value.parse().map_err(|_| {
        let port = value.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).unwrap_or(9090);
        format!(
            "{value:?} is not an IP address with a port, like 0.0.0.0:{port} for every interface or 127.0.0.1:{port} for \
             this machine only; names are not resolved here"
        )
    })
}

/// Whether a peer is given as `host:port`; the host may be a name.
fn is_host_and_port(peer: &str) -> bool {
    let parts = peer.rsplit_once(':').filter(|(host, _)| {
        let bare = !host.is_empty() && !host.contains([':', '/', ' ']);
        bare || host.starts_with('[') && host.ends_with(']')
    });
    parts.and_then(|(_, port)| port.parse::<u16>().ok()).is_some_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(set: &[&str]) -> Result<Config, Error> {
        Config::load(&NodeFlags { set: set.iter().map(ToString::to_string).collect(), ..NodeFlags::default() })
    }

    #[test]
    fn defaults_are_valid_and_keys_are_named_in_errors() {
        assert!(load(&[]).is_ok());
        for (set, parts) in [
            ("cluster.shards=0", ["`cluster.shards`", "0 is not within 1 and 4096"]),
            ("cluster.replication_factor=2", ["`cluster.replication_factor`", "2 is not 1, 3 or 5"]),
            ("listen.http=nowhere", ["`listen.http`", "\"nowhere\" is not an IP address with a port"]),
            ("listen.http=localhost:9191", ["127.0.0.1:9191", "names are not resolved"]),
            ("listen.rpc=\"\"", ["`listen.rpc`", "cannot be turned off"]),
            ("listen.loki=0.0.0.0:9090", ["`listen.loki`", "taken by listen.http"]),
            ("ha.renew_s=30", ["`ha.renew_s`", "30 is not less than ha.failover_s"]),
            ("otlp.translation_strategy=None", ["`otlp.translation_strategy`", "NoTranslation"]),
            ("node.memory_bytes=5", ["`node.memory_bytes`", "5 is less than 128 MiB"]),
            (
                "node.memory_bytes=512M",
                ["`node.memory_bytes` in --set", "\"512M\" is not a number of bytes, or a size like"],
            ),
            ("node.memory_bytes=-1", ["`node.memory_bytes`", "-1 is not a number of bytes"]),
            ("storage.wal_bytes=true", ["`storage.wal_bytes`", "a size like 512MiB"]),
            ("node.colour=red", ["`node.colour` in --set: there is no such key", "[node] has advertise, data_dir"]),
            (
                "colour=red",
                ["`colour` in --set: there is no such key", "the sections are cluster, compaction, ha, limits"],
            ),
            ("nod.name=red", ["`nod` in --set: there is no such key", "docs/config.md"]),
            ("cluster.shards=many", ["`cluster.shards`", "string \"many\" is not a whole number, 0 or more"]),
            ("cluster.shards=-4", ["`cluster.shards`", "`-4` is not a whole number, 0 or more"]),
            ("tenancy.require_tenant=2", ["`tenancy.require_tenant`", "is not true or false"]),
            ("cluster.join=[\"nope\"]", ["`cluster.join`", "\"nope\" is not host:port"]),
            ("cluster.join=[\"a:1\", \"b:0\"]", ["`cluster.join`", "\"b:0\""]),
            ("cluster.join=[\"::1:7071\"]", ["`cluster.join`", "\"::1:7071\""]),
            (
                "storage.retention_s=0",
                ["`storage.retention_s`", "0 is not a number of seconds within 1 and 3153600000"],
            ),
            ("retention.tenants_s.a=3153600001", ["`retention.tenants_s`", "of \"a\" is more than 3153600000 seconds"]),
            ("retention.bytes=1.5GiB", ["retention.bytes", "512MiB"]),
            ("storage.head_age_s=0", ["`storage.head_age_s`", "0 is not a number of seconds within 1"]),
            ("storage.head_age_s=9223372036854775807", ["`storage.head_age_s`", "3153600000"]),
            ("limits.query_timeout_s=9223372036854775807", ["`limits.query_timeout_s`", "within 0 and"]),
            ("limits.future_s=43201", ["`limits.future_s`", "within 0 and 43200"]),
            ("spread.lead_s=0", ["`spread.lead_s`", "within 1 and 43200"]),
            ("spread.after_s=2", ["`spread.after_s`", "within 3 and"]),
            ("telemetry.interval_s=0", ["`telemetry.interval_s`", "within 1 and"]),
            ("colour", ["--set colour", "section.key=value"]),
        ] {
            let text = load(&[set]).unwrap_err().to_string();
            assert!(parts.iter().all(|p| text.contains(p)), "{set}: {text}");
        }
        for set in ["cluster.join=[\"a:1\", \"[::1]:7071\", \"10.0.0.1:7071\"]", "limits.query_timeout_s=0"] {
            assert!(load(&[set]).is_ok(), "{set}");
        }
        assert_eq!(load(&["cluster.key=123"]).unwrap().cluster.key, "123");
    }

    #[test]
    fn a_file_is_read_and_flags_win() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trine.toml");
        std::fs::write(&path, "[node]\nname = \"file\"\nzone = \"z\"\n[cluster]\njoin = [\"a:1\"]\n").unwrap();
        let flags = NodeFlags { config: Some(path), node_name: Some("flag".into()), ..NodeFlags::default() };
        let config = Config::load(&flags).unwrap();
        assert_eq!((config.node.name.as_str(), config.node.zone.as_str()), ("flag", "z"));
        assert_eq!(config.cluster.join, ["a:1"]);
    }
    #[test]
    fn sizes_are_read_from_every_source() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trine.toml");
        std::fs::write(&path, "[node]\nmemory_bytes = \"512MiB\"\n[storage]\nwal_bytes = 1073741824\n").unwrap();
        let set = |set: &[&str]| set.iter().map(ToString::to_string).collect();
        let flags = NodeFlags { config: Some(path.clone()), set: set(&[]), ..NodeFlags::default() };
        let config = Config::load(&flags).unwrap();
        assert_eq!((config.node.memory_bytes, config.storage.wal_bytes), (512 << 20, 1 << 30));
        let config = Config::load(&NodeFlags { set: set(&["storage.wal_bytes=2Gi"]), ..flags }).unwrap();
        assert_eq!((config.node.memory_bytes, config.storage.wal_bytes), (512 << 20, 2 << 30));
    }

    #[test]
    fn a_bad_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trine.toml");
        let refused = |config: &std::path::Path| {
            let flags = NodeFlags { config: Some(config.to_owned()), ..NodeFlags::default() };
            Config::load(&flags).unwrap_err().to_string()
        };
        for (text, parts) in [
            ("[node]\ncolour = 1\n", ["`node.colour` in ", "[node] has advertise"]),
            ("[node]\nmemory_bytes = \"lots\"\n", ["`node.memory_bytes` in ", "\"lots\" is not a number of bytes"]),
            ("[cluster]\nshards = \"many\"\n", ["`cluster.shards` in ", "string \"many\" is not a whole number"]),
            ("[node\n", ["configuration in ", "line 1"]),
        ] {
            std::fs::write(&path, text).unwrap();
            let said = refused(&path);
            assert!(parts.iter().all(|p| said.contains(p)) && said.contains("trine.toml"), "{text}: {said}");
            assert!(!said.contains("``") && !said.contains("one of"), "{said}");
        }
        for missing in [dir.path().join("none.toml"), dir.path().to_owned()] {
            let said = refused(&missing);
            let reason = if missing.is_dir() { "Is a directory" } else { "No such file" };
            assert!(said.contains(reason) && said.contains(&missing.display().to_string()), "{said}");
        }
    }
}
