//! What the kernel knows of the measured processes: CPU time and peak memory, from `/proc`.
use std::time::{Duration, Instant};

use crate::error::{Error, io};

/// Linux gives CPU times to user space in hundredths of a second on every architecture that Trine is built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process is idle when it uses less than this share of one core more than at rest ...
const IDLE_SHARE: f64 = 0.02;
/// ... over this time.
const IDLE_WINDOW: Duration = Duration::from_secs(3);
/// At rest before the load, over so many windows ...
const REST_WINDOWS: u32 = 2;
/// ... and never counted as more than this.
const REST_SHARE_MAX: f64 = 0.1;
/// A server that has not come to rest after this long is measured as it is.
const IDLE_PATIENCE: Duration = Duration::from_secs(180);

/// CPU seconds that the processes have used, in user and kernel mode, all threads.
pub(super) fn cpu_seconds(pids: &[u32]) -> Result<f64, Error> {
    pids.iter().map(|pid| one_cpu_seconds(*pid)).sum()
}

fn one_cpu_seconds(pid: u32) -> Result<f64, Error> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).map_err(io(format!("read {path}: does the process run?")))?;
    parse_cpu_seconds(&stat).ok_or_else(|| Error::Bench(format!("{path} is of an unknown form")))
}

fn parse_cpu_seconds(stat: &str) -> Option<f64> {
    // The name is in parentheses and may hold anything; fields 14 and 15 of the line are utime and stime.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// Peak resident memory of each process in bytes.
pub(super) fn peak_memory_bytes(pids: &[u32]) -> Result<Vec<u64>, Error> {
    let one = |pid: &u32| {
        let path = format!("/proc/{pid}/status");
        let status = std::fs::read_to_string(&path).map_err(io(format!("read {path}")))?;
        parse_peak(&status).ok_or_else(|| Error::Bench(format!("{path} has no VmHWM")))
    };
    pids.iter().map(one).collect()
}

fn parse_peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Share of one core that each process has used over a window from now on.
async fn shares(pids: &[u32]) -> Result<Vec<f64>, Error> {
    let each = || pids.iter().map(|p| one_cpu_seconds(*p)).collect::<Result<Vec<_>, _>>();
    let before = each()?;
    let started = Instant::now();
    tokio::time::sleep(IDLE_WINDOW).await;
    let window = started.elapsed().as_secs_f64();
    Ok(each()?.into_iter().zip(before).map(|(after, before)| (after - before) / window).collect())
}

/// What each process uses without load, as a share of one core: nodes of a cluster never stop talking to each other.
/// The least of some windows, since a server that has just started still has things to do; at most [`REST_SHARE_MAX`].
pub(super) async fn rest_shares(pids: &[u32]) -> Result<Vec<f64>, Error> {
    let mut least = vec![REST_SHARE_MAX; pids.len()];
    for _ in 0..REST_WINDOWS {
        least = least.into_iter().zip(shares(pids).await?).map(|(a, b)| a.min(b)).collect();
    }
    Ok(least)
}

/// Waits until every process is idle: uses less than [`IDLE_SHARE`] more than at rest. False when one is still busy at the
/// end of the patience.
pub(super) async fn wait_idle(pids: &[u32], rest: &[f64]) -> Result<bool, Error> {
    let deadline = Instant::now() + IDLE_PATIENCE;
    while Instant::now() < deadline {
        if shares(pids).await?.iter().zip(rest).all(|(now, rest)| now - rest < IDLE_SHARE) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let line = "42 (a (b) c) S 1 42 42 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 8 0 100 0 0";
        assert_eq!(parse_cpu_seconds(line), Some(2.0));
        assert_eq!(parse_cpu_seconds("42 (x) S 1"), None);
        assert_eq!(parse_cpu_seconds(""), None);
    }

    #[test]
    fn peak_of_a_status() {
        assert_eq!(parse_peak("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"), Some(2 << 20));
        assert_eq!(parse_peak("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_is_known() {
        let pid = [std::process::id()];
        assert!(cpu_seconds(&pid).unwrap() >= 0.0);
        assert!(peak_memory_bytes(&pid).unwrap()[0] > 0);
    }
}
