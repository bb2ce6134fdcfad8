//! What was done to a cluster and what became of its processes, with times.
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Lines with their times since the start.
#[derive(Debug)]
pub struct Story {
    began: Instant,
    began_at: SystemTime,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    lines: Vec<(Duration, String)>,
    ended: Vec<(Duration, usize, String)>,
}

impl Default for Story {
    fn default() -> Self {
        Self { began: Instant::now(), began_at: SystemTime::now(), told: Mutex::default() }
    }
}

impl Story {
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a line, and shows it.
    pub(super) fn tell(&self, line: impl Into<String>) {
        let (at, line) = (self.began.elapsed(), line.into());
        eprintln!("  {:8.3}  {line}", at.as_secs_f64());
        self.told().lines.push((at, line));
    }

    /// Notes that a process ended by itself.
    pub(super) fn ended(&self, n: usize, status: &str) {
        self.tell(format!("node-{} ended by itself: {status}", n + 1));
        self.told().ended.push((self.began.elapsed(), n, status.to_owned()));
    }

    /// Processes that ended by themselves: when, which, how.
    pub fn ends(&self) -> Vec<(Duration, usize, String)> {
        self.told().ended.clone()
    }

    /// All lines.
    pub fn text(&self) -> String {
        let lines = &self.told().lines;
        lines.iter().map(|(at, line)| format!("{:8.3}  {line}\n", at.as_secs_f64())).collect()
    }

    /// A moment of this story on the wall clock, as nodes' logs spell it.
    pub(super) fn wall(&self, moment: Duration) -> String {
        let at = jiff::Timestamp::try_from(self.began_at + moment);
        at.map_or_else(|e| e.to_string(), |at| format!("{at:.6}"))
    }

    /// Lines of a log that begin with a time between two moments, at most `lines_max`.
    pub(super) fn excerpt(&self, log: &str, from: Duration, to: Duration, lines_max: usize) -> String {
        let (from, to) = (self.wall(from), self.wall(to));
        let within = |line: &&str| line.get(..from.len()).is_some_and(|at| *from <= *at && *at <= *to);
        log.lines().filter(within).take(lines_max).map(|line| format!("{line}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_has_what_lies_between_two_moments() {
        let story = Story::default();
        let second = Duration::from_secs(1);
        let log: String = (0..5).map(|n| format!("{}  INFO line {n}\n", story.wall(second * n))).collect();
        let text = story.excerpt(&log, second, second * 3, 2);
        assert_eq!(text.lines().map(|l| l.rsplit(' ').next().unwrap()).collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(story.wall(second).len(), "2026-11-21T05:31:48.818760Z".len());
    }
}
