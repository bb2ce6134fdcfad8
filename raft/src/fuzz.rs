//! The decoders of log records and messages as functions of bytes, for the fuzzer in `chaos-tests/fuzz`.
use bytes::Bytes;
use prost::Message;

use crate::record;
use crate::wire::{self, proto};

/// Name and function of a decoder.
pub type Decoder = (&'static str, fn(&[u8]));

/// All of this crate.
pub const TARGETS: [Decoder; 2] = [("raft_records", records), ("raft_messages", messages)];

/// The first byte chooses the kind of record.
fn records(bytes: &[u8]) {
    let Some((kind, record)) = bytes.split_first() else { return };
    let record = Bytes::copy_from_slice(record);
    match kind % 4 {
        0 => drop(record::decode_entry(record)),
        1 => drop(record::decode_vote(record)),
        2 => drop(record::decode_position(record)),
        _ => drop(record::decode_membership(record)),
    }
}

fn messages(bytes: &[u8]) {
    if let Ok(message) = proto::Entry::decode(bytes) {
        drop(wire::entry(message));
    }
    if let Ok(message) = proto::Membership::decode(bytes) {
        drop(wire::membership(&message));
    }
    if let Ok(message) = proto::Vote::decode(bytes) {
        drop(wire::vote(Some(&message)));
    }
}
