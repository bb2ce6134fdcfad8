//! The command line.
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Metrics, logs and traces in one replicated binary.
#[derive(Debug, Parser)]
#[command(name = "trine", version, about, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "Examples:
  trine dev                                   three peers on this machine, data under ./data
  trine node --config /etc/trine/trine.toml   one peer
  trine node --node-name n1 --bootstrap-expect 1 --data-dir /var/lib/trine
  trine admin status --watch                  nodes, shards, leaders, lag and disk
  trine admin flush                           seal every head now";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one peer of a cluster.
    Node(Box<NodeFlags>),
    /// Run three peers on loopback, to try Trine out.
    Dev(DevFlags),
    /// Talk to a cluster's admin API.
    Admin(AdminFlags),
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
    /// Listen for every HTTP and gRPC API here.
    #[arg(long)]
    pub(crate) http: Option<SocketAddr>,
    /// Listen for other nodes here.
    #[arg(long)]
    pub(crate) rpc: Option<SocketAddr>,
    /// Listen for gossip (UDP) here.
    #[arg(long)]
    pub(crate) gossip: Option<SocketAddr>,
    /// Memory budget in bytes [default: from the cgroup or the machine].
    #[arg(long)]
    pub(crate) memory_bytes: Option<u64>,
    /// Any other key, as `section.key=value`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DevFlags {
    /// Where the three nodes keep their data.
    #[arg(long, default_value = "data")]
    pub(crate) data_dir: PathBuf,
    /// HTTP port of the first node; the others take the next ones. Loki, Tempo and OTLP ports belong to the first node.
    #[arg(long, default_value_t = 9090)]
    pub(crate) port: u16,
    /// Number of nodes: 1 or 3.
    #[arg(long, default_value_t = 3)]
    pub(crate) nodes: u16,
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
}
