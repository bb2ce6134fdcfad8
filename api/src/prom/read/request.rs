//! `prometheus.ReadRequest`.
use trine_store::index::{MatchOp, Matcher};

use crate::error::ApiError;
use crate::wire::{Field, WireError, fields};

/// Queries in one request; Prometheus sends one.
const QUERIES_MAX: usize = 100;
/// Matchers of a query: each is kept ready to match, which is more than its bytes.
const MATCHERS_MAX: usize = 1000;

/// Response types that are looked at; there are two.
const ACCEPTED_MAX: usize = 16;

/// How an answer is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseType {
    Samples,
    StreamedChunks,
}

/// One question.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadQuery {
    start_ms: i64,
    end_ms: i64,
    pub(crate) matchers: Vec<Matcher>,
    /// The part of the range that the reader will look at.
    hinted: Option<(i64, i64)>,
    /// Only which series there are.
    pub(crate) series_only: bool,
}

impl ReadQuery {
    /// Times in ms, both included: the query's, narrowed to what the reader hints that it needs.
    pub(crate) fn range(&self) -> (i64, i64) {
        match self.hinted {
            Some((from_ms, to_ms)) if from_ms <= to_ms => (self.start_ms.max(from_ms), self.end_ms.min(to_ms)),
            _ => (self.start_ms, self.end_ms),
        }
    }
}

/// What is asked, and how it may be answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadRequest {
    pub(crate) queries: Vec<ReadQuery>,
    /// Numbers of response types, the one that is liked best first.
    accepted: Vec<u64>,
}

impl ReadRequest {
    /// Decodes a message; a matcher that is none is an error.
    pub(crate) fn decode(message: &[u8]) -> Result<Self, ApiError> {
        let mut request = Self::default();
        let mut walk = fields(message, "ReadRequest");
        while let Some((number, field)) = walk.next_field()? {
            match (number, field) {
                (1, Field::Bytes(_)) if request.queries.len() >= QUERIES_MAX => {
                    return Err(ApiError::BadRequest(format!("more than {QUERIES_MAX} queries in one request")));
                }
                (1, Field::Bytes(query)) => request.queries.push(decode_query(query)?),
                (2, Field::Varint(accepted)) if request.accepted.len() < ACCEPTED_MAX => {
                    request.accepted.push(accepted);
                }
                (2, Field::Bytes(packed)) => {
                    let mut r = trine_store::codec::Reader::new(packed);
                    while !r.is_empty() && request.accepted.len() < ACCEPTED_MAX {
                        let wrong = |_| WireError { message: "ReadRequest" };
                        request.accepted.push(r.uvarint("accepted response type").map_err(wrong)?);
                    }
                }
                _ => {}
            }
        }
        Ok(request)
    }

    /// The first accepted type that is known; samples when nothing is said.
    pub(crate) fn response_type(&self) -> Result<ResponseType, ApiError> {
        if self.accepted.is_empty() {
            return Ok(ResponseType::Samples);
        }
        let known = self.accepted.iter().find_map(|n| match n {
            0 => Some(ResponseType::Samples),
            1 => Some(ResponseType::StreamedChunks),
            _ => None,
        });
        known.ok_or_else(|| {
            let text = "server does not support any of the requested response types: {:?}; supported: {SAMPLES, STREAMED_XOR_CHUNKS}";
            ApiError::BadRequest(text.replace("{:?}", &format!("{:?}", self.accepted)))
        })
    }
}

fn decode_query(bytes: &[u8]) -> Result<ReadQuery, ApiError> {
    let mut query = ReadQuery::default();
    let mut walk = fields(bytes, "Query");
    while let Some((number, field)) = walk.next_field()? {
        match (number, field) {
            (1, Field::Varint(v)) => query.start_ms = v as i64,
            (2, Field::Varint(v)) => query.end_ms = v as i64,
            (3, Field::Bytes(_)) if query.matchers.len() >= MATCHERS_MAX => {
                return Err(ApiError::BadRequest(format!("more than {MATCHERS_MAX} matchers in one query")));
            }
            (3, Field::Bytes(matcher)) => query.matchers.push(decode_matcher(matcher)?),
            (4, Field::Bytes(hints)) => decode_hints(hints, &mut query)?,
            _ => {}
        }
    }
    Ok(query)
}

fn decode_matcher(bytes: &[u8]) -> Result<Matcher, ApiError> {
    let (mut op, mut name, mut value) = (0, "", "");
    let mut walk = fields(bytes, "LabelMatcher");
    let text = |b| std::str::from_utf8(b).map_err(|_| WireError { message: "LabelMatcher" });
    while let Some((number, field)) = walk.next_field()? {
        match (number, field) {
            (1, Field::Varint(v)) => op = v,
            (2, Field::Bytes(b)) => name = text(b)?,
            (3, Field::Bytes(b)) => value = text(b)?,
            _ => {}
        }
    }
    let op = match op {
        0 => MatchOp::Eq,
        1 => MatchOp::NotEq,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        other => return Err(ApiError::BadRequest(format!("invalid matcher type {other}"))),
    };
    Matcher::new(name, op, value).map_err(|e| ApiError::BadRequest(format!("matcher of {name:?}: {e}")))
}

fn decode_hints(bytes: &[u8], query: &mut ReadQuery) -> Result<(), WireError> {
    let (mut start_ms, mut end_ms) = (0, 0);
    let mut walk = fields(bytes, "ReadHints");
    while let Some((number, field)) = walk.next_field()? {
        match (number, field) {
            (2, Field::Bytes(function)) => query.series_only = function == b"series",
            (3, Field::Varint(v)) => start_ms = v as i64,
            (4, Field::Varint(v)) => end_ms = v as i64,
            _ => {}
        }
    }
    // Both absent: nothing is hinted.
    query.hinted = (start_ms != 0 || end_ms != 0).then_some((start_ms, end_ms));
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(out: &mut Vec<u8>, number: u8, body: &[u8]) {
        out.push(number << 3 | 2);
        trine_store::codec::put_bytes(out, body);
    }

    fn matcher(op: u8, name: &str, value: &str) -> Vec<u8> {
        let mut out = vec![8, op];
        message(&mut out, 2, name.as_bytes());
        message(&mut out, 3, value.as_bytes());
        out
    }

    #[test]
    fn a_request_is_read() {
        let mut query = vec![8, 10, 16, 90];
        message(&mut query, 3, &matcher(0, "__name__", "up"));
        message(&mut query, 3, &matcher(3, "job", "a.*"));
        message(&mut query, 4, &[24, 20, 32, 80]);
        let mut bytes = Vec::new();
        message(&mut bytes, 1, &query);
        message(&mut bytes, 2, &[7, 1, 0]);
        let request = ReadRequest::decode(&bytes).unwrap();
        assert_eq!(request.response_type().unwrap(), ResponseType::StreamedChunks);
        assert_eq!(request.queries[0].range(), (20, 80));
        assert_eq!(request.queries[0].matchers.len(), 2);
        assert!(!request.queries[0].matchers[1].matches("ab"));
        assert_eq!(ReadRequest::default().response_type().unwrap(), ResponseType::Samples);
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        for bad in [matcher(9, "a", "b"), matcher(2, "a", "(")] {
            let (mut query, mut bytes) = (Vec::new(), Vec::new());
            message(&mut query, 3, &bad);
            message(&mut bytes, 1, &query);
            assert!(matches!(ReadRequest::decode(&bytes), Err(ApiError::BadRequest(_))));
        }
        for (number, count) in [(1, QUERIES_MAX + 1), (3, MATCHERS_MAX + 1)] {
            let (mut query, mut bytes) = (Vec::new(), Vec::new());
            (0..count).for_each(|_| message(if number == 1 { &mut bytes } else { &mut query }, number, &[]));
            message(&mut bytes, 1, &query);
            assert!(ReadRequest::decode(&bytes).unwrap_err().to_string().starts_with("more than"));
        }
        let request = ReadRequest::decode(&[16, 7]).unwrap();
        let error = request.response_type().unwrap_err().to_string();
        assert!(error.contains("any of the requested response types: [7]"), "{error}");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            if let Ok(request) = ReadRequest::decode(&bytes) {
                let _unchecked = (request.response_type().is_ok(), request.queries.iter().map(ReadQuery::range).count());
            }
        }
    }
}
