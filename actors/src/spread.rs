//! Spreading hot log streams over several slots: keeps the time before which places are settled ahead of the entries that
//! come, and asks for streams to be spread that take too much for long. The table itself is in the metadata
//! (`meta::StreamPlaces`), what it means in `store::model::spread`, why it is right in ADR 0012.
mod hot;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::{debug, info, warn};
use trine_store::model::{Labels, Spreads};

use crate::cluster::{COMMAND_PATIENCE, Shared};
use crate::config::ClusterConfig;
use crate::meta::{Command, Reply, StreamPlaces};
pub(crate) use hot::HotStreams;
use hot::{Hot, wanted_slots};

const NS_PER_MS: i64 = 1_000_000;
/// Between two looks at the horizon, at most; less when it is kept only a little ahead.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);
/// Between two tries to settle the place of an entry that waits.
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// How long an entry waits for its place: through an election of the metadata group, and short enough for the write itself to
/// follow within what clients usually wait.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);

/// Wall clock in ns. What is decided by it is when a spread begins, never where an entry goes: that follows from the entry's
/// own time and the metadata.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn ns_of(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(NS_PER_MS)
}

impl ClusterConfig {
    /// Newest entry time that surfaces accept now, in ns.
    fn newest_ns(&self) -> i64 {
        now_ns().saturating_add(ns_of(self.future_ms_max))
    }
}

/// Whether the metadata leader raises the horizon now, and to what: it is raised when half of the lead is used up.
fn raise_to(horizon_ns: i64, newest_ns: i64, lead_ns: i64) -> Option<i64> {
    (horizon_ns < newest_ns.saturating_add(lead_ns / 2)).then(|| newest_ns.saturating_add(lead_ns))
}

/// Runs until the node stops.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let lead = Duration::from_millis(shared.config.spread_lead_ms);
    let mut ticks = tokio::time::interval((lead / 8).clamp(TRY_AGAIN, LOOK_EVERY_MAX));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stopping = shared.stopping.subscribe();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        shared.keep_horizon().await;
        for hot in shared.hot.close_window(shared.config.spread_bytes_per_second) {
            shared.spread_hot(&hot).await;
        }
    }
}

impl Shared {
    /// Where log entries go, as far as this node has applied the metadata.
    pub(crate) fn spreads(&self) -> Spreads {
        self.meta.get().map_or_else(Spreads::default, |m| m.spreads.borrow().clone())
    }

    async fn keep_horizon(&self) {
        if !self.meta.get().is_some_and(|m| m.group.status().is_leader) || self.meta().cluster.is_empty() {
            return;
        }
        let horizon_ns = self.meta().places.horizon_ns;
        let Some(to_ns) = raise_to(horizon_ns, self.config.newest_ns(), ns_of(self.config.spread_lead_ms)) else {
            return;
        };
        let raise = Command::RaiseHorizon { to_ns };
        match tokio::time::timeout(COMMAND_PATIENCE, self.meta_propose(&raise)).await {
            Ok(Ok(_)) => debug!(to_ns, "the places of log entries before that are settled"),
            Ok(Err(error)) => debug!(error, "the places of coming log entries are not settled yet, trying again"),
            Err(_) => warn!("the places of coming log entries cannot be settled: the metadata group takes no commands"),
        }
    }

    /// Returns once the place of entries at `time_ns` is settled and this node knows it. The metadata leader is asked for that
    /// if need be: it usually is ahead, unless clocks disagree or it has just begun.
    pub(crate) async fn settle(&self, time_ns: i64) -> Result<(), String> {
        let Some(meta) = self.meta.get() else { return Err("this node belongs to no cluster yet".into()) };
        let mut spreads = meta.spreads.clone();
        let mut reason = String::from("no answer of the metadata leader in time");
        let settled = async {
            // One asks, the others find it done.
            let _asking = self.settling.lock().await;
            let to_ns = time_ns.saturating_add(ns_of(self.config.spread_lead_ms)).max(time_ns.saturating_add(1));
            while spreads.borrow_and_update().final_before_ns() <= time_ns {
                if let Err(error) = self.meta_submit(&Command::RaiseHorizon { to_ns }).await {
                    reason = error;
                }
                // The answer may be here before the entry is applied here.
                let known = spreads.wait_for(|s| s.final_before_ns() > time_ns);
                if matches!(tokio::time::timeout(TRY_AGAIN, known).await, Ok(Err(_))) {
                    return;
                }
            }
        };
        let in_time = tokio::time::timeout(SETTLE_PATIENCE, settled).await.is_ok();
        match in_time && self.spreads().final_before_ns() > time_ns {
            true => Ok(()),
            false => Err(format!("the place of log entries at {time_ns} ns is not settled: {reason}")),
        }
    }

    /// Spreads a stream from `from_ns` on, or as early as possible when that is 0; gives the beginning.
    pub(crate) async fn spread(&self, tenant: &str, stream: &[u8], slots: u16, from_ns: i64) -> Result<i64, String> {
        let command = Command::SpreadStream {
            tenant: tenant.to_owned(),
            stream: stream.to_vec(),
            from_ns,
            slots,
            earliest_ns: self.config.newest_ns(),
        };
        match self.meta_command(&command).await? {
            Reply::SpreadFrom(from_ns) => Ok(from_ns),
            other => Err(format!("the metadata group answered {other:?}")),
        }
    }

    async fn spread_hot(&self, hot: &Hot) {
        let meta = self.meta();
        let rate = self.config.spread_bytes_per_second;
        let Some(slots) = wanted_slots(hot, &meta.places, now_ns(), meta.shards.len(), rate) else { return };
        let stream = text_of(&hot.stream);
        match self.spread(&hot.tenant, &hot.stream, slots, 0).await {
            Ok(from_ns) => info!(
                tenant = hot.tenant,
                stream,
                bytes_per_second = hot.bytes_per_second,
                shard = hot.shard,
                slots,
                from_ns,
                "a log stream takes too much for one shard: it is going to be spread"
            ),
            Err(error) => warn!(tenant = hot.tenant, stream, error, "a log stream takes too much and is not spread"),
        }
    }
}

/// A stream's canonical labels as people read them.
pub fn text_of(stream: &[u8]) -> String {
    Labels::decode(stream).map_or_else(|e| format!("{e}"), |labels| labels.to_string())
}

/// The table of spread streams, as a node shows it.
#[derive(Clone, Debug)]
pub struct SpreadView {
    pub places: StreamPlaces,
    /// A spread that is asked for now begins no earlier than this, in ns.
    pub earliest_ns: i64,
    pub now_ns: i64,
}

impl SpreadView {
    pub(crate) fn of(shared: &Shared) -> Self {
        let places = shared.meta().places.clone();
        let earliest_ns = places.horizon_ns.max(shared.config.newest_ns());
        Self { places, earliest_ns, now_ns: now_ns() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_horizon_is_raised_when_half_of_the_lead_is_used_up() {
        for (horizon_ns, raised) in [
            (i64::MIN, Some(1_100)),
            (0, Some(1_100)),
            (1_049, Some(1_100)),
            (1_050, None),
            (1_100, None),
            (i64::MAX, None),
        ] {
            assert_eq!(raise_to(horizon_ns, 1_000, 100), raised, "{horizon_ns}");
        }
        assert_eq!(raise_to(0, i64::MAX, i64::MAX), Some(i64::MAX));
    }
}
