//! A count of the store's syncs in a file of its own.
//!
//! Where sled finds damage it takes everything behind it for a write that a crash cut short, and opens the state before: a
//! vote or an acknowledged entry would be gone without a word. So each sync raises a number in the store, and, once that is
//! on disk and before anybody is told, the same number in this file. A store whose number is below the file's is older than
//! what was acknowledged.
//!
//! ```text
//! witness, version 1                                     docs/formats/raft-log.md
//!   0   4  magic "TRNV"
//!   4   1  version 1
//!   5   8  number, little-endian
//!  13   4  crc32 of everything before it, little-endian
//! ```
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const FILE: &str = "witness";
const MAGIC: &[u8; 5] = b"TRNV\x01";
const BYTES: usize = 17;
/// Of the number in the store; eight bytes, big-endian.
pub(super) const KEY: &[u8] = b"g";

/// The open file.
#[derive(Debug)]
pub(super) struct Witness {
    file: File,
    number: u64,
}

impl Witness {
    /// Opens or creates the file and compares it with what the store says. `Err` says why the store cannot be trusted.
    pub(super) fn open(dir: &Path, in_store: Option<&[u8]>, created: bool) -> Result<Self, String> {
        let path = dir.join(FILE);
        let text = |e: io::Error| format!("{}: {e}", path.display());
        let in_store = match in_store {
            None => None,
            Some(bytes) => Some(u64::from_be_bytes(bytes.try_into().map_err(|_| "its number is none".to_owned())?)),
        };
        let noted = match fs::read(&path) {
            Ok(bytes) => Some(decode(&bytes).ok_or_else(|| format!("{} is damaged", path.display()))?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(text(e)),
        };
        match (in_store, noted) {
            // New, or of a release that did not count, or a crash between the first of both.
            (None, None) | (Some(0), None) => {}
            (Some(_), None) => return Err(format!("{} is missing", path.display())),
            (_, Some(_)) if created => return Err("its log is gone".to_owned()),
            (found, Some(noted)) if found.unwrap_or(0) < noted => {
                return Err(format!("it is at sync {} but {noted} were acknowledged", found.unwrap_or(0)));
            }
            (_, Some(_)) => {}
        }
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(text)?;
        let mut witness = Self { file, number: in_store.unwrap_or(0) };
        witness.write().map_err(text)?;
        Ok(witness)
    }

    /// The number to put into the store with the next sync.
    pub(super) fn next(&self) -> [u8; 8] {
        (self.number + 1).to_be_bytes()
    }

    /// The store is synced with [`Self::next`] in it. Durable on return.
    pub(super) fn synced(&mut self) -> io::Result<()> {
        self.number += 1;
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        bytes[..5].copy_from_slice(MAGIC);
        bytes[5..13].copy_from_slice(&self.number.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..13]);
        bytes[13..].copy_from_slice(&crc.to_le_bytes());
        self.file.write_all_at(&bytes, 0)?;
        self.file.sync_data()
    }
}

fn decode(bytes: &[u8]) -> Option<u64> {
    let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
    let (body, crc) = bytes.split_first_chunk::<13>()?;
    let number = body.strip_prefix(MAGIC)?.try_into().ok()?;
    (crc == crc32fast::hash(body).to_le_bytes()).then(|| u64::from_le_bytes(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_store_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut witness = Witness::open(dir.path(), None, true).unwrap();
        let before = witness.next();
        witness.synced().unwrap();
        let after = witness.next();
        witness.synced().unwrap();
        assert!(Witness::open(dir.path(), Some(&after), false).is_ok());
        assert!(Witness::open(dir.path(), Some(&before), false).is_err(), "rolled back");
        assert!(Witness::open(dir.path(), None, false).is_err(), "rolled back to nothing");
        assert!(Witness::open(dir.path(), None, true).is_err(), "its log is gone");
        assert!(Witness::open(dir.path(), Some(&3_u64.to_be_bytes()), false).is_ok(), "a crash between the two");
        fs::remove_file(dir.path().join(FILE)).unwrap();
        assert!(Witness::open(dir.path(), Some(&after), false).is_err(), "missing");
    }

    /// Version 1 as it is on disks. A change here needs a new version.
    #[test]
    fn version_1_is_fixed() {
        let dir = tempfile::tempdir().unwrap();
        Witness::open(dir.path(), Some(&0_u64.to_be_bytes()), false).unwrap().synced().unwrap();
        let bytes = fs::read(dir.path().join(FILE)).unwrap();
        assert_eq!(bytes[..13], *b"TRNV\x01\x01\0\0\0\0\0\0\0");
        assert_eq!(decode(&bytes), Some(1));
        for i in 0..BYTES {
            let mut bad = bytes.clone();
            bad[i] ^= 1;
            assert_eq!(decode(&bad), None, "byte {i}");
        }
    }
}
