//! A stream of bits, the highest of a byte first, and Prometheus' variable widths of numbers.
//!
//! Layout: Prometheus' `tsdb/docs/format/chunks.md`.

/// Bits appended one behind the other; the last byte is filled with zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not used yet.
    free: u32,
}

/// Widths of `varbit` numbers with the marks before them.
const WIDTHS: [u32; 7] = [3, 6, 9, 12, 18, 25, 56];

impl BitWriter {
    /// After whole bytes.
    pub(super) fn after(bytes: Vec<u8>) -> Self {
        Self { bytes, free: 0 }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// The lowest `count` bits of `value`.
    pub(super) fn put(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = left.min(self.free);
            let chunk = (value >> (left - taken)) & ((1u64 << taken) - 1);
            self.free -= taken;
            if let Some(last) = self.bytes.last_mut() {
                *last |= (chunk as u8) << self.free;
            }
            left -= taken;
        }
    }

    pub(super) fn put_byte(&mut self, byte: u8) {
        self.put(u64::from(byte), 8);
    }

    /// A float's 64 bits.
    pub(super) fn put_float(&mut self, value: f64) {
        self.put(value.to_bits(), 64);
    }

    /// `<varint>`, not aligned.
    pub(super) fn put_varint(&mut self, value: i64) {
        self.put_uvarint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// `<uvarint>`, not aligned.
    pub(super) fn put_uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put_byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.put_byte(value as u8);
    }

    /// `<varbit_int>`: as many bits as the number needs, behind a mark that says how many.
    pub(super) fn put_varbit_int(&mut self, value: i64) {
        let fits = |width: u32| (-((1i64 << (width - 1)) - 1)..=1i64 << (width - 1)).contains(&value);
        self.put_varbit(value as u64, value == 0, fits);
    }

    /// `<varbit_uint>`.
    pub(super) fn put_varbit_uint(&mut self, value: u64) {
        self.put_varbit(value, value == 0, |width| value < 1u64 << width);
    }

    fn put_varbit(&mut self, bits: u64, is_zero: bool, fits: impl Fn(u32) -> bool) {
        if is_zero {
            return self.put(0, 1);
        }
        match (1u32..).zip(WIDTHS).find(|(_, width)| fits(*width)) {
            Some((ones, width)) => {
                // As many ones as widths were passed, then a zero.
                self.put(((1u64 << ones) - 1) << 1, ones + 1);
                self.put(bits, width);
            }
            None => {
                self.put(0xff, 8);
                self.put(bits, 64);
            }
        }
    }
}

/// A float's state between two samples: what it was, and which of its bits changed last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Xor {
    bits: u64,
    /// Leading and trailing bits that were the same; none before the first change.
    window: Option<(u32, u32)>,
}

impl Xor {
    pub(super) fn new(value: f64) -> Self {
        Self { bits: value.to_bits(), window: None }
    }

    /// `<varbit_xor>`: the bits in which `value` differs from the one before.
    pub(super) fn put(&mut self, out: &mut BitWriter, value: f64) {
        let delta = value.to_bits() ^ self.bits;
        self.bits = value.to_bits();
        if delta == 0 {
            return out.put(0, 1);
        }
        out.put(1, 1);
        // Five bits for the count.
        let (leading, trailing) = (delta.leading_zeros().min(31), delta.trailing_zeros());
        if let Some((l, t)) = self.window.filter(|(l, t)| leading >= *l && trailing >= *t) {
            out.put(0, 1);
            out.put(delta >> t, 64 - l - t);
            return;
        }
        self.window = Some((leading, trailing));
        let significant = 64 - leading - trailing;
        out.put(1, 1);
        out.put(u64::from(leading), 5);
        // 64 is written as 0: there is always one.
        out.put(u64::from(significant & 63), 6);
        out.put(delta >> trailing, significant);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads what the writer wrote; written from the format's description.
    pub(crate) struct BitReader<'a> {
        bytes: &'a [u8],
        at: usize,
    }

    impl<'a> BitReader<'a> {
        pub(crate) fn new(bytes: &'a [u8]) -> Self {
            Self { bytes, at: 0 }
        }

        pub(crate) fn bit(&mut self) -> u64 {
            let bit = self.bytes[self.at / 8] >> (7 - self.at % 8) & 1;
            self.at += 1;
            u64::from(bit)
        }

        pub(crate) fn bits(&mut self, count: u32) -> u64 {
            (0..count).fold(0, |value, _| value << 1 | self.bit())
        }

        pub(crate) fn uvarint(&mut self) -> u64 {
            let (mut value, mut shift) = (0, 0);
            loop {
                let byte = self.bits(8);
                value |= (byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        }

        pub(crate) fn varint(&mut self) -> i64 {
            let v = self.uvarint();
            (v >> 1) as i64 ^ -((v & 1) as i64)
        }

        fn width(&mut self) -> Option<u32> {
            [0, 3, 6, 9, 12, 18, 25, 56].into_iter().find(|_| self.bit() == 0)
        }

        pub(crate) fn varbit_uint(&mut self) -> u64 {
            let width = self.width().unwrap_or(64);
            self.bits(width)
        }

        pub(crate) fn varbit_int(&mut self) -> i64 {
            let Some(width) = self.width() else { return self.bits(64) as i64 };
            let bits = self.bits(width) as i64;
            if width > 0 && bits > 1 << (width - 1) { bits - (1 << width) } else { bits }
        }

        pub(crate) fn xor(&mut self, state: &mut (u64, u32, u32)) -> f64 {
            if self.bit() == 1 {
                if self.bit() == 1 {
                    state.1 = self.bits(5) as u32;
                    let significant = match self.bits(6) as u32 {
                        0 => 64,
                        n => n,
                    };
                    state.2 = 64 - state.1 - significant;
                }
                let significant = 64 - state.1 - state.2;
                state.0 ^= self.bits(significant) << state.2;
            }
            f64::from_bits(state.0)
        }
    }

    proptest! {
        #[test]
        fn numbers_come_back(ints: Vec<i64>, small in prop::collection::vec(-5000i64..5000, 0..50), floats: Vec<f64>) {
            let mut out = BitWriter::default();
            for v in ints.iter().chain(&small) {
                out.put_varbit_int(*v);
                out.put_varbit_uint(*v as u64);
                out.put_varint(*v);
            }
            let mut xor = Xor::new(1.5);
            floats.iter().for_each(|v| xor.put(&mut out, *v));
            let bytes = out.finish();
            let mut r = BitReader::new(&bytes);
            for v in ints.iter().chain(&small) {
                prop_assert_eq!((r.varbit_int(), r.varbit_uint(), r.varint()), (*v, *v as u64, *v));
            }
            let mut state = (1.5f64.to_bits(), 0, 0);
            for v in &floats {
                prop_assert_eq!(r.xor(&mut state).to_bits(), v.to_bits());
            }
        }
    }

    #[test]
    fn marks_are_as_the_format_says() {
        for (value, bits, count) in [
            (0i64, 0b0u64, 1),
            (4, 0b10_100, 5),
            (-3, 0b10_101, 5),
            (5, 0b110_000101, 9),
            (256, 0b1110_100000000, 13),
            (2048, 0b11110_100000000000, 17),
        ] {
            let mut out = BitWriter::default();
            out.put_varbit_int(value);
            let bytes = out.finish();
            assert_eq!(BitReader::new(&bytes).bits(count), bits, "{value}");
            assert_eq!(bytes.len(), count.div_ceil(8) as usize);
        }
    }
}
