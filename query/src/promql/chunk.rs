//! Reads what a server of Prometheus' remote read streams: frames, and in them chunks. Here is the XOR chunk, of float samples; native
//! histograms are [`histogram`]'s. Layout: `tsdb/docs/format/chunks.md` of Prometheus.
mod bits;
mod frame;
pub mod histogram;

pub use bits::Damaged;
pub use frame::{Split, split};

use bits::{Bits, Xor};

/// Calls `see` with the time, ms, and value of each sample. Errors: a chunk that ends early, or says what no writer says.
pub fn decode(bytes: &[u8], mut see: impl FnMut(i64, f64)) -> Result<(), Damaged> {
    let mut r = Bits::of(bytes);
    let count = r.take(16)?;
    let (mut time_ms, mut delta) = (0i64, 0i64);
    let mut value = Xor::default();
    for n in 0..count {
        match n {
            0 => {
                time_ms = r.varint_signed()?;
                value = Xor::first(&mut r)?;
            }
            1 => delta = r.varint()? as i64,
            _ => delta = delta.wrapping_add(r.change()?),
        }
        if n > 0 {
            time_ms = time_ms.wrapping_add(delta);
            value.next(&mut r)?;
        }
        see(time_ms, value.value());
    }
    Ok(())
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
