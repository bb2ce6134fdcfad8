//! When this node was last scrubbed: `<data>/scrubbed`, so that restarts do not put the next scrub off for ever.
use std::io;
use std::path::Path;

const FILE: &str = "scrubbed";
const MAGIC: &str = "trine-scrubbed 1";

/// Wall clock in ms; none when there is no readable note.
pub(super) fn load(data_dir: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(data_dir.join(FILE)).ok()?;
    let (magic, ms) = text.trim_end().split_once('\n')?;
    (magic == MAGIC).then(|| ms.parse().ok())?
}

pub(super) fn save(data_dir: &Path, unix_ms: u64) -> io::Result<()> {
    let temporary = data_dir.join("scrubbed.new");
    std::fs::write(&temporary, format!("{MAGIC}\n{unix_ms}\n"))?;
    std::fs::rename(&temporary, data_dir.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_and_anything_else_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), None);
        save(dir.path(), 1234).unwrap();
        assert_eq!(load(dir.path()), Some(1234));
        for text in ["", "trine-scrubbed 2\n5\n", "trine-scrubbed 1\nx\n"] {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            assert_eq!(load(dir.path()), None, "{text:?}");
        }
    }
}
