//! Settings of a node's part in the cluster. `node` fills it from file, environment and flags.
use std::net::SocketAddr;
use std::path::PathBuf;

/// Everything that [`crate::Cluster::start`] needs.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Where this node keeps its log, blocks and metadata.
    pub data_dir: PathBuf,
    /// Name of this node, unique in the cluster; the ordinal host name in a StatefulSet.
    pub node_name: String,
    /// Zone, to spread replicas over.
    pub zone: String,
    /// Node-to-node gRPC listener.
    pub rpc_listen: SocketAddr,
    /// Gossip listener (UDP).
    pub gossip_listen: SocketAddr,
    /// Host that other nodes reach this one by: an address or a DNS name.
    pub advertise_host: String,
    /// `host:port` of this node's HTTP API, for admin pages and links.
    pub http_advertise: String,
    /// `host:port` gossip addresses of peers; DNS names resolve to all their addresses, again and again.
    pub join: Vec<String>,
    /// Create a new cluster once this many nodes without a cluster see each other; the lowest name does it. 0: never.
    pub bootstrap_expect: usize,
    /// Secret that authenticates gossip between the nodes of a cluster.
    pub cluster_key: String,
    /// Shards of a new cluster.
    pub shards_count: u32,
    /// Replicas of a shard once the cluster has as many nodes.
    pub replication_factor: usize,
    /// Memory that this node may use in all, in bytes.
    pub memory_budget_bytes: u64,
    /// Seal a shard's head when it is this old and not empty, in ms.
    pub head_age_ms_max: u64,
    /// Keep this many bytes of log before the shards that hold it back are sealed.
    pub wal_bytes_soft: u64,
    /// Free bytes of the disk below which no writes are taken. 0: a twentieth of it, 256 MiB to 2 GiB.
    pub disk_reserve_bytes: u64,
    /// Scrub this node's blocks when the last scrub is this long ago, in ms. 0: only by request.
    pub scrub_interval_ms: u64,
    /// Bytes a second that a scrub reads.
    pub scrub_bytes_per_second: u64,
    /// Threads of the pool for queries and encoding.
    pub pool_threads: usize,
    /// Files of healed damage stay in quarantine this long, in ms.
    pub quarantine_keep_ms: u64,
    /// Files of healed damage go earlier while the quarantine has more bytes than this.
    pub quarantine_bytes_max: u64,
    /// Bytes a second that this node fetches from others for new replicas, all together; 0: as fast as it goes.
    pub fetch_bytes_per_second: u64,
    /// Replicas that fetch at a time.
    pub fetches_max: usize,
    /// Log entries this far in the future are accepted by the surfaces, in ms: no spread of a stream begins before that.
    pub future_ms_max: u64,
    /// The places of log entries are settled this long before the newest that may come, in ms: so long can entries be
    /// placed without the metadata group, and so much later does a spread begin.
    pub spread_lead_ms: u64,
    /// Bytes a second of one log stream in one shard beyond which the stream is spread; 0: only by request.
    pub spread_bytes_per_second: u64,
    /// A stream is spread when it was beyond that for so long, in ms.
    pub spread_after_ms: u64,
    /// Software version shown to peers.
    pub version: String,
}
