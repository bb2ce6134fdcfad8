//! Tables of push bodies, good and hostile.
use proptest::prelude::*;
use trine_store::model::{Labels, Slot, Spreads, Value};
use trine_store::part::{PartRef, RowsBody};

use super::*;
use crate::budget::Budget;
use crate::config::ApiConfig;
use crate::loki::entries::{Entries, EntryLimits};

const NOW_NS: i64 = 1_700_000_000_000_000_000;

fn run(decode: fn(&[u8], &mut Collector<'_>) -> Result<(), ApiError>, body: &[u8]) -> Result<Entries, ApiError> {
    let limits =
        EntryLimits::new(&ApiConfig { retention_ms: 86_400_000, ..ApiConfig::default() }, NOW_NS, Spreads::none());
    let shard_of = |s: Slot| u32::from(s.0) % 2;
    let mut held = Budget::new(64 << 20).take(0).unwrap();
    let mut collector = Collector::new("t", &limits, &shard_of, &mut held);
    decode(body, &mut collector)?;
    collector.finish()
}

/// (labels, ns, line, metadata) of a row.
type Row = (String, i64, String, Vec<(String, String)>);

fn rows(entries: &Entries) -> Vec<Row> {
    let mut out = Vec::new();
    for p in &entries.parts {
        let part = PartRef::decode(&p.part).unwrap();
        let mut body = RowsBody::new(part.body, part.defs.len() as u32).unwrap();
        while let Some(row) = body.next_row().unwrap() {
            let attrs = row.attrs(&body.shapes[row.shape as usize]).unwrap();
            let metadata = attrs
                .into_iter()
                .map(|a| match a.value {
                    Value::Str(s) => (a.key, s),
                    other => panic!("{other:?}"),
                })
                .collect();
            let labels = Labels::decode(part.defs[row.stream as usize].key).unwrap().to_string();
            out.push((labels, row.time_ns, String::from_utf8(row.body.to_vec()).unwrap(), metadata));
        }
    }
    out.sort();
    out
}

fn message(out: &mut Vec<u8>, number: u8, body: &[u8]) {
    out.push(number << 3 | 2);
    trine_store::codec::put_bytes(out, body);
}

fn protobuf() -> Vec<u8> {
    let mut time = vec![8];
    trine_store::codec::put_uvarint(&mut time, 1_700_000_000);
    time.extend_from_slice(&[16, 5]);
    let (mut pair, mut entry, mut stream, mut request) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    message(&mut pair, 1, b"trace_id");
    message(&mut pair, 2, b"abc");
    message(&mut entry, 1, &time);
    message(&mut entry, 2, b"level=warn hi");
    message(&mut entry, 3, &pair);
    message(&mut stream, 2, &entry);
    message(&mut stream, 1, br#"{job="j"}"#);
    message(&mut request, 1, &stream);
    request
}

#[test]
fn json_label_names_are_those_that_can_be_selected() {
    for name in ["", "\\u0000", "a b", "a\\nb", "1a", "é", "a.b"] {
        let bad = format!(r#"{{"stream":{{"ok":"1","{name}":"x"}},"values":[["1","l"],["2","l"]]}}"#);
        let body = format!(r#"{{"streams":[{bad},{{"stream":{{"ok":"1"}},"values":[["{NOW_NS}","l"]]}}]}}"#);
        let entries = run(decode_json, body.as_bytes()).unwrap();
        assert!(entries.texts[0].starts_with("couldn't parse labels: "), "{:?}", entries.texts);
        assert_eq!(
            (rows(&entries).len(), entries.entries, entries.rejected),
            (1, 3, 2),
            "{name}: the good one is taken"
        );
        assert_eq!(entries.rejected_by, [("invalid_stream", 2)].into());
    }
}

#[test]
fn the_three_forms_give_the_same_rows() {
    let json = br#"{"streams":[{"stream":{"job":"j"},"values":[["1700000000000000005","level=warn hi",{"trace_id":"abc"}]],"x":1}]}"#;
    let expected = vec![(
        r#"{job="j", service_name="j"}"#.to_owned(),
        NOW_NS + 5,
        "level=warn hi".to_owned(),
        vec![("trace_id".to_owned(), "abc".to_owned()), ("detected_level".to_owned(), "warn".to_owned())],
    )];
    assert_eq!(rows(&run(decode_json, json).unwrap()), expected);
    assert_eq!(rows(&run(decode_protobuf, &protobuf()).unwrap()), expected);
    let legacy = br#"{"streams":[{"labels":"{job=\"j\"}","entries":[{"ts":"2023-11-14T22:13:20.000000005Z","line":"level=warn hi"}]}]}"#;
    let got = rows(&run(decode_legacy_json, legacy).unwrap());
    assert_eq!((&got[0].0, got[0].1), (&expected[0].0, expected[0].1));
}

#[test]
fn bad_entries_are_refused_in_lokis_words_and_good_ones_kept() {
    let long = "x".repeat((256 << 10) + 1);
    let many: Vec<String> = (0..16).map(|i| format!(r#""l{i}":"v""#)).collect();
    let json = format!(
        r#"{{"streams":[
        {{"stream":{{"app":"a"}},"values":[["{NOW_NS}","good"],["{NOW_NS}","{long}"],["{}","new"],["1","old"]]}},
        {{"stream":{{}},"values":[["{NOW_NS}","x"]]}},
        {{"stream":{{{}}},"values":[["{NOW_NS}","x"]]}},
        {{"stream":{{"a":"1","a":"2"}},"values":[["{NOW_NS}","x"]]}}]}}"#,
        NOW_NS + 601_000_000_000,
        many.join(",")
    );
    let entries = run(decode_json, json.as_bytes()).unwrap();
    assert_eq!((rows(&entries).len(), entries.rejected, entries.streams), (1, 6, 4));
    let by = [("invalid_stream", 3), ("line_too_long", 1), ("too_far_in_future", 1), ("too_old", 1)];
    assert_eq!(entries.rejected_by, by.into());
    let texts = entries.texts.join("\n");
    for text in [
        r#"max entry size '262144' bytes exceeded for stream '{app="a", service_name="a"}' while adding an entry with length '262145' bytes"#,
        r#"entry for stream '{app="a", service_name="a"}' has timestamp too new: 2023-11-14T22:23:21Z"#,
        "has timestamp too old: 1970-01-01T00:00:00.000000001Z, oldest acceptable timestamp is: 2023-11-13T22:13:20Z",
        "error at least one label pair is required per stream",
        "has 16 label names; limit 15",
        "has duplicate label name: 'a'",
    ] {
        assert!(texts.contains(text), "{text}\nnot in\n{texts}");
    }
}

#[test]
fn hostile_bodies_are_errors() {
    for bad in [
        &br#"{"streams":[{"stream":{"a":"b"},"values":[[1,"x"]]}]}"#[..],
        br#"{"streams":5}"#,
        b"",
        b"[",
        br#"{"streams":[{"stream":{"a":1}}]}"#,
    ] {
        assert!(run(decode_json, bad).is_err(), "{}", String::from_utf8_lossy(bad));
    }
    let good = protobuf();
    for cut in 1..good.len() {
        assert!(run(decode_protobuf, &good[..cut]).is_err(), "{cut}");
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        for decode in [decode_protobuf, decode_json, decode_legacy_json] {
            let _unchecked = run(decode, &bytes);
        }
    }
}
