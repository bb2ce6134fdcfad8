//! What a scenario measured, for people.
use std::fmt;
use std::time::Duration;

/// What a scenario that passed measured.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub scenario: &'static str,
    /// Label and value, in the order they were noted.
    pub rows: Vec<(String, String)>,
}

impl Report {
    pub fn new(scenario: &'static str) -> Self {
        Self { scenario, rows: Vec::new() }
    }

    pub fn note(&mut self, label: impl Into<String>, value: impl fmt::Display) {
        self.rows.push((label.into(), value.to_string()));
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
