//! Runs the scenarios for as many rounds as asked and prints what they measured; or faults by schedule, once or often.
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use trine_chaos_tests::binary;
use trine_chaos_tests::nemesis::fault::Fault;
use trine_chaos_tests::nemesis::run::{Plan, run};
use trine_chaos_tests::nemesis::soak::{Soak, passed, soak, table};
use trine_chaos_tests::net::Realm;
use trine_chaos_tests::scenario::{ALL, Scenario};
use trine_chaos_tests::settings::Settings;
use trine_chaos_tests::sim::command;

/// Real clusters under faults. The binary is `TRINE_BIN`, or this workspace's debug build.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Flags {
    #[command(subcommand)]
    command: Option<Command>,
    /// Rounds of each scenario.
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Seed of the random choices; another one each time without.
    #[arg(long)]
    seed: Option<u64>,
    /// Only these scenarios.
    scenarios: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One run of faults by schedule.
    Nemesis {
        /// Nodes of the cluster.
        #[arg(long, default_value_t = 3)]
        nodes: usize,
        #[command(flatten)]
        common: Common,
    },
    /// Deterministic simulation of the pure decisions and of the log, by seeds. Starts no process.
    Sim(command::Flags),
    /// Many runs: each fault alone, then random pairs. Ends with a table.
    Soak {
        #[arg(long, default_value_t = 60)]
        runs: usize,
        /// Nodes of the clusters, in turn.
        #[arg(long, value_delimiter = ',', default_value = "3,5")]
        nodes: Vec<usize>,
        /// Replaces what is between the markers `<!-- soak -->` and `<!-- end -->` of this file by the table.
        #[arg(long)]
        write: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args, Debug)]
struct Common {
    /// Decides everything; another one each time without, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// How long faults go on.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Which faults; all that this machine can do, without.
    #[arg(long, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// Loopback and the proxy only, even where root would allow network namespaces.
    #[arg(long)]
    loopback: bool,
    /// Variable of every node, as NAME=value; a build with `fault-injection` puts known bugs back by TRINE_TEST_BUG.
    #[arg(long)]
    env: Vec<String>,
    /// End a run at its first violation.
    #[arg(long)]
    first_only: bool,
}

impl Common {
    fn plan(&self, nodes: usize) -> Result<Plan, String> {
        let mut faults = self.faults.clone();
        if faults.is_empty() {
            faults = Fault::all().filter(|f| f.missing().is_none()).collect();
        }
        if let Some((fault, why)) = faults.iter().find_map(|f| f.missing().map(|why| (f, why))) {
            return Err(format!("{fault}: {why}"));
        }
        let pair = |text: &String| text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        let environment: Option<Vec<_>> = self.env.iter().map(pair).collect();
        let environment = environment.ok_or("--env takes NAME=value")?;
        let injects = !environment.is_empty() || faults.iter().any(|f| f.needs_injection());
        let binary = if injects { Some(binary::with_faults().map_err(|e| e.to_string())?) } else { None };
        let length = Duration::try_from_secs_f64(self.minutes * 60.0).map_err(|e| format!("--minutes: {e}"))?;
        let seed = self.seed.unwrap_or(Settings::from_env().seed);
        let realm = self.loopback.then_some(Realm::Loopback);
        Ok(Plan { seed, nodes, length, faults, realm, binary, environment, first_only: self.first_only })
    }
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let passed = match &flags.command {
        None => scenarios(&runtime, &flags),
        Some(Command::Sim(simulated)) => command::run(simulated),
        Some(Command::Nemesis { nodes, common }) => runtime.block_on(unless_interrupted(nemesis(*nodes, common))),
        Some(Command::Soak { runs, nodes, write, common }) => {
            runtime.block_on(unless_interrupted(soaked(*runs, nodes, write.as_ref(), common)))
        }
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Ends what runs, and with it its processes, disks and namespaces, when this process is asked to stop.
async fn unless_interrupted(work: impl Future<Output = Result<bool, String>>) -> Result<bool, String> {
    let mut terminated = signal(SignalKind::terminate()).map_err(|e| format!("listen for SIGTERM: {e}"))?;
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        _ = terminated.recv() => Err("terminated".into()),
    }
}

async fn nemesis(nodes: usize, common: &Common) -> Result<bool, String> {
    let plan = common.plan(nodes)?;
    eprintln!("seed {}", plan.seed);
    let verdict = run(&plan).await.map_err(|error| error.to_string());
    let rows = [(plan, verdict)];
    print!("{}", table(&rows));
    Ok(passed(&rows))
}

async fn soaked(runs: usize, nodes: &[usize], write: Option<&PathBuf>, common: &Common) -> Result<bool, String> {
    let plan = common.plan(0)?;
    eprintln!("seed {}", plan.seed);
    let soak_of = Soak { seed: plan.seed, runs, nodes: nodes.to_vec(), faults: plan.faults.clone(), plan };
    let rows = soak(&soak_of, |rows| write.map_or(Ok(()), |path| write_table(path, &table(rows)))).await?;
    print!("{}", table(&rows));
    Ok(passed(&rows))
}

/// Replaces what is between a page's markers.
fn write_table(path: &Path, text: &str) -> Result<(), String> {
    let page = std::fs::read_to_string(path).map_err(|e| format!("read {}: {e}", path.display()))?;
    let (before, rest) = page.split_once("<!-- soak -->\n").ok_or("no marker <!-- soak -->")?;
    let (_, after) = rest.split_once("<!-- end -->").ok_or("no marker <!-- end -->")?;
    let page = format!("{before}<!-- soak -->\n{text}<!-- end -->{after}");
    std::fs::write(path, page).map_err(|e| format!("write {}: {e}", path.display()))
}

fn scenarios(runtime: &tokio::runtime::Runtime, flags: &Flags) -> Result<bool, String> {
    let known: Vec<&str> = ALL.iter().map(|s| s.name).collect();
    if let Some(name) = flags.scenarios.iter().find(|n| !known.contains(&n.as_str())) {
        return Err(format!("there is no scenario {name}; there are {}", known.join(", ")));
    }
    let wanted = |s: &&Scenario| flags.scenarios.is_empty() || flags.scenarios.iter().any(|n| n == s.name);
    let settings = Settings { rounds: flags.rounds, seed: flags.seed.unwrap_or(Settings::from_env().seed) };
    let (mut table, mut failures) = (String::new(), Vec::new());
    for scenario in ALL.iter().filter(wanted) {
        match runtime.block_on((scenario.run)(settings)) {
            Ok(report) => table.push_str(&report.to_string()),
            Err(error) => {
                eprintln!("{}: {error}", scenario.name);
                failures.push(format!("{:<20} FAILED  {error}\n", scenario.name));
            }
        }
    }
    print!("{table}{}", failures.concat());
    Ok(failures.is_empty())
}
