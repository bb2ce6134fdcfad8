//! The decoders of what nodes tell each other and keep, as functions of bytes, for the fuzzer in `chaos-tests/fuzz`.
use crate::healing;
use crate::identity::Identity;
use crate::meta::{self, Command, MetaState};
use crate::shard::EntryReply;

/// Name and function of a decoder.
pub type Decoder = (&'static str, fn(&[u8]));

/// All of this crate.
pub const TARGETS: [Decoder; 4] = [
    ("metadata", metadata),
    ("shard_reply", |bytes| drop(EntryReply::decode(bytes))),
    ("identity_file", |bytes| with_checksum(bytes, Identity::checksum, |text| drop(Identity::parse(text)))),
    ("healing_file", |bytes| with_checksum(bytes, crc32fast_of, |text| drop(healing::decode(text.as_bytes())))),
];

/// The first byte chooses what it is taken for.
fn metadata(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => drop(meta::decode::<Command>("command", bytes)),
        1 => drop(meta::decode::<meta::Reply>("reply", bytes)),
        _ => drop(meta::decode::<MetaState>("state", bytes)),
    }
}

/// Text files end in the checksum of their lines, which no mutation would guess.
fn with_checksum(bytes: &[u8], checksum: fn(&str) -> u32, decode: impl FnOnce(&str)) {
    let body = format!("{}\n", String::from_utf8_lossy(bytes));
    decode(&format!("{body}crc {:08x}\n", checksum(&body)));
}

fn crc32fast_of(body: &str) -> u32 {
    crc32fast::hash(body.as_bytes())
}
