//! A small file system of a node's own: an image that is mounted through a loop device.
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Error, Result, io};

/// A mounted disk; unmounted when dropped. The node's process has to be gone by then.
#[derive(Debug)]
pub struct LoopDisk {
    image: PathBuf,
    mount: PathBuf,
    mounted: bool,
}

/// Left free by [`LoopDisk::fill`].
const LEFT_BYTES: u64 = 48 << 10;
const FILLER: &str = "filler";
/// How long the last file of a killed process may keep a disk busy.
const BUSY_PATIENCE: Duration = Duration::from_secs(20);
const BUSY_RETRY: Duration = Duration::from_millis(50);
/// Tries of a copy that nothing is written under.
const COPY_TRIES: usize = 40;

impl LoopDisk {
    /// A disk of `bytes` under `dir`, empty and mounted. The image is sparse.
    pub(crate) fn create(dir: &Path, name: &str, bytes: u64) -> Result<Self> {
        let (image, mount) = (dir.join(format!("{name}.img")), dir.join(name));
        std::fs::create_dir_all(&mount).map_err(io(format!("create {}", mount.display())))?;
        File::create(&image).and_then(|f| f.set_len(bytes)).map_err(io(format!("create {}", image.display())))?;
        // Nothing may be left for later: a copy is taken only while nothing is written.
        let lazy = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        run("mkfs.ext4", &["-q", "-F", "-m", "0", "-J", "size=8", "-E", lazy, text(&image)])?;
        let mut disk = Self { image, mount, mounted: false };
        disk.mount_image()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    fn mount_image(&mut self) -> Result<()> {
        run("mount", &["-o", "loop,noatime", text(&self.image), text(&self.mount)])?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<()> {
        let deadline = Instant::now() + BUSY_PATIENCE;
        while self.mounted {
            match run("umount", &[text(&self.mount)]) {
                Ok(()) => self.mounted = false,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(BUSY_RETRY),
            }
        }
        Ok(())
    }

    /// Leaves next to no room.
    pub fn fill(&self) -> Result<()> {
        let path = self.mount.join(FILLER);
        let what = || format!("fill {}", path.display());
        let free = rustix::fs::statvfs(&self.mount).map_err(|e| io(what())(e.into()))?;
        let bytes = (free.f_bavail * free.f_frsize).saturating_sub(LEFT_BYTES);
        let file = File::options().create(true).append(true).open(&path).map_err(io(what()))?;
        let at = file.metadata().map_err(io(what()))?.len();
        let flags = rustix::fs::FallocateFlags::empty();
        if bytes > 0 {
            rustix::fs::fallocate(&file, flags, at, bytes).map_err(|e| io(what())(e.into()))?;
        }
        Ok(())
    }

    /// Gives back what [`LoopDisk::fill`] took.
    pub fn free(&self) -> Result<()> {
        let path = self.mount.join(FILLER);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io(format!("remove {}", path.display()))(error))
            }
            _ => Ok(()),
        }
    }

    /// Copies the image as the power's loss at this moment would leave it: what was never synced is not in it. The
    /// process must not run meanwhile.
    pub fn copy(&self) -> Result<PathBuf> {
        let copy = self.image.with_extension("cut");
        for _ in 0..COPY_TRIES {
            let before = self.writes()?;
            run("cp", &["--sparse=always", text(&self.image), text(&copy)])?;
            // The kernel writes back old pages whenever it likes; half of that would be no state a disk ever was in.
            if self.writes()? == before {
                return Ok(copy);
            }
        }
        let source = std::io::Error::other(format!("{COPY_TRIES} copies were written under"));
        Err(io(format!("copy {}", self.image.display()))(source))
    }

    /// Mounts a copy in this disk's place. The process must be gone.
    pub fn replace(&mut self, copy: &Path) -> Result<()> {
        self.unmount()?;
        std::fs::rename(copy, &self.image).map_err(io(format!("replace {}", self.image.display())))?;
        self.mount_image()
    }

    /// Writes to the device that were begun or finished so far.
    fn writes(&self) -> Result<(u64, u64)> {
        let devices = output("losetup", &["-n", "-O", "NAME", "-j", text(&self.image)])?;
        let name = devices.trim().trim_start_matches("/dev/").to_owned();
        let stat = format!("/sys/block/{name}/stat");
        let line = std::fs::read_to_string(&stat).map_err(io(format!("read {stat}")))?;
        let field = |n: usize| line.split_whitespace().nth(n).and_then(|f| f.parse().ok()).unwrap_or(0);
        // Documentation/block/stat.rst: 4 is writes completed, 8 is requests in flight.
        Ok((field(4), field(8)))
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            eprintln!("{error}");
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have names in UTF-8")
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    output(program, arguments).map(drop)
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let done = done.map_err(io(format!("run {program}")))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let source = std::io::Error::other(String::from_utf8_lossy(&done.stderr).trim().to_owned());
    Err(Error::Io { what: format!("{program} {}: {source}", arguments.join(" ")), source })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_cut_keeps_what_was_synced_and_only_that() {
        if !crate::disk::allowed() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut disk = LoopDisk::create(dir.path(), "disk", 64 << 20).unwrap();
        let file = |name: &str| disk.mount().join(name);
        let mut synced = File::create(file("synced")).unwrap();
        synced.write_all(&[7; 10_000]).unwrap();
        synced.sync_all().unwrap();
        File::open(disk.mount()).unwrap().sync_all().unwrap();
        let loose = File::create(file("loose")).unwrap();
        (&loose).write_all(&[7; 10_000]).unwrap();
        drop((loose, synced));
        let copy = disk.copy().unwrap();
        disk.replace(&copy).unwrap();
        assert_eq!(std::fs::read(disk.mount().join("synced")).unwrap(), [7; 10_000]);
        let loose = std::fs::read(disk.mount().join("loose")).unwrap_or_default();
        assert!(loose.len() < 10_000, "never synced, and there");
        disk.fill().unwrap();
        assert!(std::fs::write(disk.mount().join("big"), vec![1; 1 << 20]).is_err());
        disk.free().unwrap();
        std::fs::write(disk.mount().join("big"), vec![1; 1 << 20]).unwrap();
    }
}
