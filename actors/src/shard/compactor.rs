//! The task beside a replica that, while it leads, moves the cut-offs of retention and plans compactions: the clock is here,
//! the log carries what it decides.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, warn};
use trine_store::entry::{encode_compact, encode_expire};
use trine_store::limits::Cutoffs;
use trine_store::model::Signal;
use trine_store::shard::{BlockEntry, CompactionPolicy, ShardView, expiry, plan};

use super::handle::{ShardHandle, SubmitError};
use crate::cluster::unix_ms;
use crate::retention::{Room, unit_of};

/// How long facts are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// By signal, in the order of [`Signal::ALL`], in ms; 0: for ever.
    pub signals_ms: [u64; Signal::ALL.len()],
    /// Tenants whose facts of any signal are kept for another time, in ms; 0: for ever.
    pub tenants_ms: BTreeMap<String, u64>,
    /// Bytes of all blocks of a node, whatever their signal; 0: unbounded.
    pub bytes_max: u64,
    /// Bytes of a node's blocks by signal, in the order of [`Signal::ALL`]; 0: unbounded.
    pub signals_bytes_max: [u64; Signal::ALL.len()],
}

impl Retention {
    /// The cut-offs of a signal at a time, in the signal's unit.
    fn cutoffs(&self, signal: Signal, now_ms: u64) -> Cutoffs {
        let unit = unit_of(signal);
        let at = |kept_ms: u64| match kept_ms {
            0 => i64::MIN,
            kept_ms => match now_ms.checked_sub(kept_ms) {
                None => i64::MIN,
                Some(at_ms) => i64::try_from(at_ms).unwrap_or(i64::MAX).saturating_mul(unit),
            },
        };
        let tenants = self.tenants_ms.iter().map(|(tenant, kept_ms)| (tenant.as_str(), at(*kept_ms)));
        Cutoffs::new(at(self.signals_ms[signal as usize - 1]), tenants)
    }

    /// How far behind cut-offs may be, in ms: an entry of the log a hundredth of the shortest retention.
    fn step_ms(&self) -> u64 {
        let all = self.signals_ms.iter().chain(self.tenants_ms.values()).filter(|ms| **ms > 0);
        all.min().map_or(STEP_MS_MOST, |ms| ms / 100).clamp(STEP_MS_LEAST, STEP_MS_MOST)
    }
}

const STEP_MS_LEAST: u64 = 1_000;
const STEP_MS_MOST: u64 = 600_000;

/// What a compactor goes by.
#[derive(Clone, Debug)]
pub struct CompactorConfig {
    pub policy: CompactionPolicy,
    pub retention: Retention,
    /// From when on there is room for facts.
    pub room: Arc<Room>,
    /// Between two looks at a shard.
    pub tick: Duration,
}

/// Runs until `stop` changes.
pub(super) async fn compact(handle: ShardHandle, config: Arc<CompactorConfig>, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(config.tick);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            _ = ticks.tick() => {}
        }
        if handle.group.status().is_leader && !handle.disk.is_full() {
            match look(&handle, &config).await {
                Ok(()) | Err(SubmitError::NotLeader { .. }) => {}
                Err(error) => warn!(shard = handle.shard, %error, "a change of blocks was not proposed"),
            }
        }
    }
}

async fn look(handle: &ShardHandle, config: &CompactorConfig) -> Result<(), SubmitError> {
    let view = handle.view();
    let manifest = handle.observed().manifest.load_full();
    let is_empty =
        manifest.blocks.is_empty() && handle.observed().head_facts.load(std::sync::atomic::Ordering::Relaxed) == 0;
    if is_empty {
        return Ok(());
    }
    let now_ms = unix_ms();
    for signal in Signal::ALL {
        let mut wanted = config.retention.cutoffs(signal, now_ms);
        let (now, room) = (cutoffs_of(&view, signal), config.room.cutoffs(signal));
        let for_age = is_behind(&now, &wanted, signal, config.retention.step_ms());
        // By size they move a block at a time.
        if for_age || is_behind(&now, &room, signal, 0) {
            wanted.advance(&room);
            handle.propose(encode_expire(signal, &wanted), false).await?;
        }
    }
    // One at a time, so that each plan is made of what the last one has left.
    if !handle.observed().pending.load().is_empty() {
        return Ok(());
    }
    let view = handle.view();
    let lost = handle.observed().lost.load_full();
    let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    for signal in Signal::ALL {
        let cutoffs = cutoffs_of(&view, signal);
        let times = tenant_times(&view, signal);
        let expiry_of = |entry: &BlockEntry| {
            let times = times.get(&*entry.file).filter(|_| !lost.contains_key(&entry.file))?;
            let now = now_ms.saturating_mul(unit_of(signal));
            Some(expiry(times.iter().map(|(tenant, min, max)| (*tenant, *min, *max)), &cutoffs, now))
        };
        let bytes_max = config.policy.bytes_max.min(config.room.block_bytes_max(signal));
        let policy = CompactionPolicy { bytes_max, ..config.policy.clone() };
        let Some(request) = plan(&policy, &manifest, signal, now_ms, &expiry_of) else { continue };
        // A lost block comes back or its replica is replaced; until then there is nothing to merge it with.
        if request.inputs.iter().any(|file| lost.contains_key(file)) {
            continue;
        }
        let (blocks, window_ms) = (request.inputs.len(), request.window_ms);
        handle.propose(encode_compact(&request), false).await?;
        debug!(shard = handle.shard, signal = signal.as_str(), blocks, window_ms, "compaction proposed");
    }
    Ok(())
}

fn cutoffs_of(view: &ShardView, signal: Signal) -> Arc<Cutoffs> {
    match signal {
        Signal::Metrics => view.metrics.limits.cutoffs.clone(),
        Signal::Logs => view.logs.cutoffs.clone(),
        Signal::Traces => view.traces.cutoffs.clone(),
    }
}

/// Whether cut-offs have to move, by a step at least.
fn is_behind(now: &Cutoffs, wanted: &Cutoffs, signal: Signal, step_ms: u64) -> bool {
    let step = i64::try_from(step_ms).unwrap_or(i64::MAX).saturating_mul(unit_of(signal));
    let mut moved = now.clone();
    moved.advance(wanted);
    moved.is_beyond(now, step)
}

/// Tenants of each block with the times of their facts, by file.
fn tenant_times(view: &ShardView, signal: Signal) -> BTreeMap<&str, Vec<(&str, i64, i64)>> {
    let rows = match signal {
        Signal::Metrics => {
            return view.metrics.blocks.iter().map(|b| (b.name(), b.tenant_times().collect())).collect();
        }
        Signal::Logs => &view.logs,
        Signal::Traces => &view.traces,
    };
    rows.blocks.iter().map(|b| (b.name(), b.tenant_times().collect())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_offs_follow_the_clock_in_steps_and_tenants_have_their_own() {
        let retention = Retention {
            signals_ms: [1_000_000, 0, 2_000_000],
            tenants_ms: [("long".to_owned(), 0), ("short".to_owned(), 200_000)].into(),
            ..Retention::default()
        };
        let metrics = retention.cutoffs(Signal::Metrics, 10_000_000);
        assert_eq!((metrics.of("a"), metrics.of("long"), metrics.of("short")), (9_000_000, i64::MIN, 9_800_000));
        let logs = retention.cutoffs(Signal::Logs, 10_000_000);
        assert_eq!((logs.of("a"), logs.of("short")), (i64::MIN, 9_800_000_000_000));
        let ages = Retention { signals_ms: [20_000_000; 3], ..Retention::default() };
        assert_eq!(ages.cutoffs(Signal::Logs, 10_000_000), Cutoffs::default(), "longer than there has been time");
        assert_eq!(retention.step_ms(), 2_000);
        assert_eq!(Retention::default().step_ms(), STEP_MS_MOST);
        let later = |ms: u64| retention.cutoffs(Signal::Metrics, 10_000_000 + ms);
        let is_behind = |wanted: &Cutoffs| is_behind(&metrics, wanted, Signal::Metrics, 2_000);
        assert!(!is_behind(&later(1_999)) && is_behind(&later(2_000)));
        assert!(!is_behind(&Cutoffs::default()), "what has expired stays so");
        assert!(super::is_behind(&Cutoffs::default(), &metrics, Signal::Metrics, 2_000));
        assert!(!super::is_behind(&Cutoffs::default(), &Cutoffs::default(), Signal::Metrics, 2_000));
    }
}
