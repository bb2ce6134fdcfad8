//! A fragment over many shards, on more than one thread.
//!
//! The thread that was called begins alone, since most queries are over before another thread would have begun. When they
//! are not, helpers take shards over, in order. What shards send and what is merged of them goes on in the order of the
//! shards, whoever was done first: an answer never depends on timing.
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use trine_store::shard::ShardView;

use super::select::{Merged, Selects, ShardDone};
use super::{Left, StoreSource};
use crate::error::{Error, Result};
use crate::fragment::{FragmentLimits, Sink};
use crate::memory::Charge;
use crate::promql::fragment::Request;

/// How long one thread works on a fragment before others help.
const ALONE: Duration = Duration::from_micros(300);
/// Frames of a shard that may wait for those of the shards before.
const FRAMES_QUEUED: usize = 4;

/// What the threads share.
struct Job {
    selects: Selects,
    tenant: Arc<str>,
    shards: Vec<Arc<ShardView>>,
    limits: FragmentLimits,
    left: Left,
    /// The next shard that nobody works on.
    next: AtomicUsize,
}

/// From a helper.
enum Sent {
    Frame(Bytes, Charge),
    Done(Result<ShardDone>),
}

/// Evaluates the selectors of `request` over all shards.
pub(super) fn run(
    request: &Request,
    tenant: &str,
    shards: &[Arc<ShardView>],
    limits: &FragmentLimits,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let job = Job {
        selects: Selects::decode(request)?,
        tenant: Arc::from(tenant),
        shards: shards.to_vec(),
        limits: super::limits_of(request, limits),
        left: Left::new(request, limits),
        next: AtomicUsize::new(0),
    };
    let mut merged = job.selects.merge(limits)?;
    let started = Instant::now();
    while let Some(at) = job.take_next() {
        merged.take(job.shard(at, sink)?, &job.left)?;
        let left = job.shards.len() - (at + 1);
        if left > 1 && limits.helpers.free_count() > 0 && started.elapsed() > ALONE {
            return together(&Arc::new(job), at + 1, merged, sink);
        }
    }
    merged.send(&job.left, sink)
}

impl Job {
    fn take_next(&self) -> Option<usize> {
        let next = |at: usize| (at < self.shards.len()).then_some(at + 1);
        self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()
    }

    /// Takes this shard unless somebody has.
    fn take(&self, at: usize) -> bool {
        self.next.compare_exchange(at, at + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn shard(&self, at: usize, sink: &mut Sink<'_>) -> Result<ShardDone> {
        let shard = &self.shards[at];
        let source = StoreSource { view: &shard.metrics, tenant: &self.tenant };
        self.selects.over(shard.shard, &source, &self.limits, &self.left, sink)
    }

    /// Takes shards until there is none left or nobody waits.
    fn help(&self, senders: &[SyncSender<Sent>], first: usize) {
        while let Some(at) = self.take_next() {
            let sender = &senders[at - first];
            let mut sink = |frame: Bytes| {
                let held = self.limits.memory.charge(frame.len() as u64)?;
                sender.send(Sent::Frame(frame, held)).map_err(|_| Error::Canceled)
            };
            let done = self.shard(at, &mut sink);
            let failed = done.is_err();
            if sender.send(Sent::Done(done)).is_err() || failed {
                return;
            }
        }
    }
}

/// Goes on from shard `first` with helpers.
fn together(job: &Arc<Job>, first: usize, mut merged: Merged, sink: &mut Sink<'_>) -> Result<()> {
    let mut ending = EndOnDrop { job, is_over: false };
    let count = job.shards.len() - first;
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| sync_channel(FRAMES_QUEUED)).unzip();
    let help = {
        let (job, senders) = (job.clone(), Arc::new(senders));
        move || job.help(&senders, first)
    };
    job.limits.helpers.run(count - 1, help);
    // Where shards send next to nothing before the end, this thread works on any of them, too.
    let mut mine: VecDeque<Mine> = VecDeque::new();
    while job.selects.are_grouped()
        && let Some(at) = job.take_next()
    {
        mine.push_back(Mine::work(job, at)?);
    }
    for (at, receiver) in (first..).zip(receivers) {
        let done = match mine.pop_front_if(|mine| mine.at == at) {
            Some(mine) => {
                mine.frames.into_iter().try_for_each(|(frame, held)| {
                    drop(held);
                    sink(frame)
                })?;
                mine.done
            }
            None if job.take(at) => job.shard(at, sink)?,
            None => receive(&receiver, sink)?,
        };
        merged.take(done, &job.left)?;
    }
    ending.is_over = true;
    merged.send(&job.left, sink)
}

/// A shard that this thread was done with before its turn.
struct Mine {
    at: usize,
    frames: Vec<(Bytes, Charge)>,
    done: ShardDone,
}

impl Mine {
    fn work(job: &Job, at: usize) -> Result<Self> {
        let mut frames = Vec::new();
        let mut sink = |frame: Bytes| {
            let held = job.limits.memory.charge(frame.len() as u64)?;
            frames.push((frame, held));
            Ok(())
        };
        let done = job.shard(at, &mut sink)?;
        Ok(Self { at, frames, done })
    }
}

fn receive(receiver: &Receiver<Sent>, sink: &mut Sink<'_>) -> Result<ShardDone> {
    loop {
        match receiver.recv() {
            Ok(Sent::Frame(frame, held)) => {
                drop(held);
                sink(frame)?;
            }
            Ok(Sent::Done(done)) => return done,
            // Its senders are gone: it panicked.
            Err(_) => return Err(Error::Execution { message: "a thread of the query ended early".to_owned() }),
        }
    }
}

/// Unless the work is over, keeps helpers from beginning with another shard, and ends those that are at one.
struct EndOnDrop<'a> {
    job: &'a Job,
    is_over: bool,
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.job.next.store(self.job.shards.len(), Ordering::Relaxed);
            self.job.limits.stop.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use trine_store::model::signal::key_hash;
    use trine_store::model::{Labels, Signal};
    use trine_store::part::{MetricsPartBuilder, PartRef};
    use trine_store::rows::RowsView;
    use trine_store::tsdb::{HeadConfig, MetricsHead, MetricsView};

    use super::*;
    use crate::helpers::Helpers;
    use crate::memory::QueryMemory;
    use crate::promql::{fragment, parser, plan};

    const TENANT: &str = "t";

    /// Counters whose sums depend on the order in which they are added.
    fn shard(number: u32) -> Arc<ShardView> {
        let mut part = MetricsPartBuilder::new(TENANT);
        for series in 0..40u32 {
            let text = format!("{number}-{series}");
            let of = (series % 3).to_string();
            let labels = Labels::from_pairs([("__name__", "m"), ("series", &text), ("of", &of)]).unwrap();
            let at = part.series(key_hash(TENANT, labels.as_bytes()), labels.as_bytes());
            let value = |n: i32| (f64::from(n) * 0.1 * 1.37f64.powi((series * 7 + number) as i32 % 90)).to_bits();
            part.floats(at, (0..50).map(|n| (i64::from(n) * 15_000, value(n))));
        }
        let bytes = part.finish();
        let part = PartRef::decode(&bytes).unwrap();
        let (tenant, mut head) = (Arc::from(TENANT), MetricsHead::new(HeadConfig::default()));
        let refs: Vec<_> = part.defs.iter().map(|d| head.resolve(&tenant, d.hash, d.key).unwrap()).collect();
        head.append(&tenant, 1, &refs, part.body).unwrap();
        let metrics = MetricsView { heads: vec![head.view()], ..MetricsView::default() };
        let (logs, traces) = (RowsView::new(Signal::Logs), RowsView::new(Signal::Traces));
        Arc::new(ShardView { shard: number, position: 1, metrics, logs, traces })
    }

    fn job(query: &str, shards: &[Arc<ShardView>], limits: &FragmentLimits) -> Job {
        let (start_ms, end_ms, lookback_ms, samples_max) = (300_000, 700_000, 300_000, 1_000_000);
        let request = plan::Request { start_ms, end_ms, step_ms: 20_000, lookback_ms, samples_max };
        let plan = plan::plan(&parser::parse(query).unwrap(), &request).unwrap();
        let selects = plan.selects.iter().map(plan::SelectPlan::message).collect();
        let request = Request { version: fragment::VERSION, selects, samples_max, ..Request::default() };
        let request = Request::decode(request.encode_to_vec().as_slice()).unwrap();
        Job {
            selects: Selects::decode(&request).unwrap(),
            tenant: Arc::from(TENANT),
            shards: shards.to_vec(),
            limits: limits.clone(),
            left: Left::new(&request, limits),
            next: AtomicUsize::new(0),
        }
    }

    fn limits(memory: &QueryMemory, helpers: &Helpers) -> FragmentLimits {
        FragmentLimits::new(u64::MAX, Instant::now() + Duration::from_secs(60), memory.account())
            .with_helpers(helpers.clone())
    }

    /// Once no thread helps any more.
    fn settled(helpers: &Helpers, count: usize) {
        while helpers.free_count() < count {
            std::thread::yield_now();
        }
    }

    #[test]
    fn frames_do_not_depend_on_who_helps() {
        let shards: Vec<_> = (0..9).map(shard).collect();
        let memory = QueryMemory::new(1 << 30, 1 << 30);
        for query in [
            "sum by (of) (rate(m[5m]))",
            "avg(m)",
            "sum(m) / count by (of) (m)",
            "rate(m[5m])",
            "sum(m) + on() group_left() m",
            "quantile_over_time(scalar(vector(0.3)), m[5m])",
        ] {
            let frames = |helping: usize| {
                let helpers = Helpers::new(helping);
                let job = Arc::new(job(query, &shards, &limits(&memory, &helpers)));
                let merged = job.selects.merge(&job.limits).unwrap();
                let mut frames: Vec<Bytes> = Vec::new();
                together(&job, 0, merged, &mut |frame| {
                    frames.push(frame);
                    Ok(())
                })
                .unwrap();
                settled(&helpers, helping);
                assert!(job.limits.stop.check().is_ok());
                frames
            };
            let alone = frames(0);
            assert!(!alone.is_empty(), "{query}");
            for helping in [1, 3, 20] {
                assert!(frames(helping) == alone, "{query} with {helping} helpers");
            }
        }
        assert_eq!(memory.held_bytes(), 0);
    }

    #[test]
    fn helpers_end_when_nobody_takes_frames() {
        let shards: Vec<_> = (0..9).map(shard).collect();
        let (memory, helpers) = (QueryMemory::new(1 << 30, 1 << 30), Helpers::new(3));
        for query in ["m", "sum by (series) (m)"] {
            let job = Arc::new(job(query, &shards, &limits(&memory, &helpers)));
            let merged = job.selects.merge(&job.limits).unwrap();
            let ran = together(&job, 0, merged, &mut |_| Err(Error::Canceled));
            assert!(matches!(ran, Err(Error::Canceled)), "{query}");
            drop(ran);
            settled(&helpers, 3);
        }
        assert_eq!(memory.held_bytes(), 0);
    }

    /// Found by a user: groups of shards that others worked on counted, so that chance decided.
    #[test]
    fn the_limit_of_groups_is_the_same_whoever_helps() {
        let shards: Vec<_> = (0..9).map(shard).collect();
        let (memory, helpers) = (QueryMemory::new(1 << 30, 1 << 30), Helpers::new(3));
        // 9 shards of 40 series with 46 samples in the range; their groups hold less.
        let samples = 9 * 40 * 46;
        for samples_max in [samples, samples - 1] {
            for _ in 0..20 {
                let mut job = job("sum by (of) (m)", &shards, &limits(&memory, &helpers));
                job.left = Left::new(&Request { samples_max, ..Request::default() }, &job.limits);
                let job = Arc::new(job);
                let merged = job.selects.merge(&job.limits).unwrap();
                let ran = together(&job, 0, merged, &mut |_| Ok(()));
                assert_eq!(ran.is_ok(), samples_max == samples);
                settled(&helpers, 3);
            }
        }
        let limits = limits(&memory, &helpers);
        let left = Left::new(&Request { samples_max: 100, ..Request::default() }, &limits);
        assert!(left.values(100).is_ok() && left.values(101).is_err());
    }

    #[test]
    fn the_limit_of_samples_is_that_of_all_shards_together() {
        let shards: Vec<_> = (0..9).map(shard).collect();
        let (memory, helpers) = (QueryMemory::new(1 << 30, 1 << 30), Helpers::new(3));
        for (samples_max, is_enough) in [(9 * 40 * 50 + 500, true), (9 * 40 * 20, false)] {
            let mut job = job("sum(m)", &shards, &limits(&memory, &helpers));
            job.left = Left::new(&Request { samples_max, ..Request::default() }, &job.limits);
            let job = Arc::new(job);
            let merged = job.selects.merge(&job.limits).unwrap();
            let ran = together(&job, 0, merged, &mut |_| Ok(()));
            assert_eq!(ran.is_ok(), is_enough, "{samples_max}");
            settled(&helpers, 3);
        }
    }
}
