//! The log against a model: every state that a crash leaves is one that the operations went through, no older than what
//! was acknowledged.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use proptest::prelude::*;

use super::{small, sync};
use crate::wal::memdisk::MemDisk;
use crate::wal::{Done, Mark, Wal};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ModelStream {
    base: u64,
    next: u64,
    entries: BTreeMap<u64, Bytes>,
    marks: BTreeMap<Mark, Bytes>,
}

pub(super) type Model = BTreeMap<u64, ModelStream>;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Append { stream: u64, lens: Vec<usize> },
    Mark { stream: u64, mark: Mark, wait: bool },
    Truncate { stream: u64, back: u64 },
    Purge { stream: u64, ahead: u64 },
    Remove { stream: u64 },
    Sync,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let stream = 1u64..5;
    prop_oneof![
        8 => (stream.clone(), prop::collection::vec(0usize..5000, 1..6)).prop_map(|(stream, lens)| Step::Append { stream, lens }),
        3 => (stream.clone(), 0usize..3, any::<bool>())
            .prop_map(|(stream, mark, wait)| Step::Mark { stream, mark: Mark::ALL[mark], wait }),
        2 => (stream.clone(), 0u64..8).prop_map(|(stream, back)| Step::Truncate { stream, back }),
        4 => (stream.clone(), 0u64..12).prop_map(|(stream, ahead)| Step::Purge { stream, ahead }),
        1 => stream.prop_map(|stream| Step::Remove { stream }),
        3 => Just(Step::Sync),
    ]
}

/// The states that the operations went through, one a record, and how many of them are acknowledged.
pub(super) struct Run {
    pub(super) states: Vec<Model>,
    acked: Arc<AtomicUsize>,
    count: u64,
}

impl Run {
    /// `count` tells the payloads of this run from those of others.
    pub(super) fn new(start: Model, count: u64) -> Self {
        Self { states: vec![start], acked: Arc::default(), count }
    }

    fn done(&self) -> Done {
        let (acked, at) = (self.acked.clone(), self.states.len() - 1);
        Box::new(move |result| {
            if result.is_ok() {
                acked.fetch_max(at, SeqCst);
            }
        })
    }

    fn payload(&mut self, len: usize) -> Bytes {
        self.count += 1;
        let mut bytes = vec![self.count as u8; len];
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.into()
    }

    fn advance(&mut self, change: impl FnOnce(&mut Model)) {
        let mut next = self.last().clone();
        change(&mut next);
        self.states.push(next);
    }

    pub(super) fn last(&self) -> &Model {
        self.states.last().unwrap()
    }

    pub(super) fn play(&mut self, wal: &Wal, step: &Step) {
        match step {
            Step::Append { stream, lens } => {
                let first = self.last().get(stream).map_or(0, |s| s.next);
                let records: Vec<Bytes> = lens.iter().map(|len| self.payload(*len)).collect();
                for (payload, index) in records.iter().zip(first..) {
                    self.advance(|m| {
                        let s = m.entry(*stream).or_default();
                        s.entries.insert(index, payload.clone());
                        s.next = index + 1;
                    });
                }
                wal.append(*stream, first, records, self.done());
            }
            Step::Mark { stream, mark, wait } => {
                let value = self.payload(20);
                self.advance(|m| {
                    m.entry(*stream).or_default().marks.insert(*mark, value.clone());
                });
                wal.set_mark(*stream, *mark, value, wait.then(|| self.done()));
            }
            Step::Truncate { stream, back } => {
                let index = self.last().get(stream).map_or(0, |s| s.next).saturating_sub(*back);
                if self.last().contains_key(stream) {
                    self.advance(|m| {
                        let s = m.get_mut(stream).unwrap();
                        s.next = s.next.min(index).max(s.base);
                        s.entries.split_off(&index.max(s.base));
                    });
                }
                wal.truncate_from(*stream, index, self.done());
            }
            Step::Purge { stream, ahead } => {
                let index = self.last().get(stream).map_or(0, |s| s.base) + ahead;
                let value = self.payload(16);
                self.advance(|m| {
                    let s = m.entry(*stream).or_default();
                    s.base = s.base.max(index + 1);
                    s.next = s.next.max(s.base);
                    s.entries = s.entries.split_off(&s.base);
                    s.marks.insert(Mark::Purged, value.clone());
                });
                wal.purge_through(*stream, index, value, self.done());
            }
            Step::Remove { stream } => {
                if self.last().contains_key(stream) {
                    self.advance(|m| {
                        m.remove(stream);
                    });
                }
                wal.remove_stream(*stream, self.done());
            }
            Step::Sync => drop(sync(wal)),
        }
    }

    /// The index of the state that `found` is, which may not be older than what was acknowledged.
    fn check(&self, found: &Model) -> Result<usize, TestCaseError> {
        let acked = self.acked.load(SeqCst);
        let at = (acked..self.states.len()).rev().find(|at| self.states[*at] == *found);
        at.ok_or_else(|| {
            let older = self.states.iter().position(|s| s == found);
            TestCaseError::fail(format!("not a state since {acked} of {}; is state {older:?}", self.states.len()))
        })
    }
}

/// Everything that can be read.
pub(super) fn contents(wal: &Wal) -> Model {
    wal.streams().into_iter().map(|id| (id, stream_contents(wal, id).unwrap())).collect()
}

pub(super) fn stream_contents(wal: &Wal, id: u64) -> std::io::Result<ModelStream> {
    let bounds = wal.bounds(id);
    let mut entries = BTreeMap::new();
    let mut at = bounds.first_index;
    while at < bounds.next_index {
        let got = wal.read(id, at..bounds.next_index, 10_000)?;
        assert!(!got.is_empty());
        for payload in got {
            entries.insert(at, payload);
            at += 1;
        }
    }
    let marks = Mark::ALL.into_iter().filter_map(|mark| Some((mark, wal.mark(id, mark)?))).collect();
    Ok(ModelStream { base: bounds.first_index, next: bounds.next_index, entries, marks })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_crash_leaves_a_state_no_older_than_acknowledged(
        rounds in prop::collection::vec((prop::collection::vec(step(), 0..60), prop::option::of(0u64..120), any::<u64>()), 1..5),
    ) {
        let mut disk = MemDisk::default();
        let mut state = Model::new();
        for ((steps, dies_after, seed), round) in rounds.into_iter().zip(0..) {
            let (wal, report) = Wal::open_on(Arc::new(disk.clone()), small()).unwrap();
            prop_assert_eq!(&report.damage, &[]);
            prop_assert_eq!(&report.corrupt, &[]);
            prop_assert_eq!(&contents(&wal), &state);
            if let Some(lives) = dies_after {
                disk.die_after(lives);
            }
            let mut run = Run::new(state.clone(), 1000 * round);
            for step in &steps {
                run.play(&wal, step);
                if dies_after.is_none() {
                    prop_assert_eq!(&contents(&wal), run.last());
                }
            }
            drop(wal);
            if dies_after.is_some() {
                disk = disk.power_cut(seed);
                // And once more while it is being opened.
                disk.die_after(seed % 6);
                drop(Wal::open_on(Arc::new(disk.clone()), small()));
                disk = disk.power_cut(seed ^ 1);
            }
            let (wal, report) = Wal::open_on(Arc::new(disk.clone()), small()).unwrap();
            prop_assert_eq!(&report.damage, &[]);
            prop_assert_eq!(&report.corrupt, &[]);
            let found = contents(&wal);
            let at = run.check(&found)?;
            prop_assert!(dies_after.is_some() || at + 1 == run.states.len());
            state = found;
        }
    }

    #[test]
    fn one_bad_byte_is_reported_or_harmless(
        steps in prop::collection::vec(step(), 20..80),
        pick in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        mask in 1u8..,
        width in 1usize..2000,
    ) {
        let disk = MemDisk::default();
        let (wal, _) = Wal::open_on(Arc::new(disk.clone()), small()).unwrap();
        let mut run = Run::new(Model::new(), 0);
        for step in &steps {
            run.play(&wal, step);
        }
        // Two batches at the end: damage to the very last one cannot be told from a torn write.
        sync(&wal).unwrap();
        wal.set_mark(9, Mark::Vote, Bytes::from_static(b"end"), Some(Box::new(|_| {})));
        drop(wal);
        let last = super::last_record(&disk);
        let names: Vec<String> = disk.names().into_iter().filter(|n| n.starts_with("wal-")).collect();
        let name = &names[pick.index(names.len())];
        let limit = if *name == last.0 { last.1 } else { disk.len(name) };
        let offset = at.index(limit);
        for i in offset..(offset + width).min(limit) {
            disk.flip(name, i, mask);
        }
        let (wal, report) = Wal::open_on(Arc::new(disk.clone()), small()).unwrap();
        for (id, expected) in run.last() {
            if report.corrupt.iter().any(|c| c.stream == *id) {
                prop_assert!(wal.read(*id, 0..u64::MAX, 1).is_err());
                continue;
            }
            if !wal.streams().contains(id) {
                prop_assert!(report.streams_may_be_missing, "{:?}", report);
                continue;
            }
            prop_assert_eq!(&stream_contents(&wal, *id).unwrap(), expected, "stream {}, {:?}", id, report);
        }
        prop_assert_eq!(report.torn_tail_bytes, 0);
        let corrupt: Vec<u64> = report.corrupt.iter().map(|c| c.stream).collect();
        drop(wal);
        let (_, again) = Wal::open_on(Arc::new(disk.clone()), small()).unwrap();
        let again: Vec<u64> = again.corrupt.iter().map(|c| c.stream).collect();
        prop_assert_eq!(corrupt, again);
    }
}
