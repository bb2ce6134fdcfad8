//! A reply's body as it is written: in pieces that are charged to the query's account until they have been sent (P6).
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, StatusCode};
use trine_query::memory::{Account, Charge, hold};

use crate::error::ApiError;
use crate::reply;

/// Text that has grown to this many bytes is put aside as a piece, so that no growing text is copied as a whole.
const PIECE_BYTES: usize = 256 << 10;

/// Writes a body.
#[derive(Debug)]
pub(crate) struct Writer {
    pieces: Vec<Bytes>,
    text: String,
    /// For what `text` has room for.
    held: Charge,
}

impl Writer {
    /// An empty body; `memory` is charged for it.
    pub(crate) fn new(memory: &Account) -> Self {
        Self { pieces: Vec::new(), text: String::new(), held: memory.open() }
    }

    /// The end of the body, to append to. Call [`Self::settle`] now and then.
    pub(crate) fn text(&mut self) -> &mut String {
        &mut self.text
    }

    /// Appends `items` between brackets, separated by commas.
    pub(crate) fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut push: impl FnMut(&mut String, T),
    ) -> Result<(), ApiError> {
        self.text.push('[');
        for (i, item) in items.into_iter().enumerate() {
            if i > 0 {
                self.text.push(',');
            }
            push(&mut self.text, item);
            self.settle()?;
        }
        self.text.push(']');
        Ok(())
    }

    /// Charges what has been written and puts a long text aside. Errors: [`ApiError::QueryMemory`], [`ApiError::Overloaded`].
    pub(crate) fn settle(&mut self) -> Result<(), ApiError> {
        self.held.set(self.text.capacity() as u64).map_err(trine_query::Error::from)?;
        if self.text.len() >= PIECE_BYTES {
            // A copy of the right size: the text keeps its room for the next piece.
            let piece = Bytes::copy_from_slice(self.text.as_bytes());
            self.pieces.push(hold(self.held.account(), piece).map_err(trine_query::Error::from)?);
            self.text.clear();
        }
        Ok(())
    }

    /// 200 with the body.
    pub(crate) fn respond(mut self, content_type: &'static str) -> Result<Response, ApiError> {
        if self.pieces.is_empty() {
            let body = hold(self.held.account(), Bytes::from(self.text)).map_err(trine_query::Error::from)?;
            return Ok(reply::with_type(StatusCode::OK, content_type, body));
        }
        let last = Bytes::copy_from_slice(self.text.as_bytes());
        self.pieces.push(hold(self.held.account(), last).map_err(trine_query::Error::from)?);
        let length: usize = self.pieces.iter().map(Bytes::len).sum();
        let pieces = stream::iter(self.pieces.into_iter().map(Ok::<_, std::convert::Infallible>));
        let mut response = reply::with_type(StatusCode::OK, content_type, Body::from_stream(pieces));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use trine_query::memory::QueryMemory;

    use super::*;

    #[tokio::test]
    async fn bodies_come_whole_and_are_charged_until_sent() {
        let memory = QueryMemory::new(16 << 20, 16 << 20);
        for items in [0usize, 3, 200_000] {
            let mut writer = Writer::new(&memory.account());
            writer.list(0..items, |out, i| out.push_str(&i.to_string())).unwrap();
            let response = writer.respond("application/json").unwrap();
            assert!(memory.held_bytes() > 0);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let numbers: Vec<usize> = serde_json::from_slice(&body).unwrap();
            assert!(numbers.into_iter().eq(0..items), "{items}");
            drop(body);
            assert_eq!(memory.held_bytes(), 0);
        }
    }

    #[test]
    fn a_body_that_does_not_fit_is_refused() {
        let memory = QueryMemory::new(1 << 20, 1 << 20);
        let mut writer = Writer::new(&memory.account());
        let error = writer.list(0..400_000, |out, i: u32| out.push_str(&i.to_string())).unwrap_err();
        assert!(matches!(error, ApiError::QueryMemory { .. }), "{error}");
        drop(writer);
        assert_eq!(memory.held_bytes(), 0);
    }
}
