//! How much memory a message will take once decoded, before it is: many tiny sub-messages decode to far more than their
//! bytes.
use crate::error::ApiError;
use crate::wire::{Field, fields};

/// About what one decoded sub-message takes.
const MESSAGE_BYTES: usize = 160;
/// About what one JSON value takes, and the fewest bytes it is written with.
const JSON_VALUE_BYTES: usize = 72;
const JSON_VALUE_BYTES_MIN: usize = 4;
/// Levels of the three export requests that are looked at: resource, scope, record, and the record's fields.
const DEPTH: usize = 4;

/// Estimate for an export request in protobuf. `Err` when its upper levels are no protobuf.
pub(super) fn protobuf_bytes(body: &[u8]) -> Result<usize, ApiError> {
    let messages = count(body, DEPTH)?;
    Ok(2 * body.len() + messages.saturating_mul(MESSAGE_BYTES))
}

fn count(message: &[u8], depth: usize) -> Result<usize, ApiError> {
    // The lists one descends into are field 1 of the request and field 2 of resource and scope messages.
    let list = if depth == DEPTH { 1 } else { 2 };
    let mut walk = fields(message, "ExportServiceRequest");
    let mut messages = 0usize;
    while let Some((number, field)) = walk.next_field()? {
        if let Field::Bytes(inner) = field {
            messages += 1;
            if number == list && depth > 1 {
                messages += count(inner, depth - 1)?;
            }
        }
    }
    Ok(messages)
}

/// Estimate for an export request in JSON.
pub(super) fn json_bytes(body: &[u8]) -> usize {
    body.len()
        + body.iter().filter(|b| matches!(b, b',' | b'{' | b'[')).count() * JSON_VALUE_BYTES
        + body.len() / JSON_VALUE_BYTES_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_empty_messages_weigh_more_than_their_bytes() {
        let bomb: Vec<u8> = [0x0a, 0x00].repeat(1000);
        assert!(protobuf_bytes(&bomb).unwrap() > 100 * 1000);
        assert!(protobuf_bytes(&[0x0a, 5]).is_err());
    }
}
