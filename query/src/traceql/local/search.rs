//! Traces of a shard that match, newest first.
use std::collections::HashSet;
use std::ops::ControlFlow;

use trine_store::model::{Scope, intrinsic};
use trine_store::rows::{AttrCondition, AttrTest};

use super::frames::Frames;
use crate::error::Result;
use crate::fragment::FragmentLimits;
use crate::memory::Charge;
use crate::traceql::conditions;
use crate::traceql::eval::Plan;
use crate::traceql::fragment::{Bounds, TagSearch};
use crate::traceql::legacy::TagMatch;
use crate::traceql::model::{SearchMetrics, SpanRow, TraceHit};
use crate::traceql::parser::parse;
use crate::traceql::source::{Range, TraceSource};
use crate::traceql::trace::{Needs, Trace, deduplicated};
use crate::traceql::wire::{encode_metrics, encode_trace};

/// What the id of a trace that was looked at weighs in a set.
const ID_BYTES: u64 = 40;
const SECOND_NS: i64 = 1_000_000_000;
/// Least width of the first of the windows in which a range is searched.
const WINDOW_NS_MIN: i64 = 60 * SECOND_NS;
/// The first window is this part of the range.
const WINDOWS: i64 = 32;
/// How far outside the range a trace that overlaps it may have the span that the query asks for, when the storage keeps
/// that span apart from those in the range and skips the latter by their statistics.
const MARGIN_NS: i64 = 600 * SECOND_NS;

/// Decides whether a trace matches.
pub(super) enum Matcher {
    Plan { plan: Plan, conditions: Vec<Vec<AttrCondition>> },
    Tags(TagMatch),
}

impl Matcher {
    /// Parses the query again, beside the data.
    pub(super) fn of_query(text: &str) -> Result<Self> {
        let query = parse(text)?;
        Ok(Self::Plan { plan: Plan::new(&query)?, conditions: conditions::of_query(&query) })
    }

    pub(super) fn of_tags(ask: TagSearch) -> Self {
        Self::Tags(TagMatch {
            tags: ask.tags.into_iter().map(|p| (p.key, p.value)).collect(),
            min_duration_ns: ask.min_duration_ns,
            max_duration_ns: ask.max_duration_ns,
        })
    }

    fn needs(&self) -> Needs {
        match self {
            Self::Plan { plan, .. } => plan.needs,
            Self::Tags(_) => Needs::default(),
        }
    }

    fn conditions(&self) -> Vec<Vec<AttrCondition>> {
        match self {
            Self::Plan { conditions, .. } => conditions.clone(),
            Self::Tags(tags) => tags.conditions(),
        }
    }

    /// What evaluating a trace takes for each of its spans.
    fn span_bytes(&self) -> u64 {
        match self {
            Self::Plan { plan, .. } => plan.span_bytes(),
            Self::Tags(_) => 0,
        }
    }

    fn evaluate(&self, trace: &Trace, spans_per_set: usize) -> Result<Option<TraceHit>> {
        match self {
            Self::Plan { plan, .. } => plan.evaluate(trace, spans_per_set),
            Self::Tags(tags) => Ok(tags.evaluate(trace)),
        }
    }
}

/// Sends all spans of one trace.
pub(super) fn trace(id: &[u8; 16], sources: &[&dyn TraceSource], frames: &mut Frames<'_, '_>) -> Result<()> {
    let mut metrics = SearchMetrics::default();
    for source in sources {
        frames.limits.stop.check()?;
        let mut held = frames.limits.memory.open();
        let spans = deduplicated(source.trace(id, &mut held)?);
        metrics.inspect(&spans);
        for span in &spans {
            frames.span(span)?;
        }
    }
    frames.metrics(encode_metrics(metrics, false))
}

/// Sends the newest matching traces, at most the limit.
pub(super) fn search(
    matcher: &Matcher,
    bounds: Bounds,
    sources: &[&dyn TraceSource],
    frames: &mut Frames<'_, '_>,
) -> Result<()> {
    let memory = &frames.limits.memory;
    let mut newest = Newest::new(bounds.limit(), memory.open());
    let mut metrics = SearchMetrics::default();
    for source in sources {
        let mut shard = ShardSearch {
            matcher,
            bounds,
            limits: frames.limits,
            seen: HashSet::new(),
            held: memory.open(),
            newest: &mut newest,
            metrics: &mut metrics,
        };
        shard.run(*source)?;
    }
    let (hits, _held) = newest.into_sorted()?;
    for hit in hits {
        frames.trace(encode_trace(&hit))?;
    }
    frames.metrics(encode_metrics(metrics, false))
}

struct ShardSearch<'a> {
    matcher: &'a Matcher,
    bounds: Bounds,
    limits: &'a FragmentLimits,
    /// Traces that an earlier window has shown.
    seen: HashSet<[u8; 16]>,
    /// For their ids.
    held: Charge,
    newest: &'a mut Newest,
    metrics: &'a mut SearchMetrics,
}

impl ShardSearch<'_> {
    /// Searches windows from the newest to the oldest. A trace not seen by then starts before the window, so a full set of
    /// hits that start later is final. Traces that an earlier window's conditions let through are not looked at again.
    fn run(&mut self, source: &dyn TraceSource) -> Result<()> {
        let conditions = self.matcher.conditions();
        let mut ranges = windows(self.bounds.range());
        if !conditions.is_empty() {
            let (before, after) = margins(self.bounds.range());
            ranges.splice(0..0, after);
            ranges.extend(before);
        }
        let ranges = ranges.into_iter().map(|range| (range, conditions.clone()));
        for (range, conditions) in ranges.chain(lookback(self.bounds.start_ns)) {
            let memory = &self.limits.memory;
            source.traces(range, &conditions, memory, &mut |id, spans| self.trace(id, spans))?;
            if self.newest.oldest_if_full()?.is_some_and(|oldest| oldest >= range.start_ns) {
                break;
            }
        }
        Ok(())
    }

    fn trace(&mut self, id: [u8; 16], spans: Vec<SpanRow>) -> Result<ControlFlow<()>> {
        self.limits.stop.check()?;
        if !self.seen.insert(id) {
            return Ok(ControlFlow::Continue(()));
        }
        self.held.add(ID_BYTES)?;
        self.metrics.inspect(&spans);
        self.metrics.inspected_traces += 1;
        let Some(trace) = Trace::assemble(id, spans, self.matcher.needs())? else {
            return Ok(ControlFlow::Continue(()));
        };
        let too_old = || self.newest.cutoff().is_some_and(|oldest| trace.start_ns < oldest);
        if trace.overlaps(self.bounds.start_ns, self.bounds.end_ns) && !too_old() {
            let spans_per_set = usize::try_from(self.bounds.spans_per_set).unwrap_or(usize::MAX);
            let _evaluating = self.limits.memory.charge(trace.spans.len() as u64 * self.matcher.span_bytes())?;
            if let Some(hit) = self.matcher.evaluate(&trace, spans_per_set)? {
                self.newest.push(hit)?;
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The range in windows, newest first, each twice as wide as the one before.
fn windows(range: Range) -> Vec<Range> {
    let mut out = Vec::new();
    let mut width = (range.end_ns.saturating_sub(range.start_ns) / WINDOWS).max(WINDOW_NS_MIN);
    let mut end_ns = range.end_ns;
    while end_ns >= range.start_ns {
        let start_ns = end_ns.saturating_sub(width).max(range.start_ns);
        out.push(Range { start_ns, end_ns });
        if start_ns == i64::MIN {
            break;
        }
        end_ns = start_ns - 1;
        width = width.saturating_mul(2);
    }
    out
}

/// [`MARGIN_NS`] before and after the range.
fn margins(range: Range) -> (Option<Range>, Option<Range>) {
    let before = range
        .start_ns
        .checked_sub(1)
        .map(|end_ns| Range { start_ns: range.start_ns.saturating_sub(MARGIN_NS), end_ns });
    let after =
        range.end_ns.checked_add(1).map(|start_ns| Range { start_ns, end_ns: range.end_ns.saturating_add(MARGIN_NS) });
    (before, after)
}

/// Windows before the range: a trace whose spans all start there still overlaps when one of them lasts long enough.
fn lookback(start_ns: i64) -> impl Iterator<Item = (Range, Vec<Vec<AttrCondition>>)> {
    let longer_than = |ns: i64| AttrCondition {
        scope: Some(Scope::Intrinsic),
        key: intrinsic::DURATION_NS.to_owned(),
        test: AttrTest::Int { min: ns, max: i64::MAX },
    };
    // Ages in seconds: a span that started that long ago, or longer.
    let ages = [0, 1, 10, 100, 1_000, 10_000, 100_000, 1_000_000].map(|s| s * SECOND_NS);
    (0..ages.len()).filter_map(move |n| {
        let end_ns = start_ns.checked_sub(ages[n])?.checked_sub(1)?;
        let oldest = ages.get(n + 1).map_or(i64::MIN, |age| start_ns.saturating_sub(*age));
        Some((Range { start_ns: oldest, end_ns }, vec![vec![longer_than(ages[n].max(1))]]))
    })
}

/// The newest traces by start time.
struct Newest {
    limit: usize,
    hits: Vec<TraceHit>,
    /// Start of the oldest that was kept at the last trim.
    cutoff: Option<i64>,
    held: Charge,
}

impl Newest {
    fn new(limit: usize, held: Charge) -> Self {
        Self { limit, hits: Vec::new(), cutoff: None, held }
    }

    fn push(&mut self, hit: TraceHit) -> Result<()> {
        self.held.add(hit.weight())?;
        self.hits.push(hit);
        if self.hits.len() >= self.limit.saturating_mul(2) { self.trim() } else { Ok(()) }
    }

    fn trim(&mut self) -> Result<()> {
        self.hits.sort_by_key(|h| std::cmp::Reverse((h.start_ns, h.trace_id)));
        self.hits.truncate(self.limit);
        self.cutoff = self.hits.last().filter(|_| self.hits.len() == self.limit).map(|h| h.start_ns);
        Ok(self.held.set(self.hits.iter().map(TraceHit::weight).sum())?)
    }

    /// A trace that starts before this has no chance.
    fn cutoff(&self) -> Option<i64> {
        self.cutoff
    }

    /// Start of the oldest trace that would be answered, once there are as many as asked for.
    fn oldest_if_full(&mut self) -> Result<Option<i64>> {
        self.trim()?;
        Ok(self.cutoff)
    }

    fn into_sorted(mut self) -> Result<(Vec<TraceHit>, Charge)> {
        self.trim()?;
        Ok((self.hits, self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_the_range_once() {
        for (start_ns, end_ns) in [(0, 0), (0, 59), (5, 3600 * SECOND_NS), (-7, 1 << 60), (i64::MIN, i64::MAX)] {
            let windows = windows(Range { start_ns, end_ns });
            assert_eq!(windows[0].end_ns, end_ns);
            assert_eq!(windows[windows.len() - 1].start_ns, start_ns);
            assert!(windows.windows(2).all(|w| w[1].end_ns == w[0].start_ns - 1));
            assert!(windows.len() < 70);
        }
    }

    #[test]
    fn lookback_covers_everything_before_the_range() {
        let all: Vec<Range> = lookback(5_000).map(|(range, _)| range).collect();
        assert_eq!(all[0].end_ns, 4_999);
        assert_eq!(all[all.len() - 1].start_ns, i64::MIN);
        assert!(all.windows(2).all(|w| w[1].end_ns == w[0].start_ns - 1));
    }
}
