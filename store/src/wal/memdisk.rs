//! A directory in memory that knows what is synced, so that a power cut can be played at any operation. For tests and for the
//! simulation in `chaos-tests`.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

#[derive(Debug, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Sectors that the next sync writes. One that fails takes them for written, as Linux does.
    dirty: BTreeSet<usize>,
}

fn lock(content: &Mutex<Content>) -> MutexGuard<'_, Content> {
    content.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Splitmix64: a few even bits from a number.
fn mixed(seed: u64, salt: u64) -> u64 {
    let mut x = seed.wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[derive(Clone, Debug)]
enum Change {
    Put(String, Arc<Mutex<Content>>),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug, Default)]
struct Inner {
    names: BTreeMap<String, Arc<Mutex<Content>>>,
    synced_names: BTreeMap<String, Arc<Mutex<Content>>>,
    changes: VecDeque<Change>,
    /// Operations that still succeed; the next one fails, a write half done, and all after it.
    lives: Option<u64>,
    fail_syncs: bool,
    /// A bug: fsync says that it is done and does nothing.
    skip_syncs: bool,
    full: bool,
    unreadable: Option<std::ops::Range<u64>>,
}

/// A directory in memory. Clones are the same directory.
#[derive(Clone, Debug, Default)]
pub struct MemDisk(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct MemFile {
    disk: MemDisk,
    content: Arc<Mutex<Content>>,
}

fn dead() -> io::Error {
    io::Error::other("the disk is gone")
}

impl MemDisk {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spend(&self) -> io::Result<()> {
        match &mut self.inner().lives {
            Some(0) => Err(dead()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Everything succeeds again, and what was written stays: as after a process that died.
    pub fn revive(&self) {
        let mut inner = self.inner();
        (inner.lives, inner.fail_syncs, inner.unreadable) = (None, false, None);
    }

    /// Lets `lives` more changing operations succeed.
    pub fn die_after(&self, lives: u64) {
        self.inner().lives = Some(lives);
    }

    /// Whether syncs fail.
    pub fn fail_syncs(&self, fail: bool) {
        self.inner().fail_syncs = fail;
    }

    /// A bug to be caught: from now on fsync does nothing and says that it did.
    pub fn skip_syncs(&self) {
        self.inner().skip_syncs = true;
    }

    /// Whether there is no room for another file.
    pub fn set_full(&self, full: bool) {
        self.inner().full = full;
    }

    /// Reads that touch these offsets fail, in every file.
    pub fn unreadable(&self, range: std::ops::Range<u64>) {
        self.inner().unreadable = Some(range);
    }

    /// Its files.
    pub fn names(&self) -> Vec<String> {
        self.inner().names.keys().cloned().collect()
    }

    /// Length of a file in bytes, 0 where there is none.
    pub fn len(&self, name: &str) -> usize {
        self.inner().names.get(name).map_or(0, |content| lock(content).now.len())
    }

    /// Whether it has no file.
    pub fn is_empty(&self) -> bool {
        self.inner().names.is_empty()
    }

    /// Takes a file away behind the log's back.
    pub fn delete(&self, name: &str) {
        self.inner().names.remove(name);
    }

    /// Changes a byte behind the log's back.
    pub fn flip(&self, name: &str, offset: usize, mask: u8) {
        if let Some(content) = self.inner().names.get(name)
            && let Some(byte) = lock(content).now.get_mut(offset)
        {
            *byte ^= mask;
        }
    }

    /// Writes bytes behind the log's back, as far as the file goes.
    pub fn overwrite(&self, name: &str, offset: usize, bytes: &[u8]) {
        if let Some(content) = self.inner().names.get(name) {
            let mut content = lock(content);
            content.now.iter_mut().skip(offset).zip(bytes).for_each(|(to, from)| *to = *from);
        }
    }

    /// The disk after the power went: of what was not synced, any sectors made it, or are garbage; of the changes to
    /// names, any first ones.
    pub fn power_cut(&self, seed: u64) -> Self {
        let inner = self.inner();
        let mut names = inner.synced_names.clone();
        let kept = mixed(seed, 1) as usize % (inner.changes.len() + 1);
        for change in inner.changes.iter().take(kept) {
            apply(&mut names, change);
        }
        // Of a hundred.
        let keep_odds = [0, 50, 90, 100][mixed(seed, 2) as usize % 4];
        let garbage_odds = [0, 20][mixed(seed, 3) as usize % 2];
        let after_cut = |((name, content), file): ((String, Arc<Mutex<Content>>), u64)| {
            let content = lock(&content);
            let mut after = content.synced.clone();
            for (at, sector) in after.chunks_mut(SECTOR).enumerate() {
                let now = &content.now[at * SECTOR..at * SECTOR + sector.len()];
                // Of each sector by itself, so that one seed does the same whatever the bytes are.
                let fate = mixed(mixed(seed, 4 + file), at as u64);
                if sector == now {
                    continue;
                }
                let same = sector.iter().zip(now).take_while(|(a, b)| a == b).count();
                if fate % 100 < keep_odds {
                    sector.copy_from_slice(now);
                } else if (fate >> 32) % 100 < garbage_odds {
                    let garbage = |i: usize| mixed(fate, i as u64) as u8;
                    sector.iter_mut().enumerate().skip(same).for_each(|(i, byte)| *byte = garbage(i));
                }
            }
            (name, Arc::new(Mutex::new(Content { now: after.clone(), synced: after, ..Content::default() })))
        };
        let names: BTreeMap<_, _> = names.into_iter().zip(0..).map(after_cut).collect();
        let skip_syncs = inner.skip_syncs;
        let inner = Inner { synced_names: names.clone(), names, skip_syncs, ..Inner::default() };
        Self(Arc::new(Mutex::new(inner)))
    }
}

fn apply(names: &mut BTreeMap<String, Arc<Mutex<Content>>>, change: &Change) {
    match change {
        Change::Put(name, content) => {
            names.insert(name.clone(), content.clone());
        }
        Change::Rename(from, to) => {
            if let Some(content) = names.remove(from) {
                names.insert(to.clone(), content);
            }
        }
        Change::Remove(name) => {
            names.remove(name);
        }
    }
}

impl Inner {
    fn change(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.changes.push_back(change);
    }
}

impl Disk for MemDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.spend()?;
        if self.inner().full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let zeros = vec![0; len as usize];
        let content = Arc::new(Mutex::new(Content { now: zeros.clone(), synced: zeros, ..Content::default() }));
        self.inner().change(Change::Put(name.into(), content.clone()));
        Ok(Arc::new(MemFile { disk: self.clone(), content }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let content = self.inner().names.get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemFile { disk: self.clone(), content }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.spend()?;
        self.inner().change(Change::Rename(from.into(), to.into()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.spend()?;
        self.inner().change(Change::Remove(name.into()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.spend()?;
        let mut inner = self.inner();
        inner.changes.clear();
        inner.synced_names = inner.names.clone();
        Ok(())
    }
}

impl DiskFile for MemFile {
    fn len(&self) -> u64 {
        lock(&self.content).now.len() as u64
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bad = self.disk.inner().unreadable.clone();
        if bad.is_some_and(|bad| offset < bad.end && offset + buf.len() as u64 > bad.start) {
            return Err(dead());
        }
        let content = lock(&self.content);
        let from = offset as usize;
        buf.copy_from_slice(content.now.get(from..from + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let alive = self.disk.spend();
        let written = if alive.is_ok() { buf.len() } else { buf.len() / 2 };
        let from = offset as usize;
        let mut content = lock(&self.content);
        content.now[from..from + written].copy_from_slice(&buf[..written]);
        if written > 0 {
            content.dirty.extend(from / SECTOR..=(from + written - 1) / SECTOR);
        }
        alive
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.spend()?;
        let (fails, skip) = {
            let inner = self.disk.inner();
            (inner.fail_syncs, inner.skip_syncs)
        };
        if skip {
            return Ok(());
        }
        let mut content = lock(&self.content);
        let Content { now, synced, dirty } = &mut *content;
        for sector in std::mem::take(dirty).into_iter().filter(|_| !fails) {
            let range = sector * SECTOR..now.len().min((sector + 1) * SECTOR);
            synced[range.clone()].copy_from_slice(&now[range]);
        }
        if fails { Err(io::Error::other("fsync failed")) } else { Ok(()) }
    }
}
