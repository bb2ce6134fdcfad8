//! Messages one after the other, each behind its length.
use prost::Message;

use super::Sample;
use super::message::families;
use super::names::Escaping;

/// All samples.
pub(super) fn page(samples: &[Sample], escaping: Escaping) -> Vec<u8> {
    let mut out = Vec::new();
    for family in families(samples, escaping) {
        out.extend_from_slice(&family.encode_length_delimited_to_vec());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::Value;
    use super::super::message::{MetricFamily, UNTYPED};
    use super::*;
    use crate::prom::histogram::Histogram;

    #[test]
    fn a_family_is_read_back() {
        let sample = Sample {
            name: "up".to_owned(),
            labels: vec![("instance".to_owned(), String::new())],
            time_ms: 5,
            value: Value::Float(2.5),
        };
        let native = Sample { value: Value::Native(Histogram { schema: 3, ..Histogram::default() }), ..sample.clone() };
        let bytes = page(&[sample.clone(), sample, native], Escaping::Underscores);
        let mut rest = &bytes[..];
        let first = MetricFamily::decode_length_delimited(&mut rest).unwrap();
        let second = MetricFamily::decode_length_delimited(&mut rest).unwrap();
        assert_eq!((first.kind, first.metric.len()), (Some(UNTYPED), 2));
        assert_eq!(first.metric[0].untyped.as_ref().unwrap().value, Some(2.5));
        assert_eq!(second.metric[0].histogram.as_ref().unwrap().schema, Some(3));
        assert!(rest.is_empty());
    }
}
