//! Settings of all groups of a node.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::ids::{GroupId, NodeId};

/// Whether there is room for entries and snapshots of a group's leader elsewhere; yes by default. While there is none, appends are
/// refused and their leaders back off: the group goes on with its other replicas, and this one catches up later.
#[derive(Clone, Default)]
pub struct Admit(Option<Arc<Ask>>);

type Ask = dyn Fn(GroupId) -> bool + Send + Sync;

impl Admit {
    pub fn new(ask: impl Fn(GroupId) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(ask)))
    }

    pub(crate) fn ask(&self, group: GroupId) -> bool {
        self.0.as_ref().is_none_or(|ask| ask(group))
    }
}

impl fmt::Debug for Admit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Admit(asked)" } else { "Admit(always)" })
    }
}

/// Settings of a [`crate::Multi`].
#[derive(Clone, Debug)]
pub struct MultiConfig {
    /// Names the cluster; requests for another are refused.
    pub cluster: String,
    /// This node.
    pub node: NodeId,
    /// Worker threads of the runtime the groups run on.
    pub threads: usize,
    /// A leader is heard at least so often.
    pub heartbeat: Duration,
    /// A follower that hears nothing for this long, or up to [`Self::election_max`], asks for votes.
    pub election_min: Duration,
    /// See [`Self::election_min`].
    pub election_max: Duration,
    /// How long a follower may take to install a snapshot, fetching included.
    pub snapshot_timeout: Duration,
    /// Bytes of log entries that groups which are being opened hold in memory, all together: it decides how many replay their log
    /// at a time, but one always does.
    pub replay_bytes: u64,
    /// Asked before entries of other leaders are taken.
    pub admit: Admit,
    /// Entries of one append request; [`crate::READ_BYTES_MAX`] bounds its bytes.
    pub append_entries_max: u64,
}

impl MultiConfig {
    /// Defaults for `node` of `cluster`.
    pub fn new(cluster: impl Into<String>, node: NodeId) -> Self {
        Self {
            cluster: cluster.into(),
            node,
            threads: 2,
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(1000),
            snapshot_timeout: Duration::from_secs(600),
            replay_bytes: 16 << 20,
            admit: Admit::default(),
            append_entries_max: 256,
        }
    }

    pub(crate) fn raft(&self) -> Result<openraft::Config, openraft::ConfigError> {
        let (heartbeat, election_min) = (millis(self.heartbeat), millis(self.election_min));
        openraft::Config {
            cluster_name: self.cluster.clone(),
            heartbeat_interval: heartbeat,
            election_timeout_min: election_min,
            // An append that was answered is a heartbeat, if timings leave room for one more interval and a tick.
            heartbeat_min_interval: (election_min > heartbeat.saturating_mul(3)).then_some(heartbeat),
            election_timeout_max: millis(self.election_max),
            install_snapshot_timeout: millis(self.snapshot_timeout),
            max_payload_entries: self.append_entries_max,
            // Snapshots and purges are the caller's: see `Group::snapshot_taken` and `Group::purge_through`.
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            enable_pre_vote: Some(true),
            // A restarted leader stands for election again. Read points rely on it: see `confirm`.
            enable_leader_restore: Some(false),
            ..openraft::Config::default()
        }
        .validate()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
