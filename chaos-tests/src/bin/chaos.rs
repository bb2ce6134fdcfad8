//! Runs the scenarios for as many rounds as asked and prints what they measured.
use std::process::ExitCode;

use clap::Parser;
use trine_chaos_tests::scenario::{ALL, Scenario};
use trine_chaos_tests::settings::Settings;

/// Real clusters under faults. The binary is `TRINE_BIN`, or this workspace's debug build.
#[derive(Debug, Parser)]
struct Flags {
    /// Rounds of each scenario.
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Seed of the random choices; another one each time without.
    #[arg(long)]
    seed: Option<u64>,
    /// Only these scenarios.
    scenarios: Vec<String>,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let known: Vec<&str> = ALL.iter().map(|s| s.name).collect();
    if let Some(name) = flags.scenarios.iter().find(|n| !known.contains(&n.as_str())) {
        eprintln!("there is no scenario {name}; there are {}", known.join(", "));
        return ExitCode::from(2);
    }
    let wanted = |s: &&Scenario| flags.scenarios.is_empty() || flags.scenarios.iter().any(|n| n == s.name);
    let settings = Settings { rounds: flags.rounds, seed: flags.seed.unwrap_or(Settings::from_env().seed) };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
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
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
