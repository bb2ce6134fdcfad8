//! Snappy's block format, its length checked before anything is allocated.
use bytes::Bytes;

use crate::budget::Held;
use crate::error::ApiError;

/// Decodes one block of at most `bytes_max` decoded bytes, which `held` grows by.
pub(crate) fn decode_block(body: &[u8], bytes_max: usize, held: &mut Held) -> Result<Bytes, ApiError> {
    let corrupt = |e: snap::Error| ApiError::BadRequest(format!("snappy: corrupt input: {e}"));
    let len = snap::raw::decompress_len(body).map_err(corrupt)?;
    if len > bytes_max {
        return Err(ApiError::BadRequest(format!(
            "snappy: decoded block of {len} bytes is too large, limit {bytes_max}"
        )));
    }
    held.grow(len)?;
    let mut out = vec![0; len];
    let written = snap::raw::Decoder::new().decompress(body, &mut out).map_err(corrupt)?;
    out.truncate(written);
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::budget::Budget;

    #[test]
    fn hostile_lengths_are_errors() {
        let mut held = Budget::new(1 << 20).take(0).unwrap();
        for bad in [&b""[..], b"\xff\xff\xff\xff\x0f", b"\x80", b"\x10\x00"] {
            assert!(decode_block(bad, 1 << 20, &mut held).is_err(), "{bad:?}");
        }
        let good = snap::raw::Encoder::new().compress_vec(&[7; 5000]).unwrap();
        assert!(decode_block(&good, 4999, &mut held).is_err());
        assert_eq!(decode_block(&good, 5000, &mut held).unwrap(), vec![7; 5000]);
        assert!(decode_block(&good[..good.len() - 1], 5000, &mut held).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let mut held = Budget::new(1 << 20).take(0).unwrap();
            let _unchecked = decode_block(&bytes, 1 << 16, &mut held);
        }
    }
}
