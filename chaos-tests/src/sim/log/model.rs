//! What a log should hold: every record in the order it was queued, and how many of them were called back.
use std::collections::BTreeMap;

use bytes::Bytes;
use trine_raft::Position;
use trine_raft::sim::{Contents, KeptVote};

/// A record.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Entry(Position, Bytes),
    Vote(KeptVote),
    Committed(Option<Position>),
    /// Nothing after this one stays.
    Truncate(Option<Position>),
    Purge(Position),
    Remove,
}

/// One stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stream {
    vote: Option<KeptVote>,
    committed: Option<Position>,
    purged: Option<Position>,
    entries: BTreeMap<u64, (Position, Bytes)>,
}

/// All streams of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Streams(BTreeMap<u64, Stream>);

impl Streams {
    /// What raft is to find.
    pub(super) fn contents(&self, stream: u64) -> Contents {
        let Some(s) = self.0.get(&stream) else { return Contents::default() };
        let last = s.entries.last_key_value().map(|(_, (position, _))| *position).or(s.purged);
        Contents {
            vote: s.vote,
            // Written without an fsync, so it may name what is not there.
            committed: s.committed.filter(|c| Some(*c) <= last),
            purged: s.purged,
            last,
            entries: s.entries.values().cloned().collect(),
        }
    }

    fn apply(&mut self, stream: u64, change: &Change) {
        let s = self.0.entry(stream).or_default();
        match change {
            Change::Entry(position, payload) => drop(s.entries.insert(position.index, (*position, payload.clone()))),
            Change::Vote(vote) => s.vote = Some(*vote),
            Change::Committed(committed) => s.committed = *committed,
            Change::Truncate(last) => drop(s.entries.split_off(&last.map_or(0, |p| p.index + 1))),
            Change::Purge(through) => {
                s.entries = s.entries.split_off(&(through.index + 1));
                s.purged = Some(*through);
            }
            Change::Remove => drop(self.0.remove(&stream)),
        }
    }
}

/// The records since the last open, and the state before them.
#[derive(Debug, Default)]
pub(super) struct Model {
    base: Streams,
    newest: Streams,
    records: Vec<(u64, Change)>,
    acked: usize,
}

impl Model {
    pub(super) fn queue(&mut self, stream: u64, change: Change) {
        self.newest.apply(stream, &change);
        self.records.push((stream, change));
    }

    /// Records queued since the last open.
    pub(super) fn queued(&self) -> usize {
        self.records.len()
    }

    pub(super) fn acked(&self) -> usize {
        self.acked
    }

    /// The first `covers` records are promised.
    pub(super) fn ack(&mut self, covers: usize) {
        self.acked = self.acked.max(covers);
    }

    pub(super) fn newest(&self) -> Streams {
        self.newest.clone()
    }

    /// Finds the newest state that is `found`, no older than what is promised, and goes on from it. Tells after how many records.
    pub(super) fn settle(&mut self, found: &BTreeMap<u64, Contents>) -> Option<usize> {
        let (mut state, mut best) = (self.base.clone(), None);
        for at in 0..=self.records.len() {
            if at >= self.acked && found.iter().all(|(stream, contents)| state.contents(*stream) == *contents) {
                best = Some((at, state.clone()));
            }
            if let Some((stream, change)) = self.records.get(at) {
                state.apply(*stream, change);
            }
        }
        let (at, state) = best?;
        *self = Self { base: state.clone(), newest: state, ..Self::default() };
        Some(at)
    }
}

/// A stream in few words.
pub(super) fn brief(contents: &Contents) -> String {
    let Contents { vote, committed, purged, last, entries } = contents;
    let place = |p: &Option<Position>| p.map_or("-".to_owned(), |p| p.to_string());
    let vote =
        vote.map_or("-".to_owned(), |v| format!("{}.{}{}", v.term, v.leader, if v.committed { "!" } else { "" }));
    let (purged, last, committed) = (place(purged), place(last), place(committed));
    format!("[vote {vote}, purged {purged}, last {last}, committed {committed}, {} entries]", entries.len())
}
