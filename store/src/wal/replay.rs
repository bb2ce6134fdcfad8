//! Streams as replay rebuilds them, and what damage means for each.
//!
//! A record says the how manieth of its stream it is (its chain) and a roster says how many there were, so a lost record is
//! noticed at the stream's next record or at the next segment. A roster also has every mark and the bounds: a stream whose
//! lost records no longer matter by then (old marks, entries since purged) is healed by it.
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::Mark;
use super::format::{Kind, RecordHeader, RosterStream};
use super::index::{Index, Location, Stream};
use super::ledger::{Ledger, LedgerStream};
use super::report::{CorruptStream, Damage, DamageKind, Loss, Place, RecoveryReport};

#[derive(Debug, Default)]
struct ReplayStream {
    ledger: LedgerStream,
    /// Entries `ledger.extent.base..located_from` are not in the segments seen so far.
    located_from: u64,
    /// Of `located_from..ledger.extent.next`.
    locations: VecDeque<Location>,
    doubt: Option<(Place, Loss)>,
    /// Its beginning is not known since the roster before it is damaged.
    unbased: bool,
    /// Where records were lost, even if a roster made up for it.
    lost_at: Option<Place>,
    bad_marks: [Option<Place>; 3],
    bad_entries: VecDeque<(u64, Place)>,
}

impl ReplayStream {
    fn from_roster(from: RosterStream, place: Place, lost_at: Option<Place>) -> Self {
        let RosterStream { chain, extent, corrupt, marks, .. } = from;
        let mut ledger = LedgerStream::default();
        (ledger.chain, ledger.extent, ledger.marks, ledger.corrupt) = (chain, extent, marks, corrupt);
        let doubt = corrupt.then_some((place, Loss::Earlier));
        Self { ledger, located_from: extent.next, doubt, lost_at, ..Self::default() }
    }

    fn append(&mut self, index: u64, place: Place, len: u32, intact: bool) {
        if !self.ledger.extent.accepts(index, 1) {
            self.doubt = self.doubt.or(Some((place, Loss::Records)));
            self.ledger.forget_runs();
            self.ledger.extent.base = index;
            self.ledger.extent.next = index;
            self.locations.clear();
        }
        if self.locations.is_empty() {
            self.located_from = index;
        }
        let offset = place.offset as u32;
        self.locations.push_back(Location { generation: place.segment, offset, len });
        self.ledger.append(index, place.segment, u64::from(len));
        if !intact {
            self.bad_entries.push_back((index, place));
        }
    }

    fn truncate(&mut self, index: u64) {
        self.ledger.truncate(index);
        let next = self.ledger.extent.next;
        self.located_from = self.located_from.min(next);
        self.locations.truncate((next - self.located_from) as usize);
        self.bad_entries.retain(|(bad, _)| *bad < next);
    }

    fn purge_to(&mut self, base: u64) {
        self.ledger.purge_to(base);
        let gone = base.saturating_sub(self.located_from).min(self.locations.len() as u64) as usize;
        self.locations.drain(..gone);
        self.located_from = self.located_from.max(base);
        self.bad_entries.retain(|(bad, _)| *bad >= base);
    }

    fn set_mark(&mut self, mark: Mark, value: Option<Bytes>, place: Place) {
        let bad = value.is_none().then_some(place);
        if let Some(value) = value {
            self.ledger.marks.set(mark, value);
        }
        self.bad_marks[mark as usize - 1] = bad;
    }

    /// What it lost that it still needs.
    fn loss(&self) -> Option<(Place, Loss)> {
        let extent = self.ledger.extent;
        if self.doubt.is_some() {
            return self.doubt;
        }
        let somewhere = Place { segment: self.locations.front().map_or(0, |l| l.generation), offset: 0 };
        if self.unbased {
            return Some((self.lost_at.unwrap_or(somewhere), Loss::Records));
        }
        if extent.base < self.located_from.min(extent.next) {
            let loss = Loss::Entries { from: extent.base, to: self.located_from.min(extent.next) };
            return Some((self.lost_at.unwrap_or(somewhere), loss));
        }
        if let Some((index, place)) = self.bad_entries.front() {
            return Some((*place, Loss::Entry { index: *index }));
        }
        Mark::ALL.into_iter().find_map(|mark| Some((self.bad_marks[mark as usize - 1]?, Loss::Mark { mark })))
    }
}

/// All streams while segments are replayed in order.
#[derive(Debug, Default)]
pub(super) struct Replay {
    streams: BTreeMap<u64, ReplayStream>,
    /// A roster was read: streams that are not in it begin with their first record.
    based: bool,
    last_damage: Option<Place>,
    pub(super) report: RecoveryReport,
}

impl Replay {
    /// Takes one record in; `payload` is `None` when it is damaged (or, for an entry, not needed: then see `intact`).
    pub(super) fn record(&mut self, header: &RecordHeader, place: Place, intact: bool, payload: Option<Bytes>) {
        let RecordHeader { stream: id, chain, index, .. } = *header;
        let based = self.based;
        let is_new = !self.streams.contains_key(&id);
        let stream = self.streams.entry(id).or_default();
        if is_new && !based {
            stream.unbased = true;
            stream.lost_at = self.last_damage;
        } else if chain != stream.ledger.chain + 1 {
            stream.doubt = Some((self.last_damage.unwrap_or(place), Loss::Records));
        } else if matches!(stream.doubt, Some((_, Loss::Unknown))) {
            stream.doubt = None; // nothing of it was in the damage
        }
        stream.ledger.chain = chain;
        match header.kind {
            Kind::Entry => stream.append(index, place, header.len, intact),
            Kind::Mark => {
                if let Some(mark) = Mark::ALL.into_iter().find(|mark| *mark as u64 == index) {
                    stream.set_mark(mark, payload, place);
                }
            }
            Kind::Truncate => stream.truncate(index),
            Kind::Purge => {
                stream.purge_to(index.saturating_add(1));
                stream.set_mark(Mark::Purged, payload, place);
            }
            Kind::Remove => {
                self.streams.remove(&id);
            }
            Kind::Roster => {}
        }
    }

    /// Compares with, and then adopts, what the writer knew where a segment begins.
    pub(super) fn roster(&mut self, roster: Vec<RosterStream>, place: Place) {
        let mut before = std::mem::take(&mut self.streams);
        for from in roster {
            let id = from.stream;
            let known = before.remove(&id);
            let lost_at = known.as_ref().and_then(|s| s.doubt.map(|(place, _)| place)).or(self.last_damage);
            let stream = match known {
                Some(mut known) if known.agrees(&from) => {
                    known.ledger.extent = from.extent;
                    known.purge_to(from.extent.base);
                    known.ledger.marks = from.marks;
                    (known.doubt, known.unbased, known.bad_marks) = (None, false, [None; 3]);
                    known
                }
                Some(_) | None => ReplayStream::from_roster(from, place, lost_at),
            };
            self.streams.insert(id, stream);
        }
        self.based = true;
        self.report.streams_may_be_missing = false;
    }

    /// Notes a damaged stretch. One whose owner is unknown puts every stream in doubt until its next record or roster.
    pub(super) fn damage(&mut self, place: Place, bytes: u64, kind: DamageKind) {
        self.report.damage.push(Damage { place, bytes, kind });
        match kind {
            DamageKind::Payload { .. } => {}
            DamageKind::Roster => self.report.streams_may_be_missing |= !self.based,
            DamageKind::SegmentHeader | DamageKind::SegmentMissing | DamageKind::Records => {
                self.last_damage = Some(place);
                self.report.streams_may_be_missing = true;
                for stream in self.streams.values_mut() {
                    stream.doubt = stream.doubt.or(Some((place, Loss::Unknown)));
                }
            }
        }
    }

    /// Ends the replay.
    pub(super) fn finish(mut self, cache_bytes: usize) -> (Index, Ledger, RecoveryReport) {
        let mut index = Index::new(cache_bytes);
        let mut ledger = Ledger::default();
        for (id, mut stream) in self.streams {
            let loss = stream.loss();
            if let Some((place, loss)) = loss {
                self.report.corrupt.push(CorruptStream { stream: id, place, loss });
                stream.ledger.corrupt = true;
                stream.locations.clear();
            }
            let LedgerStream { extent, ref marks, corrupt, .. } = stream.ledger;
            index.insert(id, Stream::recovered(extent, marks.clone(), corrupt, stream.locations));
            ledger.streams.insert(id, stream.ledger);
        }
        (index, ledger, self.report)
    }
}

impl ReplayStream {
    /// Whether every record that the roster counts was seen, so that locations can be trusted.
    fn agrees(&self, roster: &RosterStream) -> bool {
        let known = &self.ledger;
        let jumped = matches!(self.doubt, Some((_, Loss::Records | Loss::Earlier)));
        let base_agrees = known.extent.base == roster.extent.base || self.unbased;
        !roster.corrupt
            && !jumped
            && known.chain == roster.chain
            && base_agrees
            && known.extent.next == roster.extent.next
    }
}
