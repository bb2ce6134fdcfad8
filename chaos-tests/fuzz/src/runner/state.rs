//! What each target has had, in a text file: `<name> <cpu ms> <inputs> <coverage> <findings> <open findings>`.
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Ended;

const FILE: &str = "progress";

/// What one target has had, over all runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Processor time.
    pub cpu: Duration,
    /// Inputs that were run.
    pub inputs: u64,
    /// Edges that the newest run covered.
    pub coverage: u64,
    /// Crashes and hangs, mended ones included.
    pub findings: u64,
    /// Those that are still there.
    pub open: u64,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, inputs, coverage, findings, open } = self;
        write!(f, "{:>8} s {inputs:>12} inputs {coverage:>7} edges {findings:>4} found {open:>4} open", cpu.as_secs())
    }
}

/// All records, and where they are kept.
#[derive(Clone, Debug)]
pub struct State {
    path: PathBuf,
    records: BTreeMap<String, Record>,
}

impl State {
    /// Reads the records of a state directory; there are none in a new one.
    pub fn load(dir: &Path) -> io::Result<Self> {
        let path = dir.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        Ok(Self { path, records: text.lines().filter_map(record).collect() })
    }

    /// The record of a target.
    pub fn get(&self, target: &str) -> Record {
        self.records.get(target).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, target: &str, ended: &Ended, found: u64) -> Record {
        let record = self.records.entry(target.to_owned()).or_default();
        record.cpu += ended.cpu;
        record.inputs += ended.inputs;
        record.coverage = ended.coverage.max(record.coverage);
        record.findings += found;
        record.open += found;
        *record
    }

    pub(super) fn mended(&mut self, target: &str) {
        let record = self.records.entry(target.to_owned()).or_default();
        record.open = record.open.saturating_sub(1);
    }

    /// Forgets how long each target has run.
    pub fn clear(&mut self) {
        self.records.clear();
    }

    /// Writes the records, all or none.
    pub fn save(&self) -> io::Result<()> {
        let line = |(name, r): (&String, &Record)| {
            format!("{name} {} {} {} {} {}\n", r.cpu.as_millis(), r.inputs, r.coverage, r.findings, r.open)
        };
        let text: String = self.records.iter().map(line).collect();
        let new = self.path.with_extension("new");
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(&new, text)?;
        std::fs::rename(new, &self.path)
    }
}

fn record(line: &str) -> Option<(String, Record)> {
    let mut fields = line.split(' ');
    let name = fields.next()?.to_owned();
    let mut number = || fields.next()?.parse::<u64>().ok();
    let cpu = Duration::from_millis(number()?);
    Some((name, Record { cpu, inputs: number()?, coverage: number()?, findings: number()?, open: number()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_add_up_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::load(dir.path()).unwrap();
        let ended = Ended { success: false, cpu: Duration::from_millis(1500), inputs: 10, coverage: 7 };
        state.add("a", &ended, 1);
        state.add("a", &ended, 0);
        state.add("b", &ended, 1);
        state.mended("a");
        state.save().unwrap();
        let back = State::load(dir.path()).unwrap();
        let expected = Record { cpu: Duration::from_secs(3), inputs: 20, coverage: 7, findings: 1, open: 0 };
        assert_eq!(back.get("a"), expected);
        assert_eq!(back.get("b").open, 1);
        assert_eq!(back.get("c"), Record::default());
        assert_eq!(record("a 1 2 x 4 5"), None);
    }
}
