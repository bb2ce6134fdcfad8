//! What was found damaged on this node, where its files were put, and how far it is healed.
//!
//! A bounded list in memory, written to `<data>/quarantine/records` at each change. Whoever finds damage calls
//! [`Healing::found`], moves the files away with [`Healing::quarantine`], and reports with [`Healing::update`]. Files of
//! healed records go after a while ([`Healing::sweep`]); files of others stay until they are healed or an operator removes
//! them. Byte table: `docs/formats/healing.md`.
mod adopt;
mod file;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use adopt::RECORD_LOST;
pub(crate) use file::{decode, encode};
use tracing::{error, info, warn};

/// Directory of quarantined files in the data directory.
pub const QUARANTINE_DIR: &str = "quarantine";
/// File of the list in that directory.
const FILE: &str = "records";
/// [`Found::reason`] of a copy of the metadata that the cluster went on without.
pub(crate) const SUPERSEDED: &str = "superseded";
/// Records kept. Beyond it the oldest healed ones go first, then the oldest.
const RECORDS_MAX: usize = 512;
/// Longest text kept in a field, in bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// What kind of thing was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A shard's replica as a whole.
    Replica,
    /// A block file.
    Block,
    /// A stream of the write-ahead log.
    Wal,
    /// The node's copy of the metadata.
    Metadata,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Replica, Self::Block, Self::Wal, Self::Metadata];

    /// Its name in files, metrics and the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replica => "replica",
            Self::Block => "block",
            Self::Wal => "wal",
            Self::Metadata => "metadata",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == text)
    }
}

/// How far a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Out of use; nothing replaces it yet.
    Quarantined,
    /// A replacement is being made.
    Healing,
    /// Replaced.
    Healed,
    /// Cannot be healed without an operator; `detail` says what to do.
    Failed,
}

impl State {
    const ALL: [Self; 4] = [Self::Quarantined, Self::Healing, Self::Healed, Self::Failed];

    /// Its name in files, metrics and the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quarantined => "quarantined",
            Self::Healing => "healing",
            Self::Healed => "healed",
            Self::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// Something damaged, as its finder describes it.
#[derive(Clone, Debug)]
pub struct Found {
    pub kind: Kind,
    /// The shard it belongs to, if it belongs to one.
    pub shard: Option<u32>,
    /// What it is: a file relative to the data directory, or "replica 17". With kind and shard it names the thing: the
    /// same thing found again while it is not healed is the same record.
    pub what: String,
    /// One of few words, since it becomes a metric's label: `wal_corrupt`, `checksum`, ...
    pub reason: &'static str,
    /// For people: the error, and what happens next.
    pub detail: String,
}

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Rises; never reused on this node.
    pub id: u64,
    /// When it was found, wall clock, ms.
    pub time_ms: u64,
    /// When it last changed, wall clock, ms.
    pub changed_ms: u64,
    pub kind: Kind,
    pub shard: Option<u32>,
    pub what: String,
    pub reason: String,
    pub state: State,
    pub detail: String,
    /// Where its files are, relative to the quarantine directory; empty when there are none (any more).
    pub kept: String,
}

/// Counters since the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Things found damaged, by kind and reason.
    pub found: BTreeMap<(&'static str, String), u64>,
    /// Things healed, by kind.
    pub healed: BTreeMap<&'static str, u64>,
}

/// The list; cheap to clone.
#[derive(Clone, Debug)]
pub struct Healing {
    dir: Arc<Path>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    records: Vec<Record>,
    next_id: u64,
    counts: Counts,
}

impl Healing {
    /// Reads the list of a data directory. One that does not decode is put aside under another name, and goes on with the
    /// lines that do. Directories that are not on the list, for whatever reason, are put on it: their ids are not used again,
    /// and an operator sees them.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let dir = data_dir.join(QUARANTINE_DIR);
        fs::create_dir_all(&dir)?;
        let path = dir.join(FILE);
        let mut damaged = false;
        let mut records = match fs::read(&path) {
            Ok(bytes) => decode(&bytes).unwrap_or_else(|reason| {
                let sound = file::salvage(&bytes);
                let (path, kept) = (path.display(), sound.len());
                warn!(%path, reason, kept, "the list of healed damage is itself damaged, going on with its sound lines");
                if let Err(error) = fs::rename(dir.join(FILE), dir.join("records.damaged")) {
                    warn!(%error, "it could not be put aside");
                }
                damaged = true;
                sound
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        let adopted = adopt::adopt(&dir, &mut records, crate::cluster::unix_ms())?;
        let next_id = records.iter().map(|r| r.id).max().unwrap_or(0).saturating_add(1);
        let inner = Inner { records, next_id, counts: Counts::default() };
        let healing = Self { dir: dir.into(), inner: Arc::new(Mutex::new(inner)) };
        if damaged || adopted > 0 {
            let mut inner = healing.lock();
            inner.bound();
            healing.save(&inner);
        }
        Ok(healing)
    }

    /// Writes down that something is damaged; gives the record's id. What is on the list and not healed keeps its record.
    pub fn found(&self, found: Found) -> u64 {
        let mut inner = self.lock();
        let same = |r: &&mut Record| {
            r.kind == found.kind && r.shard == found.shard && r.what == found.what && r.state != State::Healed
        };
        if let Some(known) = inner.records.iter_mut().find(same) {
            return known.id;
        }
        let now_ms = crate::cluster::unix_ms();
        let id = inner.next_id;
        inner.next_id += 1;
        let Found { kind, shard, what, reason, detail } = found;
        error!(kind = kind.as_str(), shard, what, reason, detail, "found damage");
        *inner.counts.found.entry((kind.as_str(), reason.to_owned())).or_default() += 1;
        inner.records.push(Record {
            id,
            time_ms: now_ms,
            changed_ms: now_ms,
            kind,
            shard,
            what: short(what),
            reason: reason.to_owned(),
            state: State::Quarantined,
            detail: short(detail),
            kept: String::new(),
        });
        inner.bound();
        self.save(&inner);
        id
    }

    /// Moves a file or directory of the record into quarantine; returns where it is now. Nothing happens when there is
    /// none at `path`. The rename is durable on return.
    pub fn quarantine(&self, id: u64, path: &Path) -> io::Result<Option<PathBuf>> {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = folder(id);
        let into = self.dir.join(&folder);
        if !path.try_exists()? {
            return Ok(None);
        }
        fs::create_dir_all(&into)?;
        let mut to = into.join(&name);
        let mut n = 1;
        while to.try_exists()? {
            to = into.join(format!("{name}.{n}"));
            n += 1;
        }
        fs::rename(path, &to)?;
        for dir in [Some(into.as_path()), Some(&*self.dir), path.parent()].into_iter().flatten() {
            fs::File::open(dir)?.sync_all()?;
        }
        let mut inner = self.lock();
        if let Some(record) = inner.records.iter_mut().find(|r| r.id == id) {
            record.kept = folder;
        }
        self.save(&inner);
        Ok(Some(to))
    }

    /// Changes how far a record is. Does nothing for one that is not on the list any more.
    pub fn update(&self, id: u64, state: State, detail: impl Into<String>) {
        let detail = short(detail.into());
        let mut inner = self.lock();
        let Some(record) = inner.records.iter_mut().find(|r| r.id == id) else { return };
        if record.state == state && record.detail == detail {
            return;
        }
        let before = std::mem::replace(&mut record.state, state);
        record.detail = detail;
        record.changed_ms = crate::cluster::unix_ms();
        let Record { kind, shard, what, detail, .. } = record.clone();
        if before != state {
            info!(kind = kind.as_str(), shard, what, state = state.as_str(), detail, "healing");
            if state == State::Healed {
                *inner.counts.healed.entry(kind.as_str()).or_default() += 1;
            }
        }
        self.save(&inner);
    }

    /// The list, oldest first.
    pub fn records(&self) -> Vec<Record> {
        self.lock().records.clone()
    }

    /// Counters since the process started.
    pub fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// Removes the files of healed records that have been healed for `keep_ms`, and of the oldest healed ones while the
    /// quarantine has more than `bytes_max`. Files of anything else stay.
    pub fn sweep(&self, now_ms: u64, keep_ms: u64, bytes_max: u64) {
        self.notice_removed(now_ms);
        let healed = |r: &Record| r.state == State::Healed && !r.kept.is_empty();
        let mut healed: Vec<Record> = self.lock().records.iter().filter(|r| healed(r)).cloned().collect();
        if healed.is_empty() {
            return;
        }
        healed.sort_by_key(|r| r.changed_ms);
        let mut used = bytes_of(&self.dir);
        for record in healed {
            let old = now_ms.saturating_sub(record.changed_ms) >= keep_ms;
            if !old && used <= bytes_max {
                continue;
            }
            let path = self.dir.join(&record.kept);
            used = used.saturating_sub(bytes_of(&path));
            if let Err(error) = fs::remove_dir_all(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                warn!(path = %path.display(), %error, "quarantined files could not be removed");
                continue;
            }
            info!(path = %path.display(), what = record.what, "removed quarantined files of healed damage");
            let mut inner = self.lock();
            if let Some(r) = inner.records.iter_mut().find(|r| r.id == record.id) {
                r.kept.clear();
            }
            self.save(&inner);
        }
    }

    /// An operator may remove files; of what nothing but the files is known nothing is left then.
    fn notice_removed(&self, now_ms: u64) {
        let mut inner = self.lock();
        let mut changed = false;
        for record in inner.records.iter_mut().filter(|r| !r.kept.is_empty()) {
            if matches!(self.dir.join(&record.kept).try_exists(), Ok(false)) {
                record.kept.clear();
                if record.reason == RECORD_LOST {
                    (record.state, record.changed_ms) = (State::Healed, now_ms);
                    record.detail = "its files were removed".to_owned();
                }
                changed = true;
            }
        }
        if changed {
            self.save(&inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A list that cannot be written is still in memory and in the log.
    fn save(&self, inner: &Inner) {
        if let Err(error) = file::write(&self.dir, FILE, &encode(&inner.records)) {
            warn!(%error, "the list of healed damage could not be written");
        }
    }
}

impl Inner {
    fn bound(&mut self) {
        while self.records.len() > RECORDS_MAX {
            let gone = self.records.iter().position(|r| r.state == State::Healed && r.kept.is_empty());
            let gone = gone.or_else(|| self.records.iter().position(|r| r.kept.is_empty())).unwrap_or(0);
            self.records.remove(gone);
        }
    }
}

/// Name of a record's directory.
fn folder(id: u64) -> String {
    format!("{id:06}")
}

fn short(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let end = (0..=TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

fn bytes_of(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return meta.len();
    }
    fs::read_dir(path).map_or(0, |entries| entries.flatten().map(|e| bytes_of(&e.path())).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damage(what: &str) -> Found {
        let (kind, reason) = (Kind::Block, "checksum");
        Found { kind, shard: Some(3), what: what.into(), reason, detail: "a\tb\nc\\d".into() }
    }

    #[test]
    fn records_survive_a_restart_and_are_not_doubled() {
        let dir = tempfile::tempdir().unwrap();
        let healing = Healing::open(dir.path()).unwrap();
        let id = healing.found(damage("one"));
        assert_eq!(healing.found(damage("one")), id);
        assert_ne!(healing.found(damage("two")), id);
        healing.update(id, State::Healing, "asking for it");
        let again = Healing::open(dir.path()).unwrap();
        assert_eq!(again.records(), healing.records());
        assert_eq!((again.records()[0].state, again.records()[1].detail.as_str()), (State::Healing, "a\tb\nc\\d"));
        healing.update(id, State::Healed, "done");
        assert_ne!(healing.found(damage("one")), id, "healed, then damaged again");
        assert_eq!(healing.counts().found[&("block", "checksum".to_owned())], 3);
        assert_eq!(healing.counts().healed["block"], 1);
    }

    #[test]
    fn a_damaged_list_does_not_stop_the_node() {
        let tabs = |sound: &[u8]| sound.iter().map(|b| if *b == b'w' { b'\t' } else { *b }).collect();
        type Harm<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
        let damages: [Harm<'_>; 3] = [&tabs, &|_| vec![0xff; 40], &|_| Vec::new()];
        for damaged in damages {
            let dir = tempfile::tempdir().unwrap();
            let healing = Healing::open(dir.path()).unwrap();
            let file = dir.path().join("file");
            for what in ["one", "two", "three"] {
                let id = healing.found(damage(what));
                fs::write(&file, what).unwrap();
                healing.quarantine(id, &file).unwrap();
                healing.update(id, State::Healed, "");
            }
            let quarantine = dir.path().join(QUARANTINE_DIR);
            let path = quarantine.join(FILE);
            let bytes = damaged(&fs::read(&path).unwrap());
            fs::write(&path, &bytes).unwrap();
            let after = Healing::open(dir.path()).unwrap();
            let records = after.records();
            assert_eq!(records.iter().map(|r| r.id).collect::<Vec<_>>(), [1, 2, 3], "{bytes:?}");
            assert_eq!(records[1].reason, RECORD_LOST);
            assert_eq!(Healing::open(dir.path()).unwrap().records(), records, "written down");
            assert_eq!(after.found(damage("four")), 4, "no id is used twice");
            after.sweep(u64::MAX, 0, 0);
            assert!(quarantine.join("000002/file").exists(), "it is not known whether it was healed");
        }
    }

    #[test]
    fn files_without_a_record_are_listed_until_they_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let stray = dir.path().join(QUARANTINE_DIR).join("000041");
        fs::create_dir_all(&stray).unwrap();
        let healing = Healing::open(dir.path()).unwrap();
        assert_eq!((healing.records()[0].state, healing.records()[0].kept.as_str()), (State::Failed, "000041"));
        assert_eq!(healing.found(damage("one")), 42);
        fs::remove_dir(&stray).unwrap();
        healing.sweep(5, 1000, u64::MAX);
        assert_eq!((healing.records()[0].state, healing.records()[0].kept.as_str()), (State::Healed, ""));
    }

    #[test]
    fn files_move_aside_and_go_only_once_healed() {
        let dir = tempfile::tempdir().unwrap();
        let healing = Healing::open(dir.path()).unwrap();
        let file = dir.path().join("block");
        let id = healing.found(damage("block"));
        assert_eq!(healing.quarantine(id, &file).unwrap(), None);
        let mut kept = Vec::new();
        for text in ["first", "second"] {
            fs::write(&file, text).unwrap();
            let at = healing.quarantine(id, &file).unwrap().unwrap();
            assert_eq!(fs::read_to_string(&at).unwrap(), text);
            kept.push(at);
        }
        let later = crate::cluster::unix_ms() + 1000;
        healing.sweep(later, 0, 0);
        assert!(kept.iter().all(|p| p.exists()), "not healed yet");
        healing.update(id, State::Healed, "");
        healing.sweep(later, 1 << 40, u64::MAX);
        assert!(kept.iter().all(|p| p.exists()), "neither old nor too much");
        healing.sweep(later, 1 << 40, 3);
        assert!(kept.iter().all(|p| !p.exists()));
        assert_eq!(healing.records()[0].kept, "");
    }

    #[test]
    fn the_list_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let healing = Healing::open(dir.path()).unwrap();
        let open = healing.found(damage("never healed"));
        let mut inner = healing.lock();
        let healed = Record { state: State::Healed, ..inner.records[0].clone() };
        inner.records.extend((0..2 * RECORDS_MAX as u64).map(|i| Record { id: 10 + i, ..healed.clone() }));
        inner.bound();
        assert_eq!(inner.records.len(), RECORDS_MAX);
        assert_eq!(inner.records[0].id, open);
    }
}
