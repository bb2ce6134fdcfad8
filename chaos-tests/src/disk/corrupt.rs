//! Bytes that rot in files of a node that does not run.
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::rngs::StdRng;

use crate::error::{Result, io};

/// Which kind of file rots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    Wal,
    Block,
    Manifest,
    Sled,
    Snapshot,
}

impl Part {
    /// Whether a file belongs to it, by its path within the data directory.
    fn has(self, path: &str) -> bool {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        match self {
            Self::Wal => dir == "wal" && name.ends_with(".seg"),
            Self::Block => name.ends_with(".trnb"),
            Self::Manifest => name == "manifest",
            Self::Sled => name == "db" && dir == "meta/log",
            Self::Snapshot => name == "meta.state",
        }
    }
}

/// Bytes changed in one place.
const RUN_BYTES: usize = 16;
/// Places in a file.
const PLACES: usize = 3;

/// Changes some bytes of one file of a kind under `data`; says which, or `None` if there is no such file yet.
pub fn corrupt(data: &Path, part: Part, rng: &mut StdRng) -> Result<Option<String>> {
    let mut files = Vec::new();
    walk(data, &mut files)?;
    let within = |path: &PathBuf| path.strip_prefix(data).is_ok_and(|p| p.to_str().is_some_and(|p| part.has(p)));
    files.retain(|(path, bytes)| within(path) && *bytes > 0);
    files.sort();
    if files.is_empty() {
        return Ok(None);
    }
    let (path, _) = files.swap_remove(rng.random_range(0..files.len()));
    let what = || format!("corrupt {}", path.display());
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(io(what()))?;
    let used = used_bytes(&path)?;
    let mut places = Vec::new();
    for _ in 0..PLACES {
        let at = rng.random_range(0..used.max(1));
        let mut bytes = vec![0; RUN_BYTES.min(usize::try_from(used - at).unwrap_or(RUN_BYTES))];
        file.read_exact_at(&mut bytes, at).map_err(io(what()))?;
        bytes.iter_mut().for_each(|byte| *byte ^= rng.random_range(1..=255_u8));
        file.write_all_at(&bytes, at).map_err(io(what()))?;
        places.push(at.to_string());
    }
    file.sync_all().map_err(io(what()))?;
    Ok(Some(format!("{} at {} (of {used} bytes in use)", path.display(), places.join(", "))))
}

/// Length without the zeros at the end: a log's segment is longer than what is in it.
fn used_bytes(path: &Path) -> Result<u64> {
    let bytes = std::fs::read(path).map_err(io(format!("read {}", path.display())))?;
    Ok(bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1) as u64)
}

fn walk(dir: &Path, files: &mut Vec<(PathBuf, u64)>) -> Result<()> {
    let entries = std::fs::read_dir(dir).map_err(io(format!("list {}", dir.display())))?;
    for entry in entries {
        let entry = entry.map_err(io(format!("list {}", dir.display())))?;
        let meta = entry.metadata().map_err(io(format!("look at {}", entry.path().display())))?;
        if meta.is_dir() {
            walk(&entry.path(), files)?;
        } else {
            files.push((entry.path(), meta.len()));
        }
    }
    Ok(())
}
