//! Bits, lowest first, and Rice codes over them.

/// A quotient of this many or more is replaced by the 64 bits of the number: one outlier costs 85 bits, not thousands.
pub(super) const ESCAPE: u32 = 20;
/// Bits that a window over the column has at least, once it is filled.
const WINDOW_BITS: u32 = 56;
/// Bits of a word, read at any place, that are there for sure.
const PEEKED_BITS: u32 = 57;

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

    /// Bits written so far, into a vector that was empty.
    pub(super) fn position(&self) -> usize {
        self.out.len() * 8 + self.pending_bits as usize
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
    /// Begins at bit `at`.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) fn position(&self) -> usize {
        self.at
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

    /// Calls `each` with the next `count` Rice codes; `k` is at most 63.
    pub(super) fn rice_each(&mut self, k: u32, count: usize, mut each: impl FnMut(u64)) {
        let done = self.rice_grouped(k, count, &mut each);
        if done == count {
            return;
        }
        match Padded::<32>::of(self.bytes, self.at) {
            Some(padded) => {
                let mut end = padded.reader();
                let done = done + end.rice_grouped(k, count - done, &mut each);
                (done..count).for_each(|_| each(end.rice(k)));
                self.at = padded.position(&end);
            }
            None => (done..count).for_each(|_| each(self.rice(k))),
        }
    }

    fn rice_grouped(&mut self, k: u32, count: usize, each: &mut impl FnMut(u64)) -> usize {
        // As many codes as fit into a window nearly always, if their quotients are what a good k makes them.
        match k {
            0..=6 => self.rice_groups::<6>(k, count, each),
            7..=11 => self.rice_groups::<4>(k, count, each),
            12..=15 => self.rice_groups::<3>(k, count, each),
            16..=24 => self.rice_groups::<2>(k, count, each),
            _ => 0,
        }
    }

    /// The next two Rice codes, of two `k` of at most 63.
    #[inline]
    pub(super) fn rice_pair(&mut self, (k, next_k): (u32, u32)) -> (u64, u64) {
        let code = |word: u64, k: u32| {
            let quotient = word.trailing_zeros();
            let low = (word.wrapping_shr(quotient) >> 1) & ((1u64 << k) - 1);
            (quotient, quotient + 1 + k, (u64::from(quotient) << k) | low)
        };
        let word = self.peek();
        let (quotient, bits, first) = code(word, k);
        let (next_quotient, next_bits, second) = code(word.wrapping_shr(bits), next_k);
        if quotient | next_quotient < ESCAPE && bits + next_bits <= PEEKED_BITS {
            self.at += (bits + next_bits) as usize;
            return (first, second);
        }
        (self.rice(k), self.rice(next_k))
    }

    /// Reads groups of `N` codes as long as there are eight bytes for each; says how many codes that were. `k` is at most 31.
    ///
    /// A window over the bits is refilled once a group, without a branch and without waiting for the place of the next code (Giesen,
    /// "Reading bits in far too many ways", part 2, variant 4); whether the group's codes were in it is asked once.
    #[inline]
    fn rice_groups<const N: usize>(&mut self, k: u32, count: usize, each: &mut impl FnMut(u64)) -> usize {
        let mask = (1u64 << k) - 1;
        let (mut window, mut byte) = Window::at(self.bytes, self.at);
        let mut done = 0;
        while done + N <= count {
            let Some(eight) = self.bytes.get(byte..byte + 8) else { break };
            byte += window.refill(u64::from_le_bytes(eight.try_into().expect("eight bytes")));
            let (mut bits, mut quotients, mut any) = (window.bits, 0, 0);
            let mut codes = [0u64; N];
            for code in &mut codes {
                let quotient = bits.trailing_zeros();
                *code = (u64::from(quotient) << k) | ((bits.wrapping_shr(quotient) >> 1) & mask);
                bits = (bits >> (k + 1)).wrapping_shr(quotient);
                quotients += quotient;
                any |= quotient;
            }
            let used = quotients + N as u32 * (k + 1);
            if any < ESCAPE && used <= WINDOW_BITS {
                (window.bits, window.count) = (bits, window.count - used);
                codes.into_iter().for_each(&mut *each);
            } else {
                self.at = byte * 8 - window.count as usize;
                (0..N).for_each(|_| each(self.rice(k)));
                (window, byte) = Window::at(self.bytes, self.at);
            }
            done += N;
        }
        self.at = byte * 8 - window.count as usize;
        done
    }

    /// Whether everything read so far was there.
    pub(super) fn is_within(&self) -> bool {
        self.at <= self.bytes.len() * 8
    }
}

/// The end of a column with zeros behind it: within eight bytes of its end a column cannot be read by words.
pub(super) struct Padded<const N: usize> {
    bytes: [u8; N],
    /// Where in the column it begins.
    from: usize,
    at: usize,
}

impl<const N: usize> Padded<N> {
    /// Of the column from bit `at` on; `None` where there is more than fits with eight zeros behind it.
    pub(super) fn of(column: &[u8], at: usize) -> Option<Self> {
        let from = at / 8;
        let rest = column.get(from..).unwrap_or_default();
        let mut bytes = [0; N];
        bytes[..N - 8].get_mut(..rest.len())?.copy_from_slice(rest);
        Some(Self { bytes, from, at: at % 8 })
    }

    pub(super) fn reader(&self) -> BitReader<'_> {
        BitReader::new(&self.bytes, self.at)
    }

    /// The place in the column that a reader of this has.
    pub(super) fn position(&self, reader: &BitReader<'_>) -> usize {
        self.from * 8 + reader.at
    }
}

/// The next bits of a column, lowest first. Those above `count` are zero or what the column has there.
struct Window {
    bits: u64,
    /// At most 63.
    count: u32,
}

impl Window {
    /// An empty one at bit `at`, or with the rest of a byte, and the byte to go on at.
    fn at(bytes: &[u8], at: usize) -> (Self, usize) {
        let (byte, passed) = (at / 8, (at % 8) as u32);
        match bytes.get(byte) {
            Some(first) if passed > 0 => (Self { bits: u64::from(first >> passed), count: 8 - passed }, byte + 1),
            _ => (Self { bits: 0, count: 0 }, byte),
        }
    }

    /// Fills it from the bytes that follow; says how many of them are in it whole.
    #[inline]
    fn refill(&mut self, next: u64) -> usize {
        self.bits |= next << self.count;
        let bytes = (63 - self.count) / 8;
        self.count |= WINDOW_BITS;
        bytes as usize
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
            let mut r = BitReader::new(&out, 0);
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
            let mut r = BitReader::new(&out, 0);
            let mut back = Vec::new();
            r.rice_each(k, values.len(), |v| back.push(v));
            prop_assert_eq!(back, values);
            prop_assert_eq!(r.rice(3), 7);
            prop_assert!(r.is_within());
        }

        #[test]
        fn pairs_come_back(
            values in proptest::collection::vec((any::<u64>(), 0u32..64, any::<u64>(), 0u32..64), 0..60),
            k in 0u32..64,
            next_k in 0u32..64,
        ) {
            let values: Vec<(u64, u64)> = values.into_iter().map(|(a, by, b, and)| (a >> by, b >> and)).collect();
            let mut out = Vec::new();
            let mut w = BitWriter::new(&mut out);
            for (a, b) in &values {
                w.rice(*a, k);
                w.rice(*b, next_k);
            }
            w.finish();
            let mut whole = BitReader::new(&out, 0);
            let padded = Padded::<128>::of(&out, 0);
            prop_assert_eq!(padded.is_some(), out.len() <= 120);
            let mut short = padded.as_ref().map(Padded::reader);
            for pair in values {
                prop_assert_eq!(whole.rice_pair((k, next_k)), pair);
                if let (Some(padded), Some(short)) = (&padded, &mut short) {
                    prop_assert_eq!(short.rice_pair((k, next_k)), pair);
                    prop_assert_eq!(padded.position(short), whole.position());
                }
            }
            prop_assert!(whole.is_within());
        }

        /// Codes as short as they are in columns, from any of them on.
        #[test]
        fn short_codes_come_back_together(
            values in proptest::collection::vec((any::<u64>(), 0u32..4, 0u32..30), 0..200),
            k in 0u32..30,
            from in 0usize..200,
        ) {
            let of = |(v, more, rare): (u64, u32, u32)| (v & ((1 << k) - 1)) | (u64::from(more + rare / 28 * rare) << k);
            let values: Vec<u64> = values.into_iter().map(of).collect();
            let from = from.min(values.len());
            let mut out = Vec::new();
            let mut w = BitWriter::new(&mut out);
            values[..from].iter().for_each(|v| w.rice(*v, k));
            let at = w.position();
            values[from..].iter().for_each(|v| w.rice(*v, k));
            w.finish();
            let mut r = BitReader::new(&out, at);
            let mut back = Vec::new();
            r.rice_each(k, values.len() - from, |v| back.push(v));
            prop_assert_eq!(&back[..], &values[from..]);
            prop_assert!(r.is_within());
        }
    }
}
