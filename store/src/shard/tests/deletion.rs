//! Deleted and expired samples are hidden at once, wherever they are; what is written later is seen; compaction takes them out.
use super::*;
use crate::entry::{encode_compact, encode_delete, encode_expire};
use crate::index::Matcher;
use crate::limits::{Cutoffs, DeleteSeries};
use crate::memory::Account;
use crate::tsdb::{MetricsView, TextSet};

/// A shard that is driven entry by entry; its seals wait until they are written.
struct Driven {
    dir: tempfile::TempDir,
    state: ShardState,
    manifest: Manifest,
    jobs: Vec<SealJob>,
    index: u64,
}

impl Driven {
    fn new() -> Self {
        let (state, jobs) = (ShardState::new(1, ShardConfig::default(), None), Vec::new());
        Self { dir: tempfile::tempdir().unwrap(), state, manifest: Manifest::default(), jobs, index: 0 }
    }

    fn apply(&mut self, entry: &[u8]) {
        self.index += 1;
        let position = LogPosition { term: 1, leader: 1, index: self.index };
        if let Applied::Sealed(job) = self.state.apply(position, entry).unwrap() {
            self.jobs.push(*job);
        }
    }

    /// Samples of series `name` at these times.
    fn write(&mut self, name: &str, times_ms: std::ops::Range<i64>) {
        self.write_of(TENANT, name, times_ms);
    }

    fn write_of(&mut self, tenant: &str, name: &str, times_ms: std::ops::Range<i64>) {
        let key = Labels::from_pairs([("__name__", name)]).unwrap();
        let mut part = MetricsPartBuilder::new(tenant);
        let series = part.series(key_hash(tenant, key.as_bytes()), key.as_bytes());
        part.floats(series, times_ms.map(|t| (t, t as u64)).collect::<Vec<_>>().into_iter());
        let part = part.finish();
        // A table of its own for each: one entry more or less does not matter.
        let mut table = ProposerTable::new(self.index + 1);
        let mut entry = WriteEntryBuilder::new(table.id(), 0);
        table.add(&mut entry, &PartRef::decode(&part).unwrap()).unwrap();
        self.apply(&entry.finish());
    }

    fn write_seals(&mut self) {
        for job in self.jobs.drain(..) {
            let Sealed { manifest, added } = job.run(self.dir.path(), &self.manifest).unwrap();
            self.state.sealed(added);
            self.manifest = manifest;
        }
    }

    fn delete(&mut self, id: u64, name: &str, min_ms: i64, max_ms: i64) {
        let matchers = vec![Matcher::equal("__name__", name)];
        self.apply(&encode_delete(&DeleteSeries { id, tenant: TENANT.into(), matchers, min_ms, max_ms }));
    }

    fn request(&mut self, inputs: Vec<String>) {
        self.apply(&encode_compact(&CompactRequest { signal: Signal::Metrics, window_ms: 1, inputs }));
    }

    fn compact_all(&mut self) {
        let inputs = self.manifest.blocks.iter().map(|b| b.file.clone()).collect();
        self.request(inputs);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        let compaction = self.state.pending()[0].clone();
        let config = ShardConfig::default();
        let done = CompactJob::new(&compaction, &self.manifest, &config).run(self.dir.path(), &mut |_| Ok(())).unwrap();
        let swapped = done.swap(self.dir.path(), &self.manifest, &config.opener()).unwrap().unwrap();
        self.state.swapped(&swapped);
        self.manifest = swapped.manifest;
        self.state.settle_pending(&self.manifest);
        assert!(!self.state.pending().contains(&compaction));
    }

    /// Carries out what the plan wants until that is nothing; how many compactions that were.
    fn settle(&mut self, now_ms: i64) -> usize {
        for done in 0.. {
            let (cutoffs, view) = (self.state.limits().cutoffs(Signal::Metrics).clone(), self.state.view().metrics);
            let expiry_of = |entry: &BlockEntry| {
                let block = view.blocks.iter().find(|b| b.name() == entry.file)?;
                Some(expiry(block.tenant_times(), &cutoffs, now_ms))
            };
            let policy = CompactionPolicy::default();
            let Some(next) = plan(&policy, &self.manifest, Signal::Metrics, now_ms, &expiry_of) else { return done };
            self.apply(&encode_compact(&next));
            self.carry_out();
        }
        unreachable!("the plan ends")
    }

    fn bytes(&self) -> u64 {
        self.manifest.blocks.iter().map(|b| b.bytes).sum()
    }

    /// Times that readers see of a series, and whether it is listed.
    fn times(&mut self, name: &str) -> Vec<i64> {
        let view = self.state.view().metrics;
        let (mut times, mut values) = (Vec::new(), Vec::new());
        let matcher = [Matcher::equal("__name__", name)];
        for series in view.select(TENANT, &matcher, i64::MIN, i64::MAX).unwrap() {
            series.samples_into(&mut times, &mut values).unwrap();
            assert_eq!(values, times.iter().map(|t| f64::from_bits(*t as u64)).collect::<Vec<_>>());
        }
        let account = Account::unbounded();
        let names = metric_names(&view, &account);
        assert!(times.is_empty() || names.contains(&name.to_owned()), "{name} of {names:?}");
        times
    }
}

#[test]
fn a_deletion_hides_blocks_and_heads_at_once_and_not_what_comes_later() {
    let mut shard = Driven::new();
    shard.write("a", 0..10);
    shard.write("b", 0..10);
    shard.apply(&encode_seal(SealReason::Requested));
    shard.write_seals();
    shard.write("a", 10..20);
    // A head that is being sealed, and the open one.
    shard.apply(&encode_seal(SealReason::Requested));
    shard.write("a", 20..30);
    shard.delete(1, "a", 5, 25);
    let left = [0, 1, 2, 3, 4, 26, 27, 28, 29];
    assert_eq!(shard.times("a"), left);
    assert_eq!(shard.times("b").len(), 10);
    shard.write("a", 7..8);
    let (mut with_new, mut later) = (left.to_vec(), vec![7]);
    with_new.append(&mut later);
    with_new.sort_unstable();
    assert_eq!(shard.times("a"), with_new, "written after the deletion");
    // The same request again does nothing.
    shard.delete(1, "a", 5, 25);
    assert_eq!(shard.times("a"), with_new);
    shard.write_seals();
    assert_eq!(shard.times("a"), with_new, "in blocks");
    shard.apply(&encode_seal(SealReason::Requested));
    shard.write_seals();
    assert_eq!(shard.manifest.limits.tombstones.len(), 1);
    shard.compact_all();
    assert_eq!(shard.times("a"), with_new, "compacted");
    assert_eq!((shard.manifest.limits.tombstones.len(), shard.state.limits().tombstones.len()), (0, 0));
    let books = shard.manifest.ledger.as_ref().unwrap().get(TENANT, Signal::Metrics);
    assert_eq!((books.deleted, books.sealed), (21, 20));
    assert_eq!(shard.manifest.ledger.as_ref().unwrap().imbalances(), []);
}

#[test]
fn a_series_that_is_deleted_whole_is_listed_nowhere() {
    let mut shard = Driven::new();
    shard.write("a", 0..10);
    shard.write("b", 0..10);
    shard.delete(1, "a", i64::MIN, i64::MAX);
    shard.write_seals();
    let view = shard.state.view().metrics;
    let account = Account::unbounded();
    let names = metric_names(&view, &account);
    assert_eq!(names, ["b"]);
    let all = view.series_labels(TENANT, &[], (i64::MIN, i64::MAX), &account).unwrap();
    assert_eq!(all.len(), 1);
    shard.compact_all();
    assert_eq!((shard.times("a"), shard.times("b").len()), (Vec::new(), 10));
}

#[test]
fn what_expires_is_hidden_at_once_and_taken_out_by_a_compaction() {
    let mut shard = Driven::new();
    shard.write("a", 0..10);
    shard.apply(&encode_seal(SealReason::Requested));
    shard.write_seals();
    shard.write("a", 10..20);
    shard.apply(&encode_expire(Signal::Metrics, &Cutoffs::new(15, [])));
    assert_eq!(shard.times("a"), [15, 16, 17, 18, 19]);
    // A cut-off does not go back.
    shard.apply(&encode_expire(Signal::Metrics, &Cutoffs::new(3, [])));
    shard.apply(&encode_seal(SealReason::Requested));
    shard.write_seals();
    assert_eq!(shard.times("a"), [15, 16, 17, 18, 19]);
    shard.compact_all();
    let books = shard.manifest.ledger.as_ref().unwrap().get(TENANT, Signal::Metrics);
    assert_eq!((books.expired, books.sealed, shard.times("a").len()), (15, 5, 5));
    shard.apply(&encode_expire(Signal::Metrics, &Cutoffs::new(100, [])));
    shard.compact_all();
    assert_eq!((shard.times("a").len(), shard.manifest.blocks.len()), (0, 0), "nothing is left of it");
    assert_eq!(shard.manifest.ledger.as_ref().unwrap().imbalances(), []);
}

#[test]
fn what_has_gone_gives_its_bytes_back_without_another_reason_to_rewrite() {
    const NOW_MS: i64 = 40_000;
    let mut shard = Driven::new();
    for at in 0..1_000i64 {
        let at = at * 30 + (at * 7_919) % 29;
        for (tenant, name) in [(TENANT, "a"), (TENANT, "b"), ("short", "a"), ("short", "b")] {
            shard.write_of(tenant, name, at..at + 1);
        }
    }
    shard.apply(&encode_seal(SealReason::Requested));
    shard.write_seals();
    assert_eq!((shard.settle(NOW_MS), shard.manifest.blocks.len()), (0, 1), "nothing has gone");
    let all = shard.bytes();
    shard.delete(1, "b", i64::MIN, i64::MAX);
    shard.write_seals();
    assert_eq!(shard.settle(NOW_MS), 1, "for the deletion");
    let without_b = shard.bytes();
    assert!(without_b < all * 9 / 10, "{without_b} bytes of {all}");
    // One tenant's retention, then most of everybody's.
    shard.apply(&encode_expire(Signal::Metrics, &Cutoffs::new(i64::MIN, [("short", 35_000)])));
    assert_eq!(shard.settle(NOW_MS), 1, "for the tenant");
    let without_short = shard.bytes();
    assert!(without_short < without_b * 6 / 10, "{without_short} bytes of {without_b}");
    shard.apply(&encode_expire(Signal::Metrics, &Cutoffs::new(10_000, [("short", 35_000)])));
    assert_eq!((shard.settle(NOW_MS), shard.bytes()), (0, without_short), "a third is not worth it");
    shard.apply(&encode_expire(Signal::Metrics, &Cutoffs::new(25_000, [("short", 35_000)])));
    assert_eq!(shard.settle(NOW_MS), 1, "most of it");
    // Header, footer and index are a good part of so small a block.
    assert!(shard.bytes() < without_short * 7 / 10, "{} bytes of {without_short}", shard.bytes());
    let ledger = shard.manifest.ledger.as_ref().unwrap();
    let (books, short) = (ledger.get(TENANT, Signal::Metrics), ledger.get("short", Signal::Metrics));
    assert_eq!((books.deleted, books.applied, books.sealed + books.expired), (1_000, 2_000, 1_000));
    assert_eq!((short.sealed, short.expired, ledger.imbalances()), (0, 2_000, Vec::new()));
}

/// A replica that lost a block which the others have compacted, twice by now, takes theirs in the place of all that it waits with.
#[test]
fn a_lost_input_is_replaced_by_what_others_have_made_of_it() {
    let drive = || {
        let mut shard = Driven::new();
        for i in 0..4 {
            // Some of it twice, which is folded.
            shard.write("a", i * 10..i * 10 + 15);
            shard.apply(&encode_seal(SealReason::Requested));
            shard.write_seals();
        }
        let files: Vec<String> = shard.manifest.blocks.iter().map(|b| b.file.clone()).collect();
        shard.request(files[..2].to_vec());
        let first = shard.state.pending()[0].output();
        shard.request(vec![first, files[2].clone()]);
        (shard, files)
    };
    let (mut sound, files) = drive();
    let (mut damaged, _) = drive();
    sound.carry_out();
    sound.carry_out();
    std::fs::remove_file(damaged.dir.path().join(BLOCKS_DIR).join(&files[0])).unwrap();
    let outputs = descendants(damaged.state.pending(), &files[0]);
    assert_eq!(outputs.last().unwrap(), &sound.manifest.blocks[0].file);
    assert_eq!((outputs.len(), descendants(damaged.state.pending(), &files[3]).len()), (2, 0));
    let theirs = sound.manifest.blocks[0].clone();
    let copy = damaged.dir.path().join("copy");
    std::fs::copy(sound.dir.path().join(BLOCKS_DIR).join(&theirs.file), &copy).unwrap();
    let opener = ShardConfig::default().opener();
    let (dir, pending) = (damaged.dir.path().to_owned(), damaged.state.pending().to_vec());
    let unknown = BlockEntry { file: "c000000000099-metrics.trnb".into(), ..theirs.clone() };
    adopt(&dir, &damaged.manifest, &pending, &unknown, &copy, &opener).unwrap_err();
    let adopted = adopt(&dir, &damaged.manifest, &pending, &theirs, &copy, &opener).unwrap();
    damaged.state.swapped(&adopted);
    damaged.manifest = adopted.manifest;
    damaged.state.settle_pending(&damaged.manifest);
    assert_eq!((damaged.state.pending(), damaged.manifest.pending.as_slice()), (&[][..], &[][..]));
    assert_eq!(damaged.manifest.blocks, sound.manifest.blocks);
    assert_eq!(damaged.manifest.ledger, sound.manifest.ledger);
    assert_eq!((damaged.times("a"), damaged.times("a").len()), (sound.times("a"), 45));
}

fn metric_names(view: &MetricsView, account: &Account) -> Vec<String> {
    let mut names = TextSet::new(account);
    view.label_values(TENANT, "__name__", &[], (i64::MIN, i64::MAX), account, &mut names).unwrap();
    names.sorted().unwrap().0
}
