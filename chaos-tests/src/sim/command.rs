//! The command `sim`: many seeds and a table, or one seed and its story.
use std::io::{IsTerminal, Write, stderr};
use std::path::PathBuf;

use clap::Args;

use super::Subject;
use super::sweep::{Sweep, story, sweep, table};

/// Failing seeds that are told in full.
const STORIES_MAX: usize = 3;

/// Flags of `sim`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// Seeds of each simulation.
    #[arg(long, default_value_t = 1000)]
    pub seeds: u64,
    /// The first seed; the others count up from it.
    #[arg(long, default_value_t = 1)]
    pub first: u64,
    /// Plays this seed alone and prints every event.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Only these simulations.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Subject>,
    /// Threads; as many as there are cores without.
    #[arg(long)]
    pub jobs: Option<usize>,
    /// Replaces what is between the markers `<!-- simulation -->` and `<!-- end simulation -->` of this file by the table.
    #[arg(long)]
    pub write: Option<PathBuf>,
}

/// Whether every promise held. `Err` says why the command could not be done.
pub fn run(flags: &Flags) -> Result<bool, String> {
    let subjects = if flags.only.is_empty() { Subject::ALL.to_vec() } else { flags.only.clone() };
    if let Some(seed) = flags.seed {
        let outcomes: Vec<_> = subjects.iter().map(|subject| (*subject, subject.play(seed))).collect();
        for (subject, outcome) in &outcomes {
            print!("{}", story(*subject, seed, outcome, usize::MAX));
        }
        return Ok(outcomes.iter().all(|(_, outcome)| outcome.violation.is_none()));
    }
    let jobs = flags.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let terminal = stderr().is_terminal();
    let progress = |subject: Subject, done: u64, of: u64| {
        // On a terminal one line that counts up; elsewhere a line a second would only fill a file.
        if terminal {
            eprint!("\r{subject}: {done} of {of} seeds ");
            drop(stderr().flush());
        }
    };
    let rows = sweep(&Sweep { subjects, first: flags.first, seeds: flags.seeds, jobs }, &progress);
    if terminal {
        eprintln!();
    }
    for row in &rows {
        row.failures.values().take(STORIES_MAX).for_each(|text| eprintln!("{text}"));
        if row.failures.len() > STORIES_MAX {
            eprintln!(
                "{}: further seeds that fail: {:?}",
                row.subject,
                row.failures.keys().skip(STORIES_MAX).collect::<Vec<_>>()
            );
        }
    }
    print!("{}", table(&rows));
    if let Some(path) = &flags.write {
        write(path, &table(&rows))?;
    }
    Ok(rows.iter().all(|row| row.failures.is_empty()))
}

/// Replaces what is between a page's markers.
fn write(path: &std::path::Path, text: &str) -> Result<(), String> {
    const MARKERS: [&str; 2] = ["<!-- simulation -->\n", "<!-- end simulation -->"];
    let page = std::fs::read_to_string(path).map_err(|e| format!("read {}: {e}", path.display()))?;
    let parts = page.split_once(MARKERS[0]).and_then(|(before, rest)| Some((before, rest.split_once(MARKERS[1])?.1)));
    let (before, after) = parts.ok_or_else(|| format!("{} has no markers <!-- simulation -->", path.display()))?;
    let page = format!("{before}{}{text}{}{after}", MARKERS[0], MARKERS[1]);
    std::fs::write(path, page).map_err(|e| format!("write {}: {e}", path.display()))
}
