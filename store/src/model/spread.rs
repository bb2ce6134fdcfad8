//! Where the entries of a log stream go when the stream is spread over several slots.
//!
//! A stream is spread from a point in *entry time* on, and the rows of the table that begin before `final_before_ns` never
//! change any more. So the slot of an entry with a time before that is a function of the entry alone: every node that gives
//! an answer gives the same one, however old its table is (P3). A node that cannot be sure says so ([`NotFinal`]).
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::signal::{SLOTS, Slot, slot_of_hash};

/// Most slots that a stream is spread over.
pub const SPREAD_SLOTS_MAX: u16 = 256;

/// From `from_ns` on, the entries of a stream are spread over `slots` slots, until the next row of the same stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spread {
    /// [`super::signal::key_hash`] of tenant and stream labels. Streams with the same hash are spread alike.
    pub hash: u64,
    /// Entry time in ns, inclusive.
    pub from_ns: i64,
    /// 1 to [`SPREAD_SLOTS_MAX`].
    pub slots: u16,
}

/// A node's copy of the table of spread streams; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spreads {
    /// Sorted by hash, then by beginning.
    rows: Arc<[Spread]>,
    final_before_ns: i64,
}

/// The slot of an entry is not settled as far as this copy of the table knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the place of log entries at {time_ns} ns is not final yet: this node knows it for those before {final_before_ns} ns"
)]
pub struct NotFinal {
    pub time_ns: i64,
    pub final_before_ns: i64,
}

impl Default for Spreads {
    /// Knows nothing: no entry has a slot.
    fn default() -> Self {
        Self::new(Vec::new(), i64::MIN)
    }
}

impl Spreads {
    /// A table whose rows that begin before `final_before_ns` are all there.
    pub fn new(mut rows: Vec<Spread>, final_before_ns: i64) -> Self {
        rows.sort_unstable();
        Self { rows: rows.into(), final_before_ns }
    }

    /// No stream is spread, and none ever will be.
    pub fn none() -> Self {
        Self::new(Vec::new(), i64::MAX)
    }

    /// Entries before this time, in ns, have their slots for good.
    pub fn final_before_ns(&self) -> i64 {
        self.final_before_ns
    }

    /// Slot of an entry of the stream with this hash. An entry whose time the server assigns (`time_ns` 0) is not spread: its
    /// repetition would be assigned another time.
    pub fn place(&self, hash: u64, time_ns: i64) -> Result<Slot, NotFinal> {
        if time_ns == 0 {
            return Ok(slot_of_hash(hash));
        }
        if time_ns >= self.final_before_ns {
            return Err(NotFinal { time_ns, final_before_ns: self.final_before_ns });
        }
        let after = self.rows.partition_point(|row| (row.hash, row.from_ns) <= (hash, time_ns));
        match after.checked_sub(1).map(|at| self.rows[at]) {
            Some(row) if row.hash == hash => Ok(spread_slot(hash, time_ns, row.slots)),
            _ => Ok(slot_of_hash(hash)),
        }
    }
}

/// One of `slots` slots, by the entry's time alone: entries of one stream and time stay together, so that their order, which
/// is that of a shard's log, does too. The slots lie evenly around the circle from the stream's own, the first, on: as long as
/// they are no more than the shards, each is another shard's.
pub fn spread_slot(hash: u64, time_ns: i64, slots: u16) -> Slot {
    let slots = u64::from(slots.clamp(1, SPREAD_SLOTS_MAX));
    let of_slots = xxh3_64(&time_ns.to_le_bytes()) % slots;
    let step = of_slots * u64::from(SLOTS) / slots;
    Slot(((u64::from(slot_of_hash(hash).0) + step) % u64::from(SLOTS)) as u16)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const HASH: u64 = 0x1230_0000_0000_0001;

    #[test]
    fn a_stream_is_spread_from_a_time_on_and_others_never() {
        let table = [Spread { hash: HASH, from_ns: 200, slots: 4 }, Spread { hash: HASH, from_ns: 100, slots: 1 }];
        let spreads = Spreads::new(table.to_vec(), 1_000);
        let home = slot_of_hash(HASH);
        let slots_at = |times: std::ops::Range<i64>| -> BTreeSet<Slot> {
            times.map(|t| spreads.place(HASH, t).unwrap()).collect()
        };
        for times in [-50..200, 0..1] {
            assert_eq!(slots_at(times), BTreeSet::from([home]));
        }
        let expected = [0u16, 1024, 2048, 3072].map(|step| Slot((home.0 + step) % SLOTS));
        assert_eq!(slots_at(200..1_000), BTreeSet::from(expected));
        for other in [HASH - 1, HASH + 1, 0, u64::MAX] {
            assert_eq!(spreads.place(other, 300), Ok(slot_of_hash(other)));
        }
        assert_eq!(spreads.place(HASH, 1_000), Err(NotFinal { time_ns: 1_000, final_before_ns: 1_000 }));
        assert_eq!(spreads.place(HASH, 0), Ok(home), "a time that the server assigns is no place");
        assert!(Spreads::default().place(HASH, -1).is_err());
        assert_eq!(Spreads::none().place(HASH, i64::MAX - 1), Ok(home));
    }

    /// These values are in every cluster's data: a change here needs a migration.
    #[test]
    fn the_slots_of_times_are_fixed() {
        let slots = [1i64, 2, 3, 1_700_000_000_000_000_000].map(|t| spread_slot(HASH, t, 8).0);
        assert_eq!(slots, [3363, 1827, 2851, 291]);
    }

    #[test]
    fn slots_fall_to_as_many_shards_and_share_evenly() {
        for shards in [1u16, 2, 3, 5, 16, 100] {
            let spread = shards.min(SPREAD_SLOTS_MAX);
            let mut hits = vec![0u32; usize::from(shards)];
            for t in 1..4_000i64 {
                let slot = spread_slot(HASH, t * 1_000_000, spread);
                hits[usize::from(slot.0) * usize::from(shards) / usize::from(SLOTS)] += 1;
            }
            let even = 4_000 / u32::from(shards);
            assert!(hits.iter().filter(|n| **n > even / 3).count() + 1 >= usize::from(shards), "{shards}: {hits:?}");
        }
    }

    /// What the metadata group's log holds, as far as places are concerned.
    #[derive(Clone, Debug)]
    enum Step {
        Raise(i64),
        Spread { hash: u64, from_ns: i64, slots: u16 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let raise = (0i64..300).prop_map(Step::Raise);
        let spread = (0u64..3, 0i64..400, 1u16..9);
        let spread = spread.prop_map(|(hash, from_ns, slots)| Step::Spread { hash, from_ns, slots });
        prop::collection::vec(prop_oneof![raise, spread], 0..40)
    }

    /// Tables after each step: a row that begins before what is final is refused.
    fn tables(steps: &[Step]) -> Vec<Spreads> {
        let (mut rows, mut final_before_ns) = (Vec::<Spread>::new(), i64::MIN);
        let mut all = vec![Spreads::default()];
        for step in steps {
            match *step {
                Step::Raise(to) => final_before_ns = final_before_ns.max(to),
                Step::Spread { hash, from_ns, slots } => {
                    let last = rows.iter().filter(|r| r.hash == hash).map(|r| r.from_ns).max();
                    if from_ns >= final_before_ns && last.is_none_or(|last| last < from_ns) {
                        rows.push(Spread { hash, from_ns, slots });
                    }
                }
            }
            all.push(Spreads::new(rows.clone(), final_before_ns));
        }
        all
    }

    proptest! {
        /// Nodes know any prefix of the metadata's log, at any time: whoever answers at all gives the same slot.
        #[test]
        fn any_two_nodes_that_place_an_entry_place_it_alike(
            steps in steps(),
            entries in prop::collection::vec((0u64..3, -10i64..400), 1..40),
        ) {
            let tables = tables(&steps);
            for (hash, time_ns) in entries {
                let places: BTreeSet<Slot> = tables.iter().filter_map(|t| t.place(hash, time_ns).ok()).collect();
                prop_assert!(places.len() <= 1, "{places:?} for {hash} at {time_ns} with {steps:?}");
            }
        }
    }
}
