//! Decoder of remote write 2.0: symbols first, then series that refer to them.
use trine_store::codec::{put_bytes, put_uvarint};
use trine_store::model::LabelsBuilder;
use trine_store::part::SampleKind;

use super::decode::WriteLimits;
use super::histogram::{self, BLOB_BYTES_MAX};
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
    let mut split = MetricsSplit::new(tenant, shard_of, held);
    let mut decoded = DecodedV2::default();
    let mut walk = fields(message, "Request");
    while let Some((number, field)) = walk.next_field()? {
        if let (5, Field::Bytes(series)) = (number, field) {
            decode_series(series, &symbols, limits, &mut decoded, &mut split)?;
        }
    }
    decoded.parts = split.finish()?;
    Ok(decoded)
}

/// Repeated uint32, packed or not.
fn push_refs(field: Field<'_>, refs: &mut Vec<u32>) -> Result<(), WireError> {
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

/// Names and values that `refs` name; `None` when one is out of range or alone.
fn resolve<'a>(refs: &[u32], symbols: &[&'a str]) -> Option<Vec<(&'a str, &'a str)>> {
    if !refs.len().is_multiple_of(2) {
        return None;
    }
    let symbol = |r: u32| symbols.get(r as usize).copied();
    refs.chunks_exact(2).map(|pair| Some((symbol(pair[0])?, symbol(pair[1])?))).collect()
}

fn show(pairs: &[(&str, &str)]) -> String {
    let inner: Vec<String> = pairs.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
    format!("{{{}}}", inner.join(", "))
}

fn decode_series(
    series: &[u8],
    symbols: &[&str],
    limits: &WriteLimits,
    decoded: &mut DecodedV2,
    split: &mut MetricsSplit<'_>,
) -> Result<(), WireError> {
    let mut refs = Vec::new();
    let (mut samples, mut histograms, mut exemplars, mut metadata) = (Vec::new(), Vec::new(), Vec::new(), None);
    let mut walk = fields(series, "TimeSeries");
    while let Some((number, field)) = walk.next_field()? {
        match (number, field) {
            (1, field) => push_refs(field, &mut refs)?,
            (2, Field::Bytes(b)) => samples.push(decode_sample(b)?),
            (3, Field::Bytes(b)) => histograms.push(histogram::check(b)?),
            (4, Field::Bytes(b)) => exemplars.push(b),
            (5, Field::Bytes(b)) => metadata = Some(b),
            _ => {}
        }
    }
    let facts = (samples.len() + histograms.len()) as u64;
    let Some(pairs) = resolve(&refs, symbols) else {
        decoded.reject(facts, || "invalid labels_refs: out of range or not in pairs".to_owned());
        return Ok(());
    };
    let name = pairs.iter().find(|(n, v)| *n == "__name__" && !v.is_empty()).map(|(_, v)| *v);
    let mut builder = LabelsBuilder::default();
    pairs.iter().for_each(|(n, v)| builder.push(n, v));
    let mut key = Vec::new();
    let valid = builder.encode_into(&mut key).is_ok() && pairs.iter().all(|(n, _)| !n.is_empty());
    let (Some(name), true, true) = (name, valid, key.len() <= limits.series_bytes_max) else {
        decoded.reject(facts, || format!("invalid metric name or labels, got {}", show(&pairs)));
        return Ok(());
    };
    if facts == 0 {
        decoded.reject(0, || {
            format!("TimeSeries must contain at least one sample or histogram for series {}", show(&pairs))
        });
        return Ok(());
    }
    let mut in_time = |time_ms: i64| {
        let text = if time_ms > limits.newest_ms() {
            "out of bounds: timestamp is too far in the future"
        } else if time_ms < limits.oldest_ms() {
            "too old sample"
        } else {
            return true;
        };
        decoded.reject(1, || format!("{text} for series {}", show(&pairs)));
        false
    };
    samples.retain(|(time_ms, _)| in_time(*time_ms));
    histograms.retain(|(time_ms, _)| in_time(*time_ms));
    let mut blobs = Vec::with_capacity(histograms.len() + exemplars.len());
    for (_, checked) in histograms {
        match checked {
            Ok(blob) => blobs.push(blob),
            Err(fault) => {
                decoded.reject(1, || format!("invalid native histogram: {fault} for series {}", show(&pairs)))
            }
        }
    }
    let exemplars = exemplars.into_iter().map(|b| encode_exemplar(b, symbols)).collect::<Result<Vec<_>, _>>()?;
    if exemplars.iter().any(Option::is_none) {
        let text =
            || format!("exemplar labels_refs out of range, not in pairs or too long for series {}", show(&pairs));
        decoded.reject(0, text);
    }
    decoded.samples += samples.len() as u64;
    decoded.histograms += blobs.len() as u64;
    for (time_ms, payload) in exemplars.iter().flatten() {
        blobs.push(Blob { kind: SampleKind::Exemplar, time_ms: *time_ms, payload });
        decoded.exemplars += 1;
    }
    split.add(&key, &samples, &blobs);
    if let Some(bytes) = metadata {
        decode_metadata(name, bytes, symbols, decoded, split)?;
    }
    Ok(())
}

fn decode_sample(bytes: &[u8]) -> Result<(i64, u64), WireError> {
    let (mut bits, mut time_ms) = (0, 0);
    let mut walk = fields(bytes, "Sample");
    while let Some((number, field)) = walk.next_field()? {
        match (number, field) {
            (1, Field::Fixed64(v)) => bits = v,
            (2, Field::Varint(v)) => time_ms = v as i64,
            _ => {}
        }
    }
    Ok((time_ms, bits))
}

/// The exemplar as protocol 1.0 has it, its labels spelled out; `None` when a reference is out of range.
fn encode_exemplar(bytes: &[u8], symbols: &[&str]) -> Result<Option<(i64, Vec<u8>)>, WireError> {
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
    let Some(pairs) = resolve(&refs, symbols) else { return Ok(None) };
    let mut out = Vec::new();
    for (name, value) in pairs {
        let mut label = vec![0x0a];
        put_bytes(&mut label, name.as_bytes());
        label.push(0x12);
        put_bytes(&mut label, value.as_bytes());
        out.push(0x0a);
        put_bytes(&mut out, &label);
        if out.len() > BLOB_BYTES_MAX {
            return Ok(None);
        }
    }
    out.push(0x11);
    out.extend_from_slice(&bits.to_le_bytes());
    out.push(0x18);
    put_uvarint(&mut out, time_ms as u64);
    Ok(Some((time_ms, out)))
}

fn decode_metadata(
    name: &str,
    bytes: &[u8],
    symbols: &[&str],
    decoded: &mut DecodedV2,
    split: &mut MetricsSplit<'_>,
) -> Result<(), WireError> {
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
    let symbol = |r: u64| if r == 0 { Some("") } else { usize::try_from(r).ok().and_then(|r| symbols.get(r).copied()) };
    let (Some(help), Some(unit)) = (symbol(help), symbol(unit)) else {
        decoded.reject(0, || format!("metadata help_ref {help} or unit_ref {unit} out of range for metric {name:?}"));
        return Ok(());
    };
    let known = metric_type != 0 || !help.is_empty() || !unit.is_empty();
    if known && name.len() + help.len() + unit.len() <= METADATA_BYTES_MAX {
        split.metadata(name, u8::try_from(metric_type).unwrap_or(0), help, unit);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trine_store::model::Slot;
    use trine_store::part::PartRef;

    use super::*;

    fn limits() -> WriteLimits {
        WriteLimits { now_ms: 1000, future_ms_max: 1000, retention_ms: 0, series_bytes_max: 1000 }
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
            (&[1, 9][..], 1000, "invalid labels_refs"),
            (&[1], 1000, "invalid labels_refs"),
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
        for (field, rejected, text) in [
            ((4, &[0x0a, 2, 77, 78][..]), 0, "exemplar labels_refs out of range"),
            ((5, &[8, 1, 0x18, 99]), 0, "metadata help_ref 99 or unit_ref 0 out of range for metric \"up\""),
            ((3, &bad), 1, "too far in the future"),
        ] {
            let decoded = run(&request_with(&[1, 2], 1000, &[field])).unwrap();
            assert_eq!((decoded.samples, decoded.exemplars, decoded.rejected), (1, 0, rejected));
            assert!(decoded.texts[0].contains(text), "{:?}", decoded.texts);
        }
        let limits = WriteLimits { now_ms: 1_700_000_000_000, future_ms_max: 1, retention_ms: 0, series_bytes_max: 99 };
        let mut held = crate::budget::Budget::new(1 << 20).take(0).unwrap();
        let request = request_with(&[1, 2], 1000, &[(3, &bad)]);
        let decoded = decode("t", &request, &limits, &|_: Slot| 0, &mut held).unwrap();
        assert_eq!((decoded.samples, decoded.histograms, decoded.rejected), (1, 0, 1));
        assert!(decoded.texts[0].starts_with("invalid native histogram: 1 observations found"), "{:?}", decoded.texts);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _unchecked = run(&bytes);
        }
    }
}
