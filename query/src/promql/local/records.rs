//! Sends records as they are stored.
use trine_store::index::Matcher;
use trine_store::part::SampleKind;

use super::{Run, fragment};
use crate::error::{Error, Result};
use crate::promql::fragment::Records;
use crate::promql::source::{Recorded, SeriesSource};

/// The kinds that `numbers` stand for; an unknown one is refused.
fn kinds_of(numbers: &[u32]) -> Result<Vec<SampleKind>> {
    const ALL: [SampleKind; 5] = [
        SampleKind::Float,
        SampleKind::IntHistogram,
        SampleKind::FloatHistogram,
        SampleKind::StartTimestamp,
        SampleKind::Exemplar,
    ];
    let kind = |n: &u32| ALL.into_iter().find(|kind| *kind as u32 == *n);
    let unknown = |n: &u32| Error::Corrupt { what: "PromQL fragment", reason: format!("unknown sample kind {n}") };
    numbers.iter().map(|n| kind(n).ok_or_else(|| unknown(n))).collect()
}

/// Leaves only the newest record, of whatever kind; of two at one time the float.
fn keep_last(recorded: &mut Recorded) {
    let newest_blob = recorded.blobs.iter().filter_map(|(_, blobs)| Some(blobs.last()?.0)).max();
    let newest = recorded.times_ms.last().copied().max(newest_blob);
    let is_float = recorded.times_ms.last().copied() == newest;
    let from = recorded.times_ms.len() - usize::from(is_float && newest.is_some());
    recorded.times_ms.drain(..from);
    recorded.values.drain(..from);
    let mut is_taken = is_float;
    for (_, blobs) in &mut recorded.blobs {
        let keep = !is_taken && blobs.last().map(|(time_ms, _)| *time_ms) == newest;
        blobs.drain(..blobs.len() - usize::from(keep));
        is_taken |= keep;
    }
}

impl Run<'_, '_> {
    pub(super) fn records(&mut self, records: &Records, sources: &[(u32, &dyn SeriesSource)]) -> Result<()> {
        let kinds = kinds_of(&records.kinds)?;
        let sets: Vec<Vec<Matcher>> =
            records.sets.iter().map(|set| fragment::get_matchers(&set.matchers)).collect::<Result<_>>()?;
        let (range, memory) = ((records.min_ms, records.max_ms), &self.limits.memory);
        for (shard, source) in sources {
            self.frames.begin(*shard)?;
            for (set, matchers) in (0..).zip(&sets) {
                source.for_each_recorded(matchers, range, &kinds, memory, &mut |labels, recorded| {
                    let read = recorded.times_ms.len() + recorded.blobs.iter().map(|(_, b)| b.len()).sum::<usize>();
                    self.charge(read as u64)?;
                    if records.last_only {
                        keep_last(recorded);
                    }
                    self.frames.floats(set, labels, &recorded.times_ms, &recorded.values)?;
                    for (kind, blobs) in &mut recorded.blobs {
                        self.frames.records(set, labels, *kind, blobs)?;
                    }
                    Ok(())
                })?;
            }
        }
        self.frames.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_record_of_any_kind_is_kept() {
        let blob = |t: i64| (t, vec![t as u8]);
        for (times, ints, floats, expected) in [
            (vec![1, 2], vec![], vec![], (1, 0, 0)),
            (vec![1, 2], vec![blob(1), blob(3)], vec![], (0, 1, 0)),
            (vec![1, 3], vec![blob(3)], vec![blob(3)], (1, 0, 0)),
            (vec![], vec![blob(3)], vec![blob(3)], (0, 1, 0)),
            (vec![], vec![blob(3)], vec![blob(4), blob(5)], (0, 0, 1)),
        ] {
            let mut recorded = Recorded {
                values: times.iter().map(|t: &i64| *t as f64).collect(),
                times_ms: times,
                blobs: vec![(SampleKind::IntHistogram, ints), (SampleKind::FloatHistogram, floats)],
                chunks: 0,
            };
            keep_last(&mut recorded);
            let left = (recorded.times_ms.len(), recorded.blobs[0].1.len(), recorded.blobs[1].1.len());
            assert_eq!((left, recorded.values.len()), (expected, expected.0));
        }
    }
}
