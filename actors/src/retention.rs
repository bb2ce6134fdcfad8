//! Retention by size: from which time on there is room for what the nodes hold in blocks.
//!
//! Each node says from when on its own bounds leave room; all keep what the fullest one can. So a time is in every shard or in
//! none, and no answer is a part of what it was. Leaders turn that into cut-offs in the logs of their shards.
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tracing::info;
use trine_store::limits::Cutoffs;
use trine_store::model::Signal;
use trine_store::shard::{BlockEntry, Manifest, cutoff_of_bytes};

use crate::cluster::{Shared, unix_ms};
use crate::shard::Retention;

/// What is younger never goes for its size, in ms: blocks that nothing else than a bound too small would remove.
const LEAST_AGE_MS: i64 = 3_600_000;
const LEAST_STEP_MS: i64 = 60_000;
/// A merged block takes this part of the bound of a shard at most, so that little more than is needed goes at a time.
const BLOCK_PART: u64 = 8;
/// Merged blocks may have this many bytes, whatever the bounds.
const BLOCK_BYTES_LEAST: u64 = 1 << 20;
const TICK: Duration = Duration::from_secs(5);

/// Times of a signal's facts in one ms.
pub(crate) fn unit_of(signal: Signal) -> i64 {
    if signal == Signal::Metrics { 1 } else { 1_000_000 }
}

/// What is newer than this stays. In steps, so that it does not move cut-offs all the time.
fn least_ms(now_ms: i64) -> i64 {
    let least = now_ms.saturating_sub(LEAST_AGE_MS);
    least - least.rem_euclid(LEAST_STEP_MS)
}

fn at(signal: Signal) -> usize {
    signal as usize - 1
}

/// From when on there is room for facts, and how big blocks may become for that to be followed.
#[derive(Debug)]
pub struct Room {
    /// By signal, in ms.
    from_ms: [AtomicI64; Signal::ALL.len()],
    block_bytes_max: [AtomicU64; Signal::ALL.len()],
}

impl Default for Room {
    /// Room for everything.
    fn default() -> Self {
        Self { from_ms: [i64::MIN; 3].map(AtomicI64::new), block_bytes_max: [u64::MAX; 3].map(AtomicU64::new) }
    }
}

impl Room {
    /// Facts of the signal before this time, in ms, have to go; `i64::MIN`: none.
    pub fn from_ms(&self, signal: Signal) -> i64 {
        self.from_ms[at(signal)].load(Ordering::Relaxed)
    }

    /// The same as cut-offs of all tenants.
    pub(crate) fn cutoffs(&self, signal: Signal) -> Cutoffs {
        match self.from_ms(signal) {
            i64::MIN => Cutoffs::default(),
            ms => Cutoffs::new(ms.saturating_mul(unit_of(signal)), []),
        }
    }

    pub(crate) fn block_bytes_max(&self, signal: Signal) -> u64 {
        self.block_bytes_max[at(signal)].load(Ordering::Relaxed)
    }
}

impl Retention {
    fn is_by_size(&self) -> bool {
        self.bytes_max > 0 || self.signals_bytes_max.iter().any(|n| *n > 0)
    }

    /// From when on there is room for facts, by signal in ms, on a node with these blocks.
    fn room_from_ms(&self, blocks: &[&BlockEntry], now_ms: i64) -> [i64; Signal::ALL.len()] {
        // What says that it is of the future is as new as can be.
        let newest_ms = |b: &BlockEntry| b.max_time.div_euclid(unit_of(b.signal)).min(now_ms);
        let cutoff = |signal: Option<Signal>, bytes_max: u64| {
            let counted = blocks.iter().filter(|b| signal.is_none_or(|s| b.signal == s));
            let cutoff = (bytes_max > 0).then(|| cutoff_of_bytes(counted.map(|b| (newest_ms(b), b.bytes)), bytes_max));
            cutoff.flatten().unwrap_or(i64::MIN)
        };
        let of_all = cutoff(None, self.bytes_max);
        let least = least_ms(now_ms);
        Signal::ALL.map(|s| cutoff(Some(s), self.signals_bytes_max[at(s)]).max(of_all).min(least))
    }

    /// How many bytes a merged block of each signal may have on a node with so many shards.
    fn block_bytes_max(&self, shards: usize) -> [u64; Signal::ALL.len()] {
        let bound = |bytes: u64| if bytes == 0 { u64::MAX } else { bytes };
        let shards = (shards.max(1) as u64).saturating_mul(BLOCK_PART);
        let bytes_max = |bytes: &u64| bound(*bytes).min(bound(self.bytes_max));
        self.signals_bytes_max.each_ref().map(|bytes| match bytes_max(bytes) {
            u64::MAX => u64::MAX,
            bytes => (bytes / shards).max(BLOCK_BYTES_LEAST),
        })
    }
}

/// Keeps up to date from when on there is room, here and everywhere.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let retention = &shared.config.retention;
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        let Some(gossip) = shared.gossip.get() else { continue };
        let now_ms = i64::try_from(unix_ms()).unwrap_or(i64::MAX);
        let mut from_ms = [i64::MIN; Signal::ALL.len()];
        if retention.is_by_size() {
            let manifests: Vec<Arc<Manifest>> =
                shared.handles().values().map(|h| h.observed().manifest.load_full()).collect();
            let blocks: Vec<&BlockEntry> = manifests.iter().flat_map(|m| &m.blocks).collect();
            from_ms = retention.room_from_ms(&blocks, now_ms);
            let block_bytes = retention.block_bytes_max(manifests.len());
            shared.room.block_bytes_max.iter().zip(block_bytes).for_each(|(at, n)| at.store(n, Ordering::Relaxed));
        }
        gossip.announce_room(from_ms);
        let cluster = shared.cluster_id();
        let live = gossip.live();
        let peers = live.borrow();
        let members = peers.values().filter(|peer| !cluster.is_empty() && peer.cluster == cluster);
        let said: Vec<[i64; Signal::ALL.len()]> = members.map(|peer| peer.room_from_ms).collect();
        drop(peers);
        shared.room.set(of_fullest(from_ms, &said, now_ms));
    }
}

/// What all nodes have room for, given what this one and its peers have said. Whatever a peer says, the newest hour stays.
fn of_fullest(own: [i64; 3], peers: &[[i64; 3]], now_ms: i64) -> [i64; 3] {
    let least = least_ms(now_ms);
    let later = |a: [i64; 3], b: &[i64; 3]| std::array::from_fn(|i| a[i].max(b[i]));
    peers.iter().fold(own, later).map(|ms| ms.min(least))
}

impl Room {
    /// What has no room any more does not get it back: it may be gone.
    fn set(&self, from_ms: [i64; Signal::ALL.len()]) {
        for (signal, ms) in Signal::ALL.into_iter().zip(from_ms) {
            let before = self.from_ms[at(signal)].fetch_max(ms, Ordering::Relaxed);
            if ms > before {
                info!(signal = signal.as_str(), from_ms = ms, "older blocks go, there is no room for them");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_000 * LEAST_AGE_MS;

    fn block(signal: Signal, newest_ms: i64, bytes: u64) -> BlockEntry {
        BlockEntry {
            signal,
            file: String::new(),
            bytes,
            crc: 0,
            facts: 1,
            series: 1,
            min_time: 0,
            max_time: newest_ms.saturating_mul(unit_of(signal)),
            digest: 0,
            made_at: 0,
            window_ms: 0,
        }
    }

    #[test]
    fn the_oldest_blocks_of_a_signal_or_of_all_go() {
        let (metrics, logs) = (Signal::Metrics, Signal::Logs);
        let blocks = [block(metrics, 100, 10), block(logs, 200, 10), block(metrics, 300, 10), block(logs, 400, 10)];
        let blocks: Vec<&BlockEntry> = blocks.iter().collect();
        let none = i64::MIN;
        let of = |bytes_max, signals_bytes_max| {
            let retention = Retention { bytes_max, signals_bytes_max, ..Retention::default() };
            retention.room_from_ms(&blocks, NOW_MS)
        };
        for (bytes_max, signals, expected) in [
            (0, [0; 3], [none; 3]),
            (40, [0; 3], [none; 3]),
            (39, [0; 3], [101; 3]),
            (20, [0; 3], [201; 3]),
            (0, [10, 0, 0], [101, none, none]),
            (0, [0, 15, 1], [none, 201, none]),
            (39, [0, 15, 0], [101, 201, 101]),
        ] {
            assert_eq!(of(bytes_max, signals), expected, "{bytes_max} {signals:?}");
        }
    }

    #[test]
    fn the_newest_hour_stays_and_a_time_of_the_future_counts_as_now() {
        let retention = Retention { bytes_max: 15, ..Retention::default() };
        let (future, old) = (block(Signal::Traces, i64::MAX / 1_000_000, 10), block(Signal::Traces, 5, 10));
        assert_eq!(retention.room_from_ms(&[&future, &old], NOW_MS), [6; 3]);
        assert_eq!(retention.room_from_ms(&[&future, &future], NOW_MS), [NOW_MS - LEAST_AGE_MS; 3]);
        assert_eq!(of_fullest([7; 3], &[[6, 8, i64::MAX]], NOW_MS), [7, 8, NOW_MS - LEAST_AGE_MS]);
    }

    #[test]
    fn blocks_stay_small_enough_for_the_bound() {
        let retention =
            |bytes_max, metrics| Retention { bytes_max, signals_bytes_max: [metrics, 0, 0], ..Retention::default() };
        assert_eq!(retention(0, 0).block_bytes_max(4), [u64::MAX; 3]);
        assert_eq!(retention(32 << 30, 64 << 30).block_bytes_max(4), [1 << 30; 3]);
        assert_eq!(retention(0, 32 << 30).block_bytes_max(4), [1 << 30, u64::MAX, u64::MAX]);
        assert_eq!(retention(1, 0).block_bytes_max(0), [BLOCK_BYTES_LEAST; 3]);
    }

    #[test]
    fn room_that_is_gone_stays_gone() {
        let room = Room::default();
        assert_eq!(room.cutoffs(Signal::Logs), Cutoffs::default());
        room.set([5, 7, i64::MIN]);
        room.set([6, 3, i64::MIN]);
        assert_eq!(Signal::ALL.map(|s| room.from_ms(s)), [6, 7, i64::MIN]);
        assert_eq!(room.cutoffs(Signal::Logs), Cutoffs::new(7_000_000, []));
    }
}
