//! Decoder of remote write 2.0: symbols first, then series that refer to them.
use std::borrow::Cow;

use trine_store::codec::{put_bytes, put_ivarint, put_uvarint};
use trine_store::model::LabelsBuilder;
use trine_store::part::SampleKind;

use super::decode::WriteLimits;
use super::exemplars::{CHARS_MAX, kept_time_ms};
use super::histogram;
use super::refused::show;
use crate::backend::ShardPart;
use crate::budget::Held;
use crate::error::ApiError;
use crate::parts::{Blob, MetricsSplit, ShardOf};
use crate::wire::{Field, WireError, fields};

/// Refusals that are spelled out.
const TEXTS_MAX: usize = 20;
/// Longest help and unit that are kept.
const METADATA_BYTES_MAX: usize = 8 << 10;

/// A decoded request: parts, what they hold, and what was refused.
#[derive(Debug, Default)]
pub(crate) struct DecodedV2 {
    pub(super) parts: Vec<ShardPart>,
    pub(super) samples: u64,
    pub(super) histograms: u64,
    pub(super) exemplars: u64,
    pub(super) rejected: u64,
    /// One line each, at most [`TEXTS_MAX`].
    pub(super) texts: Vec<String>,
}

impl DecodedV2 {
    fn reject(&mut self, facts: u64, text: impl FnOnce() -> String) {
        self.rejected += facts;
        if self.texts.len() < TEXTS_MAX {
            self.texts.push(text());
        }
    }
}

/// Decodes an `io.prometheus.write.v2.Request`.
pub(crate) fn decode(
    tenant: &str,
    message: &[u8],
    limits: &WriteLimits,
    shard_of: ShardOf<'_>,
    held: &mut Held,
) -> Result<DecodedV2, ApiError> {
    let mut symbols = Vec::new();
    let mut walk = fields(message, "Request");
    while let Some((number, field)) = walk.next_field()? {
        if let (4, Field::Bytes(b)) = (number, field) {
            symbols.push(std::str::from_utf8(b).map_err(|_| WireError { message: "Request" })?);
        }
    }
    let mut split = MetricsSplit::new(tenant, shard_of, held).demoting(limits.demotions.as_ref());
    let (mut decoded, mut scratch) = (DecodedV2::default(), Scratch::default());
    let mut walk = fields(message, "Request");
    while let Some((number, field)) = walk.next_field()? {
        if let (5, Field::Bytes(series)) = (number, field) {
            decode_series(series, &symbols, limits, &mut scratch, &mut decoded, &mut split)?;
        }
    }
    decoded.parts = split.finish()?;
    Ok(decoded)
}

/// Repeated uint32, packed or not.
pub(super) fn push_refs(field: Field<'_>, refs: &mut Vec<u32>) -> Result<(), WireError> {
    let wrong = WireError { message: "labels_refs" };
    match field {
        Field::Varint(v) => refs.push(u32::try_from(v).map_err(|_| wrong)?),
        Field::Bytes(packed) => {
            let mut r = trine_store::codec::Reader::new(packed);
            while !r.is_empty() {
                let v = r.uvarint("labels_refs").map_err(|_| wrong)?;
                refs.push(u32::try_from(v).map_err(|_| wrong)?);
            }
        }
        Field::Fixed64(_) | Field::Fixed32(_) => return Err(wrong),
    }
    Ok(())
}

/// Why references name nothing, in Prometheus' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum BadRefs {
    #[error("invalid labelRefs length {0}")]
    Odd(usize),
    #[error("labelRefs {name} (name) = {value} (value) outside of symbols table (size {size})")]
    Outside { name: u32, value: u32, size: usize },
}

/// Replaces `pairs` by the names and values that `refs` name.
fn resolve_into<'a>(refs: &[u32], symbols: &[&'a str], pairs: &mut Vec<(&'a str, &'a str)>) -> Result<(), BadRefs> {
    pairs.clear();
    if !refs.len().is_multiple_of(2) {
        return Err(BadRefs::Odd(refs.len()));
    }
    let symbol = |r: u32| symbols.get(r as usize).copied();
    let pair = |pair: &[u32]| {
        let outside = BadRefs::Outside { name: pair[0], value: pair[1], size: symbols.len() };
        symbol(pair[0]).zip(symbol(pair[1])).ok_or(outside)
    };
    for refs in refs.chunks_exact(2) {
        pairs.push(pair(refs)?);
    }
    Ok(())
}

fn show_refs(refs: &[u32]) -> String {
    let refs: Vec<String> = refs.iter().map(u32::to_string).collect();
    format!("[{}]", refs.join(" "))
}

/// A series as it came.
#[derive(Default)]
struct Series<'a> {
    refs: Vec<u32>,
    samples: Vec<Sample>,
    histograms: Vec<Checked<'a>>,
    exemplars: Vec<&'a [u8]>,
    metadata: Option<&'a [u8]>,
}

/// A histogram's time, and itself unless it is refused.
type Checked<'a> = (i64, Result<Blob<'a>, histogram::Fault>);

impl<'a> Series<'a> {
    /// Replaces what is there.
    fn read(&mut self, bytes: &'a [u8]) -> Result<(), WireError> {
        self.refs.clear();
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.metadata = None;
        let mut walk = fields(bytes, "TimeSeries");
        while let Some((number, field)) = walk.next_field()? {
            match (number, field) {
                (1, field) => push_refs(field, &mut self.refs)?,
                (2, Field::Bytes(b)) => self.samples.push(decode_sample(b)?),
                (3, Field::Bytes(b)) => self.histograms.push(histogram::check(b)?),
                (4, Field::Bytes(b)) => self.exemplars.push(b),
                (5, Field::Bytes(b)) => self.metadata = Some(b),
                _ => {}
            }
        }
        Ok(())
    }

    /// Samples and histograms.
    fn facts(&self) -> u64 {
        (self.samples.len() + self.histograms.len()) as u64
    }
}

/// What one series needs while it is decoded: allocated once a request.
#[derive(Default)]
struct Scratch<'a> {
    series: Series<'a>,
    /// Labels, sorted.
    pairs: Vec<(&'a str, &'a str)>,
    builder: LabelsBuilder,
    /// Canonical labels.
    key: Vec<u8>,
    floats: Vec<(i64, u64)>,
    blobs: Vec<Blob<'a>>,
}

/// What a series is called.
struct Named<'a> {
    name: &'a str,
    family: Option<Family<'a>>,
}

impl<'a> Scratch<'a> {
    /// Names the series by its `pairs` and its `key`, or says why it is left out.
    fn identify(&mut self, symbols: &[&'a str], limits: &WriteLimits) -> Result<Result<Named<'a>, String>, WireError> {
        let Self { series, pairs, builder, key, .. } = self;
        if let Err(bad) = resolve_into(&series.refs, symbols, pairs) {
            return Ok(Err(format!("parsing labels for series {}: {bad}", show_refs(&series.refs))));
        }
        let family = match series.metadata.map(|bytes| decode_metadata(bytes, symbols)).transpose()? {
            Some(Err(bad)) => {
                return Ok(Err(format!("parsing metadata for series {}: {bad}", show_refs(&series.refs))));
            }
            Some(Ok(family)) => family,
            None => None,
        };
        pairs.retain(|(n, _)| !limits.takes_off(n));
        pairs.sort_unstable();
        let name = pairs.iter().find(|(n, v)| *n == "__name__" && !v.is_empty()).map(|(_, v)| *v);
        let Some(name) = name.filter(|_| pairs.iter().all(|(n, _)| !n.is_empty())) else {
            return Ok(Err(format!("invalid metric name or labels, got {}", show(pairs))));
        };
        if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let (shown, twice) = (show(pairs), pair[0].0);
            return Ok(Err(format!("invalid labels for series, labels {shown}, duplicated label {twice}")));
        }
        builder.clear();
        key.clear();
        pairs.iter().for_each(|(n, v)| builder.push(n, v));
        if builder.encode_into(key).is_err() || key.len() > limits.series_bytes_max {
            return Ok(Err(format!("label set too large for series {}", show(pairs))));
        }
        if series.facts() == 0 {
            let shown = show(pairs);
            return Ok(Err(format!("TimeSeries must contain at least one sample or histogram for series {shown}")));
        }
        Ok(Ok(Named { name, family }))
    }
}

fn decode_series<'a>(
    bytes: &'a [u8],
    symbols: &[&'a str],
    limits: &WriteLimits,
    scratch: &mut Scratch<'a>,
    decoded: &mut DecodedV2,
    split: &mut MetricsSplit<'_>,
) -> Result<(), WireError> {
    scratch.series.read(bytes)?;
    let Named { name, family } = match scratch.identify(symbols, limits)? {
        Ok(named) => named,
        Err(why) => {
            decoded.reject(scratch.series.facts(), || why);
            return Ok(());
        }
    };
    let Scratch { series, pairs, key, floats, blobs, .. } = scratch;
    let mut in_time = |time_ms: i64| {
        let refusal = limits.refusal(time_ms);
        if let Some(text) = refusal {
            decoded.reject(1, || format!("{text} for series {}", show(pairs)));
        }
        refusal.is_none()
    };
    series.samples.retain(|sample| in_time(sample.time_ms));
    series.histograms.retain(|(time_ms, _)| in_time(*time_ms));
    blobs.clear();
    if limits.start_timestamps {
        blobs.extend(starts(&series.samples));
    }
    for (_, checked) in series.histograms.drain(..) {
        match checked {
            Ok(blob) => {
                blobs.push(blob);
                decoded.histograms += 1;
            }
            Err(fault) => decoded.reject(1, || format!("invalid native histogram: {fault} for series {}", show(pairs))),
        }
    }
    decoded.samples += series.samples.len() as u64;
    take_exemplars(&series.exemplars, symbols, limits, pairs, decoded, blobs)?;
    floats.clear();
    floats.extend(series.samples.iter().map(|sample| (sample.time_ms, sample.bits)));
    split.add(key, floats, blobs);
    if let Some(Family { metric_type, help, unit }) = family
        && name.len() + help.len() + unit.len() <= METADATA_BYTES_MAX
    {
        split.metadata(name, metric_type, help, unit);
    }
    Ok(())
}

/// What is wrong with an exemplar besides its references is only logged in Prometheus.
fn take_exemplars(
    exemplars: &[&[u8]],
    symbols: &[&str],
    limits: &WriteLimits,
    shown: &[(&str, &str)],
    decoded: &mut DecodedV2,
    blobs: &mut Vec<Blob<'_>>,
) -> Result<(), WireError> {
    for bytes in exemplars {
        let payload = match encode_exemplar(bytes, symbols)? {
            Ok(payload) => payload,
            Err(bad) => {
                decoded.reject(0, || format!("parsing exemplar for series {}: {bad}", show(shown)));
                continue;
            }
        };
        if let Some(time_ms) = kept_time_ms(&payload)?.filter(|t| limits.refusal(*t).is_none()) {
            blobs.push(Blob { kind: SampleKind::Exemplar, time_ms, payload: Cow::Owned(payload) });
            decoded.exemplars += 1;
        }
    }
    Ok(())
}

/// A float sample; `start_ms` is 0 when the writer does not say since when it counts.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    time_ms: i64,
    bits: u64,
    start_ms: i64,
}

/// A record for each sample that says since when it counts. One where it changes would do for most series, but not for
/// those of which some samples do not say.
fn starts<'a, 'b>(samples: &'a [Sample]) -> impl Iterator<Item = Blob<'b>> + use<'a, 'b> {
    samples.iter().filter(|sample| sample.start_ms != 0).map(|sample| {
        let mut payload = Vec::new();
        put_ivarint(&mut payload, sample.start_ms);
        Blob { kind: SampleKind::StartTimestamp, time_ms: sample.time_ms, payload: Cow::Owned(payload) }
    })
}

fn decode_sample(bytes: &[u8]) -> Result<Sample, WireError> {
    let mut sample = Sample::default();
    let mut walk = fields(bytes, "Sample");
    while let Some((number, field)) = walk.next_field()? {
        match (number, field) {
            (1, Field::Fixed64(v)) => sample.bits = v,
            (2, Field::Varint(v)) => sample.time_ms = v as i64,
            (3, Field::Varint(v)) => sample.start_ms = v as i64,
            _ => {}
        }
    }
    Ok(sample)
}

/// The exemplar as protocol 1.0 has it, its labels spelled out.
fn encode_exemplar(bytes: &[u8], symbols: &[&str]) -> Result<Result<Vec<u8>, BadRefs>, WireError> {
    let (mut refs, mut bits, mut time_ms) = (Vec::new(), 0u64, 0i64);
    let mut walk = fields(bytes, "Exemplar");
    while let Some((number, field)) = walk.next_field()? {
        match (number, field) {
            (1, field) => push_refs(field, &mut refs)?,
            (2, Field::Fixed64(v)) => bits = v,
            (3, Field::Varint(v)) => time_ms = v as i64,
            _ => {}
        }
    }
    let mut pairs = Vec::new();
    if let Err(bad) = resolve_into(&refs, symbols, &mut pairs) {
        return Ok(Err(bad));
    }
    let mut out = Vec::new();
    // Longer ones are not kept: no need to spell them out.
    for (name, value) in pairs.into_iter().take(CHARS_MAX + 1) {
        if out.len() > 8 * CHARS_MAX {
            break;
        }
        let mut label = vec![0x0a];
        put_bytes(&mut label, name.as_bytes());
        label.push(0x12);
        put_bytes(&mut label, value.as_bytes());
        out.push(0x0a);
        put_bytes(&mut out, &label);
    }
    out.push(0x11);
    out.extend_from_slice(&bits.to_le_bytes());
    out.push(0x18);
    put_uvarint(&mut out, time_ms as u64);
    Ok(Ok(out))
}

/// Metadata of a series.
#[derive(Clone, Copy, Debug)]
struct Family<'a> {
    metric_type: u8,
    help: &'a str,
    unit: &'a str,
}

/// `None` when nothing is said; the inner error names what is not among the symbols.
fn decode_metadata<'a>(bytes: &[u8], symbols: &[&'a str]) -> Result<Result<Option<Family<'a>>, String>, WireError> {
    // 2.0's enum: counter, gauge, histogram, gaugehistogram, summary, info, stateset, as in 1.0.
    let (mut metric_type, mut help, mut unit) = (0u64, 0u64, 0u64);
    let mut walk = fields(bytes, "Metadata");
    while let Some((number, field)) = walk.next_field()? {
        match (number, field) {
            (1, Field::Varint(v)) => metric_type = v,
            (3, Field::Varint(v)) => help = v,
            (4, Field::Varint(v)) => unit = v,
            _ => {}
        }
    }
    let outside = |what: &str, r: u64| format!("metadata {what} {r} outside of symbols table (size {})", symbols.len());
    let symbol = |r: u64| if r == 0 { Some("") } else { usize::try_from(r).ok().and_then(|r| symbols.get(r).copied()) };
    let Some(unit) = symbol(unit) else { return Ok(Err(outside("unit_ref", unit))) };
    let Some(help) = symbol(help) else { return Ok(Err(outside("help_ref", help))) };
    let metric_type = u8::try_from(metric_type).unwrap_or(0);
    let known = metric_type != 0 || !help.is_empty() || !unit.is_empty();
    Ok(Ok(known.then_some(Family { metric_type, help, unit })))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trine_store::model::Slot;
    use trine_store::part::PartRef;

    use super::*;
    use crate::config::ApiConfig;

    fn limits() -> WriteLimits {
        let config = ApiConfig { future_ms_max: 1000, retention_ms: 0, series_bytes_max: 1000, ..ApiConfig::default() };
        WriteLimits::of(&config, 1000)
    }

    fn run(bytes: &[u8]) -> Result<DecodedV2, ApiError> {
        decode("t", bytes, &limits(), &|_: Slot| 0, &mut crate::budget::Budget::new(64 << 20).take(0).unwrap())
    }

    fn message(out: &mut Vec<u8>, number: u8, body: &[u8]) {
        out.push(number << 3 | 2);
        put_bytes(out, body);
    }

    fn request(refs: &[u8], time_ms: u64) -> Vec<u8> {
        request_with(refs, time_ms, &[(5, &[8, 1, 0x18, 3])])
    }

    fn request_with(refs: &[u8], time_ms: u64, fields: &[(u8, &[u8])]) -> Vec<u8> {
        let mut sample = vec![9];
        sample.extend_from_slice(&1f64.to_bits().to_le_bytes());
        sample.push(16);
        put_uvarint(&mut sample, time_ms);
        let (mut series, mut out) = (Vec::new(), Vec::new());
        message(&mut series, 1, refs);
        message(&mut series, 2, &sample);
        fields.iter().for_each(|(number, bytes)| message(&mut series, *number, bytes));
        message(&mut out, 5, &series);
        for symbol in ["", "__name__", "up", "help"] {
            message(&mut out, 4, symbol.as_bytes());
        }
        out
    }

    #[test]
    fn series_refer_to_symbols() {
        let decoded = run(&request(&[1, 2], 1000)).unwrap();
        assert_eq!((decoded.samples, decoded.rejected), (1, 0));
        let part = PartRef::decode(&decoded.parts[0].part).unwrap();
        assert_eq!(part.defs[0].key, b"\x08__name__\x02up");
        for (refs, time, text) in [
            (
                &[1, 9][..],
                1000,
                "parsing labels for series [1 9]: labelRefs 1 (name) = 9 (value) outside of symbols table (size 4)",
            ),
            (&[1], 1000, "parsing labels for series [1]: invalid labelRefs length 1"),
            (
                &[1, 2, 3, 3, 3, 2],
                1000,
                "invalid labels for series, labels {__name__=\"up\", help=\"help\", help=\"up\"}, duplicated label help",
            ),
            (&[3, 2], 1000, "invalid metric name or labels, got {help=\"up\"}"),
            (&[1, 2], 3000, "out of bounds: timestamp is too far in the future for series {__name__=\"up\"}"),
        ] {
            let decoded = run(&request(refs, time)).unwrap();
            assert_eq!((decoded.samples, decoded.rejected), (0, 1));
            assert!(decoded.texts[0].starts_with(text), "{:?}", decoded.texts);
        }
    }

    #[test]
    fn what_is_left_out_is_named_and_the_rest_kept() {
        let bad = histogram::tests::encode(99, 0, &[(0, 1)], &[1], &[]);
        for (field, samples, rejected, text) in [
            (
                (4, &[0x0a, 2, 77, 78][..]),
                1,
                0,
                "parsing exemplar for series {__name__=\"up\"}: labelRefs 77 (name) = 78",
            ),
            (
                (5, &[8, 1, 0x18, 99]),
                0,
                1,
                "parsing metadata for series [1 2]: metadata help_ref 99 outside of symbols table (size 4)",
            ),
            ((3, &bad), 1, 1, "too far in the future"),
        ] {
            let decoded = run(&request_with(&[1, 2], 1000, &[field])).unwrap();
            assert_eq!((decoded.samples, decoded.exemplars, decoded.rejected), (samples, 0, rejected), "{text}");
            assert!(decoded.texts[0].contains(text), "{:?}", decoded.texts);
        }
        let limits = WriteLimits { now_ms: 1_700_000_000_000, ..limits() };
        let mut held = crate::budget::Budget::new(1 << 20).take(0).unwrap();
        let request = request_with(&[1, 2], 1000, &[(3, &bad)]);
        let decoded = decode("t", &request, &limits, &|_: Slot| 0, &mut held).unwrap();
        assert_eq!((decoded.samples, decoded.histograms, decoded.rejected), (1, 0, 1));
        assert!(decoded.texts[0].starts_with("invalid native histogram: 1 observations found"), "{:?}", decoded.texts);
    }

    #[test]
    fn the_replica_is_taken_off() {
        let limits = WriteLimits { replica_label: Some("help".into()), ..limits() };
        let mut held = crate::budget::Budget::new(1 << 20).take(0).unwrap();
        let decoded = decode("t", &request(&[1, 2, 3, 2], 1000), &limits, &|_: Slot| 0, &mut held).unwrap();
        assert_eq!(PartRef::decode(&decoded.parts[0].part).unwrap().defs[0].key, b"\x08__name__\x02up");
    }

    #[test]
    fn starts_are_kept_with_their_samples() {
        let of = |time_ms, start_ms| Sample { time_ms, bits: 0, start_ms };
        let all = [of(1, 0), of(2, 5), of(3, 5), of(4, 0)];
        let blobs: Vec<_> = starts(&all).map(|b| (b.time_ms, b.payload.into_owned())).collect();
        assert_eq!(blobs, [(2, vec![10]), (3, vec![10])]);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _unchecked = run(&bytes);
        }
    }
}
