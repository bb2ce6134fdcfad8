//! Snappy's block format, its length checked before anything is allocated.
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::budget::Held;
use crate::error::ApiError;

/// Most bytes of a buffer that waits to be used again.
const SPARE_BYTES_MAX: usize = 2 << 20;
/// Most buffers that wait.
const SPARES_MAX: usize = 4;

/// Buffers of decoded blocks, whose pages would else be asked from the system and cleared for every request.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < SPARES_MAX && buffer.len() <= SPARE_BYTES_MAX {
            spares.push(buffer);
        }
    }

    /// Decodes one block of at most `bytes_max` decoded bytes, which `held` grows by, for the time of `read`.
    pub(crate) fn with_block<R>(
        &self,
        body: &[u8],
        bytes_max: usize,
        held: &mut Held,
        read: impl FnOnce(&[u8], &mut Held) -> Result<R, ApiError>,
    ) -> Result<R, ApiError> {
        let len = decoded_len(body, bytes_max)?;
        held.grow(len)?;
        let mut buffer = self.take();
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        let written = snap::raw::Decoder::new().decompress(body, &mut buffer[..len]).map_err(corrupt);
        let outcome = written.and_then(|written| read(&buffer[..written], held));
        self.give_back(buffer);
        outcome
    }
}

fn corrupt(error: snap::Error) -> ApiError {
    ApiError::BadRequest(format!("snappy: corrupt input: {error}"))
}

/// Bytes that a block says it decodes to.
fn decoded_len(body: &[u8], bytes_max: usize) -> Result<usize, ApiError> {
    let len = snap::raw::decompress_len(body).map_err(corrupt)?;
    if len > bytes_max {
        return Err(ApiError::BadRequest(format!(
            "snappy: decoded block of {len} bytes is too large, limit {bytes_max}"
        )));
    }
    Ok(len)
}

/// Decodes one block of at most `bytes_max` decoded bytes, which `held` grows by.
pub(crate) fn decode_block(body: &[u8], bytes_max: usize, held: &mut Held) -> Result<Bytes, ApiError> {
    let len = decoded_len(body, bytes_max)?;
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

    #[test]
    fn a_buffer_that_is_used_again_shows_nothing_of_the_last_block() {
        let (buffers, mut held) = (Buffers::default(), Budget::new(1 << 20).take(0).unwrap());
        let block = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
        let mut read = |body: &[u8]| buffers.with_block(body, 9000, &mut held, |bytes, _| Ok(bytes.to_vec()));
        assert_eq!(read(&block(&[7; 5000])).unwrap(), vec![7; 5000]);
        assert_eq!(read(&block(&[8; 50])).unwrap(), vec![8; 50]);
        // Of what cannot be decoded nothing is read, the bytes of the block before least of all.
        assert!(read(&block(&[9; 5000])[..20]).is_err());
        assert_eq!(read(&block(&[1; 6000])).unwrap(), vec![1; 6000]);
        assert_eq!(buffers.0.lock().unwrap().len(), 1);
        assert!(read(&block(&[1; 9001])).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let mut held = Budget::new(1 << 20).take(0).unwrap();
            let _unchecked = decode_block(&bytes, 1 << 16, &mut held);
        }
    }
}
