//! Decoder of remote write 1.0: a walk over the message straight into parts.
//!
//! Nothing is allocated for a sample or a series once the scratch space has grown to the largest series.
use std::borrow::Cow;
use std::sync::Arc;

use trine_store::model::{LabelsBuilder, Signal, TenantDemotions};
use trine_store::part::SampleKind;

use super::exemplars::kept_time_ms;
use super::histogram;
use super::refused::{Named, shown};
use super::series_cache::{Lookup, SeriesCache};
use crate::backend::ShardPart;
use crate::budget::Held;
use crate::config::ApiConfig;
use crate::error::ApiError;
use crate::parts::{Blob, MetricsSplit, ShardOf};
use crate::state::Api;
use crate::wire::{Field, WireError, fields};

/// Longest family name, help and unit together that is kept as metadata.
const METADATA_BYTES_MAX: usize = 8 << 10;

/// Bounds on what is accepted.
#[derive(Clone, Debug)]
pub(crate) struct WriteLimits {
    pub(crate) now_ms: i64,
    pub(crate) future_ms_max: i64,
    /// Samples before this time are refused.
    pub(crate) oldest_ms: i64,
    pub(crate) series_bytes_max: usize,
    /// Keep since when a counter counts, where the writer says so.
    pub(crate) start_timestamps: bool,
    /// This label is taken off every series: replicas of a pair differ in nothing else.
    pub(crate) replica_label: Option<Arc<str>>,
    /// Labels that samples of some metrics lose.
    pub(crate) demotions: Option<TenantDemotions>,
}

impl WriteLimits {
    /// Limits for what is received of a tenant now.
    pub(crate) fn of_tenant(api: &Api, tenant: &str) -> Self {
        let (config, now_ms) = (api.config(), api.now_ms());
        let expired = expired_before_ms(config.retention_ms_of(tenant), now_ms);
        let oldest_ms = expired.max(api.backend().room_from_ms(Signal::Metrics));
        Self { oldest_ms, demotions: api.backend().demotions(tenant), ..Self::of(config, now_ms) }
    }

    /// Limits of most tenants at a time.
    pub(crate) fn of(config: &ApiConfig, now_ms: i64) -> Self {
        Self {
            now_ms,
            future_ms_max: config.future_ms_max,
            oldest_ms: expired_before_ms(config.retention_ms, now_ms),
            series_bytes_max: config.series_bytes_max,
            start_timestamps: config.start_timestamps,
            replica_label: None,
            demotions: None,
        }
    }

    /// Whether this label does not belong to a series.
    pub(super) fn takes_off(&self, name: &str) -> bool {
        self.replica_label.as_deref() == Some(name)
    }

    /// Why a sample of this time is refused, if it is, in Prometheus' words.
    pub(super) fn refusal(&self, time_ms: i64) -> Option<&'static str> {
        if time_ms > self.newest_ms() {
            Some("out of bounds: timestamp is too far in the future")
        } else if time_ms < self.oldest_ms {
            Some("too old sample")
        } else {
            None
        }
    }

    pub(crate) fn newest_ms(&self) -> i64 {
        self.now_ms.saturating_add(self.future_ms_max)
    }
}

/// What is older than this has expired; 0 ms of retention keep everything.
pub(crate) fn expired_before_ms(retention_ms: i64, now_ms: i64) -> i64 {
    if retention_ms > 0 { now_ms.saturating_sub(retention_ms) } else { i64::MIN }
}

/// A decoded request: parts and what was left out of them.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub(crate) parts: Vec<ShardPart>,
    /// All samples and histograms of the request.
    pub(crate) samples: u64,
    /// Samples of series without a name or with invalid or duplicate labels: skipped in silence by protocol 1.0.
    pub(crate) skipped_samples: u64,
    pub(crate) too_new: u64,
    pub(crate) too_old: u64,
    /// Samples of series whose labels do not fit into a log entry.
    pub(crate) too_large: u64,
    pub(crate) bad_histograms: u64,
    /// What was wrong with the first of them.
    pub(super) histogram_fault: Option<histogram::Fault>,
    /// Of each reason, the first series of which something was refused.
    pub(super) named: Named,
}

/// Reused from series to series.
#[derive(Default)]
struct Scratch<'a> {
    labels: LabelsBuilder,
    key: Vec<u8>,
    floats: Vec<(i64, u64)>,
    blobs: Vec<Blob<'a>>,
}

/// What a decoder knows beside the message.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) limits: &'a WriteLimits,
    pub(crate) shard_of: ShardOf<'a>,
    pub(crate) cache: &'a SeriesCache,
}

/// Decodes a `prometheus.WriteRequest`.
pub(crate) fn decode(context: Context<'_>, message: &[u8], held: &mut Held) -> Result<Decoded, ApiError> {
    let Context { tenant, limits, shard_of, cache } = context;
    // Without their replica label series are others than their bytes say.
    let mut lookup = limits.replica_label.is_none().then(|| cache.open(tenant));
    let mut split = MetricsSplit::new(tenant, shard_of, held).demoting(limits.demotions.as_ref());
    split.expect(message.len());
    let mut decoded = Decoded::default();
    let mut scratch = Scratch::default();
    let mut request = fields(message, "WriteRequest");
    while let Some((number, field)) = request.next_field()? {
        match (number, field) {
            (1, Field::Bytes(series)) => {
                decode_series(series, limits, lookup.as_mut(), &mut scratch, &mut decoded, &mut split)?;
            }
            (3, Field::Bytes(metadata)) => decode_metadata(metadata, &mut split)?,
            _ => {}
        }
    }
    if let Some(lookup) = lookup {
        lookup.close();
    }
    decoded.parts = split.finish()?;
    Ok(decoded)
}

fn decode_series<'a>(
    series: &'a [u8],
    limits: &WriteLimits,
    lookup: Option<&mut Lookup<'_>>,
    scratch: &mut Scratch<'a>,
    decoded: &mut Decoded,
    split: &mut MetricsSplit<'_>,
) -> Result<(), WireError> {
    scratch.floats.clear();
    scratch.blobs.clear();
    let mut walk = fields(series, "TimeSeries");
    let labels = walk.leading_run(1)?;
    let refused = decoded.refused();
    let mut scattered = false;
    while let Some((number, field)) = walk.next_field()? {
        let Some(bytes) = field.bytes() else { continue };
        match number {
            1 => scattered = true,
            2 => decode_sample(bytes, limits, scratch, decoded)?,
            3 => decode_exemplar(bytes, limits, scratch)?,
            4 => decode_histogram(bytes, limits, scratch, decoded)?,
            _ => {}
        }
    }
    if decoded.refused() != refused {
        decoded.name_refused(refused, series)?;
    }
    let mut lookup = lookup.filter(|_| !scattered).map(|lookup| (lookup.digest(labels), lookup));
    if let Some((digest, lookup)) = &mut lookup
        && let Some((hash, key)) = lookup.find(*digest)
    {
        split.add_hashed(hash, key, &scratch.floats, &scratch.blobs);
        return Ok(());
    }
    let identified = identify(series, limits, scratch)?;
    let kept = (scratch.floats.len() + scratch.blobs.iter().filter(|b| b.kind != SampleKind::Exemplar).count()) as u64;
    if !identified {
        decoded.skipped_samples += kept;
    } else if scratch.key.len() > limits.series_bytes_max {
        decoded.too_large += kept;
        if decoded.named.too_large.is_none() {
            decoded.named.too_large = Some(shown(series)?);
        }
    } else {
        let hash = split.hash(&scratch.key);
        if let Some((digest, lookup)) = lookup {
            lookup.learn(digest, hash, &scratch.key);
        }
        split.add_hashed(hash, &scratch.key, &scratch.floats, &scratch.blobs);
    }
    Ok(())
}

/// Makes the series' canonical labels; `false` when it has no name, or what cannot be a label, or one twice.
fn identify(series: &[u8], limits: &WriteLimits, scratch: &mut Scratch<'_>) -> Result<bool, WireError> {
    scratch.labels.clear();
    scratch.key.clear();
    let (mut valid, mut named) = (true, false);
    let mut walk = fields(series, "TimeSeries");
    while let Some((number, field)) = walk.next_field()? {
        let (1, Field::Bytes(bytes)) = (number, field) else { continue };
        match decode_label(bytes)? {
            Some((name, _)) if limits.takes_off(name) => {}
            Some((name, value)) => {
                named |= name == "__name__" && !value.is_empty();
                scratch.labels.push(name, value);
            }
            None => valid = false,
        }
    }
    Ok(valid && named && scratch.labels.encode_into(&mut scratch.key).is_ok())
}

/// Name and value; `None` when the name is empty or either is not UTF-8.
pub(super) fn decode_label(bytes: &[u8]) -> Result<Option<(&str, &str)>, WireError> {
    let (mut name, mut value) = (&b""[..], &b""[..]);
    let mut walk = fields(bytes, "Label");
    while let Some((number, field)) = walk.next_field()? {
        match (number, field) {
            (1, Field::Bytes(b)) => name = b,
            (2, Field::Bytes(b)) => value = b,
            _ => {}
        }
    }
    let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else { return Ok(None) };
    Ok((!name.is_empty()).then_some((name, value)))
}

/// Whether a sample's time is acceptable; counts it if not.
fn in_time(time_ms: i64, limits: &WriteLimits, decoded: &mut Decoded) -> bool {
    decoded.samples += 1;
    if time_ms > limits.newest_ms() {
        decoded.too_new += 1;
    } else if time_ms < limits.oldest_ms {
        decoded.too_old += 1;
    } else {
        return true;
    }
    false
}

fn decode_sample(
    bytes: &[u8],
    limits: &WriteLimits,
    scratch: &mut Scratch<'_>,
    decoded: &mut Decoded,
) -> Result<(), WireError> {
    let (bits, time_ms) = match usual_sample(bytes) {
        Some(sample) => sample,
        None => any_sample(bytes)?,
    };
    if in_time(time_ms, limits, decoded) {
        scratch.floats.push((time_ms, bits));
    }
    Ok(())
}

/// Bits and time of a sample as nearly every client writes it: the value, then the time, and nothing else.
#[inline]
fn usual_sample(bytes: &[u8]) -> Option<(u64, i64)> {
    let (bits, time) = bytes.strip_prefix(&[1 << 3 | 1])?.split_first_chunk()?;
    let time = time.strip_prefix(&[2 << 3])?;
    let (last, more) = time.split_last()?;
    // Times of this age have six bytes.
    if time.len() > 8 || *last >= 0x80 || more.iter().any(|byte| *byte < 0x80) {
        return None;
    }
    let time_ms = time.iter().rev().fold(0, |ms, byte| ms << 7 | i64::from(byte & 0x7f));
    Some((u64::from_le_bytes(*bits), time_ms))
}

/// The same of a sample with its fields in any order.
fn any_sample(bytes: &[u8]) -> Result<(u64, i64), WireError> {
    let (mut bits, mut time_ms) = (0u64, 0i64);
    let mut walk = fields(bytes, "Sample");
    while let Some((number, field)) = walk.next_field()? {
        match (number, field) {
            (1, Field::Fixed64(v)) => bits = v,
            (2, Field::Varint(v)) => time_ms = v as i64,
            _ => {}
        }
    }
    Ok((bits, time_ms))
}

/// One that cannot be kept is dropped in silence, as Prometheus does.
fn decode_exemplar<'a>(bytes: &'a [u8], limits: &WriteLimits, scratch: &mut Scratch<'a>) -> Result<(), WireError> {
    let mut walk = fields(bytes, "Exemplar");
    while walk.next_field()?.is_some() {}
    let in_time = limits.oldest_ms..=limits.newest_ms();
    if let Some(time_ms) = kept_time_ms(bytes).ok().flatten().filter(|t| in_time.contains(t)) {
        scratch.blobs.push(Blob { kind: SampleKind::Exemplar, time_ms, payload: Cow::Borrowed(bytes) });
    }
    Ok(())
}

/// Kept as its own protobuf bytes; an invalid one is refused.
fn decode_histogram<'a>(
    bytes: &'a [u8],
    limits: &WriteLimits,
    scratch: &mut Scratch<'a>,
    decoded: &mut Decoded,
) -> Result<(), WireError> {
    let (time_ms, checked) = histogram::check(bytes)?;
    if in_time(time_ms, limits, decoded) {
        match checked {
            Ok(blob) => scratch.blobs.push(blob),
            Err(fault) => {
                decoded.bad_histograms += 1;
                decoded.histogram_fault.get_or_insert(fault);
            }
        }
    }
    Ok(())
}

fn decode_metadata(bytes: &[u8], split: &mut MetricsSplit<'_>) -> Result<(), WireError> {
    let (mut metric_type, mut family, mut help, mut unit) = (0u64, "", "", "");
    let mut walk = fields(bytes, "MetricMetadata");
    let text = |b| std::str::from_utf8(b).map_err(|_| WireError { message: "MetricMetadata" });
    while let Some((number, field)) = walk.next_field()? {
        match (number, field) {
            (1, Field::Varint(v)) => metric_type = v,
            (2, Field::Bytes(b)) => family = text(b)?,
            (4, Field::Bytes(b)) => help = text(b)?,
            (5, Field::Bytes(b)) => unit = text(b)?,
            _ => {}
        }
    }
    if !family.is_empty() && family.len() + help.len() + unit.len() <= METADATA_BYTES_MAX {
        split.metadata(family, u8::try_from(metric_type).unwrap_or(0), help, unit);
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use trine_store::model::{Labels, Slot};
    use trine_store::part::{MetricRecord, MetricsBody, PartRef};

    use super::*;

    fn varint(out: &mut Vec<u8>, v: u64) {
        trine_store::codec::put_uvarint(out, v);
    }

    fn message(out: &mut Vec<u8>, number: u32, body: &[u8]) {
        varint(out, u64::from(number << 3 | 2));
        varint(out, body.len() as u64);
        out.extend_from_slice(body);
    }

    /// An encoded TimeSeries.
    pub(crate) fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in labels {
            let mut label = Vec::new();
            message(&mut label, 1, name.as_bytes());
            message(&mut label, 2, value.as_bytes());
            message(&mut out, 1, &label);
        }
        for (t, v) in samples {
            let mut sample = vec![9];
            sample.extend_from_slice(&v.to_bits().to_le_bytes());
            sample.push(16);
            varint(&mut sample, *t as u64);
            message(&mut out, 2, &sample);
        }
        out
    }

    /// An encoded WriteRequest of encoded series.
    pub(crate) fn request(series: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for s in series {
            message(&mut out, 1, s);
        }
        out
    }

    fn limits() -> WriteLimits {
        let config =
            ApiConfig { future_ms_max: 600_000, retention_ms: 900_000, series_bytes_max: 1000, ..ApiConfig::default() };
        WriteLimits::of(&config, 1_000_000)
    }

    fn run(bytes: &[u8]) -> Result<Decoded, ApiError> {
        run_with(&SeriesCache::new(0), bytes)
    }

    fn run_with(cache: &SeriesCache, bytes: &[u8]) -> Result<Decoded, ApiError> {
        let context = Context { tenant: "t", limits: &limits(), shard_of: &|s: Slot| u32::from(s.0) % 2, cache };
        decode(context, bytes, &mut crate::budget::Budget::new(64 << 20).take(0).unwrap())
    }

    fn samples_of(decoded: &Decoded) -> Vec<(String, i64, f64)> {
        let mut out = Vec::new();
        for p in &decoded.parts {
            let part = PartRef::decode(&p.part).unwrap();
            let mut body = MetricsBody::new(part.body, part.defs.len() as u32);
            while let Some(record) = body.next_record().unwrap() {
                if let MetricRecord::Floats { series, samples } = record {
                    let labels = Labels::decode(part.defs[series as usize].key).unwrap().to_string();
                    out.extend(samples.map(|(t, b)| (labels.clone(), t, f64::from_bits(b))));
                }
            }
        }
        out.sort_by(|a, b| a.partial_cmp(b).unwrap());
        out
    }

    #[test]
    fn good_series_are_kept_and_bad_ones_counted() {
        let bytes = request(&[
            series(&[("__name__", "up"), ("job", "n"), ("empty", "")], &[(990_000, 1.0), (1_000_000, 0.5)]),
            series(&[("job", "n")], &[(1_000_000, 1.0)]),
            series(&[("__name__", "up"), ("a", "1"), ("a", "2")], &[(1_000_000, 1.0)]),
            series(&[("__name__", "up")], &[(1_600_001, 1.0), (99_999, 1.0), (1_600_000, 2.0)]),
            series(&[("__name__", &"x".repeat(2000))], &[(1_000_000, 1.0)]),
        ]);
        let decoded = run(&bytes).unwrap();
        assert_eq!((decoded.samples, decoded.skipped_samples), (8, 2));
        assert_eq!((decoded.too_new, decoded.too_old, decoded.too_large), (1, 1, 1));
        assert_eq!(decoded.named.too_new.as_deref(), Some(r#"{__name__="up"}"#));
        assert_eq!((&decoded.named.too_old, &decoded.named.bad_histograms), (&decoded.named.too_new, &None));
        let long = decoded.named.too_large.as_deref().unwrap();
        assert!(long.starts_with("{__name__=\"xxx") && long.ends_with("x…") && long.len() < 520, "{long}");
        let samples = samples_of(&decoded);
        assert_eq!(samples.len(), 3);
        assert!(samples.contains(&(r#"{__name__="up", job="n"}"#.to_owned(), 990_000, 1.0)));
        assert!(samples.contains(&(r#"{__name__="up"}"#.to_owned(), 1_600_000, 2.0)));
    }

    #[test]
    fn known_series_are_decoded_as_they_were_at_first() {
        let cache = SeriesCache::new(1 << 20);
        let mut scattered = series(&[("__name__", "up")], &[(990_000, 1.0)]);
        scattered.extend(series(&[("job", "late")], &[(991_000, 2.0)]));
        let bytes = request(&[
            series(&[("__name__", "up"), ("job", "n")], &[(990_000, 1.0), (1_000_000, 0.5)]),
            series(&[("job", "unsorted"), ("__name__", "up")], &[(1_000_000, 1.0), (2, 1.0)]),
            series(&[("__name__", "up")], &[(1_000_000, 1.0)]),
            scattered,
            series(&[("__name__", "up"), ("bad", "1"), ("bad", "2")], &[(1_000_000, 1.0)]),
            series(&[("__name__", &"x".repeat(2000))], &[(1_000_000, 1.0)]),
        ]);
        let (cold, warm) = (run_with(&cache, &bytes).unwrap(), run_with(&cache, &bytes).unwrap());
        assert_eq!((&cold.parts, cold.samples), (&warm.parts, warm.samples));
        assert_eq!((cold.skipped_samples, cold.too_old, cold.too_large), (1, 1, 1));
        assert_eq!((warm.skipped_samples, warm.too_old, warm.too_large), (1, 1, 1));
        assert_eq!(cold.parts, run(&bytes).unwrap().parts, "the same without a cache");
        let texts: Vec<String> = samples_of(&warm).into_iter().map(|(labels, ..)| labels).collect();
        let scattered = r#"{__name__="up", job="late"}"#;
        assert_eq!(texts.iter().filter(|text| *text == scattered).count(), 2, "{texts:?}");
    }

    #[test]
    fn histograms_exemplars_and_metadata_are_kept_as_bytes() {
        let mut histogram = vec![8, 0, 0x20, 3];
        histogram.push(15 << 3);
        varint(&mut histogram, 1_000_000);
        let mut s = series(&[("__name__", "h")], &[]);
        message(&mut s, 4, &histogram);
        message(&mut s, 4, &[8, 5, 0x20, 40, 15 << 3, 1]);
        let mut exemplar = vec![24];
        varint(&mut exemplar, 1_000_000);
        message(&mut s, 3, &exemplar);
        let mut bytes = request(&[s]);
        let mut metadata = vec![8, 1];
        message(&mut metadata, 2, b"h");
        message(&mut metadata, 4, b"help");
        message(&mut bytes, 3, &metadata);
        let decoded = run(&bytes).unwrap();
        assert_eq!(decoded.too_old, 1);
        let mut kinds = Vec::new();
        for p in &decoded.parts {
            let part = PartRef::decode(&p.part).unwrap();
            let mut body = MetricsBody::new(part.body, part.defs.len() as u32);
            while let Some(record) = body.next_record().unwrap() {
                match record {
                    MetricRecord::Blob { kind, payload, .. } => kinds.push(format!("{kind:?} {}", payload.len())),
                    MetricRecord::Metadata { family, metric_type, help, .. } => {
                        kinds.push(format!("{family} {metric_type} {help}"));
                    }
                    MetricRecord::Floats { .. } => panic!("no floats were sent"),
                }
            }
        }
        kinds.sort();
        assert_eq!(
            kinds,
            [
                format!("Exemplar {}", exemplar.len()),
                format!("IntHistogram {}", histogram.len()),
                "h 1 help".to_owned()
            ]
        );
    }

    #[test]
    fn hostile_bytes_are_errors() {
        for bad in [&[0x0a, 0x05, 1][..], &[0x0a, 2, 0x0a, 9], &[0x0a, 4, 0x12, 2, 9, 9], &[0xff; 12]] {
            assert!(run(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        /// The short way takes what it takes as the long one does.
        #[test]
        fn usual_samples_are_as_any(
            bits: u64,
            time_ms in prop_oneof![any::<i64>(), 0i64..1 << 42],
            cut in 0usize..24,
            junk: Vec<u8>,
        ) {
            let mut bytes = vec![9];
            bytes.extend_from_slice(&bits.to_le_bytes());
            bytes.push(16);
            varint(&mut bytes, time_ms as u64);
            prop_assert_eq!(any_sample(&bytes).unwrap(), (bits, time_ms));
            prop_assert!(usual_sample(&bytes).is_none_or(|sample| sample == (bits, time_ms)));
            prop_assert_eq!(usual_sample(&bytes).is_some(), (0..1 << 56).contains(&time_ms));
            bytes.truncate(cut);
            bytes.extend_from_slice(&junk);
            if let Some(sample) = usual_sample(&bytes) {
                prop_assert_eq!(any_sample(&bytes), Ok(sample));
            }
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _unchecked = run(&bytes);
        }

        #[test]
        fn a_retry_gives_the_same_parts(times in proptest::collection::vec(100_000i64..1_600_000, 0..300)) {
            let samples: Vec<(i64, f64)> = times.iter().map(|t| (*t, *t as f64)).collect();
            let bytes = request(&[series(&[("__name__", "a")], &samples), series(&[("__name__", "b")], &samples)]);
            let cache = SeriesCache::new(1 << 20);
            let (one, two) = (run_with(&cache, &bytes).unwrap(), run_with(&cache, &bytes).unwrap());
            prop_assert_eq!(one.parts.iter().map(|p| &p.part).collect::<Vec<_>>(), two.parts.iter().map(|p| &p.part).collect::<Vec<_>>());
            prop_assert_eq!(samples_of(&one).len(), 2 * samples.len());
        }
    }
}
