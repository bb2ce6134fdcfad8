//! Head-room on the disk: below it this node takes no writes, and goes on answering queries.
//!
//! What is left below the reserve is for seals and the log, which free more than they take: a sealed head lets segments of
//! the log go. Below half of it the node takes no entries from other leaders either, so that their majority goes on without it
//! and it never runs into a full disk; it catches up once there is room.
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tracing::{info, warn};

/// Least and greatest default reserve.
const RESERVE_LEAST: u64 = 256 << 20;
const RESERVE_GREATEST: u64 = 2 << 30;
/// The default is this part of the file system, and never more than a quarter of it.
const RESERVE_PART: u64 = 20;

/// The account of a data directory's file system.
#[derive(Debug)]
pub struct DiskGuard {
    dir: PathBuf,
    node: String,
    reserve_bytes: u64,
    free_bytes: AtomicU64,
    full: AtomicBool,
    /// Writes refused since the start.
    refused: AtomicU64,
}

impl DiskGuard {
    /// `reserve_bytes` 0 takes the default.
    pub fn new(dir: &Path, node: &str, reserve_bytes: u64) -> Self {
        let total = rustix::fs::statvfs(dir).map_or(0, |s| s.f_blocks * s.f_frsize);
        let reserve_bytes = if reserve_bytes == 0 { default_reserve(total) } else { reserve_bytes };
        let guard = Self {
            dir: dir.to_path_buf(),
            node: node.to_owned(),
            reserve_bytes,
            free_bytes: AtomicU64::new(u64::MAX),
            full: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        };
        guard.refresh();
        guard
    }

    /// Looks at the file system.
    pub fn refresh(&self) {
        // A system that does not tell is taken for one with room.
        let free = rustix::fs::statvfs(&self.dir).map_or(u64::MAX, |s| s.f_bavail * s.f_frsize);
        self.set_free(free);
    }

    fn set_free(&self, free: u64) {
        self.free_bytes.store(free, Ordering::Relaxed);
        let (was, is) = (self.is_full(), self.decide(free));
        if was != is {
            self.full.store(is, Ordering::Relaxed);
            let (path, reserve) = (self.dir.display(), self.reserve_bytes);
            match is {
                true => warn!(%path, free, reserve, "the disk is full: no writes are taken"),
                false => info!(%path, free, reserve, "there is room on the disk again: writes are taken"),
            }
        }
    }

    /// A full disk counts as full until there is a bit more than the reserve, so that it does not flicker.
    fn decide(&self, free: u64) -> bool {
        let slack = if self.is_full() { self.reserve_bytes / 16 } else { 0 };
        free < self.reserve_bytes.saturating_add(slack)
    }

    /// Whether writes are to be refused.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whether there is room for what other leaders send.
    pub fn admits_appends(&self) -> bool {
        !self.is_full() || self.free_bytes() >= self.reserve_bytes / 2
    }

    /// Counts a refused write and says why.
    pub fn refuse(&self) -> String {
        self.refused.fetch_add(1, Ordering::Relaxed);
        format!(
            "the disk of node {} is full: {} MiB free of the {} MiB kept in reserve at {}; free some space or add a node, \
             queries go on meanwhile",
            self.node,
            self.free_bytes() >> 20,
            self.reserve_bytes >> 20,
            self.dir.display(),
        )
    }

    /// Why blocks cannot be written.
    pub fn no_room(&self) -> String {
        format!(
            "the disk of node {} has no room for the blocks: {} MiB free at {}; free some space, they are written then",
            self.node,
            self.free_bytes() >> 20,
            self.dir.display(),
        )
    }

    pub fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    pub fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes
    }

    /// Writes refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

fn default_reserve(total: u64) -> u64 {
    (total / RESERVE_PART).clamp(RESERVE_LEAST, RESERVE_GREATEST).min(total / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_below_the_reserve_until_a_bit_above_it() {
        let guard = DiskGuard::new(Path::new("/"), "n1", 160 << 20);
        let mib = |n: u64| n << 20;
        for (free, full, admits) in [
            (mib(160), false, true),
            (mib(159), true, true),
            (mib(80), true, true),
            (mib(79), true, false),
            (mib(165), true, true),
            (mib(170), false, true),
        ] {
            guard.set_free(free);
            assert_eq!((guard.is_full(), guard.admits_appends()), (full, admits), "{free} bytes free");
        }
        guard.set_free(mib(12));
        let said = guard.refuse();
        assert!(said.contains("node n1 is full: 12 MiB free of the 160 MiB"), "{said}");
        let said = guard.no_room();
        assert!(said.contains("disk of node n1") && said.contains("12 MiB free at /"), "{said}");
        assert_eq!(guard.refused(), 1, "no write was refused by it");
    }

    #[test]
    fn the_default_leaves_most_of_a_small_disk() {
        let gib = |n: u64| n << 30;
        let cases = [(gib(1), gib(1) / 4), (gib(4), 256 << 20), (gib(20), gib(1)), (gib(1000), gib(2))];
        for (total, reserve) in cases {
            assert_eq!(default_reserve(total), reserve, "{total}");
        }
    }
}
