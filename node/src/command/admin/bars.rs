//! The progress of every node, for work that all of them do at a time: bars at a terminal, a line now and then elsewhere.
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::bytes;

const BAR: &str = "{prefix:<16} [{bar:32}] {bytes:>10} of {total_bytes:>10}  {msg}";
/// Between two lines about a node where there is no terminal.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// One bar a node.
#[derive(Debug)]
pub(super) struct Bars {
    all: MultiProgress,
    by_node: BTreeMap<String, ProgressBar>,
    /// Where there is no terminal: who was told of when.
    lines: Option<Lines>,
}

impl Bars {
    pub(super) fn new() -> Self {
        let lines = (!stderr().is_terminal()).then(Lines::default);
        Self { all: MultiProgress::default(), by_node: BTreeMap::new(), lines }
    }

    pub(super) fn show(&mut self, node: &str, bytes_done: u64, bytes_total: u64, message: String) {
        if let Some(lines) = &mut self.lines {
            let text = format!("{node}: {} of {}, {message}", bytes(bytes_done), bytes(bytes_total));
            if lines.is_news(node, &text, Instant::now()) {
                // Who does not listen misses nothing: the result comes on the standard output.
                drop(writeln!(stderr(), "{text}"));
            }
            return;
        }
        let bar = self.by_node.entry(node.to_owned()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(bytes_total));
            if let Ok(style) = ProgressStyle::with_template(BAR) {
                bar.set_style(style);
            }
            bar.set_prefix(node.to_owned());
            bar
        });
        bar.set_length(bytes_total);
        bar.set_position(bytes_done);
        bar.set_message(message);
    }

    pub(super) fn clear(&self) {
        for bar in self.by_node.values() {
            bar.finish_and_clear();
        }
    }
}

/// The last line about each node.
#[derive(Debug, Default)]
struct Lines(BTreeMap<String, (Instant, String)>);

impl Lines {
    /// Whether to tell `text` now: not too often, and nothing twice in a row.
    fn is_news(&mut self, node: &str, text: &str, now: Instant) -> bool {
        let told = self.0.get(node);
        let news = told.is_none_or(|(at, last)| now.duration_since(*at) >= TELL_EVERY && last != text);
        if news {
            self.0.insert(node.to_owned(), (now, text.to_owned()));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_told_of_now_and_then_and_only_what_is_new() {
        let mut lines = Lines::default();
        let start = Instant::now();
        for (node, text, after_s, told) in [
            ("n1", "a", 0, true),
            ("n2", "a", 0, true),
            ("n1", "b", 1, false),
            ("n1", "a", 6, false),
            ("n1", "c", 7, true),
            ("n1", "d", 11, false),
            ("n1", "d", 12, true),
        ] {
            assert_eq!(
                lines.is_news(node, text, start + Duration::from_secs(after_s)),
                told,
                "{node} {text} {after_s}"
            );
        }
    }
}
