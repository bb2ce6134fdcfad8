//! The progress of every node, for work that all of them do at a time.
use std::collections::BTreeMap;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

const BAR: &str = "{prefix:<16} [{bar:32}] {bytes:>10} of {total_bytes:>10}  {msg}";

/// One bar a node.
#[derive(Debug, Default)]
pub(super) struct Bars {
    all: MultiProgress,
    by_node: BTreeMap<String, ProgressBar>,
}

impl Bars {
    pub(super) fn show(&mut self, node: &str, bytes_done: u64, bytes_total: u64, message: String) {
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
