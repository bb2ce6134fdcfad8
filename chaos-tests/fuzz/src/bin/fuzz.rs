//! Runs every fuzz target under libFuzzer until each has had its time; what was interrupted goes on where it was.
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use trine_fuzz::runner::{self, LibFuzzer, Places, Plan, Record, State};

/// Fuzz every decoder of outside or on-disk bytes.
#[derive(Parser)]
#[command(after_help = "Examples:\n  \
    cargo run -p trine-fuzz -- --seconds 300           five minutes each; again after an interruption, it goes on\n  \
    cargo run -p trine-fuzz -- --status                what each target has had so far\n  \
    cargo run -p trine-fuzz -- --seconds 3 --fresh     a short run of all\n  \
    cargo run -p trine-fuzz -- --seconds 60 promql     one target\n\
    A finding leaves its input in target/fuzz/findings/<target>. `--input FILE <target>` runs it again; once it is mended, \
    the next run takes it into the corpus")]
struct Flags {
    /// Processor seconds for each target, over all runs
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Seconds of one turn: the target with the least time is next
    #[arg(long, default_value_t = 60)]
    slice: u64,
    /// Targets at a time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Start no more turns after so many seconds
    #[arg(long)]
    stop_after: Option<u64>,
    /// Directory of corpora, findings, logs and times; target/fuzz without
    #[arg(long)]
    state: Option<PathBuf>,
    /// Print what each target has had, and do nothing else
    #[arg(long)]
    status: bool,
    /// Forget how long each target has run already
    #[arg(long)]
    fresh: bool,
    /// Use the binary of the state directory as it is
    #[arg(long)]
    no_build: bool,
    /// Only run this input
    #[arg(long)]
    input: Option<PathBuf>,
    /// Put a smallest corpus of what was found into chaos-tests/fuzz/corpus, and do nothing else
    #[arg(long)]
    keep: bool,
    /// Names of targets; all without
    targets: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> io::Result<()> {
    let targets = runner::chosen(&flags.targets)?;
    let places = Places::new(flags.state.clone());
    let mut state = State::load(&places.state)?;
    if flags.status {
        print_status(&state, &targets);
        return Ok(());
    }
    if flags.fresh {
        state.clear();
        state.save()?;
    }
    if !flags.no_build {
        runner::build(&places)?;
    }
    if let Some(input) = &flags.input {
        return targets.iter().try_for_each(|t| run_input(&places, t.name, input));
    }
    if flags.keep {
        return targets.iter().try_for_each(|t| {
            println!("{:<20} {:>5} inputs kept", t.name, runner::keep(&places, t)?);
            Ok(())
        });
    }
    let until = flags.stop_after.map(|s| Instant::now() + Duration::from_secs(s));
    let plan =
        Plan { targets: targets.clone(), seconds: flags.seconds, slice_seconds: flags.slice, jobs: flags.jobs, until };
    let found = runner::run(&places, &plan, &|line| println!("{line}"))?;
    print_status(&State::load(&places.state)?, &targets);
    if found.is_empty() {
        return Ok(());
    }
    let findings = places.state.join("findings");
    Err(io::Error::other(format!("{} have findings: their inputs are in {}", found.join(", "), findings.display())))
}

fn run_input(places: &Places, target: &str, input: &std::path::Path) -> io::Result<()> {
    let ended = LibFuzzer::new(places, target).input(input)?;
    println!("{target}: {:.2} s of processor time", ended.cpu.as_secs_f64());
    if ended.success { Ok(()) } else { Err(io::Error::other(format!("{target} fails on {}", input.display()))) }
}

/// A table that can be pasted into a document.
fn print_status(state: &State, targets: &[trine_fuzz::Target]) {
    println!("| target | CPU s | inputs | edges | findings | open |");
    println!("|---|---:|---:|---:|---:|---:|");
    for target in targets {
        let Record { cpu, inputs, coverage, findings, open } = state.get(target.name);
        println!("| {} | {} | {inputs} | {coverage} | {findings} | {open} |", target.name, cpu.as_secs());
    }
}
