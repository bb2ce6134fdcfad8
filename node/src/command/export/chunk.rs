//! Reads Prometheus' XOR chunk: float samples. Layout: `tsdb/docs/format/chunks.md` of Prometheus.

/// A chunk that ends before its samples do, or says what no writer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunk of samples is damaged at bit {at}")]
pub(super) struct Damaged {
    at: usize,
}

/// Calls `see` with the time, ms, and value of each sample.
pub(super) fn decode(bytes: &[u8], mut see: impl FnMut(i64, f64)) -> Result<(), Damaged> {
    let mut r = Bits { bytes, at: 0 };
    let count = r.take(16)?;
    let (mut time_ms, mut delta) = (0i64, 0i64);
    let mut value = Xor::default();
    for n in 0..count {
        match n {
            0 => {
                time_ms = zigzag(r.varint()?);
                value.bits = r.take(64)?;
            }
            1 => delta = r.varint()? as i64,
            _ => delta = delta.wrapping_add(r.change()?),
        }
        if n > 0 {
            time_ms = time_ms.wrapping_add(delta);
            value.next(&mut r)?;
        }
        see(time_ms, f64::from_bits(value.bits));
    }
    Ok(())
}

fn zigzag(coded: u64) -> i64 {
    (coded >> 1) as i64 ^ -((coded & 1) as i64)
}

/// The value before, and the window of bits that changed.
#[derive(Default)]
struct Xor {
    bits: u64,
    leading: u32,
    width: u32,
}

impl Xor {
    fn next(&mut self, r: &mut Bits<'_>) -> Result<(), Damaged> {
        if r.take(1)? == 0 {
            return Ok(());
        }
        if r.take(1)? == 1 {
            self.leading = r.take(5)? as u32;
            // Zero stands for 64.
            self.width = match r.take(6)? as u32 {
                0 => 64,
                width => width,
            };
        }
        let trailing = 64u32.checked_sub(self.leading + self.width).ok_or(Damaged { at: r.at })?;
        let changed = r.take(self.width)?;
        self.bits ^= changed.checked_shl(trailing).unwrap_or(0);
        Ok(())
    }
}

/// Bits, the highest of a byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, width: u32) -> Result<u64, Damaged> {
        let mut out = 0;
        for _ in 0..width {
            let byte = self.bytes.get(self.at / 8).ok_or(Damaged { at: self.at })?;
            out = out << 1 | u64::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Ok(out)
    }

    fn varint(&mut self) -> Result<u64, Damaged> {
        let mut out = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(8)?;
            out |= (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(out);
            }
        }
        Err(Damaged { at: self.at })
    }

    /// A difference of differences of times.
    fn change(&mut self) -> Result<i64, Damaged> {
        let mut ones = 0;
        while ones < 4 && self.take(1)? == 1 {
            ones += 1;
        }
        let width = [0, 14, 17, 20, 64][ones];
        let bits = self.take(width)?;
        let is_negative = (1..64).contains(&width) && bits > 1 << (width - 1);
        Ok(if is_negative { (bits as i64).wrapping_sub(1 << width) } else { bits as i64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(bytes: &[u8]) -> Result<Vec<(i64, f64)>, Damaged> {
        let mut out = Vec::new();
        decode(bytes, |t, v| out.push((t, v)))?;
        Ok(out)
    }

    /// Three samples: times 1000, 2000, 3001 ms; values 1, 1, 2.
    fn written() -> Vec<u8> {
        let mut bits = String::new();
        let mut put = |text: &str| bits.push_str(text);
        put(&format!("{:016b}", 3));
        // zigzag(1000) = 2000 = 0xd0 0x0f as a varint.
        put("1101000000001111");
        put(&format!("{:064b}", 1f64.to_bits()));
        // 1000 = 0xe8 0x07; the same value.
        put("1110100000000111");
        put("0");
        // The difference grows by one; a new window of bits: 1 ^ 2 has bits 62 to 52.
        put(&format!("10{:014b}", 1));
        put(&format!("11{:05b}{:06b}{:011b}", 1, 11, (1f64.to_bits() ^ 2f64.to_bits()) >> 52));
        while !bits.len().is_multiple_of(8) {
            bits.push('0');
        }
        bits.as_bytes().chunks(8).map(|b| u8::from_str_radix(str::from_utf8(b).unwrap(), 2).unwrap()).collect()
    }

    #[test]
    fn samples_come_back() {
        assert_eq!(samples(&written()), Ok(vec![(1000, 1.0), (2000, 1.0), (3001, 2.0)]));
        assert_eq!(samples(&[0, 0]), Ok(vec![]));
    }

    #[test]
    fn damage_is_an_error_and_no_panic() {
        let whole = written();
        for at in 0..whole.len() - 1 {
            assert!(samples(&whole[..at]).is_err(), "{at}");
            for flip in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << flip;
                // Whatever it is: it ends.
                drop(samples(&bytes));
            }
        }
    }
}
