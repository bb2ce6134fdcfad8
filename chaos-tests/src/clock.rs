//! Wall clocks of nodes, moved while they run.
//!
//! libfaketime stands between a process and its clock and reads the offset from a file; monotonic time is left alone, as a
//! jump of a machine's clock leaves it alone.
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Result, io};

/// One file a node.
#[derive(Debug)]
pub struct Clocks {
    library: PathBuf,
    files: Vec<PathBuf>,
}

/// Where Debian's package `libfaketime` puts it, under the directory of an architecture.
const LIBRARY: &str = "faketime/libfaketime.so.1";

/// The library, if it is installed.
pub fn library() -> Option<PathBuf> {
    let entries = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let mut dirs: Vec<PathBuf> = entries.map(|e| e.path()).collect();
    dirs.push(PathBuf::from("/usr/lib"));
    dirs.into_iter().map(|dir| dir.join(LIBRARY)).find(|path| path.is_file())
}

impl Clocks {
    /// Clocks that are right.
    pub(crate) fn create(dir: &Path, nodes: usize) -> Result<Self> {
        let missing = || std::io::Error::other("libfaketime.so.1 is not installed (Debian: libfaketime)");
        let library = library().ok_or_else(missing).map_err(io("move clocks"))?;
        let files: Vec<PathBuf> = (0..nodes).map(|n| dir.join(format!("clock-{}", n + 1))).collect();
        let clocks = Self { library, files };
        (0..nodes).try_for_each(|n| clocks.set(n, Duration::ZERO, true))?;
        Ok(clocks)
    }

    /// Moves a node's clock ahead of or behind the true time; it notices within a second.
    pub fn set(&self, n: usize, offset: Duration, ahead: bool) -> Result<()> {
        let text = format!("{}{}\n", if ahead { '+' } else { '-' }, offset.as_secs());
        let (path, new) = (&self.files[n], self.files[n].with_extension("new"));
        // In one step: a process may read at any time.
        let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path));
        written.map_err(io(format!("write {}", path.display())))
    }

    pub(crate) fn environment(&self, n: usize) -> Vec<(String, String)> {
        let variable = |key: &str, value: String| (key.to_owned(), value);
        vec![
            variable("LD_PRELOAD", self.library.display().to_string()),
            variable("FAKETIME_TIMESTAMP_FILE", self.files[n].display().to_string()),
            variable("FAKETIME_CACHE_DURATION", "1".into()),
            variable("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            variable("DONT_FAKE_MONOTONIC", "1".into()),
            variable("NO_FAKE_STAT", "1".into()),
        ]
    }
}
