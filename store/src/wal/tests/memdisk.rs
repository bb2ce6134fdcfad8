//! A directory in memory that knows what is synced, so that a power cut can be played at any operation.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::wal::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

#[derive(Debug, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Sectors that the next sync writes. One that fails takes them for written, as Linux does.
    dirty: BTreeSet<usize>,
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
    full: bool,
    unreadable: Option<std::ops::Range<u64>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct MemDisk(Arc<Mutex<Inner>>);

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
        self.0.lock().unwrap()
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

    /// Lets `lives` more changing operations succeed.
    pub(super) fn die_after(&self, lives: u64) {
        self.inner().lives = Some(lives);
    }

    /// Whether syncs fail.
    pub(super) fn fail_syncs(&self, fail: bool) {
        self.inner().fail_syncs = fail;
    }

    /// Whether there is no room for another file.
    pub(super) fn set_full(&self, full: bool) {
        self.inner().full = full;
    }

    pub(super) fn unreadable(&self, range: std::ops::Range<u64>) {
        self.inner().unreadable = Some(range);
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.inner().names.keys().cloned().collect()
    }

    pub(super) fn len(&self, name: &str) -> usize {
        self.inner().names[name].lock().unwrap().now.len()
    }

    pub(super) fn delete(&self, name: &str) {
        self.inner().names.remove(name).unwrap();
    }

    /// Changes a byte behind the log's back.
    pub(super) fn flip(&self, name: &str, offset: usize, mask: u8) {
        self.inner().names[name].lock().unwrap().now[offset] ^= mask;
    }

    pub(super) fn overwrite(&self, name: &str, offset: usize, bytes: &[u8]) {
        self.inner().names[name].lock().unwrap().now[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// The disk after the power went: of what was not synced, any sectors made it, or are garbage; of the changes to
    /// names, any first ones.
    pub(super) fn power_cut(&self, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let inner = self.inner();
        let mut names = inner.synced_names.clone();
        let kept = rng.random_range(0..=inner.changes.len());
        for change in inner.changes.iter().take(kept) {
            apply(&mut names, change);
        }
        let keep_odds = [0.0, 0.5, 0.9, 1.0][rng.random_range(0..4)];
        let garbage_odds = [0.0, 0.2][rng.random_range(0..2)];
        let names: BTreeMap<_, _> = names
            .into_iter()
            .map(|(name, content)| {
                let content = content.lock().unwrap();
                let mut after = content.synced.clone();
                for (at, sector) in after.chunks_mut(SECTOR).enumerate() {
                    let now = &content.now[at * SECTOR..at * SECTOR + sector.len()];
                    if sector != now {
                        let same = sector.iter().zip(now).take_while(|(a, b)| a == b).count();
                        if rng.random_bool(keep_odds) {
                            sector.copy_from_slice(now);
                        } else if rng.random_bool(garbage_odds) {
                            rng.fill(&mut sector[same..]);
                        }
                    }
                }
                (name, Arc::new(Mutex::new(Content { now: after.clone(), synced: after, ..Content::default() })))
            })
            .collect();
        let inner = Inner { synced_names: names.clone(), names, ..Inner::default() };
        Self(Arc::new(Mutex::new(inner)))
    }
}

fn apply(names: &mut BTreeMap<String, Arc<Mutex<Content>>>, change: &Change) {
    match change {
        Change::Put(name, content) => {
            names.insert(name.clone(), content.clone());
        }
        Change::Rename(from, to) => {
            let content = names.remove(from).unwrap();
            names.insert(to.clone(), content);
        }
        Change::Remove(name) => {
            names.remove(name).unwrap();
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
        self.content.lock().unwrap().now.len() as u64
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bad = self.disk.inner().unreadable.clone();
        if bad.is_some_and(|bad| offset < bad.end && offset + buf.len() as u64 > bad.start) {
            return Err(dead());
        }
        let content = self.content.lock().unwrap();
        let from = offset as usize;
        buf.copy_from_slice(content.now.get(from..from + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let alive = self.disk.spend();
        let written = if alive.is_ok() { buf.len() } else { buf.len() / 2 };
        let from = offset as usize;
        let mut content = self.content.lock().unwrap();
        content.now[from..from + written].copy_from_slice(&buf[..written]);
        if written > 0 {
            content.dirty.extend(from / SECTOR..=(from + written - 1) / SECTOR);
        }
        alive
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.spend()?;
        let fails = self.disk.inner().fail_syncs;
        let mut content = self.content.lock().unwrap();
        let Content { now, synced, dirty } = &mut *content;
        for sector in std::mem::take(dirty).into_iter().filter(|_| !fails) {
            let range = sector * SECTOR..now.len().min((sector + 1) * SECTOR);
            synced[range.clone()].copy_from_slice(&now[range]);
        }
        if fails { Err(io::Error::other("fsync failed")) } else { Ok(()) }
    }
}
