//! A histogram as `prometheus.Histogram`.
use trine_store::codec::{put_bytes, put_uvarint};

use super::{Histogram, ResetHint, Side};

fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

fn put_double(out: &mut Vec<u8>, tag: u8, value: f64) {
    out.push(tag);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

fn put_packed(out: &mut Vec<u8>, number: u64, packed: &[u8]) {
    if !packed.is_empty() {
        put_uvarint(out, number << 3 | 2);
        put_bytes(out, packed);
    }
}

fn doubles(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_bits().to_le_bytes()).collect()
}

impl Histogram {
    /// The message; [`super::read`] reads it back.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.is_float {
            put_double(&mut out, 0x11, self.count_float);
        } else {
            out.push(0x08);
            put_uvarint(&mut out, self.count_int);
        }
        put_double(&mut out, 0x19, self.sum);
        out.push(0x20);
        put_uvarint(&mut out, zigzag(self.schema));
        put_double(&mut out, 0x29, self.zero_threshold);
        if self.is_float {
            put_double(&mut out, 0x39, self.zero_float);
        } else {
            out.push(0x30);
            put_uvarint(&mut out, self.zero_int);
        }
        put_side(&mut out, 8, &self.negative);
        put_side(&mut out, 11, &self.positive);
        let hint = match self.reset_hint {
            ResetHint::Unknown => 0,
            ResetHint::Reset => 1,
            ResetHint::NoReset => 2,
            ResetHint::Gauge => 3,
        };
        out.extend_from_slice(&[0x70, hint, 0x78]);
        put_uvarint(&mut out, self.time_ms as u64);
        put_packed(&mut out, 16, &doubles(&self.custom));
        if self.start_ms != 0 {
            out.extend_from_slice(&[0x88, 0x01]);
            put_uvarint(&mut out, self.start_ms as u64);
        }
        out
    }
}

/// Spans, deltas and counts in three fields from `number` on.
fn put_side(out: &mut Vec<u8>, number: u64, side: &Side) {
    for (offset, length) in &side.spans {
        let mut span = vec![0x08];
        put_uvarint(&mut span, zigzag(*offset));
        span.push(0x10);
        put_uvarint(&mut span, *length);
        put_packed(out, number, &span);
    }
    let mut deltas = Vec::new();
    side.deltas.iter().for_each(|delta| put_uvarint(&mut deltas, zigzag(*delta)));
    put_packed(out, number + 1, &deltas);
    put_packed(out, number + 2, &doubles(&side.counts));
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    #[test]
    fn histograms_come_back() {
        let side = |deltas: &[i64], counts: &[f64]| Side {
            spans: vec![(-3, 2), (4, 1)],
            deltas: deltas.to_vec(),
            counts: counts.to_vec(),
        };
        let base = Histogram {
            sum: -1.5,
            schema: -4,
            zero_threshold: 1e-128,
            reset_hint: ResetHint::Gauge,
            time_ms: 1_700_000_000_123,
            ..Histogram::default()
        };
        for h in [
            Histogram {
                count_int: 300,
                zero_int: 9,
                positive: side(&[1, -1, 300], &[]),
                negative: side(&[5, 0, 0], &[]),
                ..base.clone()
            },
            Histogram {
                is_float: true,
                count_float: 3.5,
                zero_float: 0.5,
                positive: side(&[], &[1.0, 0.0, 2.5]),
                ..base.clone()
            },
            Histogram { schema: -53, custom: vec![0.1, 5.0], start_ms: 7, ..base },
        ] {
            assert_eq!(read(&h.encode()).unwrap(), h);
        }
    }
}
