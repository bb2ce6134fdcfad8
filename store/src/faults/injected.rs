//! Faults as a file says, whose name is in `TRINE_TEST_FILE_FAULTS`: one line `<kind> 1/<n>`, and every n-th operation of
//! that kind fails: `read-error`, `write-error`, `sync-error`, or `short-write`, which writes half first. An empty or
//! missing file: none. It is read anew for each operation, so that a test can change it at any time.
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Operation;

const EIO: i32 = 5;

static FILE: OnceLock<Option<std::ffi::OsString>> = OnceLock::new();
static BUG: OnceLock<Option<String>> = OnceLock::new();
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Whether the operation of this kind that is about to happen is the n-th.
fn due(kind: &str) -> bool {
    let Some(path) = FILE.get_or_init(|| std::env::var_os("TRINE_TEST_FILE_FAULTS")) else { return false };
    let Ok(rule) = std::fs::read_to_string(path) else { return false };
    let every = rule.trim().strip_prefix(kind).and_then(|rest| rest.trim().strip_prefix("1/")?.parse::<u64>().ok());
    every.is_some_and(|every| COUNT.fetch_add(1, Ordering::Relaxed) % every.max(1) == every.max(1) - 1)
}

pub(super) fn check(operation: Operation) -> io::Result<()> {
    let kind = match operation {
        Operation::Read => "read-error",
        Operation::Write => "write-error",
        Operation::Sync => "sync-error",
    };
    // What a device's refusal looks like; nothing else would be treated as one.
    if due(kind) { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
}

pub(super) fn torn(bytes: usize) -> Option<usize> {
    due("short-write").then_some(bytes / 2)
}

pub(super) fn has_bug(name: &str) -> bool {
    BUG.get_or_init(|| std::env::var("TRINE_TEST_BUG").ok()).as_deref() == Some(name)
}
