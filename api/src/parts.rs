//! Splitting a request into parts: one open builder a shard, cut at a fixed size, in a fixed order.
//!
//! The same request gives the same parts, so a retry has the same digests (P3).
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use trine_store::model::signal::{key_hash, slot_of_hash};
use trine_store::model::{Demoted, Scope, SeriesDemotions, Signal, Slot, TenantDemotions, Value};
use trine_store::part::{
    METRICS_PART_BYTES_TARGET, MetricsPartBuilder, PART_BODY_BYTES_TARGET, RowsPartBuilder, SampleKind,
};

use crate::backend::ShardPart;
use crate::budget::Held;
use crate::error::ApiError;

/// Most float samples added between two looks at a part's size; at most 19 encoded bytes each.
const FLOATS_STEP: usize = 1024;

/// Marks a shard that no part is open for.
const NO_PLACE: u32 = u32::MAX;
/// Shards of a cluster as it is founded.
const SHARDS_USUAL: usize = 16;
/// By how much a part that is cut at its target usually exceeds it.
const PART_SLACK_BYTES: usize = 2 << 10;

/// Finds a slot's shard.
pub(crate) type ShardOf<'a> = &'a dyn Fn(Slot) -> u32;

/// A sample whose value is bytes.
#[derive(Clone, Debug)]
pub(crate) struct Blob<'a> {
    pub(crate) kind: SampleKind,
    pub(crate) time_ms: i64,
    pub(crate) payload: Cow<'a, [u8]>,
}

/// Finished parts, and the budget that they are taken from: a small body can spell out much (shared symbols, the attributes
/// of a resource for each of its records).
struct Done<'a> {
    parts: Vec<ShardPart>,
    held: &'a mut Held,
    refused: Option<ApiError>,
}

impl<'a> Done<'a> {
    fn new(held: &'a mut Held) -> Self {
        Self { parts: Vec::new(), held, refused: None }
    }

    /// Once the budget refused, nothing more is kept.
    fn push(&mut self, part: ShardPart) {
        if self.refused.is_none() {
            match self.held.grow(part.part.len()) {
                Ok(()) => self.parts.push(part),
                Err(error) => {
                    self.parts = Vec::new();
                    self.refused = Some(error);
                }
            }
        }
    }

    fn finish(self) -> Result<Vec<ShardPart>, ApiError> {
        self.refused.map_or(Ok(self.parts), Err)
    }
}

/// Splits metrics.
pub(crate) struct MetricsSplit<'a> {
    tenant: &'a str,
    shard_of: ShardOf<'a>,
    demotions: Option<&'a TenantDemotions>,
    /// Parts of series as they came.
    whole: OpenParts,
    /// Parts of series that have lost labels.
    demoted: OpenParts,
    done: Done<'a>,
    /// About how long a part will be.
    expected: usize,
    /// What may still be reserved for parts: about what the request spells out, however many shards there are.
    reserve: usize,
}

/// One open part a shard.
#[derive(Default)]
struct OpenParts {
    /// In the order in which shards came.
    open: Vec<OpenMetrics>,
    /// Where in `open` each shard is; shards are numbered from 0 without large gaps.
    places: Vec<u32>,
}

/// A shard's builder, used for one part after the other.
struct OpenMetrics {
    shard: u32,
    /// Of the first series of the part.
    slot: Slot,
    part: MetricsPartBuilder,
    demoted: bool,
}

impl OpenMetrics {
    fn is_full(&self) -> bool {
        self.part.bytes_len() >= METRICS_PART_BYTES_TARGET
    }

    fn take(&mut self) -> ShardPart {
        ShardPart { shard: self.shard, slot: self.slot, part: self.part.take().into(), demoted: self.demoted }
    }
}

impl<'a> MetricsSplit<'a> {
    /// Parts are taken from `held` as they are cut.
    pub(crate) fn new(tenant: &'a str, shard_of: ShardOf<'a>, held: &'a mut Held) -> Self {
        let (whole, demoted) = (OpenParts::default(), OpenParts::default());
        Self { tenant, shard_of, demotions: None, whole, demoted, done: Done::new(held), expected: 0, reserve: 0 }
    }

    /// Samples lose these labels.
    pub(crate) fn demoting(self, demotions: Option<&'a TenantDemotions>) -> Self {
        Self { demotions, ..self }
    }

    /// The whole request spells out `bytes`, which go to about [`SHARDS_USUAL`] parts.
    pub(crate) fn expect(&mut self, bytes: usize) {
        self.reserve = bytes + bytes / 4;
        self.expected = (self.reserve / SHARDS_USUAL).min(METRICS_PART_BYTES_TARGET + PART_SLACK_BYTES);
    }

    /// `key_hash` of a series of this tenant.
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        key_hash(self.tenant, key)
    }

    /// Adds samples of the series with canonical labels `key`.
    pub(crate) fn add(&mut self, key: &[u8], floats: &[(i64, u64)], blobs: &[Blob<'_>]) {
        self.add_hashed(self.hash(key), key, floats, blobs);
    }

    /// Adds samples of the series with canonical labels `key`, whose `key_hash` is `hash`.
    pub(crate) fn add_hashed(&mut self, hash: u64, key: &[u8], floats: &[(i64, u64)], blobs: &[Blob<'_>]) {
        if let Some(demotions) = self.demotions
            && let Some(of_series) = demotions.of_series(key)
        {
            return self.add_demoted(&of_series, hash, key, floats, blobs);
        }
        self.append(false, hash, key, floats, blobs);
    }

    /// Adds samples of a series of which some may lose labels: each goes by its own time.
    #[cold]
    fn add_demoted(
        &mut self,
        of_series: &SeriesDemotions<'_>,
        hash: u64,
        key: &[u8],
        floats: &[(i64, u64)],
        blobs: &[Blob<'_>],
    ) {
        let mut without = Vec::new();
        let mut append = |demoted: Demoted, floats: &[(i64, u64)], blobs: &[Blob<'_>]| {
            if demoted.any() {
                of_series.rewrite(key, demoted, &mut without);
                self.append(true, key_hash(self.tenant, &without), &without, floats, blobs);
            } else {
                self.append(false, hash, key, floats, blobs);
            }
        };
        for alike in floats.chunk_by(|a, b| of_series.at(a.0) == of_series.at(b.0)) {
            append(of_series.at(alike[0].0), alike, &[]);
        }
        for alike in blobs.chunk_by(|a, b| of_series.at(a.time_ms) == of_series.at(b.time_ms)) {
            append(of_series.at(alike[0].time_ms), &[], alike);
        }
    }

    fn append(&mut self, demoted: bool, hash: u64, key: &[u8], mut floats: &[(i64, u64)], mut blobs: &[Blob<'_>]) {
        let slot = slot_of_hash(hash);
        while self.done.refused.is_none() && !(floats.is_empty() && blobs.is_empty()) {
            let open = self.open(demoted, slot);
            let part = &mut open.part;
            let series = part.series(hash, key);
            while !floats.is_empty() && part.bytes_len() < METRICS_PART_BYTES_TARGET {
                let (step, rest) = floats.split_at(floats.len().min(FLOATS_STEP));
                part.floats(series, step.iter().copied());
                floats = rest;
            }
            while let ([blob, rest @ ..], true) = (blobs, part.bytes_len() < METRICS_PART_BYTES_TARGET) {
                part.blob(series, blob.kind, blob.time_ms, &blob.payload);
                blobs = rest;
            }
            if open.is_full() {
                let part = open.take();
                self.done.push(part);
            }
        }
    }

    /// Adds a metric family's metadata, to the shard of the family's name.
    pub(crate) fn metadata(&mut self, family: &str, metric_type: u8, help: &str, unit: &str) {
        let open = self.open(false, slot_of_hash(key_hash(self.tenant, family.as_bytes())));
        open.part.metadata(family, metric_type, help, unit);
        if open.is_full() {
            let part = open.take();
            self.done.push(part);
        }
    }

    /// The open part of the slot's shard.
    #[inline]
    fn open(&mut self, demoted: bool, slot: Slot) -> &mut OpenMetrics {
        let shard = (self.shard_of)(slot);
        let parts = if demoted { &mut self.demoted } else { &mut self.whole };
        let at = match parts.places.get(shard as usize) {
            Some(&at) if at != NO_PLACE => at as usize,
            _ => parts.begin(shard, slot, demoted, self.tenant, (self.expected, &mut self.reserve)),
        };
        let open = &mut parts.open[at];
        if open.part.is_empty() {
            open.slot = slot;
        }
        open
    }

    /// Full parts in the order they filled, then the open ones by shard; an error when the budget has no room for them.
    pub(crate) fn finish(mut self) -> Result<Vec<ShardPart>, ApiError> {
        for mut parts in [self.whole, self.demoted] {
            parts.open.sort_unstable_by_key(|open| open.shard);
            for open in parts.open.iter_mut().filter(|open| !open.part.is_empty()) {
                self.done.push(open.take());
            }
        }
        self.done.finish()
    }
}

impl OpenParts {
    /// Opens the shard's part; of the bytes that are expected of it and still may be reserved, so many are.
    #[cold]
    fn begin(
        &mut self,
        shard: u32,
        slot: Slot,
        demoted: bool,
        tenant: &str,
        (expected, reserve): (usize, &mut usize),
    ) -> usize {
        let mut part = MetricsPartBuilder::new(tenant);
        let expected = expected.min(*reserve);
        part.expect(expected);
        *reserve -= expected;
        let at = self.open.len();
        if self.places.len() <= shard as usize {
            self.places.resize(shard as usize + 1, NO_PLACE);
        }
        self.places[shard as usize] = at as u32;
        self.open.push(OpenMetrics { shard, slot, part, demoted });
        at
    }
}

struct OpenRows {
    slot: Slot,
    part: RowsPartBuilder,
    /// Request's stream number -> position in the part.
    streams: HashMap<u32, u32>,
}

/// A log stream or span stream of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamKey<'a> {
    /// Number within the request; the same number has the same key.
    pub(crate) number: u32,
    /// Canonical labels, or encoded attributes.
    pub(crate) key: &'a [u8],
    pub(crate) hash: u64,
}

/// Splits log entries or spans.
pub(crate) struct RowsSplit<'a> {
    signal: Signal,
    tenant: &'a str,
    shard_of: ShardOf<'a>,
    /// Given to rows whose time is 0; 0 leaves them at 0.
    assigned_ns: i64,
    open: BTreeMap<u32, OpenRows>,
    done: Done<'a>,
}

impl<'a> RowsSplit<'a> {
    /// Parts are taken from `held` as they are cut.
    pub(crate) fn new(
        signal: Signal,
        tenant: &'a str,
        shard_of: ShardOf<'a>,
        assigned_ns: i64,
        held: &'a mut Held,
    ) -> Self {
        Self { signal, tenant, shard_of, assigned_ns, open: BTreeMap::new(), done: Done::new(held) }
    }

    /// Whether the budget has refused a part: nothing more is kept, and [`Self::finish`] says why.
    pub(crate) fn is_refused(&self) -> bool {
        self.done.refused.is_some()
    }

    /// Adds a row to the shard of `slot` and returns the encoded bytes it took.
    pub(crate) fn row<'v>(
        &mut self,
        slot: Slot,
        stream: StreamKey<'_>,
        time_ns: i64,
        body: &[u8],
        attrs: impl Iterator<Item = (Scope, &'v str, &'v Value)> + Clone,
    ) -> usize {
        if self.is_refused() {
            return 0;
        }
        let shard = (self.shard_of)(slot);
        let open = self.open.entry(shard).or_insert_with(|| OpenRows {
            slot,
            part: RowsPartBuilder::new(self.signal, self.tenant),
            streams: HashMap::new(),
        });
        let position = match open.streams.get(&stream.number) {
            Some(&position) => position,
            None => {
                let position = open.part.stream(stream.hash, stream.key);
                open.streams.insert(stream.number, position);
                position
            }
        };
        if time_ns == 0 && self.assigned_ns != 0 {
            open.part.assign_time(self.assigned_ns);
        }
        let before = open.part.bytes_len();
        open.part.row(position, time_ns, body, attrs);
        let took = open.part.bytes_len() - before;
        if open.part.bytes_len() >= PART_BODY_BYTES_TARGET
            && let Some(open) = self.open.remove(&shard)
        {
            self.done.push(ShardPart { shard, slot: open.slot, part: open.part.finish().into(), demoted: false });
        }
        took
    }

    /// Full parts in the order they filled, then the open ones by shard; an error when the budget has no room for them.
    pub(crate) fn finish(mut self) -> Result<Vec<ShardPart>, ApiError> {
        for (shard, open) in self.open {
            self.done.push(ShardPart { shard, slot: open.slot, part: open.part.finish().into(), demoted: false });
        }
        self.done.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use trine_store::model::{Demotion, Demotions, LabelOfMetric, Labels};
    use trine_store::part::{MetricsBody, PartRef, RowsBody};

    use super::*;
    use crate::budget::Budget;

    #[test]
    fn parts_beyond_the_budget_are_refused() {
        let budget = Budget::new(1 << 20);
        let mut held = budget.take(0).unwrap();
        let key = [&b"\x08__name__\x80\x80\x01"[..], &[b'x'; 16 << 10]].concat();
        let mut split = MetricsSplit::new("t", &|slot: Slot| u32::from(slot.0), &mut held);
        for i in 0..100_000u32 {
            split.add(&[&key[..], &i.to_be_bytes()].concat(), &[(1, 1)], &[]);
        }
        assert!(split.done.parts.is_empty(), "what was kept is dropped at once");
        assert!(matches!(split.finish(), Err(ApiError::TooLarge(_))));
        assert!(budget.used_bytes() <= 1 << 20);
    }

    #[test]
    fn metrics_are_cut_and_come_out_alike() {
        let shard_of = |slot: Slot| u32::from(slot.0) % 4;
        let build = || {
            let mut held = Budget::new(64 << 20).take(0).unwrap();
            let mut split = MetricsSplit::new("t", &shard_of, &mut held);
            for i in 0..200u32 {
                let key = format!("\x08__name__\x04m{i:03}");
                let floats: Vec<(i64, u64)> = (0..100).map(|t| (t * 15_000, u64::from(i))).collect();
                split.add(key.as_bytes(), &floats, &[]);
            }
            split.metadata("m", 1, "help", "");
            split.finish().unwrap()
        };
        let (one, two) = (build(), build());
        assert_eq!(one.len(), two.len());
        let mut facts = 0;
        for (a, b) in one.iter().zip(&two) {
            assert_eq!((a.shard, &a.part), (b.shard, &b.part));
            assert!(a.part.len() < 2 * METRICS_PART_BYTES_TARGET);
            let part = PartRef::decode(&a.part).unwrap();
            MetricsBody::check(part.body, part.defs.len() as u32).unwrap();
            assert!(part.defs.iter().all(|d| shard_of(slot_of_hash(d.hash)) == a.shard));
            facts += part.facts_count;
        }
        assert_eq!(facts, 20_000);
        assert!(one.len() > 3, "{} parts", one.len());
    }

    #[test]
    fn samples_of_a_demoted_label_go_to_parts_of_their_own() {
        let of = LabelOfMetric { tenant: "t".into(), metric: "m".into(), label: "user".into() };
        let demotions = Demotions::new(&[Demotion { of, from_ms: 100, until_ms: 200 }]).of("t");
        let mut held = Budget::new(64 << 20).take(0).unwrap();
        let mut split = MetricsSplit::new("t", &|_: Slot| 0, &mut held).demoting(demotions.as_ref());
        let exemplar = |time_ms| Blob { kind: SampleKind::Exemplar, time_ms, payload: Cow::Borrowed(b"x") };
        for user in ["1", "2"] {
            let key = Labels::from_pairs([("__name__", "m"), ("user", user)]).unwrap();
            split.add(key.as_bytes(), &[(99, 1), (100, 2), (199, 3), (200, 4)], &[exemplar(99), exemplar(100)]);
        }
        let parts = split.finish().unwrap();
        let seen: Vec<(bool, BTreeSet<String>, u32)> = parts
            .iter()
            .map(|p| {
                let part = PartRef::decode(&p.part).unwrap();
                let keys = part.defs.iter().map(|d| Labels::decode(d.key).unwrap().to_string()).collect();
                assert!(part.defs.iter().all(|d| d.hash == key_hash("t", d.key)));
                (p.demoted, keys, part.facts_count)
            })
            .collect();
        let key = |user: &str| format!("{{__name__=\"m\", user=\"{user}\"}}");
        assert_eq!(
            seen,
            [(false, [key("1"), key("2")].into(), 6), (true, ["{__name__=\"m\"}".to_owned()].into(), 6)],
            "one series is what is left of both"
        );
    }

    #[test]
    fn a_stream_is_defined_once_a_part() {
        let shard_of = |_: Slot| 0;
        let mut held = Budget::new(64 << 20).take(0).unwrap();
        let mut split = RowsSplit::new(Signal::Logs, "t", &shard_of, 9, &mut held);
        let stream = StreamKey { number: 3, key: b"\x01a\x01b", hash: 1 };
        for t in 0..3 {
            split.row(Slot(0), stream, t, b"line", std::iter::empty());
        }
        let parts = split.finish().unwrap();
        let part = PartRef::decode(&parts[0].part).unwrap();
        assert_eq!((part.defs.len(), part.facts_count, part.assigned_ns), (1, 3, 9));
        RowsBody::check(part.body, 1).unwrap();
    }
}
