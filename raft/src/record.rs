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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use openraft::vote::RaftLeaderId;
    use proptest::prelude::*;

    use super::*;
    use crate::type_config::{Command, EntryPayload, LeaderId, Member};

    fn log_id() -> impl Strategy<Value = LogId> {
        any::<(u64, u64, u64)>().prop_map(|(term, leader, index)| LogId::new(LeaderId::new(term, leader), index))
    }

    fn membership() -> impl Strategy<Value = Membership> {
        let members = prop::collection::btree_map(any::<u64>(), any::<u64>(), 1..6);
        (members, 0_usize..6).prop_map(|(members, second)| {
            let all: BTreeSet<u64> = members.keys().copied().collect();
            let configs = match second {
                0 => vec![all],
                second => vec![all.iter().copied().take(second).collect(), all],
            };
            let members: BTreeMap<u64, Member> = members.into_iter().map(|(id, node)| (id, Member { node })).collect();
            Membership::new(configs, members).unwrap()
        })
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let payload = prop_oneof![
            Just(EntryPayload::Blank),
            prop::collection::vec(any::<u8>(), 0..50).prop_map(|bytes| EntryPayload::Normal(Command(bytes.into()))),
            membership().prop_map(EntryPayload::Membership),
        ];
        (log_id(), payload).prop_map(|(log_id, payload)| Entry { log_id, payload })
    }

    proptest! {
        #[test]
        fn entries_come_back(entry in entry()) {
            let bytes = encode_entry(&entry);
            prop_assert_eq!(bytes[0], 1);
            prop_assert_eq!(decode_entry(bytes).unwrap(), entry);
        }

        #[test]
        fn marks_come_back(id in prop::option::of(log_id()), committed in any::<bool>(), term in any::<u64>()) {
            prop_assert_eq!(decode_position(encode_position(id.as_ref())).unwrap(), id);
            let vote = Vote { leader_id: LeaderId::new(term, 7), committed };
            prop_assert_eq!(decode_vote(encode_vote(&vote)).unwrap(), vote);
        }

        #[test]
        fn memberships_come_back(membership in membership()) {
            prop_assert_eq!(decode_membership(encode_membership(&membership)).unwrap(), membership);
        }

        #[test]
        fn any_bytes_are_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..100), version in 0_u8..3) {
            let bytes = Bytes::from([&[version], &bytes[..]].concat());
            let errors = [
                decode_entry(bytes.clone()).err(),
                decode_vote(bytes.clone()).err(),
                decode_position(bytes.clone()).err(),
                decode_membership(bytes).err(),
            ];
            let refused = Some(Malformed::Version { found: u32::from(version) });
            prop_assert!(version == VERSION || errors.iter().all(|error| *error == refused));
        }
    }

    #[test]
    fn version_one_stays_readable() {
        let log_id = LogId::new(LeaderId::new(2, 3), 4);
        let normal = Entry { log_id, payload: EntryPayload::Normal(Command(Bytes::from("hi"))) };
        let bytes: &[u8] = &[1, 0x0a, 6, 8, 2, 16, 3, 24, 4, 0x12, 2, b'h', b'i'];
        assert_eq!(encode_entry(&normal), bytes);
        let vote = Vote { leader_id: LeaderId::new(2, 3), committed: true };
        assert_eq!(encode_vote(&vote), &[1, 8, 2, 16, 3, 24, 1][..]);
        assert_eq!(decode_entry(Bytes::new()), Err(Malformed::Missing { field: "version byte" }));
        assert_eq!(decode_entry(Bytes::from_static(&[1])), Err(Malformed::Missing { field: "entry position" }));
    }
}
