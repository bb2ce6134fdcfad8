//! Which log streams are spread over several slots: a table that only grows, and whose past is settled.
//!
//! Times are of entries, in ns. A row may begin only at or after the *horizon*, and the horizon only rises. So whoever has
//! applied any part of the metadata's log knows all rows, for good, that concern entries before the horizon of that part:
//! nodes that lag give fewer answers, never other ones (ADR 0012).
use serde::{Deserialize, Serialize};
use trine_store::model::signal::key_hash;
use trine_store::model::{Labels, SPREAD_SLOTS_MAX, Spread, Spreads, TENANT_BYTES_MAX};

/// Most rows of the table.
const ROWS_MAX: usize = 1024;
/// Most bytes of tenants and labels in the table: it is in every copy of the metadata.
const TABLE_BYTES_MAX: usize = 256 << 10;

/// From a time on, the entries of a stream are spread over some slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpreadRecord {
    pub tenant: String,
    /// Canonical labels.
    pub stream: Vec<u8>,
    /// First entry time, in ns.
    pub from_ns: i64,
    /// 1: the stream's own slot alone.
    pub slots: u16,
}

/// The table, and the time before which it is settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPlaces {
    /// No row begins before this from now on.
    pub horizon_ns: i64,
    /// In the order in which they were added; those of one stream begin one after the other.
    pub spreads: Vec<SpreadRecord>,
}

impl Default for StreamPlaces {
    fn default() -> Self {
        Self { horizon_ns: i64::MIN, spreads: Vec::new() }
    }
}

/// Why a stream is not spread.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SpreadError {
    #[error("{slots} slots; a stream may be spread over 1 to {SPREAD_SLOTS_MAX}")]
    Slots { slots: u16 },
    #[error("the stream is not a tenant and a canonical set of labels: {reason}")]
    Stream { reason: String },
    /// Entries of that time may have their slots already.
    #[error(
        "it may begin at {earliest_ns} ns or later, not at {from_ns}: entries before that may have been accepted already; without a beginning it begins as early as possible"
    )]
    TooEarly { from_ns: i64, earliest_ns: i64 },
    #[error("the stream's last row begins at {last_ns} ns; the next one must begin later than that, not at {from_ns}")]
    NotLater { from_ns: i64, last_ns: i64 },
    #[error(
        "the table of spread streams is full: {rows} rows, {bytes} bytes; {ROWS_MAX} rows, {TABLE_BYTES_MAX} bytes are possible"
    )]
    Full { rows: usize, bytes: usize },
}

impl StreamPlaces {
    /// Settles the places of entries before `to_ns`.
    pub(super) fn raise(&mut self, to_ns: i64) {
        self.horizon_ns = self.horizon_ns.max(to_ns);
    }

    /// Settles the places of entries before `to_ns`, in a copy of the metadata that goes on alone.
    pub(crate) fn settle_for_recovery(&mut self, to_ns: i64) {
        self.raise(to_ns);
    }

    /// Adds a row and gives its beginning. `from_ns` 0: as early as possible, and nothing is added if the stream is, or is about
    /// to be, spread over as many slots. `earliest_ns`: no row may begin before it, whatever the horizon.
    pub(super) fn spread(
        &mut self,
        tenant: String,
        stream: Vec<u8>,
        from_ns: i64,
        slots: u16,
        earliest_ns: i64,
    ) -> Result<i64, SpreadError> {
        if slots == 0 || slots > SPREAD_SLOTS_MAX {
            return Err(SpreadError::Slots { slots });
        }
        check_stream(&tenant, &stream)?;
        let last = self.rows_of(&tenant, &stream).last().map(|r| (r.from_ns, r.slots));
        if let Some((last_ns, same)) = last
            && same == slots
            && (from_ns == 0 || from_ns == last_ns)
        {
            return Ok(last_ns);
        }
        let after_last = last.map_or(i64::MIN, |(last_ns, _)| last_ns.saturating_add(1));
        let earliest_ns = self.horizon_ns.max(earliest_ns);
        let from_ns = if from_ns == 0 { earliest_ns.max(after_last) } else { from_ns };
        if from_ns < earliest_ns {
            return Err(SpreadError::TooEarly { from_ns, earliest_ns });
        }
        if from_ns < after_last {
            return Err(SpreadError::NotLater { from_ns, last_ns: after_last.saturating_sub(1) });
        }
        let row = SpreadRecord { tenant, stream, from_ns, slots };
        let (rows, bytes) = (self.spreads.len() + 1, self.bytes() + row.bytes());
        if rows > ROWS_MAX || bytes > TABLE_BYTES_MAX {
            return Err(SpreadError::Full { rows: rows - 1, bytes: bytes - row.bytes() });
        }
        self.spreads.push(row);
        Ok(from_ns)
    }

    /// A stream's rows, in the order of their beginnings.
    pub fn rows_of<'a>(&'a self, tenant: &'a str, stream: &'a [u8]) -> impl Iterator<Item = &'a SpreadRecord> {
        self.spreads.iter().filter(move |r| r.tenant == tenant && r.stream == stream)
    }

    /// The table as writers use it.
    pub fn spreads(&self) -> Spreads {
        let row =
            |r: &SpreadRecord| Spread { hash: key_hash(&r.tenant, &r.stream), from_ns: r.from_ns, slots: r.slots };
        Spreads::new(self.spreads.iter().map(row).collect(), self.horizon_ns)
    }

    fn bytes(&self) -> usize {
        self.spreads.iter().map(SpreadRecord::bytes).sum()
    }
}

impl SpreadRecord {
    fn bytes(&self) -> usize {
        self.tenant.len() + self.stream.len()
    }
}

fn check_stream(tenant: &str, stream: &[u8]) -> Result<(), SpreadError> {
    if tenant.is_empty() || tenant.len() > TENANT_BYTES_MAX {
        return Err(SpreadError::Stream { reason: format!("a tenant of {} bytes", tenant.len()) });
    }
    match Labels::decode(stream) {
        Ok(labels) if labels.iter().next().is_some() => Ok(()),
        Ok(_) => Err(SpreadError::Stream { reason: "no labels".into() }),
        Err(e) => Err(SpreadError::Stream { reason: e.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::meta::{Command, MetaState, Reply, decode, encode};

    fn stream(app: &str) -> Vec<u8> {
        Labels::from_pairs([("app", app)]).unwrap().as_bytes().to_vec()
    }

    fn spread(m: &mut MetaState, app: &str, from_ns: i64, slots: u16, earliest_ns: i64) -> Reply {
        m.apply(Command::SpreadStream { tenant: "t".into(), stream: stream(app), from_ns, slots, earliest_ns })
    }

    #[test]
    fn a_spread_begins_beyond_what_is_settled_and_is_never_taken_back() {
        let mut m = MetaState::default();
        m.apply(Command::RaiseHorizon { to_ns: 1_000 });
        m.apply(Command::RaiseHorizon { to_ns: 500 });
        assert_eq!(m.places.horizon_ns, 1_000, "it only rises");
        for (from_ns, earliest_ns, reply) in [(999, 0, None), (1_000, 1_001, None), (0, 1_200, Some(1_200))] {
            let said = spread(&mut m, "a", from_ns, 4, earliest_ns);
            assert_eq!(
                matches!(said, Reply::SpreadFrom(_)).then_some(1_200),
                reply,
                "{from_ns} {earliest_ns}: {said:?}"
            );
        }
        assert_eq!(spread(&mut m, "a", 0, 4, 9_000), Reply::SpreadFrom(1_200), "repeating it changes nothing");
        assert_eq!(spread(&mut m, "a", 1_200, 4, 9_000), Reply::SpreadFrom(1_200));
        for (from_ns, slots) in [(1_200, 8), (1_100, 8), (2_000, 0), (2_000, SPREAD_SLOTS_MAX + 1)] {
            let said = spread(&mut m, "a", from_ns, slots, 0);
            assert!(matches!(said, Reply::Refused(_)), "{from_ns} {slots}: {said:?}");
        }
        assert_eq!(spread(&mut m, "a", 0, 8, 0), Reply::SpreadFrom(1_201), "after the row before it");
        assert_eq!(spread(&mut m, "b", 0, 2, 0), Reply::SpreadFrom(1_000), "at the horizon");
        assert_eq!(m.places.spreads.len(), 3);
        let rows: Vec<_> = m.places.rows_of("t", &stream("a")).map(|r| (r.from_ns, r.slots)).collect();
        assert_eq!(rows, [(1_200, 4), (1_201, 8)]);
    }

    #[test]
    fn what_is_no_stream_is_refused_and_the_table_is_bounded() {
        let mut m = MetaState::default();
        let command = |tenant: &str, stream: Vec<u8>| Command::SpreadStream {
            tenant: tenant.into(),
            stream,
            from_ns: 1,
            slots: 2,
            earliest_ns: 0,
        };
        for (tenant, key) in [("", stream("a")), ("t", vec![]), ("t", vec![9, 9]), (&"t".repeat(151), stream("a"))] {
            assert!(matches!(m.apply(command(tenant, key.clone())), Reply::Refused(_)), "{tenant:?} {key:?}");
        }
        for i in 0..ROWS_MAX {
            assert_eq!(m.apply(command("t", stream(&i.to_string()))), Reply::SpreadFrom(1));
        }
        let Reply::Refused(why) = m.apply(command("t", stream("more"))) else { panic!("the table has no bound") };
        assert!(why.contains("is full: 1024 rows"), "{why}");
        let mut m = MetaState::default();
        let long = |i: usize| stream(&format!("{i}{}", "x".repeat(10_000)));
        let taken = (0..100).filter(|i| matches!(m.apply(command("t", long(*i))), Reply::SpreadFrom(_))).count();
        assert_eq!(taken, TABLE_BYTES_MAX / 10_008);
    }

    proptest! {
        /// Whatever the metadata's log holds, and however much of it a node has applied: nodes that place an entry at all
        /// place it alike.
        #[test]
        fn nodes_that_lag_place_alike(
            commands in prop::collection::vec((0u8..3, 0i64..500, 1u16..6, 0i64..300), 0..40),
            entries in prop::collection::vec((0u8..2, 1i64..500), 1..40),
        ) {
            let mut state = MetaState::default();
            let mut tables = vec![state.places.spreads()];
            for (kind, ns, slots, earliest_ns) in commands {
                let command = match kind {
                    0 => Command::RaiseHorizon { to_ns: ns },
                    app => Command::SpreadStream {
                        tenant: "t".into(),
                        stream: stream(&app.to_string()),
                        from_ns: ns,
                        slots,
                        earliest_ns,
                    },
                };
                state.apply(decode("command", &encode(&command)).unwrap());
                tables.push(state.places.spreads());
            }
            for (app, time_ns) in entries {
                let hash = key_hash("t", &stream(&(app + 1).to_string()));
                let places: BTreeSet<_> = tables.iter().filter_map(|t| t.place(hash, time_ns).ok()).collect();
                prop_assert!(places.len() <= 1, "{places:?} at {time_ns}");
            }
        }
    }
}
