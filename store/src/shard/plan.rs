//! Which blocks of a shard to compact next: pure, over the manifest.
//!
//! A block belongs to the time window in which its newest fact lies. Once a window is over, its blocks become one; then the
//! windows of the next length follow. Blocks that have expired go at once, those of which most has expired, or something was
//! deleted, are rewritten when nothing else is to be done. Every step leaves fewer blocks, or less to leave out: it ends.
use std::collections::BTreeMap;

use crate::limits::Cutoffs;
use crate::model::Signal;
use crate::shard::{BlockEntry, CompactRequest, Manifest};

/// Marks blocks that were merged before their first window was over.
const EARLY_WINDOW_MS: u64 = 1;

/// When blocks are compacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionPolicy {
    /// Lengths of time windows in ms, rising; none: nothing is merged.
    pub windows_ms: Vec<u64>,
    /// A window is over this long after its end, in ms: what is late until then is in its blocks.
    pub settle_ms: u64,
    /// Bytes of the blocks of one compaction at most.
    pub bytes_max: u64,
    /// Sealed blocks in a window that is not over yet, from which on they are merged.
    pub early_blocks: usize,
}

impl Default for CompactionPolicy {
    fn default() -> Self {
        const HOUR_MS: u64 = 3_600_000;
        Self {
            windows_ms: vec![2 * HOUR_MS, 24 * HOUR_MS, 8 * 24 * HOUR_MS],
            settle_ms: HOUR_MS / 2,
            bytes_max: 512 << 20,
            early_blocks: 16,
        }
    }
}

/// A block as the plan sees it.
struct Planned<'m> {
    entry: &'m BlockEntry,
    /// Least and greatest time, in ms.
    min_ms: i64,
    max_ms: i64,
}

impl Planned<'_> {
    fn overlaps(&self, other: &Self) -> bool {
        self.min_ms <= other.max_ms && self.max_ms >= other.min_ms
    }
}

fn ms(signal: Signal, time: i64) -> i64 {
    match signal {
        Signal::Metrics => time,
        Signal::Logs | Signal::Traces => time.div_euclid(1_000_000),
    }
}

/// What of a block's tenants lies before their cut-offs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Nothing worth a rewrite.
    Kept,
    /// A tenant as a whole, or more than half of the time of one, as far as that is over.
    Partly,
    Wholly,
}

/// What has expired of a block whose tenants have facts between these times; `now` in their unit.
pub fn expiry<'t>(times: impl Iterator<Item = (&'t str, i64, i64)>, cutoffs: &Cutoffs, now: i64) -> Expiry {
    let (mut any_kept, mut any_gone) = (false, false);
    for (tenant, min, max) in times {
        let cutoff = cutoffs.of(tenant);
        any_kept |= max >= cutoff;
        // More than half, so that a block is rewritten a few times at most while it expires. A span may have any time: one of
        // the far future does not keep what came with it.
        let max = max.min(now).max(cutoff);
        any_gone |= i128::from(cutoff) - i128::from(min) > i128::from(max) - i128::from(cutoff);
    }
    match (any_kept, any_gone) {
        (false, true) => Expiry::Wholly,
        (true, true) => Expiry::Partly,
        (_, false) => Expiry::Kept,
    }
}

/// The next compaction of `signal`, if there is one. `expiry_of` says what has expired of a block; `None` when that cannot be
/// known now. Plan again once it is carried out, not before.
pub fn plan(
    policy: &CompactionPolicy,
    manifest: &Manifest,
    signal: Signal,
    now_ms: i64,
    expiry_of: &dyn Fn(&BlockEntry) -> Option<Expiry>,
) -> Option<CompactRequest> {
    let of_signal = manifest.blocks.iter().filter(|entry| entry.signal == signal);
    let expired: Vec<&BlockEntry> = of_signal.clone().filter(|e| expiry_of(e) == Some(Expiry::Wholly)).collect();
    if !expired.is_empty() {
        let window_ms = expired.iter().map(|entry| entry.window_ms).max().unwrap_or(0);
        return Some(request(signal, window_ms, expired.into_iter().take(CompactRequest::INPUTS_MAX)));
    }
    let blocks: Vec<Planned<'_>> = of_signal
        .map(|entry| Planned { entry, min_ms: ms(signal, entry.min_time), max_ms: ms(signal, entry.max_time) })
        .collect();
    let merged = policy.windows_ms.iter().find_map(|window_ms| merge(policy, &blocks, *window_ms, now_ms));
    let merged = merged.or_else(|| early(policy, &blocks, now_ms));
    if let Some((window_ms, run)) = merged {
        return Some(request(signal, window_ms, run.into_iter().map(|at| blocks[at].entry)));
    }
    let is_dirty = |entry: &&BlockEntry| {
        expiry_of(entry)
            .is_some_and(|e| e == Expiry::Partly || (signal == Signal::Metrics && has_deleted(manifest, entry)))
    };
    let dirty = blocks.iter().map(|b| b.entry).find(is_dirty)?;
    Some(request(signal, dirty.window_ms, [dirty].into_iter()))
}

fn has_deleted(manifest: &Manifest, entry: &BlockEntry) -> bool {
    manifest.limits.tombstones.iter().any(|t| entry.is_concerned_by(t))
}

fn request<'m>(signal: Signal, window_ms: u64, inputs: impl Iterator<Item = &'m BlockEntry>) -> CompactRequest {
    CompactRequest { signal, window_ms, inputs: inputs.map(|entry| entry.file.clone()).collect() }
}

/// A run of blocks of one window that is over and that is worth a merge; the oldest window first.
fn merge(policy: &CompactionPolicy, blocks: &[Planned<'_>], window_ms: u64, now_ms: i64) -> Option<(u64, Vec<usize>)> {
    let length = i64::try_from(window_ms.max(1)).ok()?;
    let mut windows: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (at, block) in blocks.iter().enumerate().filter(|(_, b)| b.entry.window_ms <= window_ms) {
        windows.entry(block.max_ms.div_euclid(length)).or_default().push(at);
    }
    let is_over = |window: i64| {
        let end_ms = i128::from(window + 1) * i128::from(length);
        i128::from(now_ms) >= end_ms + i128::from(policy.settle_ms)
    };
    let over = windows.into_iter().filter(|(window, _)| is_over(*window));
    let mut runs = over.flat_map(|(_, members)| runs(policy, blocks, &members));
    runs.find(|run| is_worth(blocks, run, window_ms)).map(|run| (window_ms, run))
}

/// A run of sealed blocks whose first window is not over, when there are many.
fn early(policy: &CompactionPolicy, blocks: &[Planned<'_>], now_ms: i64) -> Option<(u64, Vec<usize>)> {
    let length = i64::try_from(*policy.windows_ms.first()?).ok()?.max(1);
    let current = now_ms.div_euclid(length);
    let is_member = |b: &Planned<'_>| b.entry.window_ms == 0 && b.max_ms.div_euclid(length) >= current - 1;
    let members: Vec<usize> = (0..blocks.len()).filter(|at| is_member(&blocks[*at])).collect();
    let run = runs(policy, blocks, &members).into_iter().find(|run| run.len() >= policy.early_blocks.max(2))?;
    Some((EARLY_WINDOW_MS, run))
}

/// Cuts members of a window into runs that may become one block each: bounded, and in the place of its first block none of
/// them may be seen before a block that was written earlier and overlaps it.
fn runs(policy: &CompactionPolicy, blocks: &[Planned<'_>], members: &[usize]) -> Vec<Vec<usize>> {
    let (mut runs, mut run, mut bytes): (Vec<Vec<usize>>, Vec<usize>, u64) = (Vec::new(), Vec::new(), 0);
    for &at in members {
        let fits = bytes.saturating_add(blocks[at].entry.bytes) <= policy.bytes_max;
        let between = || run.first().map_or(at..at, |first| *first..at).filter(|other| !run.contains(other));
        let keeps_order = !between().any(|other| blocks[other].overlaps(&blocks[at]));
        let is_full = !fits || !keeps_order || run.len() >= CompactRequest::INPUTS_MAX;
        if !run.is_empty() && is_full {
            runs.push(std::mem::take(&mut run));
            bytes = 0;
        }
        bytes = bytes.saturating_add(blocks[at].entry.bytes);
        run.push(at);
    }
    runs.push(run);
    runs
}

/// Whether a run gains more than it costs: a block that is compacted for this window already is not rewritten for every bit
/// that comes late.
fn is_worth(blocks: &[Planned<'_>], run: &[usize], window_ms: u64) -> bool {
    let Some(biggest) = run.iter().map(|at| blocks[*at].entry).max_by_key(|entry| entry.bytes) else { return false };
    let rest: u64 = run.iter().map(|at| blocks[*at].entry.bytes).sum::<u64>() - biggest.bytes;
    run.len() >= 2 && (biggest.window_ms < window_ms || run.len() >= 8 || rest.saturating_mul(4) >= biggest.bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn entry(number: usize, bytes: u64, (min_time, max_time): (i64, i64)) -> BlockEntry {
        let (signal, file) = (Signal::Metrics, format!("{number:03}"));
        let (made_at, window_ms) = (number as u64, 0);
        BlockEntry {
            signal,
            file,
            bytes,
            crc: 0,
            facts: 1,
            series: 1,
            min_time,
            max_time,
            digest: 0,
            made_at,
            window_ms,
        }
    }

    fn manifest(blocks: impl IntoIterator<Item = (u64, i64, i64)>) -> Manifest {
        let blocks = blocks.into_iter().enumerate();
        let blocks = blocks.map(|(i, (bytes, min_ms, max_ms))| entry(i, bytes, (min_ms, max_ms))).collect();
        Manifest { blocks, ..Manifest::default() }
    }

    fn next(manifest: &Manifest, now_ms: i64) -> Option<(u64, Vec<String>)> {
        let kept = |_: &BlockEntry| Some(Expiry::Kept);
        let planned = plan(&CompactionPolicy::default(), manifest, Signal::Metrics, now_ms, &kept);
        planned.map(|request| (request.window_ms, request.inputs))
    }

    /// What carrying out a plan does to the manifest.
    fn carry_out(manifest: &mut Manifest, window_ms: u64, inputs: &[String], number: usize) {
        let at = manifest.blocks.iter().position(|b| inputs.contains(&b.file)).unwrap();
        let (gone, mut kept): (Vec<_>, Vec<_>) = manifest.blocks.drain(..).partition(|b| inputs.contains(&b.file));
        let times = (gone.iter().map(|b| b.min_time).min().unwrap(), gone.iter().map(|b| b.max_time).max().unwrap());
        let bytes = gone.iter().map(|b| b.bytes).sum();
        kept.insert(at, BlockEntry { window_ms, ..entry(number, bytes, times) });
        manifest.blocks = kept;
    }

    #[test]
    fn windows_that_are_over_become_one_block_each_and_then_days() {
        let of_hour = |hour: i64| (10, hour * HOUR_MS, (hour + 1) * HOUR_MS - 1);
        let mut m = manifest((0..26).map(of_hour));
        let early = 2 * HOUR_MS + HOUR_MS / 2 - 1;
        assert_eq!(next(&manifest((0..3).map(of_hour)), early), None, "the window is not over yet");
        let two_hours = CompactionPolicy::default().windows_ms[0];
        assert_eq!(next(&m, early + 1), Some((two_hours, vec!["000".into(), "001".into()])));
        let mut steps = 0;
        while let Some((window_ms, inputs)) = next(&m, 27 * HOUR_MS) {
            carry_out(&mut m, window_ms, &inputs, 100 + steps);
            steps += 1;
        }
        let left: Vec<(u64, i64)> = m.blocks.iter().map(|b| (b.window_ms, b.max_time / HOUR_MS)).collect();
        assert_eq!((left, steps), (vec![(24 * HOUR_MS as u64, 23), (two_hours, 25)], 14));
    }

    #[test]
    fn a_little_late_data_does_not_rewrite_a_big_block() {
        let mut m = manifest([(1000, 0, HOUR_MS), (10, 0, HOUR_MS)]);
        m.blocks[0].window_ms = CompactionPolicy::default().windows_ms[0];
        assert_eq!(next(&m, 5 * HOUR_MS), None);
        m.blocks[1].bytes = 250;
        assert!(next(&m, 5 * HOUR_MS).is_some());
    }

    #[test]
    fn many_blocks_of_an_open_window_are_merged_once() {
        let mut m = manifest((0..16).map(|i| (1, i * 1000, i * 1000 + 999)));
        let (window_ms, inputs) = next(&m, 20_000).unwrap();
        assert_eq!((window_ms, inputs.len()), (EARLY_WINDOW_MS, 16));
        carry_out(&mut m, window_ms, &inputs, 100);
        assert_eq!(next(&m, 20_000), None);
    }

    #[test]
    fn what_has_expired_goes_first_and_what_has_mostly_expired_last() {
        use Expiry::{Kept, Partly, Wholly};
        let cutoffs = Cutoffs::new(100, [("long", 0)]);
        let of = |times: &[(&'static str, i64, i64)]| expiry(times.iter().copied(), &cutoffs, 1_000);
        assert_eq!(of(&[("a", 0, 99), ("b", 50, 60)]), Wholly);
        assert_eq!(of(&[("a", 0, 99), ("long", 50, 60)]), Partly);
        assert_eq!(of(&[("a", 0, 150)]), Partly);
        assert_eq!(of(&[("a", 60, 150)]), Kept);
        assert_eq!(of(&[("a", 0, 250), ("long", 0, 1)]), Kept);
        let now = |now: i64| expiry([("a", 0, i64::MAX)].into_iter(), &cutoffs, now);
        assert_eq!((now(199), now(200), now(50)), (Partly, Kept, Partly), "a fact of the far future keeps no others");
        let m = manifest([(1, 0, 10), (1, 20, 30), (1, 40, 50)]);
        let planned = |expiries: [Expiry; 3]| {
            let of = |entry: &BlockEntry| Some(expiries[entry.made_at as usize]);
            plan(&CompactionPolicy::default(), &m, Signal::Metrics, 10 * HOUR_MS, &of).map(|r| r.inputs)
        };
        assert_eq!(planned([Wholly, Partly, Wholly]).unwrap(), ["000", "002"]);
        assert_eq!(planned([Partly, Kept, Kept]).unwrap().len(), 3, "merged, which leaves out what has expired");
    }

    proptest! {
        /// It ends, in bounded steps, and never lets a block be seen before an older one that it overlaps.
        #[test]
        fn ends_within_bounds_and_keeps_the_order(
            blocks in prop::collection::vec((1u64..100, 0i64..40, 0i64..6), 0..40),
            now in 0i64..400,
            bytes_max in 1u64..400,
            early_blocks in 2usize..6,
        ) {
            let policy = CompactionPolicy {
                windows_ms: vec![4, 16, 64],
                settle_ms: 2,
                bytes_max,
                early_blocks,
            };
            let mut m = manifest(blocks.iter().map(|(bytes, at, span)| (*bytes, *at, at + span)));
            let mut parts: BTreeMap<String, Vec<usize>> =
                m.blocks.iter().enumerate().map(|(i, b)| (b.file.clone(), vec![i])).collect();
            let kept = |_: &BlockEntry| Some(Expiry::Kept);
            for step in 0.. {
                prop_assert!(step <= blocks.len(), "it goes on for ever");
                let Some(request) = plan(&policy, &m, Signal::Metrics, now, &kept) else { break };
                let bytes: u64 =
                    m.blocks.iter().filter(|b| request.inputs.contains(&b.file)).map(|b| b.bytes).sum();
                prop_assert!(request.inputs.len() >= 2 && bytes <= bytes_max);
                carry_out(&mut m, request.window_ms, &request.inputs, 100 + step);
                let merged = request.inputs.iter().flat_map(|file| parts.remove(file).unwrap()).collect();
                parts.insert(format!("{:03}", 100 + step), merged);
            }
            let place: BTreeMap<usize, usize> = (0..).zip(&m.blocks)
                .flat_map(|(place, b)| parts[&b.file].iter().map(move |original| (*original, place))).collect();
            for (i, (_, at, span)) in blocks.iter().enumerate() {
                for (j, (_, later_at, later_span)) in blocks.iter().enumerate().skip(i + 1) {
                    let overlap = *at <= later_at + later_span && at + span >= *later_at;
                    prop_assert!(!overlap || place[&i] <= place[&j], "block {} is seen after {}", i, j);
                }
            }
        }
    }
}
