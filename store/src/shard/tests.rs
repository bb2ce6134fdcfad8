//! Damage in a replica's block files: noticed, named, told once, and gone after a repair.
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::files::{BLOCKS_DIR, FileError};
use super::*;
use crate::entry::{SealReason, WriteEntryBuilder, encode_seal};
use crate::model::signal::key_hash;
use crate::model::{Labels, Signal};
use crate::part::{MetricsPartBuilder, PartRef, RowsPartBuilder};
use crate::rows::{RowOrder, RowScan};

const TENANT: &str = "t";
const TIME_MS: i64 = 1_700_000_000_000;

fn write(state: &mut ShardState, index: u64, table: &mut ProposerTable, part: &[u8]) {
    let part = PartRef::decode(part).unwrap();
    let mut entry = WriteEntryBuilder::new(table.id(), table.len());
    table.add(&mut entry, &part).unwrap();
    let position = LogPosition { term: 1, leader: 1, index };
    assert!(matches!(state.apply(position, &entry.finish()).unwrap(), Applied::Parts(_)));
}

/// A shard with a sealed block of metrics and one of logs, and everything it was told of damage.
struct World {
    dir: tempfile::TempDir,
    state: ShardState,
    manifest: Manifest,
    config: ShardConfig,
    told: Arc<Mutex<Vec<BlockDamage>>>,
}

impl World {
    fn new() -> Self {
        let told: Arc<Mutex<Vec<BlockDamage>>> = Arc::default();
        let listener = told.clone();
        let on_damage = OnDamage::new(move |d| listener.lock().unwrap().push(d));
        let config = ShardConfig { on_damage, ..ShardConfig::default() };
        let mut state = ShardState::new(7, config.clone(), None);
        let mut table = ProposerTable::new(1);
        let key = Labels::from_pairs([("__name__", "up"), ("host", "a")]).unwrap();
        let hash = key_hash(TENANT, key.as_bytes());
        let mut metrics = MetricsPartBuilder::new(TENANT);
        let series = metrics.series(hash, key.as_bytes());
        metrics.floats(series, (0..500u32).map(|i| (TIME_MS + i64::from(i) * 15_000, f64::from(i).to_bits())));
        write(&mut state, 1, &mut table, &metrics.finish());
        let mut logs = RowsPartBuilder::new(Signal::Logs, TENANT);
        let stream = logs.stream(hash, key.as_bytes());
        for i in 0..500 {
            let line = format!("line {i} of a log");
            logs.row(stream, (TIME_MS + i) * 1_000_000, line.as_bytes(), [].into_iter());
        }
        write(&mut state, 2, &mut table, &logs.finish());
        let position = LogPosition { term: 1, leader: 1, index: 3 };
        let Applied::Sealed(job) = state.apply(position, &encode_seal(SealReason::Requested)).unwrap() else {
            panic!("a seal seals");
        };
        let dir = tempfile::tempdir().unwrap();
        let Sealed { manifest, added } = job.run(dir.path(), &Manifest::default()).unwrap();
        state.sealed(added);
        Self { dir, state, manifest, config, told }
    }

    fn path(&self, signal: Signal) -> std::path::PathBuf {
        self.dir.path().join(BLOCKS_DIR).join(&self.entry(signal).file)
    }

    fn entry(&self, signal: Signal) -> &BlockEntry {
        self.manifest.blocks.iter().find(|b| b.signal == signal).unwrap()
    }

    fn samples(&mut self) -> crate::tsdb::Result<usize> {
        let view = self.state.view();
        let (mut times, mut values, mut count) = (Vec::new(), Vec::new(), 0);
        for series in view.metrics.select(TENANT, &[], i64::MIN, i64::MAX)? {
            series.samples_into(&mut times, &mut values)?;
            count += times.len();
        }
        Ok(count)
    }

    fn lines(&mut self, min_ns: i64) -> crate::rows::Result<usize> {
        let mut scan = RowScan::new(TENANT, min_ns, i64::MAX);
        scan.order = RowOrder::Unordered;
        let mut scan = self.state.view().logs.scan(&scan)?;
        let mut count = 0;
        while let Some(batch) = scan.next_batch()? {
            count += batch.rows().map(|row| row.body().map(|_| 1)).sum::<crate::rows::Result<usize>>()?;
        }
        Ok(count)
    }

    /// The state as a restart finds it.
    fn reopen(&mut self) -> Vec<BlockDamage> {
        let (blocks, damaged) = self.config.opener().open(self.dir.path(), &self.manifest.blocks).unwrap();
        self.state = ShardState::new(7, self.config.clone(), Some((self.manifest.clone(), blocks)));
        damaged
    }

    fn told(&self) -> Vec<BlockDamage> {
        std::mem::take(&mut self.told.lock().unwrap())
    }
}

fn flip(path: &Path, at: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn a_reader_tells_of_damage_once_and_by_name() {
    let mut world = World::new();
    assert_eq!((world.samples().unwrap(), world.lines(i64::MIN).unwrap()), (500, 500));
    assert_eq!(world.reopen(), []);
    flip(&world.path(Signal::Metrics), 40);
    flip(&world.path(Signal::Logs), 40);
    world.samples().unwrap_err();
    world.samples().unwrap_err();
    world.lines(i64::MIN).unwrap_err();
    let told = world.told();
    let files: Vec<&str> = told.iter().map(|d| d.file.as_str()).collect();
    assert_eq!(files, [world.entry(Signal::Metrics).file.as_str(), world.entry(Signal::Logs).file.as_str()]);
    assert!(told.iter().all(|d| d.offset > 0 && d.reason.contains("checksum")), "{told:?}");
}

#[test]
fn a_lost_block_is_an_error_only_where_it_matters_and_comes_back() {
    let mut world = World::new();
    for signal in [Signal::Metrics, Signal::Logs] {
        let entry = world.entry(signal).clone();
        assert!(world.state.lose(&entry), "{signal:?}");
    }
    assert!(matches!(world.samples(), Err(crate::tsdb::Error::Lost { .. })));
    assert!(matches!(world.lines(i64::MIN), Err(crate::rows::Error::Lost { .. })));
    let after = (TIME_MS + 10_000_000) * 1_000_000;
    assert_eq!(world.lines(after).unwrap(), 0);
    let view = world.state.view();
    assert_eq!(view.lost().len(), 2);
    assert!(view.without_lost().metrics.blocks.is_empty() && view.without_lost().lost().is_empty());

    let blocks = world.config.opener().open_sound(world.dir.path(), &world.manifest.blocks).unwrap();
    assert!(world.state.replace(&blocks));
    assert_eq!((world.samples().unwrap(), world.lines(i64::MIN).unwrap()), (500, 500));
}

#[test]
fn a_restart_opens_what_is_sound_and_names_the_rest() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 4] = [
        ("missing", |path| std::fs::remove_file(path).unwrap()),
        ("short", |path| {
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(100).unwrap();
        }),
        ("header", |path| flip(path, 1)),
        ("tail", |path| flip(path, std::fs::metadata(path).unwrap().len() - 2)),
    ];
    for (name, damage) in cases {
        for signal in [Signal::Metrics, Signal::Logs] {
            let mut world = World::new();
            damage(&world.path(signal));
            let damaged = world.reopen();
            assert_eq!(damaged.len(), 1, "{name} {signal:?}");
            assert_eq!(damaged[0].file, world.entry(signal).file, "{name}");
            let (samples, lines) = (world.samples(), world.lines(i64::MIN));
            assert_eq!((samples.is_err(), lines.is_err()), (signal == Signal::Metrics, signal == Signal::Logs));
            let opened = world.config.opener().open_sound(world.dir.path(), &world.manifest.blocks);
            assert!(matches!(opened, Err(FileError::Damaged { .. })), "{name}");
        }
    }
}

#[test]
fn a_check_notices_every_flipped_byte_and_every_other_length() {
    let world = World::new();
    for signal in [Signal::Metrics, Signal::Logs] {
        let (path, entry) = (world.path(signal), world.entry(signal));
        assert_eq!(FileCheck::run(&path, entry).unwrap(), Ok(()));
        verify_block(&path, entry).unwrap();
        let other = BlockEntry { digest: entry.digest ^ 1, ..entry.clone() };
        verify_block(&path, &other).unwrap_err();
        let mut noticed = 0;
        for at in (0..entry.bytes).step_by(7) {
            flip(&path, at);
            FileCheck::run(&path, entry).unwrap().unwrap_err();
            // Filters of row blocks are not content: only the file's checksum covers them.
            let is_noticed = verify_block(&path, entry).is_err();
            assert!(is_noticed || signal == Signal::Logs, "byte {at}");
            noticed += usize::from(is_noticed);
            flip(&path, at);
        }
        assert!(noticed * 14 > entry.bytes as usize, "{noticed} of {} bytes", entry.bytes);
        std::fs::write(&path, b"short").unwrap();
        assert!(FileCheck::run(&path, entry).unwrap().unwrap_err().reason.contains("5 bytes"));
        std::fs::remove_file(&path).unwrap();
        assert!(FileCheck::run(&path, entry).unwrap().unwrap_err().reason.contains("missing"));
    }
}

/// A part that a leader takes is applied everywhere: one whose key or text no head takes is refused before it is in the log.
#[test]
fn a_part_that_no_head_takes_is_refused_by_the_leader() {
    let mut parts = Vec::new();
    let labels = Labels::from_pairs([("a", "b")]).unwrap();
    for (signal, key) in [(Signal::Logs, &b"\x01a\x01"[..]), (Signal::Traces, labels.as_bytes())] {
        let mut part = RowsPartBuilder::new(signal, TENANT);
        let stream = part.stream(1, key);
        part.row(stream, 1, b"", [].into_iter());
        parts.push(part.finish());
    }
    let mut metrics = MetricsPartBuilder::new(TENANT);
    metrics.series(1, b"\x01b\x01x\x01a\x01x");
    parts.push(metrics.finish());
    for bytes in parts {
        let part = PartRef::decode(&bytes).unwrap();
        let (mut table, mut entry) = (ProposerTable::new(1), WriteEntryBuilder::new(1, 0));
        assert!(table.add(&mut entry, &part).is_err(), "{part:?}");
        assert_eq!((table.len(), entry.parts_count()), (0, 0), "nothing was added");
    }
    let text = crate::model::Value::Str("text".to_owned());
    let mut part = RowsPartBuilder::new(Signal::Logs, TENANT);
    let stream = part.stream(1, labels.as_bytes());
    part.row(stream, 1, b"", [(crate::model::Scope::Record, "k", &text)].into_iter());
    let mut bytes = part.finish();
    let at = bytes.windows(4).rposition(|w| w == b"text").unwrap();
    let part = PartRef::decode(&bytes).unwrap();
    assert!(crate::entry::check_body(part.signal, part.body, 1).is_ok());
    bytes[at] = 0xff;
    let part = PartRef::decode(&bytes).unwrap();
    assert!(crate::entry::check_body(part.signal, part.body, 1).is_err(), "a text that is no UTF-8");
}

mod deletion;
