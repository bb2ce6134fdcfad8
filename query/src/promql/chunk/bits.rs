//! Bits of a chunk, the highest of a byte first, and the numbers in them. Layout: `tsdb/docs/format/chunks.md` of Prometheus.

/// A chunk that ends before its samples do, or says what no writer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunk of samples is damaged at bit {at}")]
pub struct Damaged {
    at: usize,
}

/// Widths of `varbit` numbers, by the ones before them.
const WIDTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

fn zigzag(coded: u64) -> i64 {
    (coded >> 1) as i64 ^ -((coded & 1) as i64)
}

/// The value before, and the window of bits that changed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Xor {
    bits: u64,
    leading: u32,
    width: u32,
}

impl Xor {
    /// The value without anything before it.
    pub(super) fn first(r: &mut Bits<'_>) -> Result<Self, Damaged> {
        Ok(Self { bits: r.take(64)?, ..Self::default() })
    }

    pub(super) fn value(self) -> f64 {
        f64::from_bits(self.bits)
    }

    pub(super) fn next(&mut self, r: &mut Bits<'_>) -> Result<(), Damaged> {
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

/// Where a reader is.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// What a writer does not say, here.
    pub(super) fn damaged(&self) -> Damaged {
        Damaged { at: self.at }
    }

    /// Bits that are left.
    pub(super) fn left(&self) -> usize {
        (self.bytes.len() * 8).saturating_sub(self.at)
    }

    pub(super) fn take(&mut self, width: u32) -> Result<u64, Damaged> {
        let mut out = 0;
        for _ in 0..width {
            let byte = self.bytes.get(self.at / 8).ok_or(Damaged { at: self.at })?;
            out = out << 1 | u64::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Ok(out)
    }

    pub(super) fn float(&mut self) -> Result<f64, Damaged> {
        Ok(f64::from_bits(self.take(64)?))
    }

    pub(super) fn varint_signed(&mut self) -> Result<i64, Damaged> {
        Ok(zigzag(self.varint()?))
    }

    pub(super) fn varint(&mut self) -> Result<u64, Damaged> {
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
    pub(super) fn change(&mut self) -> Result<i64, Damaged> {
        let width = self.width(&[0, 14, 17, 20, 64])?;
        self.signed(width)
    }

    pub(super) fn varbit_int(&mut self) -> Result<i64, Damaged> {
        let width = self.width(&WIDTHS)?;
        self.signed(width)
    }

    pub(super) fn varbit_uint(&mut self) -> Result<u64, Damaged> {
        let width = self.width(&WIDTHS)?;
        self.take(width)
    }

    /// As many ones as widths are passed, then a zero unless none is left.
    fn width(&mut self, widths: &[u32]) -> Result<u32, Damaged> {
        for width in &widths[..widths.len() - 1] {
            if self.take(1)? == 0 {
                return Ok(*width);
            }
        }
        Ok(widths[widths.len() - 1])
    }

    fn signed(&mut self, width: u32) -> Result<i64, Damaged> {
        let bits = self.take(width)?;
        let is_negative = (1..64).contains(&width) && bits > 1 << (width - 1);
        Ok(if is_negative { (bits as i64).wrapping_sub(1 << width) } else { bits as i64 })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Numbers as a writer has them.
    #[derive(Debug, Default)]
    pub(in super::super) struct Written(String);

    impl Written {
        pub(in super::super) fn bits(&mut self, value: u64, width: u32) -> &mut Self {
            for at in (0..width).rev() {
                self.0.push(if value >> at & 1 == 1 { '1' } else { '0' });
            }
            self
        }

        pub(in super::super) fn float(&mut self, value: f64) -> &mut Self {
            self.bits(value.to_bits(), 64)
        }

        pub(in super::super) fn uint(&mut self, value: u64) -> &mut Self {
            self.varbit(value, |width| width == 64 || value < 1 << width)
        }

        pub(in super::super) fn int(&mut self, value: i64) -> &mut Self {
            let fits = |width: u32| {
                width == 64 || width > 0 && (-(1i64 << (width - 1)) < value && value <= 1i64 << (width - 1))
            };
            self.varbit(value as u64, |width| value == 0 || fits(width))
        }

        fn varbit(&mut self, value: u64, fits: impl Fn(u32) -> bool) -> &mut Self {
            let ones = WIDTHS.iter().position(|width| fits(*width)).unwrap();
            (0..ones).for_each(|_| self.0.push('1'));
            if ones + 1 < WIDTHS.len() {
                self.0.push('0');
            }
            self.bits(value, WIDTHS[ones])
        }

        /// The last byte is filled with zeros.
        pub(in super::super) fn bytes(&self) -> Vec<u8> {
            let mut bits = self.0.clone();
            while !bits.len().is_multiple_of(8) {
                bits.push('0');
            }
            bits.as_bytes().chunks(8).map(|b| u8::from_str_radix(str::from_utf8(b).unwrap(), 2).unwrap()).collect()
        }
    }

    #[test]
    fn marks_are_as_the_format_says() {
        for (value, bits) in [(0i64, 0u64), (4, 0b10_100), (-3, 0b10_101), (5, 0b110_000101), (256, 0b1110_100000000)] {
            let mut w = Written::default();
            assert_eq!(Bits::of(&w.int(value).bytes()).varbit_int(), Ok(value));
            assert_eq!(u64::from_str_radix(&w.0, 2), Ok(bits), "{value}");
        }
        for value in [0, 7, 8, 1 << 20, u64::MAX] {
            assert_eq!(Bits::of(&Written::default().uint(value).bytes()).varbit_uint(), Ok(value));
        }
        for value in [i64::MIN, i64::MAX, -1, 1 << 55] {
            assert_eq!(Bits::of(&Written::default().int(value).bytes()).varbit_int(), Ok(value));
        }
    }
}
