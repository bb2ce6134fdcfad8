//! The metadata as a checksummed file: the snapshot of its group, and what an operator keeps as a backup.
//!
//! Its group's log is purged behind it, so a node keeps it twice: one damaged file costs nothing.
//!
//! ```text
//! meta.state, version 6                                  docs/formats/manifest.md
//!   0   4  magic "TRNX"
//!   4   1  version      6; 1 to 5 are read
//!   5   .. state        bincode 2, standard configuration, of Export
//! -32  32  hash         BLAKE3 of version and state
//! ```
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::command::{decode, encode};
use super::state::{MetaState, NodeRecord, ReplicaRecord, ShardRecord};

/// Name of the file in the metadata's directory.
pub(crate) const FILE: &str = "meta.state";
/// The second copy, written after the first and before the log is purged.
const COPY: &str = "meta.state.copy";
const MAGIC: &[u8; 4] = b"TRNX";
const VERSION: u8 = 6;

/// What the file holds besides magic, version and checksum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Export {
    /// Term, leader, index of the last applied entry.
    pub(crate) position: Option<(u64, u64, u64)>,
    /// Position and encoding of the group's newest membership.
    pub(crate) membership: Option<((u64, u64, u64), Vec<u8>)>,
    pub(crate) state: MetaState,
}

/// Version 1: no replica could leave and no node be gone.
mod v1 {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Deserialize)]
    #[cfg_attr(test, derive(Serialize))]
    pub(super) struct Shard {
        pub(super) generation: u64,
        pub(super) founder: u64,
        pub(super) replicas: Vec<ReplicaRecord>,
    }

    #[derive(Deserialize)]
    #[cfg_attr(test, derive(Serialize))]
    pub(super) struct State {
        pub(super) cluster: String,
        pub(super) nodes: BTreeMap<u64, NodeRecord>,
        pub(super) shards: BTreeMap<u32, Shard>,
        pub(super) slots: Vec<(u16, u32)>,
        pub(super) slots_generation: u64,
        pub(super) meta: Shard,
        pub(super) next_replica: u64,
    }

    #[derive(Deserialize)]
    #[cfg_attr(test, derive(Serialize))]
    pub(super) struct Export {
        pub(super) position: Option<(u64, u64, u64)>,
        pub(super) membership: Option<((u64, u64, u64), Vec<u8>)>,
        pub(super) state: State,
    }

    impl From<Shard> for ShardRecord {
        fn from(s: Shard) -> Self {
            Self { generation: s.generation, founder: s.founder, replicas: s.replicas, leaving: Vec::new() }
        }
    }

    impl From<Export> for super::Export {
        fn from(e: Export) -> Self {
            let s = e.state;
            let state = MetaState {
                cluster: s.cluster,
                nodes: s.nodes,
                shards: s.shards.into_iter().map(|(id, shard)| (id, shard.into())).collect(),
                slots: s.slots,
                slots_generation: s.slots_generation,
                meta: s.meta.into(),
                next_replica: s.next_replica,
                ..MetaState::default()
            };
            Self { position: e.position, membership: e.membership, state }
        }
    }
}

/// Version 2: no stream could be spread.
mod v2 {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    use crate::meta::GoneNode;

    #[derive(Deserialize)]
    #[cfg_attr(test, derive(Serialize))]
    pub(super) struct State {
        pub(super) cluster: String,
        pub(super) nodes: BTreeMap<u64, NodeRecord>,
        pub(super) shards: BTreeMap<u32, ShardRecord>,
        pub(super) slots: Vec<(u16, u32)>,
        pub(super) slots_generation: u64,
        pub(super) meta: ShardRecord,
        pub(super) next_replica: u64,
        pub(super) opened: BTreeSet<u64>,
        pub(super) retiring: BTreeSet<u64>,
        pub(super) gone: BTreeMap<u64, GoneNode>,
        pub(super) unknown_replicas: Vec<(u64, u64)>,
    }

    #[derive(Deserialize)]
    #[cfg_attr(test, derive(Serialize))]
    pub(super) struct Export {
        pub(super) position: Option<(u64, u64, u64)>,
        pub(super) membership: Option<((u64, u64, u64), Vec<u8>)>,
        pub(super) state: State,
    }

    impl From<Export> for super::Export {
        fn from(e: Export) -> Self {
            let s = e.state;
            let state = MetaState {
                cluster: s.cluster,
                nodes: s.nodes,
                shards: s.shards,
                slots: s.slots,
                slots_generation: s.slots_generation,
                meta: s.meta,
                next_replica: s.next_replica,
                opened: s.opened,
                retiring: s.retiring,
                gone: s.gone,
                unknown_replicas: s.unknown_replicas,
                ..MetaState::default()
            };
            Self { position: e.position, membership: e.membership, state }
        }
    }
}

fn corrupt(reason: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("metadata export: {reason}"))
}

pub(crate) fn decode_export(bytes: &[u8]) -> io::Result<Export> {
    let body = bytes.strip_prefix(MAGIC).ok_or_else(|| corrupt("no magic"))?;
    let (body, hash) = body.split_at_checked(body.len().saturating_sub(32)).ok_or_else(|| corrupt("too short"))?;
    if blake3::hash(body).as_bytes() != hash {
        return Err(corrupt("checksum mismatch"));
    }
    match body.first() {
        Some(1) => decode::<v1::Export>("export", body).map(Into::into).map_err(corrupt),
        Some(2) => decode::<v2::Export>("export", &enveloped(body)).map(Into::into).map_err(corrupt),
        // Version 3 ends where version 4 has the elections, that where version 5 has the deletions, and that where version 6 has the
        // demotions: none.
        Some(version @ 3..=5) => {
            let none = vec![0; usize::from(VERSION - version)];
            decode("export", &[enveloped(body), none].concat()).map_err(corrupt)
        }
        Some(&VERSION) => decode("export", &enveloped(body)).map_err(corrupt),
        version => Err(corrupt(format!("unknown version {version:?}"))),
    }
}

/// The envelope of commands is version 1 whatever this file's version.
fn enveloped(body: &[u8]) -> Vec<u8> {
    [&[1], body.get(1..).unwrap_or_default()].concat()
}

pub(crate) fn encode_export(export: &Export) -> Vec<u8> {
    let mut body = encode(export);
    body[0] = VERSION;
    let hash = blake3::hash(&body);
    [MAGIC.as_slice(), &body, hash.as_bytes()].concat()
}

/// The export of a metadata directory, of whichever copy is whole; `None` when there is none yet.
pub(crate) fn read_export(dir: &Path) -> io::Result<Option<Export>> {
    match (read_copy(dir, FILE), read_copy(dir, COPY)) {
        (Ok(Some(export)), _) | (Ok(None) | Err(_), Ok(Some(export))) => Ok(Some(export)),
        (first, _) => first,
    }
}

fn read_copy(dir: &Path, name: &str) -> io::Result<Option<Export>> {
    match fs::read(dir.join(name)) {
        Ok(bytes) => decode_export(&bytes).map(Some),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Makes both copies the same again, from the first if it is whole. Returns what was wrong with one that did not decode.
pub(crate) fn mend_export(dir: &Path) -> io::Result<Option<String>> {
    let (first, second) = (read_copy(dir, FILE), read_copy(dir, COPY));
    let (sound, damage) = match (first, second) {
        (Ok(Some(a)), Ok(Some(b))) if a == b => return Ok(None),
        (Ok(Some(a)), Ok(_)) => (a, None),
        (Ok(Some(a)), Err(e)) => (a, Some(format!("{COPY}: {e}"))),
        (Err(e), Ok(Some(b))) => (b, Some(format!("{FILE}: {e}"))),
        (Ok(None), Ok(Some(b))) => (b, Some(format!("{FILE} is missing"))),
        (Ok(None), Ok(None)) => return Ok(None),
        (Ok(None), Err(e)) | (Err(e), _) => return Err(e),
    };
    write_export(dir, &sound)?;
    Ok(damage)
}

/// Replaces the export of a metadata directory, each copy atomically and durably.
pub(crate) fn write_export(dir: &Path, export: &Export) -> io::Result<()> {
    let bytes = encode_export(export);
    for name in [FILE, COPY] {
        let temporary = dir.join("meta.state.new");
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, dir.join(name))?;
        // The second is begun once the first is there for good.
        fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::meta::{
        Claim, Command, DemotionRecord, DemotionTable, Elections, GoneNode, LeavingReplica, SpreadRecord, StreamPlaces,
    };

    fn sample() -> Export {
        let record = |replica| ShardRecord {
            generation: 2,
            founder: 5,
            replicas: vec![ReplicaRecord { replica, node: 7 }],
            leaving: vec![LeavingReplica { replica: 5, node: 6, successor: replica, lost: true }],
        };
        let node = NodeRecord {
            id: 7,
            name: "n".into(),
            rpc: "r:1".into(),
            http: "h:2".into(),
            zone: "z".into(),
            version: "v".into(),
        };
        let state = MetaState {
            cluster: "c".into(),
            nodes: [(7, node)].into(),
            shards: [(0, record(8))].into(),
            slots: vec![(0, 0)],
            slots_generation: 1,
            meta: record(9),
            next_replica: 10,
            opened: [8, 9].into(),
            retiring: [7].into(),
            gone: [(6, GoneNode { name: "n".into(), replaced_by: 7 })].into(),
            unknown_replicas: vec![(20, 30)],
            places: StreamPlaces {
                horizon_ns: 1_000,
                spreads: vec![SpreadRecord {
                    tenant: "t".into(),
                    stream: b"\x03app\x01x".to_vec(),
                    from_ns: 900,
                    slots: 4,
                }],
            },
            elections: Elections::default(),
            deletes: BTreeMap::new(),
            demotions: DemotionTable::default(),
        };
        Export { position: Some((1, 2, 3)), membership: Some(((1, 2, 3), vec![4, 5])), state }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Version 6 as it is on disks, and versions 5 and 4, which end before the demotions and the deletions and are still read. A
    /// change here needs a new version.
    #[test]
    fn version_6_is_fixed() {
        let mut export = sample();
        let text = |t: &str| t.to_owned();
        let claim =
            Claim { tenant: text("t"), cluster: text("c"), replica: text("a"), received_ms: 5, failover_ms: 30_000 };
        export.state.apply(Command::ClaimReplica(claim));
        let bytes = encode_export(&export);
        assert_eq!(decode_export(&bytes).unwrap(), export);
        // What version 3 has, and the elections; without and with deletions.
        let body = |all: &str| all[10..all.len() - 64].to_owned();
        assert_eq!(body(&hex(&bytes)), body(FIXTURE_3) + ELECTIONS + "0000");
        assert_eq!(bytes[4], 6);
        for (version, without) in [(5, 1), (4, 2)] {
            let mut old = [&[version], &bytes[5..bytes.len() - 32 - without]].concat();
            old = [MAGIC.as_slice(), &old, blake3::hash(&old).as_bytes()].concat();
            assert_eq!(decode_export(&old).unwrap(), export, "version {version} is still read");
        }
        export.state.apply(Command::RequestDelete { id: 40, delete: vec![41] });
        let bytes = encode_export(&export);
        assert_eq!(decode_export(&bytes).unwrap(), export);
        assert_eq!(body(&hex(&bytes)), body(FIXTURE_3) + ELECTIONS + "0128012900");
        let demotion =
            DemotionRecord { tenant: text("t"), metric: text("m"), label: text("l"), from_ms: 5, until_ms: i64::MAX };
        export.state.apply(Command::Demote(demotion));
        let bytes = encode_export(&export);
        assert_eq!(decode_export(&bytes).unwrap(), export);
        assert_eq!(body(&hex(&bytes)), body(FIXTURE_3) + ELECTIONS + "01280129" + DEMOTION);
    }

    /// One row: tenant, metric, label, from, until.
    const DEMOTION: &str = "010174016d016c0afdfeffffffffffffff";
    /// One tenant, one pair, its elected replica, since when, until when.
    const ELECTIONS: &str = "01017401016301610a0a";

    #[test]
    fn version_3_is_still_read() {
        let byte = |at: usize| u8::from_str_radix(&FIXTURE_3[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..FIXTURE_3.len()).step_by(2).map(byte).collect();
        assert_eq!(decode_export(&bytes).unwrap(), sample());
    }

    const FIXTURE_3: &str = concat!(
        "54524e580301010203010102030204050163010707016e03723a3103683a32017a0176010002050108070105060801010000",
        "01020501090701050609010a02080901070106016e0701141efbd00701017406036170700178fb080704d6bf2eea39b17790",
        "4522df0e2eb0c3fe8284818bd7553f851fb6acd0cb3c1fbc"
    );

    #[test]
    fn version_2_is_still_read() {
        let Export { position, membership, state } = sample();
        let s = state.clone();
        let old = v2::State {
            cluster: s.cluster,
            nodes: s.nodes,
            shards: s.shards,
            slots: s.slots,
            slots_generation: s.slots_generation,
            meta: s.meta,
            next_replica: s.next_replica,
            opened: s.opened,
            retiring: s.retiring,
            gone: s.gone,
            unknown_replicas: s.unknown_replicas,
        };
        let mut body = encode(&v2::Export { position, membership: membership.clone(), state: old });
        body[0] = 2;
        let bytes = [MAGIC.as_slice(), &body, blake3::hash(&body).as_bytes()].concat();
        assert_eq!(hex(&bytes), FIXTURE_2);
        let state = MetaState { places: StreamPlaces::default(), ..state };
        assert_eq!(decode_export(&bytes).unwrap(), Export { position, membership, state });
    }

    const FIXTURE_2: &str = concat!(
        "54524e580201010203010102030204050163010707016e03723a3103683a32017a0176010002050108070105060801010000",
        "01020501090701050609010a02080901070106016e0701141ef1ee2a4beeca262cf15179e61a378223e6678d4ad08d912c0df2605d040c28cf"
    );

    #[test]
    fn version_1_is_still_read() {
        let Export { position, membership, state } = sample();
        let shard =
            |r: &ShardRecord| v1::Shard { generation: r.generation, founder: r.founder, replicas: r.replicas.clone() };
        let old = v1::State {
            cluster: state.cluster.clone(),
            nodes: state.nodes.clone(),
            shards: state.shards.iter().map(|(id, r)| (*id, shard(r))).collect(),
            slots: state.slots.clone(),
            slots_generation: state.slots_generation,
            meta: shard(&state.meta),
            next_replica: state.next_replica,
        };
        let body = encode(&v1::Export { position, membership: membership.clone(), state: old });
        let bytes = [MAGIC.as_slice(), &body, blake3::hash(&body).as_bytes()].concat();
        assert_eq!(hex(&bytes), FIXTURE_1);
        let read = decode_export(&bytes).unwrap();
        assert_eq!((read.position, &read.membership), (position, &membership));
        assert_eq!(read.state.nodes, state.nodes);
        assert_eq!(read.state.shards[&0].replicas, state.shards[&0].replicas);
        assert_eq!(read.state.gone, BTreeMap::new());
    }

    const FIXTURE_1: &str = concat!(
        "54524e580101010203010102030204050163010707016e03723a3103683a32017a0176010002050108070100000102050109",
        "070acdf925c6d51fc7170fcba0d94b5cf7221afd5925454b043a3524121198db2c0c"
    );

    #[test]
    fn every_flipped_byte_is_noticed() {
        let bytes = encode_export(&sample());
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 0x10;
            assert!(decode_export(&bad).is_err(), "byte {i}");
        }
        assert!(decode_export(&[]).is_err());
    }

    #[test]
    fn one_copy_of_two_is_enough_and_is_mended() {
        let damage = |path: &Path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[9] ^= 1;
            fs::write(path, bytes).unwrap();
        };
        type Break<'a> = (&'static str, &'a dyn Fn(&Path), bool);
        let cases: [Break<'_>; 5] = [
            ("sound", &|_| {}, false),
            ("first", &|d| damage(&d.join(FILE)), true),
            ("second", &|d| damage(&d.join(COPY)), true),
            ("first is missing", &|d| fs::remove_file(d.join(FILE)).unwrap(), true),
            ("of a version with one copy", &|d| fs::remove_file(d.join(COPY)).unwrap(), false),
        ];
        for (name, harm, told) in cases {
            let dir = tempfile::tempdir().unwrap();
            write_export(dir.path(), &sample()).unwrap();
            harm(dir.path());
            assert_eq!(read_export(dir.path()).unwrap(), Some(sample()), "{name}");
            assert_eq!(mend_export(dir.path()).unwrap().is_some(), told, "{name}");
            for copy in [FILE, COPY] {
                assert_eq!(read_copy(dir.path(), copy).unwrap(), Some(sample()), "{name}");
            }
        }
        let dir = tempfile::tempdir().unwrap();
        assert_eq!((read_export(dir.path()).unwrap(), mend_export(dir.path()).unwrap()), (None, None));
        write_export(dir.path(), &sample()).unwrap();
        [FILE, COPY].iter().for_each(|copy| damage(&dir.path().join(copy)));
        assert!(read_export(dir.path()).is_err() && mend_export(dir.path()).is_err());
    }

    #[test]
    fn an_export_goes_on_where_it_ended() {
        let mut state = sample().state;
        let reply = state.apply(Command::AddReplica { shard: 0, node: 7 });
        assert_eq!(reply, crate::meta::Reply::Replica(8));
    }
}
