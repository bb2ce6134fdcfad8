//! Bits, lowest first, and Rice codes over them.

/// A quotient of this many or more is replaced by the 64 bits of the number: one outlier costs 85 bits, not thousands.
pub(super) const ESCAPE: u32 = 20;
/// Bits of a word, read at any place, that are there for sure.
const WORD_BITS: u32 = 57;

/// Appends bits to a byte vector; [`BitWriter::finish`] writes out the last, zero-padded byte.
pub(super) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    pending: u64,
    /// Always below 32 between calls.
    pending_bits: u32,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, pending: 0, pending_bits: 0 }
    }

    /// Appends the low `bits` (at most 32) of `value`, whose other bits are zero.
    #[inline]
    fn write(&mut self, value: u64, bits: u32) {
        debug_assert!(bits <= 32 && value >> bits == 0);
        self.pending |= value << self.pending_bits;
        self.pending_bits += bits;
        if self.pending_bits >= 32 {
            self.out.extend_from_slice(&(self.pending as u32).to_le_bytes());
            self.pending >>= 32;
            self.pending_bits -= 32;
        }
    }

    #[inline]
    fn write_wide(&mut self, value: u64, bits: u32) {
        if bits > 32 {
            self.write(value & 0xffff_ffff, 32);
            self.write(value >> 32, bits - 32);
        } else {
            self.write(value, bits);
        }
    }

    /// `value >> k` zeros, a one, then the low `k` bits; `k` is at most 63.
    #[inline]
    pub(super) fn rice(&mut self, value: u64, k: u32) {
        let quotient = value >> k;
        if quotient >= u64::from(ESCAPE) {
            self.write(1 << ESCAPE, ESCAPE + 1);
            self.write_wide(value, 64);
        } else {
            let quotient = quotient as u32;
            self.write(1 << quotient, quotient + 1);
            self.write_wide(value & ((1u64 << k) - 1), k);
        }
    }

    pub(super) fn finish(self) {
        let bytes = self.pending.to_le_bytes();
        self.out.extend_from_slice(&bytes[..self.pending_bits.div_ceil(8) as usize]);
    }
}

/// Reads what [`BitWriter`] wrote. Beyond the end it reads zeros; check [`BitReader::is_within`] afterwards.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// At least 57 bits from the cursor on.
    #[inline]
    fn peek(&self) -> u64 {
        let from = self.at >> 3;
        let word = match self.bytes.get(from..from + 8) {
            Some(eight) => u64::from_le_bytes(eight.try_into().expect("eight bytes")),
            None => self.peek_end(from),
        };
        word >> (self.at & 7)
    }

    #[cold]
    fn peek_end(&self, from: usize) -> u64 {
        let mut word = [0; 8];
        let rest = self.bytes.get(from..).unwrap_or_default();
        word[..rest.len()].copy_from_slice(rest);
        u64::from_le_bytes(word)
    }

    #[inline]
    fn read(&mut self, bits: u32) -> u64 {
        let value = self.peek() & ((1u64 << bits) - 1);
        self.at += bits as usize;
        value
    }

    fn read_wide(&mut self, bits: u32) -> u64 {
        if bits <= 32 {
            return self.read(bits);
        }
        let low = self.read(32);
        low | (self.read(bits - 32) << 32)
    }

    /// The next Rice code; `k` is at most 63.
    #[inline]
    pub(super) fn rice(&mut self, k: u32) -> u64 {
        let word = self.peek();
        let quotient = word.trailing_zeros();
        if quotient < ESCAPE && k <= 32 {
            self.at += (quotient + 1 + k) as usize;
            return (u64::from(quotient) << k) | ((word >> (quotient + 1)) & ((1u64 << k) - 1));
        }
        self.rice_slow(quotient, k)
    }

    #[cold]
    fn rice_slow(&mut self, quotient: u32, k: u32) -> u64 {
        if quotient >= ESCAPE {
            self.at += ESCAPE as usize + 1;
            return self.read_wide(64);
        }
        self.at += quotient as usize + 1;
        (u64::from(quotient) << k) | self.read_wide(k)
    }

    /// Fills `out` with the next Rice codes; `k` is at most 63. Several codes are taken from one word that was read, so
    /// that the place of the next one is known without going through memory.
    pub(super) fn rice_all(&mut self, k: u32, out: &mut [i64]) {
        let mask = if k <= 32 { (1u64 << k) - 1 } else { 0 };
        let (mut word, mut left) = (self.peek(), WORD_BITS);
        for slot in out {
            let mut quotient = word.trailing_zeros();
            if quotient + 1 + k > left {
                (word, left) = (self.peek(), WORD_BITS);
                quotient = word.trailing_zeros();
            }
            let bits = quotient + 1 + k;
            if quotient >= ESCAPE || k > 32 || bits > left {
                *slot = self.rice_slow(quotient, k) as i64;
                (word, left) = (self.peek(), WORD_BITS);
                continue;
            }
            *slot = ((u64::from(quotient) << k) | ((word >> (quotient + 1)) & mask)) as i64;
            word >>= bits;
            left -= bits;
            self.at += bits as usize;
        }
    }

    /// Whether everything read so far was there.
    pub(super) fn is_within(&self) -> bool {
        self.at <= self.bytes.len() * 8
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rice_codes_come_back(values in proptest::collection::vec((any::<u64>(), 0u32..64, 0u32..64), 0..200)) {
            let values: Vec<(u64, u32)> = values.into_iter().map(|(v, shift, k)| (v >> shift, k)).collect();
            let mut out = Vec::new();
            let mut w = BitWriter::new(&mut out);
            for (v, k) in &values {
                w.rice(*v, *k);
            }
            w.finish();
            let mut r = BitReader::new(&out);
            for (v, k) in &values {
                prop_assert_eq!(r.rice(*k), *v);
            }
            prop_assert!(r.is_within());
        }

        #[test]
        fn rice_codes_come_back_together(values in proptest::collection::vec((any::<u64>(), 0u32..64), 0..200), k in 0u32..64) {
            let values: Vec<u64> = values.into_iter().map(|(v, shift)| v >> shift).collect();
            let mut out = Vec::new();
            let mut w = BitWriter::new(&mut out);
            values.iter().for_each(|v| w.rice(*v, k));
            w.rice(7, 3);
            w.finish();
            let mut r = BitReader::new(&out);
            let mut back = vec![0i64; values.len()];
            r.rice_all(k, &mut back);
            prop_assert_eq!(back.iter().map(|v| *v as u64).collect::<Vec<_>>(), values);
            prop_assert_eq!(r.rice(3), 7);
            prop_assert!(r.is_within());
        }
    }
}
