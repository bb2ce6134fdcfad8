//! Prometheus' XOR chunk: float samples. Layout: `tsdb/docs/format/chunks.md` of Prometheus.
use super::bits::{BitWriter, Xor};

/// Encodes samples, at least one and at most 65,535, times rising.
pub(super) fn encode(times_ms: &[i64], values: &[f64]) -> Vec<u8> {
    debug_assert!(!times_ms.is_empty() && times_ms.len() == values.len() && times_ms.len() <= usize::from(u16::MAX));
    let mut out = BitWriter::after((times_ms.len() as u16).to_be_bytes().to_vec());
    let mut value = Xor::new(0.0);
    let (mut last, mut delta) = (0i64, 0i64);
    for (at, (time_ms, v)) in times_ms.iter().zip(values).enumerate() {
        let next = time_ms.wrapping_sub(last);
        match at {
            0 => {
                out.put_varint(*time_ms);
                out.put_float(*v);
                value = Xor::new(*v);
            }
            1 => out.put_uvarint(next as u64),
            _ => put_change(&mut out, next.wrapping_sub(delta)),
        }
        if at > 0 {
            value.put(&mut out, *v);
            delta = next;
        }
        last = *time_ms;
    }
    out.finish()
}

/// A difference of differences of times.
fn put_change(out: &mut BitWriter, change: i64) {
    let fits = |width: u32| (-((1i64 << (width - 1)) - 1)..=1i64 << (width - 1)).contains(&change);
    match change {
        0 => out.put(0, 1),
        _ if fits(14) => {
            out.put(0b10, 2);
            out.put(change as u64, 14);
        }
        _ if fits(17) => {
            out.put(0b110, 3);
            out.put(change as u64, 17);
        }
        _ if fits(20) => {
            out.put(0b1110, 4);
            out.put(change as u64, 20);
        }
        _ => {
            out.put(0b1111, 4);
            out.put(change as u64, 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::bits::tests::BitReader;
    use super::*;

    fn decode(bytes: &[u8]) -> Vec<(i64, u64)> {
        let mut r = BitReader::new(bytes);
        let count = r.bits(16);
        let (mut t, mut delta, mut state) = (0i64, 0i64, (0u64, 0, 0));
        let mut out = Vec::new();
        for at in 0..count {
            match at {
                0 => {
                    t = r.varint();
                    state.0 = r.bits(64);
                }
                1 => delta = r.uvarint() as i64,
                _ => {
                    let ones = (0..4).take_while(|_| r.bit() == 1).count();
                    let width = [0u32, 14, 17, 20, 64][ones];
                    let bits = r.bits(width) as i64;
                    let signed =
                        if (1..64).contains(&width) && bits > 1 << (width - 1) { bits - (1 << width) } else { bits };
                    delta += signed;
                }
            }
            if at > 0 {
                t += delta;
                r.xor(&mut state);
            }
            out.push((t, state.0));
        }
        out
    }

    proptest! {
        #[test]
        fn samples_come_back(steps in prop::collection::vec((1i64..2_000_000, any::<f64>()), 1..200)) {
            let mut t = 1_700_000_000_000;
            let (mut times, mut values) = (Vec::new(), Vec::new());
            for (step, value) in steps {
                t += step;
                times.push(t);
                values.push(value);
            }
            let expected: Vec<(i64, u64)> = times.iter().copied().zip(values.iter().map(|v| v.to_bits())).collect();
            prop_assert_eq!(decode(&encode(&times, &values)), expected);
        }
    }
}
