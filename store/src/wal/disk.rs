//! The few file operations that a log needs, behind a seam so that tests can cut the power between any two of them.
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::faults::{self, Operation};
use crate::retry;

/// The directory of a log.
pub(super) trait Disk: Send + Sync + fmt::Debug {
    /// Names of the files in it.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new file of `len` zero bytes, its content and length synced. Its name is durable after [`Disk::sync_dir`].
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>>;
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Replaces `to` when it exists.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    fn sync_dir(&self) -> io::Result<()>;
}

/// A file of constant length.
pub(super) trait DiskFile: Send + Sync + fmt::Debug {
    fn len(&self) -> u64;
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    fn sync_data(&self) -> io::Result<()>;
}

/// Gives a file `len` zero bytes with real blocks behind them, so that no later write or fsync meets a full disk. Written
/// rather than only reserved: a later fdatasync then has no extent metadata to update.
fn fill(file: &File, len: u64) -> io::Result<()> {
    let zeros = vec![0; (1 << 20).min(len as usize)];
    let mut at = 0;
    while at < len {
        let n = (len - at).min(zeros.len() as u64);
        file.write_all_at(&zeros[..n as usize], at)?;
        at += n;
    }
    file.sync_all()
}

/// A directory of the local file system, locked against a second process.
#[derive(Debug)]
pub(super) struct LocalDisk {
    dir: PathBuf,
    dir_file: File,
    _lock: File,
}

impl LocalDisk {
    /// Creates `dir` when it does not exist; `WouldBlock` when another process has it open.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        if !dir.try_exists()? {
            std::fs::create_dir_all(dir)?;
            if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        let lock = OpenOptions::new().create(true).write(true).truncate(false).open(dir.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::Error(error) => error,
            std::fs::TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::WouldBlock,
                format!("the log in {} is open in another process", dir.display()),
            ),
        })?;
        Ok(Self { dir: dir.to_path_buf(), dir_file: File::open(dir)?, _lock: lock })
    }
}

impl Disk for LocalDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.dir.join(name);
        let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&path)?;
        if let Err(error) = fill(&file, len) {
            // On a full disk half a file would only make things worse.
            std::fs::remove_file(&path)?;
            return Err(error);
        }
        Ok(Arc::new(LocalDiskFile { file, len }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.dir.join(name))?;
        let len = file.metadata()?.len();
        Ok(Arc::new(LocalDiskFile { file, len }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.dir.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.dir_file.sync_all()
    }
}

#[derive(Debug)]
struct LocalDiskFile {
    file: File,
    len: u64,
}

impl DiskFile for LocalDiskFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        retry::read(|| {
            faults::check(Operation::Read)?;
            FileExt::read_exact_at(&self.file, buf, offset)
        })
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        faults::check(Operation::Write)?;
        if let Some(bytes) = faults::torn(buf.len()) {
            FileExt::write_all_at(&self.file, &buf[..bytes], offset)?;
            return Err(io::Error::other("injected short write"));
        }
        FileExt::write_all_at(&self.file, buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        faults::check(Operation::Sync)?;
        if faults::has_bug("ack-before-fsync") {
            return Ok(());
        }
        self.file.sync_data()
    }
}
