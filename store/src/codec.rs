//! Bounds-checked reading and writing of little-endian integers, varints and length-prefixed bytes.
//!
//! Every decoder in this crate goes through [`Reader`], so that a hostile length is an [`Error`] and never a panic or a
//! huge allocation.

/// Why bytes could not be decoded. `at` is the offset in the slice that was handed to [`Reader::new`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("truncated {what} at byte {at}")]
    Truncated { what: &'static str, at: usize },
    #[error("invalid {what} at byte {at}")]
    Invalid { what: &'static str, at: usize },
    #[error("unknown {what} {value} at byte {at}")]
    Unknown { what: &'static str, value: u64, at: usize },
}

/// Whether a checksum does not fit. A fuzzing build takes every one for right: no mutation would guess them.
pub(crate) fn crc_differs(found: u32, expected: u32) -> bool {
    found != expected && !cfg!(trine_fuzz)
}

/// Appends `v` as an LEB128 varint of 1 to 10 bytes.
#[inline]
pub fn put_uvarint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push((v as u8) | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// Bytes of `v` as [`put_uvarint`] writes it.
pub(crate) fn uvarint_len(v: u64) -> usize {
    (64 - (v | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends `v` zigzag-coded, so that small magnitudes of either sign are short.
pub fn put_ivarint(out: &mut Vec<u8>, v: i64) {
    put_uvarint(out, ((v << 1) ^ (v >> 63)) as u64);
}

/// Appends the length of `bytes` as a varint, then `bytes`.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_uvarint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A cursor over untrusted bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Offset of the next byte.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    #[inline]
    pub fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], Error> {
        if len > self.remaining() {
            return Err(Error::Truncated { what, at: self.at });
        }
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    #[inline]
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Error> {
        Ok(self.take(1, what)?[0])
    }

    pub fn u16(&mut self, what: &'static str) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    #[inline]
    pub fn u64(&mut self, what: &'static str) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub fn u128(&mut self, what: &'static str) -> Result<u128, Error> {
        Ok(u128::from_le_bytes(self.array(what)?))
    }

    /// `N` bytes as an array.
    #[inline]
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Error> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, what)?);
        Ok(out)
    }

    #[inline]
    pub fn uvarint(&mut self, what: &'static str) -> Result<u64, Error> {
        // Nearly all lengths and references have one byte or two.
        match self.bytes.get(self.at..) {
            Some([one @ 0..0x80, ..]) => {
                self.at += 1;
                Ok(u64::from(*one))
            }
            Some([low, high @ 0..0x80, ..]) => {
                self.at += 2;
                Ok(u64::from(low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_uvarint(what),
        }
    }

    fn long_uvarint(&mut self, what: &'static str) -> Result<u64, Error> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.bytes.get(self.at) else {
                return Err(Error::Truncated { what, at: self.at });
            };
            self.at += 1;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::Invalid { what, at: start })
    }

    #[inline]
    pub fn ivarint(&mut self, what: &'static str) -> Result<i64, Error> {
        let v = self.uvarint(what)?;
        Ok(((v >> 1) as i64) ^ -((v & 1) as i64))
    }

    /// A count of things of at least `min_bytes` each: refused when that many cannot follow, so that callers may allocate.
    #[inline]
    pub fn count(&mut self, min_bytes: usize, what: &'static str) -> Result<usize, Error> {
        let at = self.at;
        let count = self.uvarint(what)?;
        match usize::try_from(count) {
            Ok(n) if n.saturating_mul(min_bytes.max(1)) <= self.remaining() => Ok(n),
            _ => Err(Error::Invalid { what, at }),
        }
    }

    /// Length-prefixed bytes.
    #[inline]
    pub fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], Error> {
        let at = self.at;
        let len = self.uvarint(what)?;
        let len = usize::try_from(len).map_err(|_| Error::Invalid { what, at })?;
        self.take(len, what)
    }

    /// Length-prefixed UTF-8.
    pub fn str(&mut self, what: &'static str) -> Result<&'a str, Error> {
        let at = self.at;
        std::str::from_utf8(self.bytes(what)?).map_err(|_| Error::Invalid { what, at })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_come_back(
            u in prop_oneof![any::<u64>(), 0u64..1 << 15],
            i in prop_oneof![any::<i64>(), -(1i64 << 14)..1 << 14],
        ) {
            let mut out = Vec::new();
            put_uvarint(&mut out, u);
            put_ivarint(&mut out, i);
            let mut r = Reader::new(&out);
            prop_assert_eq!(r.uvarint("u").unwrap(), u);
            prop_assert_eq!(r.ivarint("i").unwrap(), i);
            prop_assert!(r.is_empty());
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let mut r = Reader::new(&bytes);
            while !r.is_empty() {
                if r.clone().str("s").is_ok() && r.str("s").is_ok() { continue; }
                if r.ivarint("i").is_err() { break; }
            }
        }
    }

    #[test]
    fn hostile_lengths_are_errors() {
        assert!(Reader::new(&[0xff; 11]).uvarint("v").is_err());
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1]).bytes("b").is_err());
        assert!(Reader::new(&[200, 1, 0]).count(2, "n").is_err());
    }
}
