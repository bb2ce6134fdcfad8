//! Sums of what exporters send as differences (delta temporality), where that is asked for.
//!
//! Each node adds up what it receives, in memory, and begins at zero: after a restart, or when an exporter turns to another
//! node, a series falls as a counter does that begins anew (ADR 0015). Differences of a series have to come in order.
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use xxhash_rust::xxh3::xxh3_128;

use crate::prom::histogram::{Histogram, Side, coarser};

/// Series that a node adds up at a time.
const SERIES_MAX: usize = 200_000;
/// A series that got nothing for this long is forgotten when there are too many, ms.
const STALE_MS: i64 = 5 * 60 * 1000;

/// Why a difference is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("out of order delta sample")]
    OutOfOrder,
    #[error("too many series of delta temporality, limit {SERIES_MAX}")]
    TooMany,
}

/// Observations of a native histogram so far.
#[derive(Clone, Debug, Default)]
struct Observed {
    schema: i64,
    count: u64,
    sum: f64,
    zero: u64,
    positive: BTreeMap<i64, i64>,
    negative: BTreeMap<i64, i64>,
}

#[derive(Clone, Debug)]
enum Sum {
    Float(f64),
    Histogram(Box<Observed>),
}

#[derive(Clone, Debug)]
struct State {
    last_ms: i64,
    received_ms: i64,
    sum: Sum,
}

/// What was added up so far, by tenant and series.
#[derive(Debug, Default)]
pub(crate) struct Deltas(Mutex<HashMap<u128, State>>);

fn id_of(tenant: &str, key: &[u8]) -> u128 {
    let mut name = Vec::with_capacity(tenant.len() + key.len() + 1);
    name.extend_from_slice(tenant.as_bytes());
    name.push(0);
    name.extend_from_slice(key);
    xxh3_128(&name)
}

impl Deltas {
    /// The sum after `value` was added to it. A repeated point (the same time) adds nothing and has the sum again.
    pub(crate) fn add(
        &self,
        tenant: &str,
        key: &[u8],
        (time_ms, received_ms): (i64, i64),
        value: f64,
    ) -> Result<f64, Refused> {
        let zero = || Sum::Float(0.0);
        self.with(id_of(tenant, key), time_ms, received_ms, zero, |sum, is_new| {
            if let (Sum::Histogram(_), true) = (&*sum, is_new) {
                *sum = Sum::Float(0.0);
            }
            let Sum::Float(total) = sum else { return value };
            if is_new {
                *total += value;
            }
            *total
        })
    }

    /// As [`Self::add`], for a native histogram; at the coarser resolution of both.
    pub(crate) fn add_histogram(
        &self,
        tenant: &str,
        key: &[u8],
        received_ms: i64,
        delta: &Histogram,
    ) -> Result<Histogram, Refused> {
        let empty = || Sum::Histogram(Box::new(Observed { schema: delta.schema, ..Observed::default() }));
        self.with(id_of(tenant, key), delta.time_ms, received_ms, empty, |sum, is_new| {
            // Bounds of their own cannot be brought to others: what has new ones begins anew.
            let fits = matches!(&*sum, Sum::Histogram(o) if o.schema == delta.schema || !(delta.is_custom() || o.schema == crate::prom::histogram::CUSTOM));
            if is_new && !fits {
                *sum = empty();
            }
            let Sum::Histogram(observed) = sum else { return delta.clone() };
            if is_new {
                observed.add(delta);
            }
            observed.shown(delta)
        })
    }

    fn with<T>(
        &self,
        id: u128,
        time_ms: i64,
        received_ms: i64,
        empty: impl FnOnce() -> Sum,
        update: impl FnOnce(&mut Sum, bool) -> T,
    ) -> Result<T, Refused> {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if states.len() >= SERIES_MAX && !states.contains_key(&id) {
            states.retain(|_, state| received_ms.saturating_sub(state.received_ms) <= STALE_MS);
            if states.len() >= SERIES_MAX {
                return Err(Refused::TooMany);
            }
        }
        let state = states.entry(id).or_insert_with(|| State { last_ms: i64::MIN, received_ms, sum: empty() });
        if time_ms < state.last_ms {
            return Err(Refused::OutOfOrder);
        }
        let is_new = time_ms > state.last_ms;
        (state.last_ms, state.received_ms) = (time_ms, received_ms);
        Ok(update(&mut state.sum, is_new))
    }
}

impl Observed {
    fn add(&mut self, delta: &Histogram) {
        let schema = self.schema.min(delta.schema);
        let steps = |from: i64| u32::try_from(from.saturating_sub(schema)).unwrap_or(0);
        let (mine, theirs) = (steps(self.schema), steps(delta.schema));
        for (counts, side) in [(&mut self.positive, &delta.positive), (&mut self.negative, &delta.negative)] {
            if mine > 0 {
                let finer = std::mem::take(counts);
                finer.into_iter().for_each(|(index, n)| *counts.entry(coarser(index, mine)).or_insert(0) += n);
            }
            for (index, n) in side.by_index() {
                *counts.entry(if theirs > 0 { coarser(index, theirs) } else { index }).or_insert(0) += n;
            }
        }
        self.schema = schema;
        self.count = self.count.saturating_add(delta.count_int);
        self.zero = self.zero.saturating_add(delta.zero_int);
        self.sum += delta.sum;
    }

    fn shown(&self, like: &Histogram) -> Histogram {
        Histogram {
            schema: self.schema,
            count_int: self.count,
            zero_int: self.zero,
            sum: self.sum,
            positive: Side::of_index(&self.positive),
            negative: Side::of_index(&self.negative),
            ..like.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_added_up_once_each_and_in_order() {
        let deltas = Deltas::default();
        for (tenant, time_ms, value, expected) in [
            ("t", 10, 3.0, Ok(3.0)),
            ("t", 20, 4.0, Ok(7.0)),
            ("t", 20, 4.0, Ok(7.0)),
            ("t", 15, 4.0, Err(Refused::OutOfOrder)),
            ("u", 15, 4.0, Ok(4.0)),
            ("t", 30, -1.0, Ok(6.0)),
        ] {
            assert_eq!(deltas.add(tenant, b"k", (time_ms, 0), value), expected, "{tenant} {time_ms}");
        }
    }

    #[test]
    fn histograms_are_added_at_the_coarser_resolution() {
        let deltas = Deltas::default();
        let h = |time_ms, schema, counts: &[(i64, i64)]| Histogram {
            schema,
            count_int: counts.iter().map(|(_, n)| *n as u64).sum(),
            sum: 1.0,
            positive: Side::of_index(&counts.iter().copied().collect()),
            time_ms,
            ..Histogram::default()
        };
        deltas.add_histogram("t", b"k", 0, &h(10, 3, &[(1, 2), (2, 1)])).unwrap();
        let sum = deltas.add_histogram("t", b"k", 0, &h(20, 2, &[(1, 4), (9, 1)])).unwrap();
        assert_eq!((sum.schema, sum.count_int, sum.sum, sum.time_ms), (2, 8, 2.0, 20));
        let counts: Vec<(i64, i64)> = sum.positive.by_index().into_iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(counts, [(1, 7), (9, 1)]);
    }
}
