//! A node's write-ahead log below raft's log store, on a disk in memory that loses power, tears writes, fails and rots.
//!
//! All code is the product's: `DeviceLog` of raft, over the device of `actors`, over the log of `store`. Only the writer has no
//! thread: the schedule says when it writes. Beside it runs a [`model`]: every record in the order it was queued. After a
//! crash what is found must be the model after some record, and none older than the last that was called back.
mod model;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use trine_actors::device::WalDevice;
use trine_raft::sim::{KeptVote, LogStore, Pending, outcome};
use trine_raft::{Position, ReplicaId};
use trine_store::wal::sim::{MemDisk, Stepper, open};
use trine_store::wal::{RecoveryReport, Wal, WalConfig};

use super::{Outcome, Trace, Violation};
use model::{Change, Model};

/// Streams of the node, by replica id.
const STREAMS: std::ops::RangeInclusive<u64> = 1..=4;
/// A stream that only marks the end.
const LAST_STREAM: u64 = 9;

/// What the disk does: what disks do, or a lie, to test the test.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// An fsync says that it is done and does nothing.
    pub skip_syncs: bool,
    /// A vote is called back before it is written.
    pub forget_votes: bool,
}

/// Plays one seed.
pub fn play(seed: u64, rules: &Rules) -> Outcome {
    let mut node = Node {
        rng: StdRng::seed_from_u64(seed),
        rules: *rules,
        trace: Trace::default(),
        disk: MemDisk::default(),
        model: Model::default(),
        payloads: 0,
    };
    if rules.skip_syncs {
        node.disk.skip_syncs();
    }
    let result = node.run();
    node.trace.end(result)
}

fn config() -> WalConfig {
    WalConfig { segment_bytes: 64 << 10, spare_segments_max: 2, cache_bytes: 8 << 10, ..WalConfig::default() }
}

/// The node: its disk, and what should be on it.
struct Node {
    rng: StdRng,
    rules: Rules,
    trace: Trace,
    disk: MemDisk,
    model: Model,
    payloads: u64,
}

/// A life of the process: from the open to a crash.
struct Life {
    wal: Wal,
    stepper: Stepper,
    stores: BTreeMap<u64, LogStore>,
    /// Writes that wait, with how many records of the model each covers.
    pending: Vec<(usize, Pending)>,
}

impl Life {
    fn store(&self, stream: u64) -> &LogStore {
        &self.stores[&stream]
    }
}

fn broken(what: &str, error: &std::io::Error) -> Violation {
    Violation { invariant: "a log opens and answers", detail: format!("{what}: {error}") }
}

impl Node {
    fn run(&mut self) -> Result<(), Violation> {
        let lives = self.rng.random_range(2..6);
        for _ in 0..lives {
            let mut life = self.open()?;
            let operations = self.rng.random_range(0..70);
            if self.rng.random_ratio(1, 3) {
                let after = self.rng.random_range(0..60);
                self.disk.die_after(after);
                self.trace.note("dying disk", format!("after {after} operations"));
            }
            let mut alive = true;
            for _ in 0..operations {
                self.operate(&life)?;
                let queue = self.operation(&mut life)?;
                self.trace.note("queue", queue);
                if self.rng.random_ratio(1, 4) {
                    alive = self.step(&mut life)?;
                }
                if !alive {
                    break;
                }
            }
            if self.rng.random_ratio(1, 8) && alive {
                return self.rot(life);
            }
            self.end(life, alive)?;
        }
        let life = self.open()?;
        self.operate(&life)
    }

    /// What can be read is what was queued last, written or not.
    fn operate(&mut self, life: &Life) -> Result<(), Violation> {
        if self.rng.random_ratio(1, 6) {
            self.check_contents(life, &self.model.newest())?;
        }
        Ok(())
    }

    fn check_contents(&self, life: &Life, expected: &model::Streams) -> Result<(), Violation> {
        for (stream, store) in &life.stores {
            let found = store.contents().map_err(|e| broken("reading", &e))?;
            let wanted = expected.contents(*stream);
            if found != wanted {
                let detail = format!("stream {stream}: found {}, not {}", model::brief(&found), model::brief(&wanted));
                return Violation::found("what was queued can be read", detail);
            }
        }
        Ok(())
    }

    /// Opens the log and finds out which of its states a crash has left.
    fn open(&mut self) -> Result<Life, Violation> {
        let (life, report) = self.reopen()?;
        if !report.damage.is_empty() || !report.corrupt.is_empty() {
            return Violation::found("a crash is not taken for damage", format!("{report:?}"));
        }
        let mut found = BTreeMap::new();
        for (stream, store) in &life.stores {
            found.insert(*stream, store.contents().map_err(|e| broken("reading", &e))?);
        }
        let (acked, queued) = (self.model.acked(), self.model.queued());
        match self.model.settle(&found) {
            Some(at) => self.trace.note("open", format!("at record {at} of {queued}, {acked} of them called back")),
            None => {
                let brief: Vec<String> = found.iter().map(|(s, c)| format!("{s}: {}", model::brief(c))).collect();
                let newest = self.model.newest();
                let wanted: Vec<String> =
                    STREAMS.map(|s| format!("{s}: {}", model::brief(&newest.contents(s)))).collect();
                return Violation::found(
                    "what was called back is there, and nothing that was cut",
                    format!(
                        "found {}; {acked} of {queued} records were called back; all would be {}",
                        brief.join(", "),
                        wanted.join(", ")
                    ),
                );
            }
        }
        Ok(life)
    }

    fn reopen(&mut self) -> Result<(Life, RecoveryReport), Violation> {
        let (wal, stepper, report) = open(&self.disk, config()).map_err(|e| broken("opening", &e))?;
        let device = Arc::new(WalDevice(wal.clone()));
        let mut stores = BTreeMap::new();
        for stream in STREAMS {
            let store = LogStore::open(device.clone(), ReplicaId(stream)).map_err(|e| broken("opening a store", &e))?;
            stores.insert(stream, store);
        }
        Ok((Life { wal, stepper, stores, pending: Vec::new() }, report))
    }

    /// Lets the writer write, and hears what it says. `false` once the log has failed.
    fn step(&mut self, life: &mut Life) -> Result<bool, Violation> {
        let alive = life.stepper.step();
        self.trace.note(if alive { "write" } else { "failed write" }, "");
        for (covers, mut pending) in std::mem::take(&mut life.pending) {
            match outcome(&mut pending) {
                Some(Ok(())) => self.model.ack(covers),
                Some(Err(_)) if !alive => {}
                Some(Err(error)) => return Violation::found("a sound disk fails no write", error.to_string()),
                None => {
                    return Violation::found("whoever waits is told", format!("record {covers} waits after a write"));
                }
            }
        }
        Ok(alive)
    }

    /// One thing that a replica writes; in words.
    fn operation(&mut self, life: &mut Life) -> Result<String, Violation> {
        let stream = self.rng.random_range(STREAMS);
        let now = self.model.newest().contents(stream);
        let store = life.store(stream).clone();
        let next = now.last.map_or(0, |p| p.index + 1);
        let term = now.vote.map_or(1, |v| v.term);
        let (text, pending) = match self.rng.random_range(0..100) {
            0..=49 => {
                let term = term.max(now.last.map_or(0, |p| p.term));
                let count = self.rng.random_range(1..6);
                let entries: Vec<(Position, Bytes)> = (next..next + count)
                    .map(|index| (Position { term, leader: stream, index }, self.payload()))
                    .collect();
                for (position, payload) in &entries {
                    self.model.queue(stream, Change::Entry(*position, payload.clone()));
                }
                (format!("{count} entries at {next}"), Some(store.append(entries)))
            }
            50..=64 => {
                let committed = now.vote.is_some_and(|v| !v.committed) && self.rng.random_ratio(1, 2);
                let vote = match now.vote.filter(|_| committed) {
                    Some(vote) => KeptVote { committed: true, ..vote },
                    None => KeptVote { term: term + 1, leader: self.rng.random_range(STREAMS), committed: false },
                };
                self.model.queue(stream, Change::Vote(vote));
                let covers = self.model.queued();
                if self.rules.forget_votes {
                    self.model.ack(covers);
                }
                (format!("vote {vote:?}"), Some(store.save_vote(vote)))
            }
            65..=74 => {
                let known =
                    now.entries.iter().map(|(p, _)| *p).filter(|p| Some(*p) >= now.committed).collect::<Vec<_>>();
                if known.is_empty() {
                    return Ok("nothing".into());
                }
                let committed = Some(known[self.rng.random_range(0..known.len())]);
                self.model.queue(stream, Change::Committed(committed));
                store.save_committed(committed).map_err(|e| broken("a committed position", &e))?;
                (format!("committed {committed:?}"), None)
            }
            75..=82 => {
                // Never what is committed.
                let kept: Vec<Position> =
                    now.entries.iter().map(|(p, _)| *p).filter(|p| Some(*p) >= now.committed).collect();
                if kept.is_empty() {
                    return Ok("nothing".into());
                }
                let last = Some(kept[self.rng.random_range(0..kept.len())]);
                self.model.queue(stream, Change::Truncate(last));
                (format!("truncate after {last:?}"), Some(store.truncate_after(last)))
            }
            83..=97 => {
                let known: Vec<Position> = now.entries.iter().map(|(p, _)| *p).collect();
                let beyond = Position { term, leader: stream, index: next + self.rng.random_range(0..20) };
                let beyond = Position { term: beyond.term.max(now.last.map_or(0, |p| p.term)), ..beyond };
                // A snapshot that was installed lies beyond the end.
                let through = if known.is_empty() || self.rng.random_ratio(1, 6) {
                    beyond
                } else {
                    known[self.rng.random_range(0..known.len())]
                };
                self.model.queue(stream, Change::Purge(through));
                (format!("purge through {through}"), Some(store.purge(through)))
            }
            _ => {
                self.model.queue(stream, Change::Remove);
                life.wal.remove_stream(stream, Box::new(drop));
                ("remove".to_owned(), None)
            }
        };
        let covers = self.model.queued();
        life.pending.extend(pending.map(|pending| (covers, pending)));
        Ok(format!("stream {stream}: {text}"))
    }

    fn payload(&mut self) -> Bytes {
        self.payloads += 1;
        let len = if self.rng.random_ratio(1, 10) { 20_000 } else { self.rng.random_range(0..3000) };
        let mut bytes = vec![self.payloads as u8; len];
        bytes.extend_from_slice(&self.payloads.to_le_bytes());
        bytes.into()
    }

    /// How a life ends: in order, by a kill, by a power cut, by a disk that fails.
    fn end(&mut self, mut life: Life, mut alive: bool) -> Result<(), Violation> {
        let how: u32 = self.rng.random_range(0..10);
        if how < 3 && alive {
            alive = self.step(&mut life)?;
        }
        if how == 9 && alive {
            self.disk.fail_syncs(true);
            self.trace.note("failing fsync", "");
            alive = self.step(&mut life)?;
        }
        drop(life);
        let seed: u64 = self.rng.random();
        if how.is_multiple_of(2) {
            self.trace.note("kill", if alive { "" } else { "after a failure" });
            self.disk.revive();
            return Ok(());
        }
        self.trace.note("power cut", "");
        self.disk = self.disk.power_cut(seed);
        if self.rng.random_ratio(1, 2) {
            // And once more while it is being opened.
            let after = self.rng.random_range(0..6);
            self.disk.die_after(after);
            drop(open(&self.disk, config()));
            self.trace.note("power cut", format!("while it is opened, after {after} operations"));
            self.disk = self.disk.power_cut(!seed);
        }
        Ok(())
    }

    /// Bytes of what is written rot. What they belonged to must be named, and nothing else may be lost.
    fn rot(&mut self, mut life: Life) -> Result<(), Violation> {
        self.disk.revive();
        for _ in 0..2 {
            // Damage to the very last batch cannot be told from a torn write: so that one holds nothing of ours.
            if !self.step(&mut life)? {
                return Ok(());
            }
            life.wal.set_mark(
                LAST_STREAM,
                trine_store::wal::Mark::Vote,
                Bytes::from_static(b"end"),
                Some(Box::new(drop)),
            );
        }
        let (newest, end) = life.stepper.end();
        self.step(&mut life)?;
        drop(life);
        let names: Vec<String> = self.disk.names().into_iter().filter(|n| n.starts_with("wal-")).collect();
        let name = names[self.rng.random_range(0..names.len())].clone();
        let limit = if name == newest { end as usize } else { self.disk.len(&name) };
        let from = self.rng.random_range(0..limit);
        let to = (from + self.rng.random_range(1..2000)).min(limit);
        let mask = self.rng.random_range(1..=255);
        (from..to).for_each(|at| self.disk.flip(&name, at, mask));
        self.trace.note(
            "rot",
            format!(
                "bytes {from} to {to} of segment {} of {}",
                names.iter().position(|n| *n == name).unwrap_or(0),
                names.len()
            ),
        );
        self.check_rotten()
    }

    fn check_rotten(&mut self) -> Result<(), Violation> {
        let (wal, _stepper, report) = open(&self.disk, config()).map_err(|e| broken("opening", &e))?;
        let expected = self.model.newest();
        let device = Arc::new(WalDevice(wal.clone()));
        for stream in STREAMS {
            if report.corrupt.iter().any(|c| c.stream == stream) {
                let served = wal.read(stream, 0..u64::MAX, 1).is_ok();
                if served {
                    return Violation::found("a damaged stream serves nothing", format!("stream {stream}, {report:?}"));
                }
                self.trace.note("named", format!("stream {stream}"));
                continue;
            }
            let store = LogStore::open(device.clone(), ReplicaId(stream)).map_err(|e| broken("opening a store", &e))?;
            let found = store.contents().map_err(|e| broken("reading", &e))?;
            let may_be_missing = report.streams_may_be_missing && wal.streams().binary_search(&stream).is_err();
            if found != expected.contents(stream) && !may_be_missing {
                let (found, wanted) = (model::brief(&found), model::brief(&expected.contents(stream)));
                return Violation::found(
                    "damage is named, not skipped",
                    format!("stream {stream}: {found}, not {wanted}; {report:?}"),
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caught(rules: Rules) -> &'static str {
        (1..300).find_map(|seed| play(seed, &rules).violation).expect("a violation").invariant
    }

    #[test]
    fn a_log_that_does_not_sync_is_caught() {
        let invariant = caught(Rules { skip_syncs: true, ..Rules::default() });
        assert!(invariant.starts_with("what was called back") || invariant.starts_with("a crash"), "{invariant}");
    }

    #[test]
    fn a_vote_that_is_not_written_first_is_caught() {
        let invariant = caught(Rules { forget_votes: true, ..Rules::default() });
        assert_eq!(invariant, "what was called back is there, and nothing that was cut");
    }
}
