//! Bytes of log records, marks and memberships: a version byte, then a protobuf message.
//!
//! ```text
//! record, version 1                                      docs/formats/raft-log.md
//!   0   1  version      1; any other is refused by name
//!   1   .. message      Entry, Vote, Position or Membership of proto/raft.proto
//! ```
//!
//! Checksums are the device's.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::type_config::{Entry, LogId, Membership, Vote};
use crate::wire::{self, Malformed, proto};

/// The only version written and read.
const VERSION: u8 = 1;

fn encode(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + message.encoded_len());
    bytes.put_u8(VERSION);
    message.encode_raw(&mut bytes);
    bytes.freeze()
}

fn decode<M: Message + Default>(mut bytes: Bytes) -> Result<M, Malformed> {
    if !bytes.has_remaining() {
        return Err(Malformed::Missing { field: "version byte" });
    }
    match bytes.get_u8() {
        VERSION => Ok(M::decode(bytes)?),
        found => Err(Malformed::Version { found: u32::from(found) }),
    }
}

pub(crate) fn encode_entry(entry: &Entry) -> Bytes {
    encode(&wire::entry_message(entry))
}

/// Payload bytes are a slice of `bytes`, not a copy.
pub(crate) fn decode_entry(bytes: Bytes) -> Result<Entry, Malformed> {
    wire::entry(decode(bytes)?)
}

pub(crate) fn encode_vote(vote: &Vote) -> Bytes {
    encode(&proto::Vote::from(vote))
}

pub(crate) fn decode_vote(bytes: Bytes) -> Result<Vote, Malformed> {
    Ok((&decode::<proto::Vote>(bytes)?).into())
}

/// Empty bytes when there is no position, which is how a mark is taken back.
pub(crate) fn encode_position(log_id: Option<&LogId>) -> Bytes {
    log_id.map_or_else(Bytes::new, |id| encode(&proto::Position::from(id)))
}

pub(crate) fn decode_position(bytes: Bytes) -> Result<Option<LogId>, Malformed> {
    if bytes.is_empty() {
        return Ok(None);
    }
    Ok(Some((&decode::<proto::Position>(bytes)?).into()))
}

pub(crate) fn encode_membership(membership: &Membership) -> Bytes {
    encode(&wire::membership_message(membership))
}

/// Empty bytes are the empty membership of a group that was never initialized.
pub(crate) fn decode_membership(bytes: Bytes) -> Result<Membership, Malformed> {
    if bytes.is_empty() {
        return Ok(Membership::default());
    }
    wire::membership(&decode(bytes)?)
}

pub(crate) fn invalid(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The message for a membership, or none for the empty one.
pub(crate) fn encode_membership_message(membership: &Membership) -> Option<proto::Membership> {
    (*membership != Membership::default()).then(|| wire::membership_message(membership))
}
