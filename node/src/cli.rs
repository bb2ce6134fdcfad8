//! The command line.
mod tools;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use self::tools::{
    ExportFlags, InspectFlags, InspectFormat, InspectWhat, PromqlFlags, QueryFlags, QueryFormat, QueryLanguage,
};
use crate::config::{listen_address, size};

/// Metrics, logs and traces in one replicated binary.
#[derive(Debug, Parser)]
#[command(name = "trine", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "Examples:
  trine dev                                   three peers on this machine, data under ./data
  trine node --config /etc/trine/trine.toml   one peer
  trine node --node-name n1 --bootstrap-expect 1 --data-dir /var/lib/trine
  trine admin status --watch                  nodes, shards, leaders, lag and disk
  trine admin flush                           seal every head now
  trine admin healing                         what was damaged and how far it is healed
  trine admin ledger --verify                 count every fact again: do the books balance?
  trine admin blocks                          what is sealed, by window of time
  trine admin cardinality --tenant team-a     which metric and label make the series
  trine admin demotions                       labels that are taken off where they come in
  trine admin spread                          log streams that several shards share
  trine query promql 'rate(up[5m])' --start -1h   an expression, plotted
  trine inspect block FILE                    what a block holds, and whether it is whole
  trine export --start -1d --output day.om    samples as OpenMetrics text
  trine bench metrics --local 1               how much one node on this machine takes";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one peer of a cluster.
    Node(Box<NodeFlags>),
    /// Run three peers on loopback, to try Trine out.
    Dev(DevFlags),
    /// Talk to a cluster's admin API.
    Admin(AdminFlags),
    /// Ask a cluster a question, in a terminal.
    Query(Box<QueryFlags>),
    /// Look into a file of a node.
    Inspect(InspectFlags),
    /// Write samples as OpenMetrics text.
    Export(ExportFlags),
    /// Measure how much a server takes, what it costs, and what is kept.
    Bench(Box<BenchFlags>),
}

/// Flags of `trine node`: each overrides its key in the file and the environment.
#[derive(Debug, Default, Args)]
#[command(after_help = "Every key of the file is also an environment variable: [node] data_dir is \
TRINE__NODE__DATA_DIR. See docs/config.md for all keys.")]
pub(crate) struct NodeFlags {
    /// TOML file with the configuration.
    #[arg(long, env = "TRINE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where this node keeps its data.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Name of this node, unique in the cluster [default: the host's name].
    #[arg(long)]
    pub(crate) node_name: Option<String>,
    /// Host (or address) that the other nodes reach this one by.
    #[arg(long)]
    pub(crate) advertise: Option<String>,
    /// Gossip addresses of peers, `host:port,…`; DNS names resolve to all their addresses.
    #[arg(long, value_delimiter = ',')]
    pub(crate) join: Option<Vec<String>>,
    /// Create a cluster once this many nodes without one see each other; 0 only joins.
    #[arg(long)]
    pub(crate) bootstrap_expect: Option<usize>,
    /// Listen for every HTTP and gRPC API here. The usual ports of Loki, Tempo, Mimir and OTLP are listened at, too, on all addresses:
    /// see the `listen` keys in docs/config.md, which --set changes.
    #[arg(long, value_parser = listen_address)]
    pub(crate) http: Option<SocketAddr>,
    /// Listen for other nodes here.
    #[arg(long, value_parser = listen_address)]
    pub(crate) rpc: Option<SocketAddr>,
    /// Listen for gossip (UDP) here.
    #[arg(long, value_parser = listen_address)]
    pub(crate) gossip: Option<SocketAddr>,
    /// Memory budget, in bytes or as 512MiB [default: from the cgroup or the machine].
    #[arg(long, value_parser = size::parse)]
    pub(crate) memory_bytes: Option<u64>,
    /// Any other key, as `section.key=value`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Stop when standard input ends: for a process that starts nodes and must not leave them behind.
    #[arg(long, hide = true)]
    pub(crate) stop_with_stdin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DevFlags {
    /// Where the nodes keep their data.
    #[arg(long, default_value = "data")]
    pub(crate) data_dir: PathBuf,
    /// HTTP port of the first node; the others take the next ones. With the default the first node also listens at the
    /// ports of Loki, Tempo, Mimir and OTLP that are free.
    #[arg(long, default_value_t = 9090)]
    pub(crate) port: u16,
    /// Number of nodes: 1 or 3.
    #[arg(long, default_value_t = 3)]
    pub(crate) nodes: u16,
    /// Memory budget of each node, in bytes or as 512MiB [default: its part of what one node would take].
    #[arg(long, env = "TRINE__NODE__MEMORY_BYTES", value_parser = size::parse)]
    pub(crate) memory_bytes: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct AdminFlags {
    /// Base URL of any node.
    #[arg(long, env = "TRINE_URL", default_value = "http://127.0.0.1:9090", global = true)]
    pub(crate) url: String,
    #[command(subcommand)]
    pub(crate) command: AdminCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Show nodes, shards, leaders, lag and disk.
    Status {
        /// Show it again every second.
        #[arg(long)]
        watch: bool,
        /// Print the raw documents instead.
        #[arg(long)]
        json: bool,
    },
    /// Seal every head now and wait until the blocks are durable.
    Flush,
    /// Read every block of every node, compare the replicas, and have healed what is damaged. Fails unless all blocks could
    /// be checked and are sound. The log and manifests are checked when a node starts, not by this.
    Scrub {
        /// Start none: follow the ones that run, or show how the last ones ended.
        #[arg(long)]
        watch: bool,
    },
    /// Show what was found damaged, what heals it, and how far that is.
    Healing {
        /// Print the raw document instead.
        #[arg(long)]
        json: bool,
    },
    /// Show what became of every fact: received, rejected, applied, sealed, readable.
    Ledger {
        /// Count everything again first, on every replica; fails unless the books balance.
        #[arg(long)]
        verify: bool,
        /// Only the rows of this tenant.
        #[arg(long)]
        tenant: Option<String>,
        /// Print the raw documents instead.
        #[arg(long)]
        json: bool,
    },
    /// Show the sealed blocks by shard, signal and window of time, and which compactions are yet to be carried out.
    Blocks {
        /// Only blocks with facts of this tenant; rows and times are then the tenant's.
        #[arg(long)]
        tenant: Option<String>,
        /// Print the raw document instead, which also names each block.
        #[arg(long)]
        json: bool,
    },
    /// Show which tenants, metrics, labels and values make the most series, and where they become more.
    Cardinality {
        /// Only this tenant; otherwise the twenty with the most samples.
        #[arg(long)]
        tenant: Option<String>,
        /// Rows of each table, 1 to 50.
        #[arg(long, default_value_t = 10)]
        limit: usize,
        /// Print the raw document instead.
        #[arg(long)]
        json: bool,
    },
    /// Show which labels are taken off the series of metrics where they come in, take one off, or have one kept again.
    #[command(after_help = DEMOTION_EXAMPLES)]
    Demotions {
        #[command(subcommand)]
        command: Option<DemotionCommand>,
        /// Print the raw document instead.
        #[arg(long)]
        json: bool,
    },
    /// Show which log streams are spread over several slots, or spread one.
    #[command(after_help = SPREAD_EXAMPLES)]
    Spread {
        #[command(subcommand)]
        command: Option<SpreadCommand>,
        /// Print the raw document instead.
        #[arg(long)]
        json: bool,
    },
    /// Have a dead node's replicas made on other nodes, and forget it for good.
    RemoveNode {
        /// Name of the node.
        name: String,
        /// The node is alive: empty it first. It ends once it holds nothing.
        #[arg(long)]
        drain: bool,
    },
    /// Write the metadata to a checksummed file that `recover-metadata` can restore from.
    ExportMetadata {
        /// Where to; it is replaced.
        #[arg(long)]
        out: PathBuf,
    },
    /// Offline: make a node's copy of the metadata the only one, after a majority of the others is lost for good.
    RecoverMetadata(RecoverMetadataFlags),
}

const DEMOTION_EXAMPLES: &str = "Examples:
  trine admin cardinality --tenant team-a                       which label explodes
  trine admin demotions add logins_total user_id --dry-run      what would be left
  trine admin demotions add logins_total user_id --tenant team-a
  trine admin demotions                                         what is demoted, and from when on
  trine admin demotions end logins_total user_id --tenant team-a";

#[derive(Debug, Subcommand)]
pub(crate) enum DemotionCommand {
    /// Show what is demoted, as without a command.
    List,
    /// Take a label off the series of a metric, from some seconds on; see docs/operations/storage.md.
    #[command(after_help = DEMOTION_EXAMPLES)]
    Add {
        /// Name of the metric.
        metric: String,
        /// Name of the label.
        label: String,
        /// Whose metric.
        #[arg(long, default_value = "default")]
        tenant: String,
        /// Only say how many series would be left.
        #[arg(long)]
        dry_run: bool,
        /// Even if several sources that send now would become one series.
        #[arg(long)]
        force: bool,
    },
    /// Have samples keep the label again, from some seconds on.
    #[command(after_help = DEMOTION_EXAMPLES)]
    End {
        /// Name of the metric.
        metric: String,
        /// Name of the label.
        label: String,
        /// Whose metric.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
}

const SPREAD_EXAMPLES: &str = "Examples:
  trine admin spread                                    what is spread, and from when on
  trine admin spread set '{app=\"shop\"}' --slots 8     as early as possible
  trine admin spread set '{app=\"shop\"}' --slots 1     not any more
  trine admin spread set '{app=\"shop\"}' --slots 8 --tenant team-a --from-ms 1767225600000";

#[derive(Debug, Subcommand)]
pub(crate) enum SpreadCommand {
    /// Spread a log stream from a time of its entries on; see docs/operations/spread.md.
    #[command(after_help = SPREAD_EXAMPLES)]
    Set {
        /// Labels of the stream as they are pushed.
        stream: String,
        /// Number of slots, 1 to 256: as many shards share the stream. 1 ends a spread.
        #[arg(long)]
        slots: u16,
        /// Whose stream.
        #[arg(long, default_value = "default")]
        tenant: String,
        /// First entry time, Unix time in ms [default: as early as possible].
        #[arg(long)]
        from_ms: Option<i64>,
    },
}

#[derive(Debug, Args)]
#[command(
    after_help = "Stop every node first. Nodes whose data survived may be started again afterwards. What only the lost \
nodes knew of the metadata is forgotten; see docs/operations/recovery.md."
)]
pub(crate) struct RecoverMetadataFlags {
    /// Data directory of the surviving node, which must not run.
    #[arg(long)]
    pub(crate) data_dir: PathBuf,
    /// The cluster that this is meant for; without it, what would be done is only shown.
    #[arg(long, value_name = "CLUSTER_ID")]
    pub(crate) confirm_cluster: Option<String>,
    /// Take the metadata from this export instead of from the data directory.
    #[arg(long)]
    pub(crate) from: Option<PathBuf>,
    /// Take the export although the node's own copy is newer: what only that one knows is forgotten.
    #[arg(long, requires = "from")]
    pub(crate) take_older: bool,
}

#[derive(Debug, Args)]
#[command(after_help = BENCH_EXAMPLES)]
pub(crate) struct BenchFlags {
    #[command(subcommand)]
    pub(crate) signal: BenchSignal,
}

const BENCH_EXAMPLES: &str = "Examples:
  trine bench metrics --local 1 --local 3                         nodes that the bench starts, in a temporary directory
  trine bench metrics --local 1 --prometheus /usr/bin/prometheus  beside Prometheus, with the same requests and queries
  trine bench logs --url http://n1:9090 --url http://n2:9090      a running cluster; its CPU needs --pid on its machine
  trine bench metrics --url http://p:9090/api/v1/write            any remote-write endpoint";

impl BenchFlags {
    pub(crate) fn target(&self) -> &BenchTarget {
        match &self.signal {
            BenchSignal::Metrics(m) => &m.target,
            BenchSignal::Logs(l) => &l.target,
            BenchSignal::Traces(t) => &t.target,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchSignal {
    /// Remote write 1.0.
    Metrics(BenchMetrics),
    /// Loki's push API, protobuf.
    Logs(BenchLogs),
    /// OTLP over HTTP, protobuf.
    Traces(BenchTraces),
}

#[derive(Debug, Args)]
pub(crate) struct BenchTarget {
    /// Base URL or endpoint of a server; repeat it for each node of a cluster.
    #[arg(long)]
    pub(crate) url: Vec<String>,
    /// Process of the server at --url, whose CPU and memory are measured; may be repeated.
    #[arg(long)]
    pub(crate) pid: Vec<u32>,
    /// Data directory of the server at --url, to measure bytes at rest; may be repeated.
    #[arg(long)]
    pub(crate) server_data_dir: Vec<PathBuf>,
    /// Start a cluster of 1 or 3 nodes of this binary and measure it; may be repeated.
    #[arg(long, value_name = "NODES")]
    pub(crate) local: Vec<u16>,
    /// Key for the nodes of --local, as `section.key=value`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Start this Prometheus too and measure it with the same requests.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) prometheus: Option<PathBuf>,
    /// Start this VictoriaMetrics (single node) too and measure it with the same requests.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) victoria_metrics: Option<PathBuf>,
    /// Where started servers keep their data; it is not removed then [default: a temporary directory].
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Measure the started servers so many times, in turn.
    #[arg(long, default_value_t = 1)]
    pub(crate) repeat: u32,
    /// Seed of everything that is sent.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Connections, each with its own part of the load.
    #[arg(long, default_value_t = 8)]
    pub(crate) connections: usize,
    /// Unix time in ms of the newest fact [default: now].
    #[arg(long)]
    pub(crate) end_ms: Option<i64>,
    /// Seconds over which lines and traces are spread.
    #[arg(long, default_value_t = 3600)]
    pub(crate) span_s: u64,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BenchMetrics {
    #[command(flatten)]
    pub(crate) target: BenchTarget,
    /// Hosts that are scraped.
    #[arg(long, default_value_t = 100)]
    pub(crate) hosts: u32,
    /// Series of each host.
    #[arg(long, default_value_t = 100)]
    pub(crate) series: u32,
    /// Seconds between two samples of a series.
    #[arg(long, default_value_t = 15)]
    pub(crate) interval_s: u32,
    /// Samples in all.
    #[arg(long, default_value_t = 10_000_000)]
    pub(crate) samples: u64,
    /// Samples in a request.
    #[arg(long, default_value_t = 5_000)]
    pub(crate) samples_per_request: u64,
    /// Ask each query of the query benchmark so many times once the load is at rest; 0 for none.
    #[arg(long, default_value_t = 15)]
    pub(crate) queries: u32,
}

#[derive(Debug, Args)]
pub(crate) struct BenchLogs {
    #[command(flatten)]
    pub(crate) target: BenchTarget,
    /// Lines in all.
    #[arg(long, default_value_t = 5_000_000)]
    pub(crate) lines: u64,
    /// Streams that they belong to.
    #[arg(long, default_value_t = 200)]
    pub(crate) streams: u32,
    /// Bytes of lines in a request.
    #[arg(long, default_value_t = 1 << 20)]
    pub(crate) request_bytes: u64,
}

#[derive(Debug, Args)]
pub(crate) struct BenchTraces {
    #[command(flatten)]
    pub(crate) target: BenchTarget,
    /// Spans in all.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) spans: u64,
    /// Spans in a request.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) spans_per_request: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn help_says_what_trine_is_and_dev_takes_memory_as_nodes_do() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.starts_with("Metrics, logs and traces in one replicated binary"), "{help}");
        let cli = Cli::try_parse_from(["trine", "dev", "--memory-bytes", "256MiB"]).unwrap();
        assert!(matches!(cli.command, Command::Dev(DevFlags { memory_bytes: Some(0x1000_0000), .. })), "{cli:?}");
        let refused = Cli::try_parse_from(["trine", "admin", "recover-metadata", "--data-dir", "d", "--take-older"]);
        assert!(refused.is_err(), "it belongs to --from");
    }
}
