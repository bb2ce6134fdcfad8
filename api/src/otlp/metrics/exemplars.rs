//! Exemplars of a point, spelled as remote write does.
use std::borrow::Cow;

use opentelemetry_proto::tonic::metrics::v1::{Exemplar, exemplar};
use trine_store::codec::{put_bytes, put_uvarint};
use trine_store::part::SampleKind;

use super::labels::labels_of;
use super::ms_of;
use crate::config::TranslationStrategy;
use crate::parts::Blob;
use crate::prom::exemplars::CHARS_MAX;

/// An exemplar's number.
pub(super) fn value_of(e: &Exemplar) -> f64 {
    match e.value {
        Some(exemplar::Value::AsDouble(d)) => d,
        Some(exemplar::Value::AsInt(i)) => i as f64,
        None => 0.0,
    }
}

/// A `prometheus.Exemplar`; filtered attributes only where there is room for all of them.
pub(super) fn encode(e: &Exemplar) -> Blob<'static> {
    let mut pairs = Vec::new();
    for (name, id) in [("trace_id", &e.trace_id), ("span_id", &e.span_id)] {
        if id.iter().any(|b| *b != 0) {
            pairs.push((name.to_owned(), hex::encode(id)));
        }
    }
    // Names of exemplar labels are not translated.
    let filtered = labels_of(e.filtered_attributes.iter(), TranslationStrategy::NoTranslation);
    let chars = |pairs: &[(String, String)]| -> usize {
        pairs.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum()
    };
    if chars(&pairs) + chars(&filtered) <= CHARS_MAX {
        pairs.extend(filtered);
    }
    let mut out = Vec::new();
    for (name, value) in &pairs {
        let mut label = vec![0x0a];
        put_bytes(&mut label, name.as_bytes());
        label.push(0x12);
        put_bytes(&mut label, value.as_bytes());
        out.push(0x0a);
        put_bytes(&mut out, &label);
    }
    let time_ms = ms_of(e.time_unix_nano);
    out.push(0x11);
    out.extend_from_slice(&value_of(e).to_bits().to_le_bytes());
    out.push(0x18);
    put_uvarint(&mut out, time_ms as u64);
    Blob { kind: SampleKind::Exemplar, time_ms, payload: Cow::Owned(out) }
}
