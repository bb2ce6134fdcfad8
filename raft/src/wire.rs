//! The generated messages of `proto/raft.proto`, and conversions between them and openraft's types.
//!
//! Nothing from outside is trusted: a missing field is an [`Malformed`], never a default.

use std::collections::{BTreeMap, BTreeSet};

use openraft::vote::RaftLeaderId;

use crate::type_config::{self as own, Command, EntryPayload, LeaderId, LogId, Member};

/// Version of every message and record this build writes, and the only one it reads.
pub(crate) const VERSION: u32 = 1;

#[expect(unreachable_pub, unused_qualifications, reason = "generated code")]
pub(crate) mod proto {
    include!(concat!(env!("OUT_DIR"), "/trine.raft.v1.rs"));
}

/// Bytes from outside that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// A message of a version this build does not know.
    #[error("version {found} is not supported, only {VERSION} is")]
    Version {
        /// The version found.
        found: u32,
    },
    /// A field that must be there is not.
    #[error("{field} is missing")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// Not a protobuf message at all.
    #[error("not a valid message: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// A voter set is empty, or names a replica that is no member.
    #[error("invalid membership: {reason}")]
    Membership {
        /// What is wrong with it.
        reason: String,
    },
    /// Entries of one message that do not follow each other.
    #[error("entry {found} follows {expected}")]
    NotConsecutive {
        /// Index that should have come.
        expected: u64,
        /// Index that came.
        found: u64,
    },
}

pub(crate) fn missing(field: &'static str) -> Malformed {
    Malformed::Missing { field }
}

impl From<&LogId> for proto::Position {
    fn from(id: &LogId) -> Self {
        let leader = id.committed_leader_id();
        Self { term: leader.term, leader: leader.node_id, index: id.index() }
    }
}

impl From<&proto::Position> for LogId {
    fn from(position: &proto::Position) -> Self {
        LogId::new(LeaderId::new(position.term, position.leader).to_committed(), position.index)
    }
}

pub(crate) fn position(id: Option<&LogId>) -> Option<proto::Position> {
    id.map(Into::into)
}

pub(crate) fn log_id(position: Option<&proto::Position>) -> Option<LogId> {
    position.map(Into::into)
}

impl From<&own::Vote> for proto::Vote {
    fn from(vote: &own::Vote) -> Self {
        Self { term: vote.leader_id.term, leader: vote.leader_id.node_id, committed: vote.committed }
    }
}

impl From<&proto::Vote> for own::Vote {
    fn from(vote: &proto::Vote) -> Self {
        Self { leader_id: LeaderId::new(vote.term, vote.leader), committed: vote.committed }
    }
}

pub(crate) fn vote(vote: Option<&proto::Vote>) -> Result<own::Vote, Malformed> {
    vote.map(Into::into).ok_or(missing("vote"))
}

pub(crate) fn membership_message(membership: &own::Membership) -> proto::Membership {
    let configs = membership.get_joint_config();
    proto::Membership {
        configs: configs.iter().map(|set| proto::VoterSet { replicas: set.iter().copied().collect() }).collect(),
        members: membership.nodes().map(|(id, m)| proto::Member { replica: *id, node: m.node }).collect(),
    }
}

pub(crate) fn membership(message: &proto::Membership) -> Result<own::Membership, Malformed> {
    let configs: Vec<BTreeSet<u64>> =
        message.configs.iter().map(|set| set.replicas.iter().copied().collect()).collect();
    let members: BTreeMap<u64, Member> = message.members.iter().map(|m| (m.replica, Member { node: m.node })).collect();
    own::Membership::new(configs, members).map_err(|error| Malformed::Membership { reason: error.to_string() })
}

pub(crate) fn entry_message(entry: &own::Entry) -> proto::Entry {
    let payload = match &entry.payload {
        EntryPayload::Blank => None,
        EntryPayload::Normal(Command(bytes)) => Some(proto::entry::Payload::Normal(bytes.clone())),
        EntryPayload::Membership(membership) => Some(proto::entry::Payload::Membership(membership_message(membership))),
    };
    proto::Entry { position: Some((&entry.log_id).into()), payload }
}

pub(crate) fn entry(message: proto::Entry) -> Result<own::Entry, Malformed> {
    let log_id = message.position.as_ref().ok_or(missing("entry position"))?.into();
    let payload = match message.payload {
        None => EntryPayload::Blank,
        Some(proto::entry::Payload::Normal(bytes)) => EntryPayload::Normal(Command(bytes)),
        Some(proto::entry::Payload::Membership(message)) => EntryPayload::Membership(membership(&message)?),
    };
    Ok(own::Entry { log_id, payload })
}
