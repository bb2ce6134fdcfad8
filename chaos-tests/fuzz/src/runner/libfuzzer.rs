//! One process of the binary that libFuzzer drives.
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Places;

/// Longest input, bytes.
const INPUT_BYTES_MAX: u32 = 64 << 10;
/// Longest time of one input by the clock on the wall, seconds. Generous: a busy machine stops whoever is nice.
const INPUT_SECONDS_MAX: u32 = 25;
/// Seconds by that clock from which on an input is written down as slow.
const SLOW_SECONDS: u32 = 1;
/// Memory of the process, MiB: far above what inputs of this length may take.
const MEMORY_MIB_MAX: u32 = 1024;
/// How often a running process is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Of Linux' process times.
const TICKS_PER_SECOND: u64 = 100;

/// What a process did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// It ended of itself and found nothing.
    pub success: bool,
    /// Processor time.
    pub cpu: Duration,
    /// Inputs that it ran.
    pub inputs: u64,
    /// Edges that it covered.
    pub coverage: u64,
}

/// A process to be started.
#[derive(Debug)]
pub struct LibFuzzer {
    command: Command,
    corpus: PathBuf,
}

impl LibFuzzer {
    /// For one target.
    pub fn new(places: &Places, target: &str) -> Self {
        let mut command = Command::new(places.binary());
        command
            .env("TRINE_FUZZ_TARGET", target)
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
            .arg(format!("-report_slow_units={SLOW_SECONDS}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
            .arg(format!("-artifact_prefix={}/", places.findings(target).display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Self { command, corpus: places.corpus(target) }
    }

    /// Looks for new inputs for so many seconds by the clock on the wall.
    pub fn fuzz(mut self, seconds: u64, log: &Path) -> io::Result<Ended> {
        self.command.arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1").arg(&self.corpus);
        let child = self.command.stderr(File::create(log)?).spawn()?;
        let give_up = Duration::from_secs(seconds * 2 + 300);
        let (success, cpu) = wait(child, give_up)?;
        let text = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
        Ok(Ended { success, cpu, inputs: inputs_of(&text), coverage: coverage_of(&text) })
    }

    /// Runs one input.
    pub fn input(mut self, input: &Path) -> io::Result<Ended> {
        let child = self.command.arg(input).stderr(Stdio::null()).spawn()?;
        let (success, cpu) = wait(child, Duration::from_secs(300))?;
        Ok(Ended { success, cpu, inputs: 1, coverage: 0 })
    }

    /// Copies a smallest set of inputs with the same coverage from one directory to another.
    pub fn merge(mut self, to: &Path, from: &Path) -> io::Result<()> {
        let status = self.command.arg("-merge=1").arg(to).arg(from).stderr(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("merging {}: {status}", from.display()))) }
    }
}

/// Waits for a process: whether it ended well, and its processor time, which is only known while it runs.
fn wait(mut child: Child, give_up: Duration) -> io::Result<(bool, Duration)> {
    let (started, mut cpu) = (Instant::now(), Duration::ZERO);
    loop {
        cpu = cpu_of(child.id()).unwrap_or(cpu).max(cpu);
        if let Some(status) = child.try_wait()? {
            return Ok((status.success(), cpu));
        }
        if started.elapsed() > give_up {
            child.kill()?;
            child.wait()?;
            return Ok((false, cpu));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// User and system time of a process, from `/proc`.
fn cpu_of(pid: u32) -> Option<Duration> {
    cpu_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn cpu_in(stat: &str) -> Option<Duration> {
    // The name, in parentheses, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let both = ticks()? + ticks()?;
    Some(Duration::from_millis(both * 1000 / TICKS_PER_SECOND))
}

/// The count after `stat::number_of_executed_units:`, or the newest `#count` where a crash came first.
fn inputs_of(log: &str) -> u64 {
    let newest = |l: &str| l.strip_prefix('#')?.split_ascii_whitespace().next()?.trim_end_matches(':').parse().ok();
    let last = |l: &str| l.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok();
    log.lines().rev().find_map(last).or_else(|| log.lines().rev().find_map(newest)).unwrap_or(0)
}

/// The newest `cov: count`.
fn coverage_of(log: &str) -> u64 {
    let count = |l: &str| l.split_once(" cov: ")?.1.split_ascii_whitespace().next()?.parse().ok();
    log.lines().rev().find_map(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "INFO: Seed: 1\n#2\tINITED cov: 5 ft: 6 corp: 1/1b exec/s: 0 rss: 40Mb\n\
        #4096\tpulse  cov: 70 ft: 80 corp: 9/9b lim: 4 exec/s: 2048 rss: 41Mb\n";

    #[test]
    fn numbers_of_a_log() {
        assert_eq!((inputs_of(LOG), coverage_of(LOG)), (4096, 70));
        let done = format!("{LOG}Done 5000 runs in 2 second(s)\nstat::number_of_executed_units: 5000\n");
        assert_eq!((inputs_of(&done), coverage_of(&done)), (5000, 70));
        assert_eq!((inputs_of(""), coverage_of("")), (0, 0));
    }

    #[test]
    fn processor_time_of_a_process() {
        let stat = "12 (a) b) S 1 1 1 0 -1 4194304 100 0 0 0 250 50 0 0 39 19 1 0 100";
        assert_eq!(cpu_in(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu_in("12 (a) S"), None);
        assert!(cpu_of(std::process::id()).is_some());
    }
}
