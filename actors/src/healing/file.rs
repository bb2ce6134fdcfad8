//! The list's file: text, so that it can be read beside the files it tells of. Byte table: `docs/formats/healing.md`.
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::{Kind, Record, State};

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
