//! A zero-copy walk over protobuf's wire format.
//!
//! The hot decoders walk messages field by field instead of building them, so nothing is allocated for a sample.

/// Why bytes are not protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("proto: cannot parse reserved or truncated wire data in {message}")]
pub(crate) struct WireError {
    pub(crate) message: &'static str,
}

impl From<WireError> for crate::error::ApiError {
    fn from(error: WireError) -> Self {
        Self::BadRequest(error.to_string())
    }
}

/// One field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        if let Self::Bytes(b) = self { Some(b) } else { None }
    }
}

/// The fields of one message in their order.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    message: &'static str,
}

/// Walks `bytes` as the message called `message` in errors.
pub(crate) fn fields<'a>(bytes: &'a [u8], message: &'static str) -> Fields<'a> {
    Fields { rest: bytes, message }
}

impl<'a> Fields<'a> {
    /// Number and value of the next field, `None` at the end.
    #[inline]
    pub(crate) fn next_field(&mut self) -> Result<Option<(u32, Field<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| *n > 0).ok_or(self.error())?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| self.error())?;
                Field::Bytes(self.take(len)?)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(self.error()),
        };
        Ok(Some((number, field)))
    }

    /// The bytes of the first fields as long as all are length-delimited ones with this `number` below 16.
    #[inline]
    pub(crate) fn leading_run(&mut self, number: u8) -> Result<&'a [u8], WireError> {
        let (whole, tag) = (self.rest, number << 3 | 2);
        let mut at = 0;
        loop {
            at = match whole.get(at..) {
                // Nearly every length of a label is one byte.
                Some([t, len @ 0..0x80, ..]) if *t == tag => at + 2 + usize::from(*len),
                Some([t, rest @ ..]) if *t == tag => {
                    self.rest = rest;
                    let len = usize::try_from(self.varint()?).map_err(|_| self.error())?;
                    (whole.len() - self.rest.len()).saturating_add(len)
                }
                Some(rest) => {
                    self.rest = rest;
                    return Ok(&whole[..at]);
                }
                None => return Err(self.error()),
            };
        }
    }

    fn error(&self) -> WireError {
        WireError { message: self.message }
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        if len > self.rest.len() {
            return Err(self.error());
        }
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        // Nearly every tag and length of a label or sample is one byte, and that of a series two.
        match self.rest {
            [byte @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            [low, high @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for (at, &byte) in self.rest.iter().take(10).enumerate() {
            if at == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(self.error())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_wire_type() {
        let bytes = [8, 0x96, 1, 0x12, 2, b'h', b'i', 0x19, 1, 0, 0, 0, 0, 0, 0, 0, 0x25, 9, 0, 0, 0];
        let mut f = fields(&bytes, "T");
        assert_eq!(f.next_field().unwrap(), Some((1, Field::Varint(150))));
        assert_eq!(f.next_field().unwrap(), Some((2, Field::Bytes(b"hi"))));
        assert_eq!(f.next_field().unwrap(), Some((3, Field::Fixed64(1))));
        assert_eq!(f.next_field().unwrap(), Some((4, Field::Fixed32(9))));
        assert_eq!(f.next_field().unwrap(), None);
    }

    #[test]
    fn a_run_ends_with_the_first_other_field() {
        let bytes = [0x0a, 2, b'h', b'i', 0x0a, 0, 0x12, 1, b'x', 0x0a, 0];
        let mut f = fields(&bytes, "T");
        assert_eq!(f.leading_run(1).unwrap(), &bytes[..6]);
        assert_eq!(f.next_field().unwrap(), Some((2, Field::Bytes(b"x"))));
        assert_eq!(f.leading_run(1).unwrap(), &bytes[9..]);
        assert_eq!(f.leading_run(1).unwrap(), b"");
        assert!(fields(&[0x0a, 0, 0x0a, 3, 1], "T").leading_run(1).is_err());
    }

    #[test]
    fn hostile_lengths_are_errors() {
        for bad in [
            &[0x12, 5, 1][..],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x0b],
            &[0],
            &[8, 0x80],
        ] {
            assert!(fields(bad, "T").next_field().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let mut f = fields(&bytes, "T");
            while let Ok(Some(_)) = f.next_field() {}
        }
    }
}
