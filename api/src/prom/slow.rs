//! The log of slow queries: one line for each PromQL query that took longer than `limits.slow_query_ms`, or failed after
//! that long.
use std::time::{Duration, Instant};

use trine_query::promql::{InstantQuery, RangeQuery, Stats};

/// Longer texts are cut in the log.
const TEXT_BYTES_MAX: usize = 4096;

/// A query on its way, as the log will tell of it.
#[derive(Debug)]
pub(super) struct Watched {
    tenant: std::sync::Arc<str>,
    text: String,
    start_ms: i64,
    end_ms: i64,
    /// 0 for a query at one time.
    step_ms: i64,
    started: Instant,
    slow: Duration,
    stats: Stats,
    answered: Option<Instant>,
}

/// A line of the log; times in ms.
#[derive(Clone, Debug, PartialEq)]
struct Line<'a> {
    query: &'a str,
    range_ms: i64,
    total_ms: f64,
    plan_ms: f64,
    fetch_ms: f64,
    evaluate_ms: f64,
    render_ms: f64,
}

impl Watched {
    /// `slow_ms` 0: never slow.
    fn new(
        tenant: &std::sync::Arc<str>,
        query: &str,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
        started: Instant,
        slow_ms: u64,
    ) -> Self {
        let slow = if slow_ms == 0 { Duration::MAX } else { Duration::from_millis(slow_ms) };
        let (tenant, text) = (tenant.clone(), cut(query).to_owned());
        let (stats, answered) = (Stats::default(), None);
        Self { tenant, text, start_ms, end_ms, step_ms, started, slow, stats, answered }
    }

    pub(super) fn instant(tenant: &std::sync::Arc<str>, query: &InstantQuery, started: Instant, slow_ms: u64) -> Self {
        Self::new(tenant, &query.query, (query.time_ms, query.time_ms, 0), started, slow_ms)
    }

    pub(super) fn range(tenant: &std::sync::Arc<str>, query: &RangeQuery, started: Instant, slow_ms: u64) -> Self {
        Self::new(tenant, &query.query, (query.start_ms, query.end_ms, query.step_ms), started, slow_ms)
    }

    /// The answer is there and is about to be written.
    pub(super) fn answered(&mut self, stats: &Stats) {
        self.stats = *stats;
        self.answered = Some(Instant::now());
    }

    /// What the log tells at `now`; `None` of a query that is not slow.
    fn line(&self, now: Instant) -> Option<Line<'_>> {
        let total = now.saturating_duration_since(self.started);
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        let phases = self.stats.phases;
        (total >= self.slow).then(|| Line {
            query: &self.text,
            range_ms: self.end_ms.saturating_sub(self.start_ms),
            total_ms: ms(total),
            plan_ms: ms(phases.plan),
            fetch_ms: ms(phases.fetch),
            evaluate_ms: ms(phases.evaluate),
            render_ms: self.answered.map_or(0.0, |at| ms(now.saturating_duration_since(at))),
        })
    }
}

/// Also of a query that failed, or whose client has left.
impl Drop for Watched {
    fn drop(&mut self) {
        let Some(line) = self.line(Instant::now()) else { return };
        let Stats { samples_read, series, frame_bytes, .. } = self.stats;
        tracing::warn!(
            tenant = ?self.tenant,
            query = ?line.query,
            start_ms = self.start_ms,
            end_ms = self.end_ms,
            step_ms = self.step_ms,
            range_ms = line.range_ms,
            answered = self.answered.is_some(),
            series,
            samples_read,
            frame_bytes,
            total_ms = line.total_ms,
            plan_ms = line.plan_ms,
            fetch_ms = line.fetch_ms,
            evaluate_ms = line.evaluate_ms,
            render_ms = line.render_ms,
            "slow query"
        );
    }
}

/// At most [`TEXT_BYTES_MAX`] bytes, whole characters.
fn cut(text: &str) -> &str {
    let mut to = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(to) {
        to -= 1;
    }
    &text[..to]
}

#[cfg(test)]
mod tests {
    use trine_query::promql::Phases;

    use super::*;

    #[test]
    fn only_slow_queries_are_told_of() {
        let started = Instant::now();
        let after = |ms: u64| started + Duration::from_millis(ms);
        for (slow_ms, took_ms, is_told) in [(0, 1_000_000, false), (100, 99, false), (100, 100, true)] {
            let query = Watched::new(&"t".into(), "up", (0, 60_000, 15_000), started, slow_ms);
            assert_eq!(query.line(after(took_ms)).is_some(), is_told, "{slow_ms} {took_ms}");
        }
        let mut query = Watched::new(&"t".into(), "up", (0, 60_000, 15_000), started, 1);
        query.stats.phases =
            Phases { plan: Duration::from_millis(1), fetch: Duration::from_millis(20), evaluate: Duration::ZERO };
        query.answered = Some(after(25));
        let expected = Line {
            query: "up",
            range_ms: 60_000,
            total_ms: 30.0,
            plan_ms: 1.0,
            fetch_ms: 20.0,
            evaluate_ms: 0.0,
            render_ms: 5.0,
        };
        assert_eq!(query.line(after(30)), Some(expected));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("up"), "up");
        let long = format!("{}\u{e9}", "x".repeat(TEXT_BYTES_MAX - 1));
        assert_eq!(cut(&long), &long[..TEXT_BYTES_MAX - 1]);
    }
}
