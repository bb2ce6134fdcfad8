//! A selector over the segments of its grid: those that are kept from before, and the steps between them.
use std::ops::Range;
use std::sync::Arc;

use prost::Message;
use trine_store::codec;

use super::Run;
use super::groups::Groups;
use super::select::{Evaluated, Prepared, Pushed};
use crate::error::Result;
use crate::promql::fragment::{Select, Steps};
use crate::promql::functions::range::Windows;
use crate::promql::segments::{Segment, SegmentCache};
use crate::promql::source::SeriesSource;

/// Steps of a segment: of a minute they are about an hour, which is about what a head lasts.
const SEGMENT_STEPS: usize = 64;

/// The segments of which a grid has all steps: `count` from step `first` on, numbered from `number` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Division {
    first: usize,
    number: i64,
    count: usize,
}

impl Division {
    /// `None` of a grid that has no whole segment.
    fn of(windows: &Windows) -> Option<Self> {
        if windows.end_step_ms <= 0 {
            return None;
        }
        let steps = SEGMENT_STEPS as i64;
        let first_step = windows.first_end_ms.div_euclid(windows.end_step_ms);
        let first = first_step.rem_euclid(steps);
        let first = if first == 0 { 0 } else { steps - first };
        let number = first_step.checked_add(first)?.div_euclid(steps);
        let count = windows.count.checked_sub(first as usize)? / SEGMENT_STEPS;
        (count > 0).then_some(Self { first: first as usize, number, count })
    }

    fn steps_of(&self, segment: usize) -> Range<usize> {
        let from = self.first + segment * SEGMENT_STEPS;
        from..from + SEGMENT_STEPS
    }
}

/// What the segments of a select follow from, but for the blocks: the select itself, whenever it begins and ends.
pub(super) fn question(select: &Select) -> Vec<u8> {
    let steps = select.steps.as_ref().map(|steps| Steps {
        first_end_ms: steps.first_end_ms.checked_rem_euclid(steps.end_step_ms).unwrap_or_default(),
        first_eval_ms: steps.first_eval_ms.wrapping_sub(steps.first_end_ms),
        count: 0,
        ..steps.clone()
    });
    Select { min_ms: 0, max_ms: 0, steps, ..select.clone() }.encode_to_vec()
}

/// The part of a grid.
fn part(windows: &Windows, steps: &Range<usize>) -> Windows {
    let first = windows.at(steps.start);
    Windows { first_end_ms: first.end_ms, first_eval_ms: first.eval_ms, count: steps.len(), ..*windows }
}

/// Where a segment is kept; none where it may still change.
fn key_of(select: &Prepared, windows: &Windows, number: i64, source: &dyn SeriesSource) -> Option<Vec<u8>> {
    let (min_ms, max_ms) = windows.span_ms();
    if min_ms < select.range.0 || max_ms > select.range.1 {
        return None;
    }
    let sealed = source.sealed((min_ms, max_ms))?;
    let mut key = Vec::with_capacity(select.question.len() + sealed.len() + 16);
    codec::put_bytes(&mut key, &select.question);
    codec::put_ivarint(&mut key, number);
    key.extend_from_slice(&sealed);
    Some(key)
}

impl Run<'_, '_> {
    /// The groups of an aggregation over all steps, with what `cache` has of them; `groups` are empty.
    pub(super) fn select_by_segments(
        &mut self,
        position: u32,
        (select, pushed): (&Prepared, &Pushed),
        source: &dyn SeriesSource,
        cache: &SegmentCache,
        mut groups: Groups,
    ) -> Result<Option<Groups>> {
        let windows = &pushed.windows;
        let mut kept = Kept::new(select, windows, source);
        let found = kept.take_from(cache);
        if found.is_empty() {
            let evaluated = self.evaluate(position, (select, pushed), Some(groups), source)?;
            kept.put_into(cache, &(0..windows.count), &evaluated);
            return Ok(evaluated.groups);
        }
        // Steps that nobody has evaluated yet, in order.
        let mut open: Vec<Range<usize>> = Vec::new();
        let mut done = 0;
        for (steps, segment) in found {
            self.charge(segment.samples)?;
            groups.take_columns(steps.start, &segment.groups, self.left)?;
            open.push(done..steps.start);
            done = steps.end;
        }
        open.push(done..windows.count);
        for steps in open.into_iter().filter(|steps| !steps.is_empty()) {
            match self.evaluate_part(position, (select, pushed), part(windows, &steps), source)? {
                Some(evaluated) => {
                    kept.put_into(cache, &steps, &evaluated);
                    if let Some(of_part) = evaluated.groups {
                        groups.absorb_at(steps.start, of_part, self.left)?;
                    }
                }
                None => {
                    // Gives back what they hold before all begins anew.
                    drop(groups);
                    let whole = select.groups(self.limits.memory.open())?;
                    return self.evaluate(position, (select, pushed), whole, source).map(|evaluated| evaluated.groups);
                }
            }
        }
        Ok(Some(groups))
    }
}

/// Where the segments of a select over one shard are kept.
struct Kept {
    division: Option<Division>,
    /// Of each segment that is not found: none where it may still change.
    keys: Vec<Option<Vec<u8>>>,
}

impl Kept {
    fn new(select: &Prepared, windows: &Windows, source: &dyn SeriesSource) -> Self {
        let division = Division::of(windows);
        let key = |division: &Division, at: usize| {
            key_of(select, &part(windows, &division.steps_of(at)), division.number + at as i64, source)
        };
        let keys = division.iter().flat_map(|d| (0..d.count).map(move |at| key(d, at))).collect();
        Self { division, keys }
    }

    /// Takes what is there, in order.
    fn take_from(&mut self, cache: &SegmentCache) -> Vec<(Range<usize>, Arc<Segment>)> {
        let Some(division) = self.division else { return Vec::new() };
        let mut found = Vec::new();
        for (at, kept) in self.keys.iter_mut().enumerate() {
            if let Some(segment) = kept.as_deref().and_then(|key| cache.get(key)) {
                *kept = None;
                found.push((division.steps_of(at), segment));
            }
        }
        found
    }

    /// Keeps the segments that lie within `steps`, of which `evaluated` is.
    fn put_into(&mut self, cache: &SegmentCache, steps: &Range<usize>, evaluated: &Evaluated) {
        let (Some(division), Some(groups)) = (self.division, &evaluated.groups) else { return };
        if !evaluated.is_plain || evaluated.has_notes || !cache.takes(groups.bytes_at(SEGMENT_STEPS)) {
            return;
        }
        let samples = evaluated.samples * SEGMENT_STEPS as u64 / steps.len() as u64;
        for (at, kept) in self.keys.iter_mut().enumerate() {
            let of_segment = division.steps_of(at);
            let is_within = steps.start <= of_segment.start && of_segment.end <= steps.end;
            if let Some(key) = kept.take_if(|_| is_within) {
                let here = of_segment.start - steps.start..of_segment.end - steps.start;
                cache.put(key, Segment { groups: groups.cut(here), samples });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::functions::extended::Extension;

    fn grid(first_end_ms: i64, end_step_ms: i64, count: usize) -> Windows {
        Windows {
            first_end_ms,
            end_step_ms,
            count,
            range_ms: 10,
            first_eval_ms: first_end_ms,
            eval_step_ms: end_step_ms,
            extension: Extension::None,
            lookback_ms: 0,
        }
    }

    #[test]
    fn segments_lie_where_they_lie_for_any_grid_of_that_step() {
        let of = |first, count| Division::of(&grid(first, 10, count)).map(|d| (d.first, d.number, d.count));
        assert_eq!(of(0, 64), Some((0, 0, 1)));
        assert_eq!(of(7, 64), Some((0, 0, 1)), "another phase, another key, the same number");
        assert_eq!(of(10, 64), None);
        assert_eq!(of(10, 127), Some((63, 1, 1)));
        assert_eq!(of(-10, 65), Some((1, 0, 1)));
        assert_eq!(of(-640, 128), Some((0, -1, 2)));
        for first in -300..300 {
            let Some(division) = Division::of(&grid(first * 10, 10, 200)) else { panic!("200 steps have a segment") };
            assert_eq!((first + division.first as i64).rem_euclid(64), 0);
            assert_eq!((first + division.first as i64).div_euclid(64), division.number);
            assert!(division.first < 64 && division.steps_of(division.count - 1).end <= 200);
            assert!(division.steps_of(division.count).end > 200);
        }
        assert_eq!(Division::of(&grid(5, 0, 1_000)), None, "where @ fixes the window");
        assert_eq!(Division::of(&grid(i64::MAX, 1, 1_000)), None, "no time is behind it");
    }
}
