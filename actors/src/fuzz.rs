//! The decoders of what nodes tell each other and keep, as functions of bytes, for the fuzzer in `chaos-tests/fuzz`.
use std::collections::BTreeSet;

use prost::Message;
use trine_store::model::{SLOTS, Slot};
use trine_store::shard::{Conflict, PartOutcome};

use crate::healing::{self, Kind, Record, State};
use crate::identity::Identity;
use crate::meta::{self, Command, Export, META_SHARD, MetaState, NodeRecord};
use crate::rpc::proto;
use crate::shard::EntryReply;
use crate::{gossip, placement, router, rpc, scatter};

/// Name and function of a decoder.
pub type Decoder = (&'static str, fn(&[u8]));

/// All of this crate.
pub const TARGETS: [Decoder; 8] = [
    ("metadata", metadata),
    ("metadata_commands", commands),
    ("metadata_export", export),
    ("shard_reply", |bytes| drop(EntryReply::decode(bytes))),
    ("node_messages", messages),
    ("gossip_datagram", gossip::receive),
    ("identity_file", |bytes| with_checksum(bytes, Identity::checksum, |text| drop(Identity::parse(text)))),
    ("healing_file", |bytes| with_checksum(bytes, crc_of, |text| drop(healing::decode(text.as_bytes())))),
];

/// Good inputs of a target; none for one of another crate.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let behind = |kind: u8, bytes: Vec<u8>| [vec![kind], bytes].concat();
    match target {
        "metadata" => {
            let mut all: Vec<Vec<u8>> = sample().iter().map(|c| behind(0, meta::encode(c))).collect();
            all.push(behind(1, meta::encode(&meta::Reply::Refused("why".to_owned()))));
            all.push(behind(2, meta::encode(&applied(&sample()))));
            all
        }
        "metadata_commands" => {
            let commands = sample().into_iter().map(|c| meta::encode(&c));
            vec![commands.flat_map(|c| [(c.len() as u16).to_le_bytes().to_vec(), c].concat()).collect()]
        }
        "metadata_export" => {
            let export = Export { position: Some((1, 2, 3)), membership: None, state: applied(&sample()) };
            let bytes = meta::encode_export(&export);
            vec![bytes[EXPORT_MAGIC.len()..bytes.len() - EXPORT_HASH_BYTES].to_vec()]
        }
        "shard_reply" => {
            let conflict = Conflict { series: 1, time_ms: 2, existing_bits: 3, new_bits: 4 };
            let part = PartOutcome { accepted: 3, repeated: 1, conflicts_count: 1, conflicts: vec![conflict] };
            vec![EntryReply::Parts(vec![part]).encode().to_vec(), EntryReply::Sealed.encode().to_vec()]
        }
        "node_messages" => message_seeds(),
        "gossip_datagram" => gossip::sample_datagrams(),
        "identity_file" => vec![
            b"trine-identity 2\nnode_id 7\nnode_name a\ncluster c\nmeta_replica 3\nmeta_opened 1\nrejoin ".to_vec(),
            b"trine-identity 1\nnode_id 7\nnode_name a\ncluster c\nmeta_replica 3".to_vec(),
        ],
        "healing_file" => vec![healing_seed()],
        _ => Vec::new(),
    }
}

fn node(id: u64) -> NodeRecord {
    let text = |what: &str| format!("{what}{id}");
    let (name, rpc, http) = (text("n"), text("127.0.0.1:1"), text("127.0.0.1:2"));
    NodeRecord { id, name, rpc, http, zone: text("z"), version: text("0.1.") }
}

/// One command of each kind.
fn sample() -> Vec<Command> {
    vec![
        Command::CreateCluster { cluster: "c".to_owned(), founder: node(1), meta_replica: 1, shards_count: 2 },
        Command::UpsertNode(node(2)),
        Command::UpsertNode(node(3)),
        Command::AddReplica { shard: 0, node: 2 },
        Command::AddReplica { shard: META_SHARD, node: 2 },
        Command::MarkOpened { replicas: vec![2, 4] },
        Command::ReplaceReplica { shard: 0, replica: 4, node: 3, lost: true },
        Command::DropReplica { shard: 0, replica: 4 },
        Command::ReplaceNode { old: 2, node: NodeRecord { name: "n2".to_owned(), ..node(9) } },
        Command::RetireNode { node: 3 },
        Command::ForgetNode { node: 3 },
        Command::ClaimReplica(meta::Claim {
            tenant: "t".to_owned(),
            cluster: "c".to_owned(),
            replica: "a".to_owned(),
            received_ms: 5,
            failover_ms: 9,
        }),
        Command::RemoveReplica { shard: 1, replica: 3 },
        Command::RaiseHorizon { to_ns: 100 },
        Command::SpreadStream {
            tenant: "t".to_owned(),
            stream: b"\x03app\x01x".to_vec(),
            from_ns: 0,
            slots: 4,
            earliest_ns: 120,
        },
    ]
}

fn applied(commands: &[Command]) -> MetaState {
    let mut state = MetaState::default();
    commands.iter().for_each(|c| drop(state.apply(c.clone())));
    state
}

/// The first byte chooses what it is taken for.
fn metadata(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => drop(meta::decode::<Command>("command", bytes)),
        1 => drop(meta::decode::<meta::Reply>("reply", bytes)),
        _ => drop(meta::decode::<MetaState>("state", bytes).map(|state| decide(&state))),
    }
}

/// A log of commands, each behind its length in two bytes.
fn commands(mut bytes: &[u8]) {
    let mut state = MetaState::default();
    while let Some((len, rest)) = bytes.split_first_chunk() {
        let (command, rest) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*len))));
        bytes = rest;
        if let Ok(command) = meta::decode::<Command>("command", command) {
            state.apply(command);
        }
    }
    let again = meta::decode::<MetaState>("state", &meta::encode(&state));
    assert_eq!(again.ok().as_ref(), Some(&state), "a state comes back");
    decide(&state);
}

/// What a node makes of a state.
fn decide(state: &MetaState) {
    let live: BTreeSet<u64> = state.nodes.keys().copied().collect();
    for slot in [0, SLOTS / 2, SLOTS - 1] {
        state.shard_of(Slot(slot));
    }
    drop(placement::plan_retirement(state, &live, 8));
    for node in &live {
        placement::cannot_retire(state, &live, *node);
    }
}

const EXPORT_MAGIC: &[u8; 4] = b"TRNX";
const EXPORT_HASH_BYTES: usize = 32;

/// Version and state of an exported file, with the hash that they need.
fn export(bytes: &[u8]) {
    let file = [EXPORT_MAGIC.as_slice(), bytes, blake3::hash(bytes).as_bytes()].concat();
    if let Ok(export) = meta::decode_export(&file) {
        let again = meta::decode_export(&meta::encode_export(&export));
        assert_eq!(again.ok().as_ref(), Some(&export), "an export comes back");
        decide(&export.state);
    }
}

fn message_seeds() -> Vec<Vec<u8>> {
    let outcome = PartOutcome { accepted: 1, ..PartOutcome::default() };
    let results = vec![router::to_proto(Ok(outcome))];
    let block = proto::BlockRecord {
        signal: 2,
        file: "0000000001-logs.trnb".to_owned(),
        bytes: 5,
        digest: vec![1; 16].into(),
        ..proto::BlockRecord::default()
    };
    let done = proto::ShardDone { shard: 1, position: 2, ..proto::ShardDone::default() };
    let done = proto::FragmentReply { item: Some(proto::fragment_reply::Item::Done(done)) };
    let error = proto::QueryError { kind: 11, message: "5".to_owned(), hopeless: false };
    let error = proto::FragmentReply { item: Some(proto::fragment_reply::Item::Error(error)) };
    let join = proto::JoinRequest { cluster: "c".to_owned(), node: Some(node(7).into()) };
    vec![
        proto::SubmitReply { results }.encode_to_vec(),
        proto::ListBlocksReply {
            position: 3,
            blocks: vec![block],
            compaction: 2,
            compactions_pending: 1,
            ..Default::default()
        }
        .encode_to_vec(),
        done.encode_to_vec(),
        error.encode_to_vec(),
        join.encode_to_vec(),
    ]
}

/// Whatever message these bytes can be.
fn messages(bytes: &[u8]) {
    if let Ok(reply) = proto::SubmitReply::decode(bytes) {
        reply.results.into_iter().for_each(|result| drop(router::from_proto(result)));
    }
    if let Ok(reply) = proto::FragmentReply::decode(bytes) {
        drop(scatter::Reply::from_proto(reply));
    }
    if let Ok(reply) = proto::ListBlocksReply::decode(bytes) {
        reply.blocks.into_iter().for_each(|record| drop(rpc::listed(record)));
    }
    if let Ok(request) = proto::JoinRequest::decode(bytes) {
        drop(request.node.map(NodeRecord::from));
    }
    if let Ok(request) = proto::ProposeRequest::decode(bytes) {
        drop(meta::decode::<Command>("command", &request.command));
    }
    drop(proto::SubmitRequest::decode(bytes));
    drop(proto::FragmentRequest::decode(bytes));
    drop(proto::StatusReply::decode(bytes));
    drop(proto::HealingReply::decode(bytes));
    drop(proto::ScrubReply::decode(bytes));
    drop(proto::StandingReply::decode(bytes));
}

fn healing_seed() -> Vec<u8> {
    let text = |t: &str| t.to_owned();
    let record = Record {
        id: 1,
        time_ms: 2,
        changed_ms: 3,
        kind: Kind::Block,
        state: State::Healed,
        shard: Some(4),
        what: text("a\tb\\c"),
        reason: text("why\n"),
        detail: text("d"),
        kept: text("1-block"),
    };
    let bytes = healing::encode(&[record]);
    let end = bytes.trim_ascii_end().iter().rposition(|b| *b == b'\n').unwrap_or(bytes.len());
    bytes[..end].to_vec()
}

/// Text files end in the checksum of their lines, which no mutation would guess.
fn with_checksum(bytes: &[u8], checksum: impl Fn(&str) -> u32, decode: impl FnOnce(&str)) {
    let body = format!("{}\n", String::from_utf8_lossy(bytes));
    decode(&format!("{body}crc {:08x}\n", checksum(&body)));
}

fn crc_of(body: &str) -> u32 {
    crc32fast::hash(body.as_bytes())
}
