//! The memory that this process may use: the smallest of the machine's and its cgroup's (v2, v1) limit.
use std::fs;

/// Bytes, from the system; 1 GiB where it tells nothing.
pub(crate) fn limit_bytes() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| machine_bytes(&text));
    [cgroup_v2(), cgroup_v1(), machine].into_iter().flatten().min().unwrap_or(1 << 30)
}

/// Half of the limit: the rest is for the page cache, queries' peaks and everything else on the machine.
pub(crate) fn default_budget_bytes() -> u64 {
    (limit_bytes() / 2).clamp(256 << 20, 64 << 30)
}

fn machine_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|l| l.starts_with("MemTotal:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn cgroup_v2() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|l| l.strip_prefix("0::"))?;
    // Every ancestor's limit counts; "max" means none.
    let mut dir = std::path::PathBuf::from(format!("/sys/fs/cgroup{path}"));
    let mut least = None;
    while dir.starts_with("/sys/fs/cgroup") {
        let limit = fs::read_to_string(dir.join("memory.max")).ok().and_then(|t| t.trim().parse::<u64>().ok());
        least = [least, limit].into_iter().flatten().min();
        if !dir.pop() {
            break;
        }
    }
    least
}

fn cgroup_v1() -> Option<u64> {
    let text = fs::read_to_string("/sys/fs/cgroup/memory/memory.limit_in_bytes").ok()?;
    // Without a limit the kernel shows a number near i64::MAX.
    text.trim().parse::<u64>().ok().filter(|v| *v < 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_machine() {
        assert_eq!(machine_bytes("MemTotal:       24 kB\nMemFree: 1 kB\n"), Some(24 * 1024));
        assert_eq!(machine_bytes("nothing"), None);
        assert!(default_budget_bytes() >= 256 << 20);
    }
}
