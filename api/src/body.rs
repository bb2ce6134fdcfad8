//! Reading request bodies under limits: the budget is taken before a byte is read, and sizes are checked before they
//! are allocated.
use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::budget::{Budget, Held};
use crate::error::ApiError;

/// What is reserved for a body that does not say its length, until it does.
const UNKNOWN_LENGTH_BYTES: usize = 64 << 10;
/// Longest pause of a client within its body: what it holds of the budget is others' too.
const FRAME_TIMEOUT: Duration = Duration::from_secs(30);
/// Step in which decompressed bytes are taken from the budget.
const GROW_BYTES: usize = 256 << 10;

fn too_large() -> ApiError {
    ApiError::TooLarge("http: request body too large".to_owned())
}

/// The body, at most `bytes_max` long, and the budget it holds.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
    budget: &Budget,
) -> Result<(Bytes, Held), ApiError> {
    let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    if length.is_some_and(|n| n > bytes_max) {
        return Err(too_large());
    }
    let mut reserved = length.unwrap_or(UNKNOWN_LENGTH_BYTES);
    let mut held = budget.take(reserved)?;
    let mut body = Limited::new(body, bytes_max);
    let mut bytes = BytesMut::with_capacity(length.unwrap_or_default());
    while let Some(frame) = tokio::time::timeout(FRAME_TIMEOUT, body.frame()).await.map_err(|_| stalled(bytes.len()))? {
        let Ok(data) = frame.map_err(|e| read_error(&*e))?.into_data() else { continue };
        if bytes.len() + data.len() > reserved {
            let step = GROW_BYTES.max(data.len());
            held.grow(step)?;
            reserved += step;
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes.freeze(), held))
}

fn stalled(read: usize) -> ApiError {
    ApiError::BadRequest(format!("read the body: no byte after the first {read} for {} s", FRAME_TIMEOUT.as_secs()))
}

fn read_error(error: &(dyn std::error::Error + 'static)) -> ApiError {
    if error.is::<LengthLimitError>() { too_large() } else { ApiError::BadRequest(format!("read the body: {error}")) }
}

/// Reads all of `decoder`, at most `bytes_max`, growing `held` as it goes.
pub(crate) fn decode_all(decoder: impl Read, bytes_max: usize, held: &mut Held) -> Result<Bytes, ApiError> {
    let mut decoder = decoder.take(bytes_max as u64 + 1);
    let mut out = Vec::new();
    loop {
        held.grow(GROW_BYTES)?;
        let from = out.len();
        let read = decoder
            .by_ref()
            .take(GROW_BYTES as u64)
            .read_to_end(&mut out)
            .map_err(|e| ApiError::BadRequest(format!("decompress the body: {e}")))?;
        if out.len() > bytes_max {
            return Err(too_large());
        }
        if read < GROW_BYTES || out.len() == from {
            return Ok(out.into());
        }
    }
}

/// Undoes one HTTP content encoding of OpenTelemetry exporters: none, gzip, zstd, zlib/deflate, snappy (block or framed),
/// lz4. `None` for an encoding that is not known.
pub(crate) fn decode_content(
    encoding: &str,
    body: Bytes,
    bytes_max: usize,
    held: &mut Held,
) -> Option<Result<Bytes, ApiError>> {
    Some(match encoding {
        "" | "identity" => Ok(body),
        "gzip" => decode_all(flate2::read::MultiGzDecoder::new(&*body), bytes_max, held),
        "zlib" | "deflate" => decode_all(flate2::read::ZlibDecoder::new(&*body), bytes_max, held),
        "zstd" => match zstd::stream::read::Decoder::with_buffer(&*body) {
            Ok(decoder) => decode_all(decoder, bytes_max, held),
            Err(e) => Err(ApiError::BadRequest(format!("decompress the body: {e}"))),
        },
        "lz4" => decode_all(lz4_flex::frame::FrameDecoder::new(&*body), bytes_max, held),
        "x-snappy-framed" => decode_all(snap::read::FrameDecoder::new(&*body), bytes_max, held),
        "snappy" if body.starts_with(b"\xff\x06\x00\x00sNaPpY") => {
            decode_all(snap::read::FrameDecoder::new(&*body), bytes_max, held)
        }
        "snappy" => crate::snappy::decode_block(&body, bytes_max, held),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(data: &[u8]) -> Bytes {
        let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        e.write_all(data).unwrap();
        e.finish().unwrap().into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_gives_its_budget_back() {
        let budget = Budget::new(1 << 20);
        let first = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"abc"))]);
        let body = Body::from_stream(futures::StreamExt::chain(first, futures::stream::pending()));
        let headers = HeaderMap::from_iter([(CONTENT_LENGTH, http::HeaderValue::from(4096))]);
        let error = read(&headers, body, 1 << 20, &budget).await.unwrap_err();
        assert_eq!(error.to_string(), "read the body: no byte after the first 3 for 30 s");
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let budget = Budget::new(64 << 20);
        let bomb = gzip(&vec![0; 4 << 20]);
        let mut held = budget.take(bomb.len()).unwrap();
        let error = decode_content("gzip", bomb.clone(), 1 << 20, &mut held).unwrap().unwrap_err();
        assert!(matches!(error, ApiError::TooLarge(_)));
        let small = Budget::new(1 << 20);
        let _others = small.take(300 << 10).unwrap();
        let mut held = small.take(0).unwrap();
        let error = decode_content("gzip", bomb, 64 << 20, &mut held).unwrap().unwrap_err();
        assert!(matches!(error, ApiError::Busy { .. }));
    }

    #[test]
    fn known_encodings_come_back() {
        let budget = Budget::new(64 << 20);
        let mut held = budget.take(0).unwrap();
        let data = b"hello hello hello".to_vec();
        let block: Bytes = snap::raw::Encoder::new().compress_vec(&data).unwrap().into();
        let mut framed = snap::write::FrameEncoder::new(Vec::new());
        framed.write_all(&data).unwrap();
        let framed: Bytes = framed.into_inner().unwrap().into();
        let zst: Bytes = zstd::encode_all(&*data, 1).unwrap().into();
        for (encoding, body) in [("gzip", gzip(&data)), ("snappy", block), ("snappy", framed), ("zstd", zst)] {
            assert_eq!(decode_content(encoding, body, 1 << 20, &mut held).unwrap().unwrap(), data, "{encoding}");
        }
        assert!(decode_content("br", Bytes::new(), 1, &mut held).is_none());
        assert!(decode_content("gzip", Bytes::from_static(b"x"), 10, &mut held).unwrap().is_err());
    }
}
