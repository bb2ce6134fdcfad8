//! The decoders of log records and messages as functions of bytes, for the fuzzer in `chaos-tests/fuzz`.
use bytes::Bytes;
use openraft::vote::RaftLeaderId;
use prost::Message;

use crate::type_config::{Command, Entry, EntryPayload, LeaderId, LogId};
use crate::wire::{self, proto};
use crate::{network, record, server};

/// Name and function of a decoder.
pub type Decoder = (&'static str, fn(&[u8]));

/// All of this crate.
pub const TARGETS: [Decoder; 2] = [("raft_records", records), ("raft_messages", messages)];

/// Good inputs of a target; none for one of another crate.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let position = LogId::new(LeaderId::new(3, 2).to_committed(), 7);
    let vote = proto::Vote { term: 3, leader: 2, committed: true };
    let entry = Entry { log_id: position, payload: EntryPayload::Normal(Command(Bytes::from_static(b"payload"))) };
    let members = proto::Membership {
        configs: vec![proto::VoterSet { replicas: vec![1, 2] }, proto::VoterSet { replicas: vec![2] }],
        members: vec![proto::Member { replica: 1, node: 5 }, proto::Member { replica: 2, node: 6 }],
    };
    let append = proto::AppendRequest {
        target: None,
        vote: Some(vote),
        previous: Some((&LogId::new(LeaderId::new(2, 2).to_committed(), 6)).into()),
        entries: vec![wire::entry_message(&entry)],
        committed: Some((&position).into()),
    };
    let behind = |kind: u8, bytes: Bytes| [&[kind], &bytes[..]].concat();
    match target {
        "raft_records" => {
            let mut all = vec![
                behind(0, record::encode_entry(&entry)),
                behind(2, record::encode_position(Some(&position))),
                behind(1, record::encode_vote(&(&vote).into())),
            ];
            if let Ok(members) = wire::membership(&members) {
                all.push(behind(3, record::encode_membership(&members)));
            }
            all
        }
        "raft_messages" => vec![append.encode_to_vec(), members.encode_to_vec(), vote.encode_to_vec()],
        _ => Vec::new(),
    }
}

/// The first byte chooses the kind of record.
fn records(bytes: &[u8]) {
    let Some((kind, record)) = bytes.split_first() else { return };
    let record = Bytes::copy_from_slice(record);
    match kind % 4 {
        0 => {
            if let Ok(entry) = record::decode_entry(record) {
                let again = record::decode_entry(record::encode_entry(&entry));
                assert_eq!(again.ok(), Some(entry), "an entry comes back");
            }
        }
        1 => drop(record::decode_vote(record)),
        2 => drop(record::decode_position(record)),
        _ => {
            if let Ok(membership) = record::decode_membership(record) {
                let again = record::decode_membership(record::encode_membership(&membership));
                assert_eq!(again.ok(), Some(membership), "a membership comes back");
            }
        }
    }
}

/// Whatever message these bytes can be.
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
    if let Ok(message) = proto::AppendRequest::decode(bytes) {
        drop(server::append_request(message));
    }
    if let Ok(message) = proto::SnapshotRequest::decode(bytes) {
        drop(server::snapshot(message));
    }
    network::read_replies(bytes);
}
