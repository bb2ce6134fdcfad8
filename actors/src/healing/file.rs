//! The list's file: text, so that it can be read beside the files it tells of. Byte table: `docs/formats/healing.md`.
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::{Kind, Record, State, folder};

const HEADER: &str = "trine-healing 1";

/// Header line, a line a record with fields apart by tabs, checksum line.
pub(crate) fn encode(records: &[Record]) -> Vec<u8> {
    let mut body = format!("{HEADER}\n");
    for r in records {
        let shard = r.shard.map_or("-".to_owned(), |s| s.to_string());
        let fields = [
            r.id.to_string(),
            r.time_ms.to_string(),
            r.changed_ms.to_string(),
            r.kind.as_str().to_owned(),
            r.state.as_str().to_owned(),
            shard,
            escape(&r.reason),
            escape(&r.kept),
            escape(&r.what),
            escape(&r.detail),
        ];
        body.push_str(&fields.join("\t"));
        body.push('\n');
    }
    let crc = crc32fast::hash(body.as_bytes());
    body.push_str(&format!("crc {crc:08x}\n"));
    body.into_bytes()
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Record>, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let (body, last) = text.trim_end().rsplit_once('\n').ok_or("too short")?;
    let body = format!("{body}\n");
    if last != format!("crc {:08x}", crc32fast::hash(body.as_bytes())) {
        return Err("checksum mismatch".into());
    }
    let mut lines = body.lines();
    if lines.next() != Some(HEADER) {
        return Err("unknown version".into());
    }
    lines.map(record).collect()
}

/// Ids above it in a damaged list are damage.
const SALVAGED_ID_MAX: u64 = 999_999_999;

/// The records of a list that does not decode as a whole, as far as their lines do. One that has files must have the directory
/// of its id: a line whose damage is not noticed must not make another record's files be removed.
pub(super) fn salvage(bytes: &[u8]) -> Vec<Record> {
    let lines = bytes.split(|b| *b == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let mut records: BTreeMap<u64, Record> = BTreeMap::new();
    for record in lines.filter_map(|line| record(line).ok()) {
        if record.id <= SALVAGED_ID_MAX && (record.kept.is_empty() || record.kept == folder(record.id)) {
            records.entry(record.id).or_insert(record);
        }
    }
    records.into_values().collect()
}

fn record(line: &str) -> Result<Record, String> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [id, time, changed, kind, state, shard, reason, kept, what, detail] = fields[..] else {
        return Err(format!("{} fields in a line", fields.len()));
    };
    let number = |s: &str| s.parse::<u64>().map_err(|e| format!("{s}: {e}"));
    let shard = match shard {
        "-" => None,
        shard => Some(shard.parse().map_err(|e| format!("{shard}: {e}"))?),
    };
    let kept = unescape(kept);
    // It is joined to the quarantine directory and removed with all that is in it.
    if kept.contains(['/', '\0']) || kept.starts_with('.') {
        return Err(format!("{kept:?} is not a directory of the quarantine"));
    }
    Ok(Record {
        id: number(id)?,
        time_ms: number(time)?,
        changed_ms: number(changed)?,
        kind: Kind::parse(kind).ok_or_else(|| format!("kind {kind}"))?,
        state: State::parse(state).ok_or_else(|| format!("state {state}"))?,
        shard,
        reason: unescape(reason),
        kept,
        what: unescape(what),
        detail: unescape(detail),
    })
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (c, false) => out.push(c),
            (_, true) => match chars.next() {
                Some('t') => out.push('\t'),
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => {}
            },
        }
    }
    out
}

/// Replaces a file of `dir` atomically and durably.
pub(super) fn write(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let mut file = fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(name))?;
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record {
        Record {
            id: 7,
            time_ms: 1000,
            changed_ms: 2000,
            kind: Kind::Wal,
            shard: Some(4),
            what: "replica 9".into(),
            reason: "wal_corrupt".into(),
            state: State::Healing,
            detail: "entry\t5".into(),
            kept: "000007".into(),
        }
    }

    /// Version 1 as it is on disks. A change here needs a new version.
    #[test]
    fn version_1_is_fixed() {
        let line = "7\t1000\t2000\twal\thealing\t4\twal_corrupt\t000007\treplica 9\tentry\\t5";
        let body = format!("trine-healing 1\n{line}\n");
        let expected = format!("{body}crc {:08x}\n", crc32fast::hash(body.as_bytes()));
        assert_eq!(String::from_utf8(encode(&[sample()])).unwrap(), expected);
        assert_eq!(decode(expected.as_bytes()).unwrap(), vec![sample()]);
    }

    #[test]
    fn sound_lines_of_a_damaged_list_are_kept() {
        let of = |id: u64, kept: &str| Record { id, kept: kept.into(), ..sample() };
        let all = [of(7, "000007"), of(8, ""), of(9, "000009"), of(10, "000007"), of(u64::MAX, "")];
        let mut bytes = encode(&all);
        let at = bytes.windows(6).position(|w| w == b"000009").unwrap();
        bytes[at] = 0xff;
        assert!(decode(&bytes).is_err());
        assert_eq!(salvage(&bytes), [of(7, "000007"), of(8, "")]);
        assert_eq!(salvage(b"\xff\n\n"), []);
    }

    #[test]
    fn every_flipped_byte_is_noticed_and_paths_stay_inside() {
        let bytes = encode(&[sample()]);
        // The last byte is the line's end.
        for i in 0..bytes.len() - 1 {
            let mut bad = bytes.clone();
            bad[i] ^= 0x04;
            assert!(decode(&bad).is_err(), "byte {i}");
        }
        for kept in ["../shards", "/", ".", ".."] {
            assert!(decode(&encode(&[Record { kept: kept.into(), ..sample() }])).is_err(), "{kept}");
        }
    }
}
