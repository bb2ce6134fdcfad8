//! Runs every fuzz target under libFuzzer, one after the other; what was interrupted goes on where it was.
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use trine_fuzz::{Target, seeds, targets};

/// Fuzz every decoder of outside or on-disk bytes.
#[derive(Parser)]
#[command(after_help = "Examples:\n  \
    cargo run -p trine-fuzz -- --seconds 300           five minutes each; again after an interruption, it goes on\n  \
    cargo run -p trine-fuzz -- --seconds 3 --fresh     a smoke run\n  \
    cargo run -p trine-fuzz -- --seconds 60 promql     one target\n\
    A crash leaves its input in target/fuzz/crashes/<target>; run it with --seconds 0 --input FILE <target>")]
struct Flags {
    /// Seconds for each target, over all runs
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Forget how long each target has run already
    #[arg(long)]
    fresh: bool,
    /// Only run this input
    #[arg(long)]
    input: Option<PathBuf>,
    /// Keep a smallest corpus of what was found in chaos-tests/fuzz/corpus
    #[arg(long)]
    keep: bool,
    /// Names of targets; all without
    targets: Vec<String>,
}

/// Longest input, bytes.
const INPUT_BYTES_MAX: u32 = 64 << 10;
/// Longest time of one input, seconds: a decoder that takes longer hangs.
const INPUT_SECONDS_MAX: u32 = 10;
const MEMORY_MIB_MAX: u32 = 2048;
/// Largest committed corpus of a target, bytes.
const CORPUS_BYTES_MAX: u64 = 48 << 10;

fn main() -> ExitCode {
    match run(&Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Where things are.
struct Places {
    workspace: PathBuf,
    work: PathBuf,
}

impl Places {
    fn new() -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
        Self { work: target.join("fuzz"), workspace }
    }

    fn corpus(&self, target: &str) -> PathBuf {
        self.work.join("corpus").join(target)
    }

    fn committed(&self, target: &str) -> PathBuf {
        self.workspace.join("chaos-tests/fuzz/corpus").join(target)
    }
}

fn run(flags: &Flags) -> io::Result<()> {
    let chosen = chosen(&flags.targets)?;
    let places = Places::new();
    let binary = build(&places)?;
    let mut done = if flags.fresh { BTreeMap::new() } else { read_progress(&places) };
    let bar = ProgressBar::new(chosen.len() as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed}").map_err(io::Error::other)?;
    bar.set_style(style);
    let mut crashed = Vec::new();
    for target in chosen {
        bar.set_message(target.name);
        let left = flags.seconds.saturating_sub(done.get(target.name).copied().unwrap_or(0));
        if let Some(input) = &flags.input {
            let status = libfuzzer(&binary, &target, &places).arg(input).status()?;
            if !status.success() {
                crashed.push(target.name);
            }
        } else if left > 0 {
            let started = Instant::now();
            if !fuzz(&binary, &target, &places, left)? {
                crashed.push(target.name);
            }
            *done.entry(target.name.to_owned()).or_default() += started.elapsed().as_secs().max(1);
            write_progress(&places, &done)?;
        }
        if flags.keep {
            keep(&binary, &target, &places)?;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!("{:<20} {:>9} {:>8}", "target", "seconds", "corpus");
    for (name, seconds) in &done {
        println!("{name:<20} {seconds:>9} {:>8}", std::fs::read_dir(places.corpus(name)).map_or(0, Iterator::count));
    }
    if crashed.is_empty() {
        return Ok(());
    }
    let crashes = places.work.join("crashes");
    Err(io::Error::other(format!("{} crashed: inputs are in {}", crashed.join(", "), crashes.display())))
}

fn chosen(names: &[String]) -> io::Result<Vec<Target>> {
    let all = targets();
    if let Some(unknown) = names.iter().find(|n| all.iter().all(|t| t.name != *n)) {
        let known: Vec<&str> = all.iter().map(|t| t.name).collect();
        return Err(io::Error::other(format!("no target {unknown:?}; there are {}", known.join(", "))));
    }
    Ok(all.into_iter().filter(|t| names.is_empty() || names.iter().any(|n| n == t.name)).collect())
}

/// The target binary, with coverage in this workspace's crates only.
fn build(places: &Places) -> io::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let wrapper = places.workspace.join("chaos-tests/fuzz/rustc-coverage").canonicalize()?;
    let status = Command::new(cargo)
        .args(["build", "--locked", "-p", "trine-fuzz", "--features", "libfuzzer", "--bin", "fuzz-target"])
        .env("RUSTC_WORKSPACE_WRAPPER", wrapper)
        .current_dir(&places.workspace)
        .status()?;
    if !status.success() {
        return Err(io::Error::other("the target does not build: libFuzzer needs a C++ compiler"));
    }
    let built = places.work.parent().unwrap_or(&places.work).join("debug/fuzz-target");
    std::fs::create_dir_all(&places.work)?;
    // The next ordinary build would replace it.
    let kept = places.work.join("fuzz-target");
    std::fs::copy(built, &kept)?;
    Ok(kept)
}

fn libfuzzer(binary: &Path, target: &Target, places: &Places) -> Command {
    let mut command = Command::new(binary);
    command
        .env("TRINE_FUZZ_TARGET", target.name)
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-artifact_prefix={}/", places.work.join("crashes").join(target.name).display()))
        .arg("-print_final_stats=0");
    command
}

/// Runs one target; `false` when it crashed.
fn fuzz(binary: &Path, target: &Target, places: &Places, seconds: u64) -> io::Result<bool> {
    let corpus = places.corpus(target.name);
    std::fs::create_dir_all(&corpus)?;
    std::fs::create_dir_all(places.work.join("crashes").join(target.name))?;
    for (n, seed) in seeds::of(target.name).iter().enumerate() {
        std::fs::write(corpus.join(format!("seed-{n}")), seed)?;
    }
    let mut command = libfuzzer(binary, target, places);
    command.arg(format!("-max_total_time={seconds}")).arg(&corpus);
    if places.committed(target.name).is_dir() {
        command.arg(places.committed(target.name));
    }
    let log = places.work.join(format!("{}.log", target.name));
    let output = std::fs::File::create(&log)?;
    let mut child = command.stdout(Stdio::null()).stderr(output).spawn()?;
    let give_up = Instant::now() + Duration::from_secs(seconds * 2 + 120);
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                eprintln!("{}: {status}; see {}", target.name, log.display());
            }
            return Ok(status.success());
        }
        if Instant::now() > give_up {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other(format!("{} did not stop; see {}", target.name, log.display())));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A smallest corpus with the same coverage, as far as it is small enough to commit.
fn keep(binary: &Path, target: &Target, places: &Places) -> io::Result<()> {
    let smallest = tempfile::tempdir()?;
    let mut command = libfuzzer(binary, target, places);
    command.arg("-merge=1").arg(smallest.path()).arg(places.corpus(target.name));
    command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    let mut files: Vec<(u64, PathBuf)> = Vec::new();
    for file in std::fs::read_dir(smallest.path())? {
        let file = file?;
        files.push((file.metadata()?.len(), file.path()));
    }
    files.sort();
    let (committed, mut bytes) = (places.committed(target.name), 0);
    std::fs::create_dir_all(&committed)?;
    for (len, path) in files {
        bytes += len;
        if bytes > CORPUS_BYTES_MAX {
            break;
        }
        std::fs::copy(&path, committed.join(path.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

/// Seconds that each target has run, by name.
fn read_progress(places: &Places) -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(places.work.join("progress")).unwrap_or_default();
    text.lines().filter_map(|l| l.split_once(' ').and_then(|(n, s)| Some((n.to_owned(), s.parse().ok()?)))).collect()
}

fn write_progress(places: &Places, done: &BTreeMap<String, u64>) -> io::Result<()> {
    let lines: Vec<String> = done.iter().map(|(name, seconds)| format!("{name} {seconds}\n")).collect();
    std::fs::write(places.work.join("progress"), lines.concat())
}
