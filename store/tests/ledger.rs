//! The books of a shard balance whatever is applied, compressed, sealed and restarted, and say so when a count is wrong.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use trine_store::entry::{SealReason, WriteEntryBuilder, encode_compact, encode_delete, encode_expire, encode_seal};
use trine_store::index::Matcher;
use trine_store::limits::{Cutoffs, DeleteSeries};
use trine_store::memory::Account;
use trine_store::model::signal::key_hash;
use trine_store::model::{Attrs, Labels, Scope, Signal, Value, intrinsic};
use trine_store::part::{MetricsPartBuilder, PartRef, RowsPartBuilder, SampleKind};
use trine_store::shard::{
    Applied, BLOCKS_DIR, Books, CompactJob, CompactRequest, Ledger, LogPosition, Manifest, OpenBlocks, ProposerTable,
    SealJob, Seen, ShardConfig, ShardState, ShardView, recount_block, remove_strays,
};
use trine_store::{rows, tsdb};

const TENANTS: [&str; 2] = ["acme", "beta"];

fn metrics(tenant: &str, rng: &mut StdRng) -> Vec<u8> {
    let mut part = MetricsPartBuilder::new(tenant);
    for _ in 0..rng.random_range(1..4) {
        let name = format!("m{}", rng.random_range(0..4));
        // One series has no name at all.
        let pairs = if name == "m0" { vec![("host", "a")] } else { vec![("__name__", &*name), ("host", "a")] };
        let key = Labels::from_pairs(pairs).unwrap();
        let series = part.series(key_hash(tenant, key.as_bytes()), key.as_bytes());
        let samples: Vec<(i64, u64)> =
            (0..rng.random_range(1..30)).map(|_| (rng.random_range(0..60), rng.random_range(0..2))).collect();
        part.floats(series, samples.into_iter());
        if rng.random() {
            part.blob(series, SampleKind::Exemplar, rng.random_range(0..5), &[rng.random_range(0..2)]);
            part.blob(series, SampleKind::IntHistogram, rng.random_range(0..5), &[rng.random_range(0..2)]);
        }
    }
    part.finish()
}

fn logs(tenant: &str, rng: &mut StdRng) -> Vec<u8> {
    let mut part = RowsPartBuilder::new(Signal::Logs, tenant);
    let key = Labels::from_pairs([("app", if rng.random() { "x" } else { "y" })]).unwrap();
    let stream = part.stream(key_hash(tenant, key.as_bytes()), key.as_bytes());
    for _ in 0..rng.random_range(1..40) {
        let line = format!("line {}", rng.random_range(0..2));
        part.row(stream, rng.random_range(1..40), line.as_bytes(), [].into_iter());
    }
    part.finish()
}

fn traces(tenant: &str, rng: &mut StdRng) -> Vec<u8> {
    let mut part = RowsPartBuilder::new(Signal::Traces, tenant);
    let key = Attrs::default();
    let stream = part.stream(key_hash(tenant, key.as_bytes()), key.as_bytes());
    for _ in 0..rng.random_range(1..40) {
        let trace = Value::Bytes(vec![rng.random_range(1..4); 16]);
        let id = rng.random_range(1..30u8);
        let span = Value::Bytes(vec![id; 8]);
        let attrs = [(intrinsic::TRACE_ID, &trace), (intrinsic::SPAN_ID, &span)];
        let attrs = attrs.into_iter().map(|(key, value)| (Scope::Intrinsic, key, value));
        // A span that comes twice begins at the same time: which of two is seen once one has expired depends on compactions.
        part.row(stream, i64::from(id), b"", attrs);
    }
    part.finish()
}

/// A replica with its directory, and the log that it applied.
struct Replica {
    dir: tempfile::TempDir,
    config: ShardConfig,
    state: ShardState,
    manifest: Manifest,
    jobs: Vec<SealJob>,
}

impl Replica {
    fn new() -> Self {
        let config = ShardConfig {
            metrics: tsdb::HeadConfig { tail_batches_max: 3, ..tsdb::HeadConfig::default() },
            rows: rows::HeadConfig { tail_batches_max: 3, ..rows::HeadConfig::default() },
            ..ShardConfig::default()
        };
        let (dir, state) = (tempfile::tempdir().unwrap(), ShardState::new(1, config.clone(), None));
        Self { dir, config, state, manifest: Manifest { shard: 1, ..Manifest::default() }, jobs: Vec::new() }
    }

    fn apply(&mut self, index: u64, entry: &[u8]) {
        match self.state.apply(LogPosition { term: 1, leader: 1, index }, entry).unwrap() {
            Applied::Sealed(job) => self.jobs.push(*job),
            Applied::Parts(_) | Applied::Compacting | Applied::Limited => {}
            Applied::UnknownTable => panic!("entry {index} refers to another table"),
        }
    }

    /// What the pool does beside the log, when it gets to it.
    fn compress(&mut self) {
        if let Some(job) = self.state.metrics.freeze_job() {
            self.state.metrics.install(job.run().unwrap());
        }
        if let Some(job) = self.state.logs.freeze_job() {
            self.state.logs.install(job.run().unwrap());
        }
        if let Some(job) = self.state.traces.freeze_job() {
            self.state.traces.install(job.run().unwrap());
        }
    }

    fn write_seals(&mut self) {
        for job in self.jobs.drain(..) {
            let sealed = job.run(self.dir.path(), &self.manifest).unwrap();
            self.state.sealed(sealed.added);
            self.manifest = sealed.manifest;
        }
    }

    /// Carries out one of the compactions that are ready; whether there was one. `crashes` is how far it gets.
    fn compact(&mut self, rng: &mut StdRng, crashes: bool) -> bool {
        if !self.jobs.is_empty() {
            return false;
        }
        self.state.settle_pending(&self.manifest);
        let ready: Vec<_> = self.state.pending().iter().filter(|c| c.is_ready(&self.manifest)).cloned().collect();
        if ready.is_empty() {
            assert_eq!(self.state.pending(), [], "something waits for nothing");
            return false;
        }
        let compaction = &ready[rng.random_range(0..ready.len())];
        let job = CompactJob::new(compaction, &self.manifest, &self.config);
        let done = job.run(self.dir.path(), &mut |_| Ok(())).unwrap();
        if crashes {
            if rng.random() {
                // On disk, but for the state in memory.
                let swapped = done.swap(self.dir.path(), &self.manifest, &self.config.opener()).unwrap().unwrap();
                self.manifest = swapped.manifest;
            }
            return true;
        }
        let swapped = done.swap(self.dir.path(), &self.manifest, &self.config.opener()).unwrap().unwrap();
        self.state.swapped(&swapped);
        self.manifest = swapped.manifest;
        self.state.settle_pending(&self.manifest);
        true
    }

    fn restart(&mut self) {
        self.manifest = Manifest::decode(&self.manifest.encode()).unwrap();
        remove_strays(self.dir.path(), Some(&self.manifest)).unwrap();
        let blocks = self.open();
        self.jobs.clear();
        self.state = ShardState::new(1, self.config.clone(), Some((self.manifest.clone(), blocks)));
    }

    fn open(&self) -> OpenBlocks {
        self.config.opener().open_sound(self.dir.path(), &self.manifest.blocks).unwrap()
    }

    fn books(&self) -> Ledger {
        self.state.ledger().unwrap().clone().with_blocks_of(self.manifest.ledger.as_ref().unwrap())
    }
}

fn seen(view: &ShardView, tenant: &str, signal: Signal) -> Seen {
    let account = Account::unbounded();
    let mut sum = Seen::default();
    let mut add = |seen: Seen| {
        sum.readable += seen.readable;
        sum.shadowed += seen.shadowed;
    };
    let rows = match signal {
        Signal::Metrics => {
            let mut count = view.metrics.count(tenant, &account).unwrap();
            while let Some(seen) = count.step().unwrap() {
                add(seen);
            }
            return sum;
        }
        Signal::Logs => &view.logs,
        Signal::Traces => &view.traces,
    };
    let mut count = rows.count(tenant, &account).unwrap();
    while let Some(seen) = count.step().unwrap() {
        add(seen);
    }
    sum
}

fn in_blocks(dir: &Path, manifest: &Manifest) -> BTreeMap<(String, Signal), u64> {
    let mut facts = BTreeMap::new();
    for entry in &manifest.blocks {
        for counted in recount_block(&dir.join(BLOCKS_DIR).join(&entry.file), entry).unwrap() {
            *facts.entry((counted.tenant.to_string(), entry.signal)).or_default() += counted.facts;
        }
    }
    facts
}

/// Counts everything again and compares with the books.
fn check(replica: &mut Replica) {
    // What is hidden and still there is in no column of its own.
    let (view, books) = (replica.state.view().without_limits(), replica.books());
    let blocks = in_blocks(replica.dir.path(), &replica.manifest);
    assert_eq!(replica.manifest.ledger.as_ref().unwrap().imbalances(), []);
    for tenant in TENANTS {
        for signal in Signal::ALL {
            let b: Books = books.get(tenant, signal);
            let seen = seen(&view, tenant, signal);
            let dropped: u64 = match signal {
                Signal::Metrics => view.metrics.heads.iter().map(|h| h.dropped(tenant)).sum(),
                Signal::Logs => view.logs.heads.iter().map(|h| h.dropped(tenant)).sum(),
                Signal::Traces => view.traces.heads.iter().map(|h| h.dropped(tenant)).sum(),
            };
            assert_eq!(b.sealed, blocks.get(&(tenant.to_owned(), signal)).copied().unwrap_or(0), "{tenant} {signal:?}");
            let gone = b.folded + b.expired + b.deleted;
            assert_eq!(b.applied, seen.readable + seen.shadowed + dropped + gone, "{tenant} {signal:?}");
        }
    }
}

/// Some blocks that follow each other, now and then.
fn compaction(manifest: &Manifest, rng: &mut StdRng) -> Option<CompactRequest> {
    let signal = Signal::ALL[rng.random_range(0..3)];
    let files: Vec<String> = manifest.blocks.iter().filter(|b| b.signal == signal).map(|b| b.file.clone()).collect();
    let from = rng.random_range(0..8);
    let inputs: Vec<String> = files.into_iter().skip(from).take(rng.random_range(1..4)).collect();
    (!inputs.is_empty()).then_some(CompactRequest { signal, window_ms: 7, inputs })
}

fn delete(rng: &mut StdRng, id: u64) -> DeleteSeries {
    let name = format!("m{}", rng.random_range(0..4));
    let matchers = vec![if name == "m0" { Matcher::equal("host", "a") } else { Matcher::equal("__name__", name) }];
    let min_ms = rng.random_range(0..60);
    DeleteSeries { id, tenant: "acme".into(), matchers, min_ms, max_ms: min_ms + rng.random_range(0..30) }
}

/// Whether queries see the same on both, whatever is compacted.
fn same(one: &mut Replica, other: &mut Replica, when: &str) {
    let (one, other) = (one.state.view(), other.state.view());
    for tenant in TENANTS {
        for signal in Signal::ALL {
            let (a, b) = (seen(&one, tenant, signal), seen(&other, tenant, signal));
            assert_eq!(a.readable, b.readable, "{tenant} {signal:?} {when}");
        }
    }
}

#[test]
fn the_books_balance_after_anything_and_are_the_same_on_every_replica() {
    for seed in 0..12 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut one, mut other) = (Replica::new(), Replica::new());
        let mut log: Vec<Vec<u8>> = vec![Vec::new()];
        let mut sent: BTreeMap<(&str, Signal), u64> = BTreeMap::new();
        let (mut table, mut tables) = (ProposerTable::new(1), 1);
        let mut parts: Vec<Vec<u8>> = Vec::new();
        for _ in 0..120 {
            let index = log.len() as u64;
            if rng.random_range(0..12) == 0 {
                log.push(encode_seal(SealReason::Requested));
                tables += 1;
                table = ProposerTable::new(tables);
            } else if rng.random_range(0..40) == 0 {
                log.push(encode_delete(&delete(&mut rng, index)));
                tables += 1;
                table = ProposerTable::new(tables);
            } else if rng.random_range(0..30) == 0 {
                let signal = Signal::ALL[rng.random_range(0..3)];
                let cutoffs = Cutoffs::new(rng.random_range(0..20), [("acme", rng.random_range(0..20))]);
                log.push(encode_expire(signal, &cutoffs));
            } else if let Some(request) = compaction(&one.manifest, &mut rng) {
                log.push(encode_compact(&request));
            } else {
                let tenant = TENANTS[rng.random_range(0..2)];
                let is_retry = !parts.is_empty() && rng.random_range(0..4) == 0;
                let part = match rng.random_range(0..3) {
                    _ if is_retry => parts[rng.random_range(0..parts.len())].clone(),
                    0 => metrics(tenant, &mut rng),
                    1 => logs(tenant, &mut rng),
                    _ => traces(tenant, &mut rng),
                };
                let decoded = PartRef::decode(&part).unwrap();
                let tenant = TENANTS.into_iter().find(|t| *t == decoded.tenant).unwrap();
                *sent.entry((tenant, decoded.signal)).or_default() += u64::from(decoded.facts_count);
                let mut entry = WriteEntryBuilder::new(table.id(), table.len());
                table.add(&mut entry, &decoded).unwrap();
                log.push(entry.finish());
                parts.push(part);
            }
            one.apply(index, &log[index as usize]);
            match rng.random_range(0..8) {
                0 => one.write_seals(),
                2 => drop(one.compact(&mut rng, false)),
                1 => {
                    one.compact(&mut rng, true);
                    // What was not sealed is applied again.
                    one.restart();
                    let from = one.manifest.position.index + 1;
                    (from..=index).for_each(|i| one.apply(i, &log[i as usize]));
                }
                _ => one.compress(),
            }
            if rng.random_range(0..10) == 0 {
                check(&mut one);
            }
        }
        (1..log.len()).for_each(|i| other.apply(i as u64, &log[i]));
        other.write_seals();
        one.write_seals();
        same(&mut one, &mut other, "before the last compactions");
        while one.compact(&mut rng, false) {}
        same(&mut one, &mut other, "where one has compacted");
        while other.compact(&mut rng, false) {}
        check(&mut one);
        check(&mut other);
        same(&mut one, &mut other, "where both have");
        let content = |r: &Replica| r.manifest.blocks.iter().map(|b| (b.file.clone(), b.digest)).collect::<Vec<_>>();
        assert_eq!(content(&one), content(&other), "seed {seed}");
        assert_eq!(one.manifest.ledger, other.manifest.ledger, "seed {seed}: as sealed");
        assert_eq!(one.books(), other.books(), "seed {seed}: as applied");
        for ((tenant, signal), facts) in sent {
            let b = one.books().get(tenant, signal);
            assert_eq!(b.applied + b.deduplicated + b.conflicting, facts, "seed {seed}: {tenant} {signal:?}");
        }
    }
}

#[test]
fn a_head_that_loses_facts_without_counting_them_does_not_balance() {
    let mut replica = Replica::new();
    let mut rng = StdRng::seed_from_u64(1);
    let mut table = ProposerTable::new(1);
    let mut entry = WriteEntryBuilder::new(table.id(), table.len());
    let part = logs("acme", &mut rng);
    table.add(&mut entry, &PartRef::decode(&part).unwrap()).unwrap();
    replica.apply(1, &entry.finish());
    replica.apply(2, &encode_seal(SealReason::Requested));
    // The head that is written is not the one that was applied.
    replica.jobs[0].logs = rows::RowsHead::new(Signal::Logs, rows::HeadConfig::default()).view();
    replica.write_seals();
    let ledger = replica.manifest.ledger.clone().unwrap();
    let unbalanced: Vec<_> = ledger.imbalances().into_iter().map(|(t, s, b)| (t, s, b.applied > 0, b.sealed)).collect();
    assert_eq!(unbalanced, [("acme", Signal::Logs, true, 0)]);
}

#[test]
fn books_of_a_shard_from_before_there_were_any_begin_with_its_blocks() {
    let mut replica = Replica::new();
    let mut rng = StdRng::seed_from_u64(2);
    let mut table = ProposerTable::new(1);
    for (index, part) in [logs("acme", &mut rng), metrics("acme", &mut rng)].iter().enumerate() {
        let mut entry = WriteEntryBuilder::new(table.id(), table.len());
        table.add(&mut entry, &PartRef::decode(part).unwrap()).unwrap();
        replica.apply(index as u64 + 1, &entry.finish());
    }
    replica.apply(3, &encode_seal(SealReason::Requested));
    replica.write_seals();
    let kept = replica.manifest.ledger.take().unwrap();
    let blocks = replica.open();
    replica.manifest.open_books(&blocks);
    let opened = replica.manifest.ledger.clone().unwrap();
    assert_eq!(opened.since, 3);
    for signal in [Signal::Logs, Signal::Metrics] {
        let (kept, opened) = (kept.get("acme", signal), opened.get("acme", signal));
        assert_eq!((opened.applied, opened.sealed, opened.folded), (kept.sealed, kept.sealed, 0));
    }
    replica.restart();
    check(&mut replica);
}
