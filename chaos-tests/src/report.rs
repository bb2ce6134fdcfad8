//! What a scenario measured, for people.
use std::fmt;
use std::time::Duration;

use crate::fact::Signal;
use crate::settings::Settings;
use crate::writers::Ledger;

/// What a scenario that passed measured.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub scenario: &'static str,
    /// Label and value, in the order they were noted.
    pub rows: Vec<(String, String)>,
}

impl Report {
    /// A report that begins with what is needed to repeat the run.
    pub fn new(scenario: &'static str, settings: Settings) -> Self {
        // Printed at once too: a scenario that fails has no report.
        println!("{scenario}: TRINE_CHAOS_SEED={} TRINE_CHAOS_ROUNDS={}", settings.seed, settings.rounds);
        let mut report = Self { scenario, rows: Vec::new() };
        report.note("seed", settings.seed);
        report
    }

    pub fn note(&mut self, label: impl Into<String>, value: impl fmt::Display) {
        self.rows.push((label.into(), value.to_string()));
    }

    /// Notes how many facts of each signal were written.
    pub fn note_tallies(&mut self, ledger: &Ledger) {
        for signal in Signal::ALL {
            let tally = ledger.oracle().tally(signal);
            let text = format!("{} acknowledged, {} unclear", tally.acknowledged, tally.unknown);
            self.note(format!("{signal:?}, facts"), text);
        }
    }

    /// Notes how durations spread, once there are enough of them to say so.
    pub fn note_spread(&mut self, label: impl Into<String>, values: &[Duration]) {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        if let [_, .., longest] = sorted[..] {
            let at = |hundredths: usize| sorted[(sorted.len() - 1) * hundredths / 100].as_millis();
            let text =
                format!("median {} / p90 {} / longest {} ms of {}", at(50), at(90), longest.as_millis(), sorted.len());
            self.note(label, text);
        }
    }

    /// Notes a duration in milliseconds.
    pub fn note_ms(&mut self, label: impl Into<String>, value: Duration) {
        self.note(label, format!("{} ms", value.as_millis()));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (label, value) in &self.rows {
            writeln!(f, "{:<20} {label:<44} {value}", self.scenario)?;
        }
        Ok(())
    }
}
