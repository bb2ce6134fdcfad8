//! What a configuration may say.
use super::{Config, address};
use crate::error::Error;

/// No duration is longer: 100 years. In ms and in ns it fits 63 bits.
const SECONDS_MAX: u64 = 100 * 365 * 24 * 3600;

/// What concerns the future is no more than half a day ahead: after a recovery of the metadata, no stream is spread for a day.
const AHEAD_MAX_S: u64 = 12 * 3600;

/// More samples than a node has memory for.
const QUERY_SAMPLES_MAX: u64 = 1_000_000_000;

impl Config {
    /// Names the first key that cannot be as it is.
    pub(super) fn validate(&self) -> Result<(), Error> {
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
}

/// Whether a peer is given as `host:port`; the host may be a name.
fn is_host_and_port(peer: &str) -> bool {
    let parts = peer.rsplit_once(':').filter(|(host, _)| {
        let bare = !host.is_empty() && !host.contains([':', '/', ' ']);
        bare || host.starts_with('[') && host.ends_with(']')
    });
    parts.and_then(|(_, port)| port.parse::<u16>().ok()).is_some_and(|port| port > 0)
}
