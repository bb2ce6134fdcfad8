//! Runs the targets under libFuzzer in slices, the one with the least time first, until each has had its share. What each
//! has had is kept, so that an interrupted run goes on where it was.
mod libfuzzer;
mod state;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use libfuzzer::{Ended, LibFuzzer};
pub use state::{Record, State};

use crate::{Target, pack, seeds, targets};

/// Largest committed corpus of a target, bytes.
const PACK_BYTES_MAX: usize = 32 << 10;
/// Processor time of one input above which it is taken for a hang.
pub const INPUT_TIME_MAX: Duration = Duration::from_secs(1);

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Targets to run.
    pub targets: Vec<Target>,
    /// Processor seconds for each, over all runs.
    pub seconds: u64,
    /// Of one turn.
    pub slice_seconds: u64,
    /// Targets at a time.
    pub jobs: usize,
    /// When to start no more turns.
    pub until: Option<Instant>,
}

/// Where the run keeps what it knows.
#[derive(Clone, Debug)]
pub struct Places {
    /// Root of the workspace.
    pub workspace: PathBuf,
    /// Corpora, crashes, logs, the binary, and the times.
    pub state: PathBuf,
}

impl Places {
    /// `state` is `target/fuzz` unless it is given.
    pub fn new(state: Option<PathBuf>) -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let state = state.unwrap_or_else(|| target_dir(&workspace).join("fuzz"));
        Self { workspace, state }
    }

    /// The target's inputs so far.
    pub fn corpus(&self, target: &str) -> PathBuf {
        self.state.join("corpus").join(target)
    }

    /// The target's inputs that crashed or hung.
    pub fn findings(&self, target: &str) -> PathBuf {
        self.state.join("findings").join(target)
    }

    fn log(&self, target: &str) -> PathBuf {
        self.state.join("logs").join(format!("{target}.log"))
    }

    /// The binary that libFuzzer drives.
    pub fn binary(&self) -> PathBuf {
        self.state.join("fuzz-target")
    }
}

fn target_dir(workspace: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from)
}

/// Those of the names; all without any.
pub fn chosen(names: &[String]) -> io::Result<Vec<Target>> {
    let all = targets();
    if let Some(unknown) = names.iter().find(|n| all.iter().all(|t| t.name != *n)) {
        let known: Vec<&str> = all.iter().map(|t| t.name).collect();
        return Err(io::Error::other(format!("no target {unknown:?}; there are {}", known.join(", "))));
    }
    Ok(all.into_iter().filter(|t| names.is_empty() || names.iter().any(|n| n == t.name)).collect())
}

/// Builds the binary, with coverage in this workspace's crates only.
pub fn build(places: &Places) -> io::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let wrapper = places.workspace.join("chaos-tests/fuzz/rustc-coverage").canonicalize()?;
    let status = Command::new(cargo)
        .args(["build", "--locked", "--profile", "fuzzing", "-p", "trine-fuzz"])
        .args(["--features", "libfuzzer", "--bin", "fuzz-target"])
        .env("RUSTC_WORKSPACE_WRAPPER", wrapper)
        .current_dir(&places.workspace)
        .status()?;
    if !status.success() {
        return Err(io::Error::other("the target does not build: libFuzzer needs a C++ compiler"));
    }
    std::fs::create_dir_all(&places.state)?;
    // A running process keeps the binary it was started from.
    let (built, new) =
        (target_dir(&places.workspace).join("fuzzing/fuzz-target"), places.state.join("fuzz-target.new"));
    std::fs::copy(built, &new)?;
    std::fs::rename(new, places.binary())
}

/// Runs the plan. Returns the targets that have findings now.
pub fn run(places: &Places, plan: &Plan, tell: &(dyn Fn(&str) + Sync)) -> io::Result<Vec<&'static str>> {
    let state = Mutex::new(State::load(&places.state)?);
    for target in &plan.targets {
        prepare(places, target)?;
        recheck(places, target, &state, tell)?;
    }
    let turns = Turns { plan, busy: Mutex::default() };
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..plan.jobs.max(1)).map(|_| scope.spawn(|| work(places, &turns, &state, tell))).collect();
        workers.into_iter().try_for_each(|w| w.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked"))))
    })?;
    let has_findings = |t: &&Target| std::fs::read_dir(places.findings(t.name)).is_ok_and(|mut d| d.next().is_some());
    Ok(plan.targets.iter().filter(has_findings).map(|t| t.name).collect())
}

/// Which target is next.
struct Turns<'a> {
    plan: &'a Plan,
    /// Names of those that run now, or that found something in this run.
    busy: Mutex<BTreeSet<&'static str>>,
}

impl Turns<'_> {
    /// The target with the least time, and how long its turn is.
    fn next(&self, state: &State) -> Option<(Target, u64)> {
        if self.plan.until.is_some_and(|until| Instant::now() >= until) {
            return None;
        }
        let mut busy = lock(&self.busy);
        let waiting = self.plan.targets.iter().filter(|t| !busy.contains(t.name));
        let next = waiting.min_by_key(|t| state.get(t.name).cpu)?;
        let left = Duration::from_secs(self.plan.seconds).saturating_sub(state.get(next.name).cpu);
        if left < Duration::from_secs(1) {
            return None;
        }
        busy.insert(next.name);
        Some((*next, left.as_secs().clamp(1, self.plan.slice_seconds.max(1))))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work(places: &Places, turns: &Turns<'_>, state: &Mutex<State>, tell: &(dyn Fn(&str) + Sync)) -> io::Result<()> {
    loop {
        let next = turns.next(&lock(state));
        let Some((target, seconds)) = next else { return Ok(()) };
        let ended = LibFuzzer::new(places, target.name).fuzz(seconds, &places.log(target.name))?;
        let hangs = drop_quick(places, target.name, tell)?;
        let found = u64::from(!ended.success) + hangs;
        let record = {
            let mut state = lock(state);
            let record = state.add(target.name, &ended, found);
            state.save()?;
            record
        };
        tell(&format!("{:<20} {record}{}", target.name, if found > 0 { "  FOUND SOMETHING" } else { "" }));
        if found == 0 {
            lock(&turns.busy).remove(target.name);
        }
    }
}

/// Puts seeds and the committed corpus where libFuzzer looks.
fn prepare(places: &Places, target: &Target) -> io::Result<()> {
    let corpus = places.corpus(target.name);
    std::fs::create_dir_all(&corpus)?;
    std::fs::create_dir_all(places.findings(target.name))?;
    std::fs::create_dir_all(places.state.join("logs"))?;
    for (n, input) in seeds::of(target.name).iter().enumerate() {
        std::fs::write(corpus.join(format!("seed-{n}")), input)?;
    }
    for (n, input) in pack::read(target.name)?.iter().enumerate() {
        std::fs::write(corpus.join(format!("pack-{n}")), input)?;
    }
    Ok(())
}

/// Earlier findings that are none any more become part of the corpus.
fn recheck(places: &Places, target: &Target, state: &Mutex<State>, tell: &(dyn Fn(&str) + Sync)) -> io::Result<()> {
    for file in std::fs::read_dir(places.findings(target.name))? {
        let path = file?.path();
        let ended = LibFuzzer::new(places, target.name).input(&path)?;
        if ended.success && ended.cpu < INPUT_TIME_MAX {
            tell(&format!("{}: {} is mended", target.name, path.display()));
            std::fs::rename(&path, places.corpus(target.name).join(path.file_name().unwrap_or_default()))?;
            lock(state).mended(target.name);
        } else {
            tell(&format!("{}: {} is still there", target.name, path.display()));
        }
    }
    lock(state).save()
}

/// libFuzzer notes slow inputs by the clock on the wall, which a busy machine makes late: only those stay that take too much
/// processor time. Their number.
fn drop_quick(places: &Places, target: &str, tell: &(dyn Fn(&str) + Sync)) -> io::Result<u64> {
    let mut slow = 0;
    for file in std::fs::read_dir(places.findings(target))? {
        let path = file?.path();
        if !path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("slow-unit-")) {
            continue;
        }
        let ended = LibFuzzer::new(places, target).input(&path)?;
        if ended.success && ended.cpu < INPUT_TIME_MAX {
            std::fs::remove_file(&path)?;
        } else {
            tell(&format!("{target}: {} takes {:.1} s", path.display(), ended.cpu.as_secs_f64()));
            slow += 1;
        }
    }
    Ok(slow)
}

/// Makes a target's committed pack: a smallest corpus with the same coverage, as far as it is small enough.
pub fn keep(places: &Places, target: &Target) -> io::Result<usize> {
    prepare(places, target)?;
    let smallest = tempfile::tempdir()?;
    LibFuzzer::new(places, target.name).merge(smallest.path(), &places.corpus(target.name))?;
    let seeds: BTreeSet<Vec<u8>> = seeds::of(target.name).into_iter().collect();
    let mut inputs = Vec::new();
    for file in std::fs::read_dir(smallest.path())? {
        inputs.push(std::fs::read(file?.path())?);
    }
    inputs.retain(|input| !seeds.contains(input));
    inputs.sort_by_key(|input| (input.len(), input.clone()));
    let mut bytes = 0;
    inputs.retain(|input| {
        bytes += input.len() + 4;
        bytes <= PACK_BYTES_MAX
    });
    pack::write(target.name, &inputs)?;
    Ok(inputs.len())
}
