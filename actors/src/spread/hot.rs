//! Log streams that take more than a rate for long, as the leaders on this node see them.
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use trine_store::model::{SPREAD_SLOTS_MAX, Signal};
use trine_store::part::{PartHead, PartRef, RowsBody};

use crate::meta::StreamPlaces;

/// One part in so many is looked into: walking its rows costs about what checking it did.
const SAMPLED: u64 = 8;
/// Streams that are counted at a time: one that takes more than this part of all bytes is never missed.
const COUNTED_MAX: usize = 256;
/// A stream is hot when it was over the rate in so many windows in a row.
const WINDOWS: u32 = 3;

/// A stream in a shard; the hash stands for tenant and labels, since a mistake would only spread another stream, too.
type Key = (u32, u64);

/// A stream that is over the rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hot {
    pub(crate) shard: u32,
    pub(crate) tenant: String,
    /// Canonical labels.
    pub(crate) stream: Vec<u8>,
    /// In this shard.
    pub(crate) bytes_per_second: u64,
}

#[derive(Debug)]
struct Counted {
    tenant: String,
    stream: Vec<u8>,
    bytes: u64,
}

/// Counts of the current window, and who was over the rate in those before. Pure: time comes in.
#[derive(Debug, Default)]
struct Tally {
    counted: HashMap<Key, Counted>,
    /// Windows in a row over the rate.
    over: HashMap<Key, u32>,
}

impl Tally {
    /// Misra and Gries, "Finding repeated elements" (1982): when there is no room, everybody loses as much as the new one has.
    fn add(&mut self, key: Key, tenant: &str, stream: &[u8], mut bytes: u64) {
        if let Some(counted) = self.counted.get_mut(&key) {
            counted.bytes += bytes;
            return;
        }
        if self.counted.len() >= COUNTED_MAX {
            let least = self.counted.values().map(|c| c.bytes).min().unwrap_or(0).min(bytes);
            self.counted.retain(|_, c| {
                c.bytes -= least;
                c.bytes > 0
            });
            bytes -= least;
        }
        if bytes > 0 && self.counted.len() < COUNTED_MAX {
            self.counted.insert(key, Counted { tenant: tenant.to_owned(), stream: stream.to_vec(), bytes });
        }
    }

    /// Ends a window of `elapsed` and gives those that were over `bytes_per_second` in [`WINDOWS`] of them, the last included.
    fn close(&mut self, elapsed: Duration, bytes_per_second: u64) -> Vec<Hot> {
        let (mut hot, mut over) = (Vec::new(), HashMap::new());
        let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        for (key, counted) in self.counted.drain() {
            let rate = counted.bytes.saturating_mul(1000) / ms;
            if rate <= bytes_per_second {
                continue;
            }
            let windows = self.over.get(&key).map_or(1, |n| n.saturating_add(1));
            over.insert(key, windows);
            if windows >= WINDOWS {
                let (tenant, stream) = (counted.tenant, counted.stream);
                hot.push(Hot { shard: key.0, tenant, stream, bytes_per_second: rate });
            }
        }
        self.over = over;
        hot
    }
}

/// What the leaders of this node have taken lately, by stream.
#[derive(Debug)]
pub(crate) struct HotStreams {
    parts: AtomicU64,
    window: Duration,
    tally: Mutex<(Instant, Tally)>,
}

impl HotStreams {
    /// A stream is hot after `after` over the rate.
    pub(crate) fn new(after: Duration) -> Self {
        let tally = Mutex::new((Instant::now(), Tally::default()));
        Self { parts: AtomicU64::new(0), window: after / WINDOWS, tally }
    }

    /// Counts a part that a shard here has taken.
    pub(crate) fn took(&self, shard: u32, part: &[u8]) {
        if !PartHead::decode(part).is_ok_and(|head| head.signal == Signal::Logs)
            || !self.parts.fetch_add(1, Ordering::Relaxed).is_multiple_of(SAMPLED)
        {
            return;
        }
        let Ok(part) = PartRef::decode(part) else { return };
        let bytes = bytes_by_stream(&part);
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        for (def, bytes) in part.defs.iter().zip(bytes).filter(|(_, bytes)| *bytes > 0) {
            tally.1.add((shard, def.hash), part.tenant, def.key, bytes * SAMPLED);
        }
    }

    /// Those that are hot, when a window ends now; none for a rate of 0.
    pub(crate) fn close_window(&self, bytes_per_second: u64) -> Vec<Hot> {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = tally.0.elapsed();
        if elapsed < self.window {
            return Vec::new();
        }
        tally.0 = Instant::now();
        let hot = tally.1.close(elapsed, bytes_per_second);
        if bytes_per_second == 0 { Vec::new() } else { hot }
    }
}

/// Bytes of lines and attributes of each of a part's streams.
fn bytes_by_stream(part: &PartRef<'_>) -> Vec<u64> {
    let mut bytes = vec![0u64; part.defs.len()];
    let Ok(mut rows) = RowsBody::new(part.body, part.defs.len() as u32) else { return bytes };
    // The leader has checked the part before it took it.
    while let Ok(Some(row)) = rows.next_row() {
        bytes[row.stream as usize] += (row.body.len() + row.values.len()) as u64;
    }
    bytes
}

/// Over how many slots a hot stream should be spread so that each takes at most half of the rate; `None` when it already is,
/// is about to be, or there are no more shards.
pub(super) fn wanted_slots(
    hot: &Hot,
    places: &StreamPlaces,
    now_ns: i64,
    shards: usize,
    bytes_per_second: u64,
) -> Option<u16> {
    let last = places.rows_of(&hot.tenant, &hot.stream).last();
    if last.is_some_and(|row| row.from_ns > now_ns) {
        return None;
    }
    let now = u64::from(last.map_or(1, |row| row.slots));
    let times = hot.bytes_per_second.saturating_mul(2).div_ceil(bytes_per_second.max(1));
    let most = (shards as u64).min(u64::from(SPREAD_SLOTS_MAX));
    let wanted = now.saturating_mul(times).checked_next_power_of_two().unwrap_or(most).min(most);
    (wanted > now).then(|| u16::try_from(wanted).unwrap_or(SPREAD_SLOTS_MAX))
}

#[cfg(test)]
mod tests {
    use trine_store::model::Labels;
    use trine_store::part::RowsPartBuilder;

    use super::*;
    use crate::meta::SpreadRecord;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_stream_is_hot_after_three_windows_over_the_rate() {
        let mut tally = Tally::default();
        let window = |tally: &mut Tally, bytes: u64| {
            tally.add((3, 7), "t", b"hot", bytes);
            tally.add((4, 7), "t", b"hot", 1);
            tally.close(2 * SECOND, 100)
        };
        // At most 100 bytes a second are allowed, and a window has two seconds.
        for (bytes, hot) in
            [(300, false), (300, false), (200, false), (300, false), (300, false), (2_000, true), (400, true)]
        {
            let found = window(&mut tally, bytes);
            let expected = Hot { shard: 3, tenant: "t".into(), stream: b"hot".to_vec(), bytes_per_second: bytes / 2 };
            assert_eq!(found, if hot { vec![expected] } else { vec![] }, "{bytes}");
        }
    }

    #[test]
    fn one_that_takes_much_is_found_among_any_number_of_others() {
        let mut tally = Tally::default();
        for i in 0..100_000u64 {
            tally.add((0, 1 + i), "t", b"cold", 10);
            if i % 10 == 0 {
                tally.add((0, 0), "t", b"hot", 100);
            }
        }
        assert!(tally.counted.len() <= COUNTED_MAX);
        let taken = tally.counted[&(0, 0)].bytes;
        assert!(taken > 1_000_000 - 2_000_000 / COUNTED_MAX as u64, "{taken} of a million");
    }

    #[test]
    fn bytes_are_counted_by_stream_and_scaled_up() {
        let streams = HotStreams::new(Duration::ZERO);
        let keys = ["a", "b"].map(|app| Labels::from_pairs([("app", app)]).unwrap());
        let mut part = RowsPartBuilder::new(Signal::Logs, "t");
        let [a, b] = [1, 2].map(|n: u64| part.stream(n, keys[n as usize - 1].as_bytes()));
        part.row(a, 1, &[b'x'; 1000], std::iter::empty());
        part.row(b, 1, &[b'x'; 10], std::iter::empty());
        let part = part.finish();
        for _ in 0..SAMPLED {
            streams.took(5, &part);
        }
        streams.took(5, b"no part");
        let tally = streams.tally.lock().unwrap();
        let counted: std::collections::BTreeMap<_, _> = tally.1.counted.iter().map(|(k, c)| (*k, c.bytes)).collect();
        assert_eq!(counted, [((5, 1), 1000 * SAMPLED), ((5, 2), 10 * SAMPLED)].into());
    }

    #[test]
    fn as_many_slots_as_the_rate_needs() {
        let hot = |bytes_per_second| Hot { shard: 0, tenant: "t".into(), stream: b"s".to_vec(), bytes_per_second };
        let spread = |from_ns, slots| StreamPlaces {
            horizon_ns: 0,
            spreads: vec![SpreadRecord { tenant: "t".into(), stream: b"s".to_vec(), from_ns, slots }],
        };
        for (hot, places, shards, wanted) in [
            (hot(101), StreamPlaces::default(), 16, Some(4)),
            (hot(800), StreamPlaces::default(), 16, Some(16)),
            (hot(u64::MAX), StreamPlaces::default(), 12, Some(12)),
            (hot(101), StreamPlaces::default(), 1, None),
            (hot(101), spread(10, 4), 16, Some(16)),
            (hot(101), spread(10, 16), 16, None),
            (hot(101), spread(2_000, 4), 16, None),
        ] {
            assert_eq!(wanted_slots(&hot, &places, 1_000, shards, 100), wanted, "{hot:?} {places:?} {shards}");
        }
    }
}
