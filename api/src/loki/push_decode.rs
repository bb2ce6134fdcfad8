//! Decoders of the three push bodies: protobuf, JSON, and the first version's JSON.
use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::entries::Collector;
use super::selector::{is_label_name, parse_labels};
use crate::error::ApiError;
use crate::time::rfc3339_time_ns;
use crate::wire::{Field, WireError, fields};

/// Longest label set in its text form.
const LABELS_BYTES_MAX: usize = 16 << 20;

/// `Err`: the request is too large. `Ok(Err)`: these labels cannot be read, and says why.
fn labels_of(text: &str) -> Result<Result<Vec<(String, String)>, String>, ApiError> {
    if text.len() > LABELS_BYTES_MAX {
        return Err(ApiError::TooLarge(format!(
            "stream labels size {} exceeds limit of {LABELS_BYTES_MAX}",
            text.len()
        )));
    }
    Ok(parse_labels(text).map_err(|e| e.to_string()))
}

/// `logproto.PushRequest`.
pub(crate) fn decode_protobuf(body: &[u8], collector: &mut Collector<'_>) -> Result<(), ApiError> {
    let mut request = fields(body, "PushRequest");
    while let Some((number, field)) = request.next_field()? {
        if let (1, Field::Bytes(stream)) = (number, field) {
            decode_stream(stream, collector)?;
        }
    }
    Ok(())
}

fn decode_stream(bytes: &[u8], collector: &mut Collector<'_>) -> Result<(), ApiError> {
    // The labels may come after the entries: the first walk finds them.
    let (mut labels, mut entries) = (&b""[..], 0);
    let mut walk = fields(bytes, "StreamAdapter");
    while let Some((number, field)) = walk.next_field()? {
        match (number, field) {
            (1, Field::Bytes(b)) => labels = b,
            (2, Field::Bytes(_)) => entries += 1,
            _ => {}
        }
    }
    let pairs = labels_of(utf8(labels, "StreamAdapter")?)?;
    if entries == 0 {
        return Ok(());
    }
    let pairs = match pairs {
        Ok(pairs) => pairs,
        Err(why) => {
            collector.unreadable_stream(entries, &why);
            return Ok(());
        }
    };
    let Some(stream) = collector.stream(pairs, entries) else { return Ok(()) };
    let mut metadata = Vec::new();
    let mut walk = fields(bytes, "StreamAdapter");
    while let Some((number, field)) = walk.next_field()? {
        if let (2, Field::Bytes(entry)) = (number, field) {
            metadata.clear();
            let (time_ns, line) = decode_entry(entry, &mut metadata)?;
            collector.entry(&stream, time_ns, line, &metadata, 0);
        }
    }
    Ok(())
}

fn utf8<'a>(bytes: &'a [u8], message: &'static str) -> Result<&'a str, WireError> {
    std::str::from_utf8(bytes).map_err(|_| WireError { message })
}

fn decode_entry<'a>(bytes: &'a [u8], metadata: &mut Vec<(&'a str, &'a str)>) -> Result<(i64, &'a str), WireError> {
    let (mut time_ns, mut line) = (0, "");
    let mut walk = fields(bytes, "EntryAdapter");
    while let Some((number, field)) = walk.next_field()? {
        match (number, field) {
            (1, Field::Bytes(b)) => time_ns = decode_timestamp(b)?,
            (2, Field::Bytes(b)) => line = utf8(b, "EntryAdapter")?,
            (3, Field::Bytes(b)) => metadata.push(decode_pair(b)?),
            _ => {}
        }
    }
    Ok((time_ns, line))
}

fn decode_timestamp(bytes: &[u8]) -> Result<i64, WireError> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    let mut walk = fields(bytes, "Timestamp");
    while let Some((number, field)) = walk.next_field()? {
        match (number, field) {
            (1, Field::Varint(v)) => seconds = v as i64,
            (2, Field::Varint(v)) => nanos = v as i64,
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

fn decode_pair(bytes: &[u8]) -> Result<(&str, &str), WireError> {
    let (mut name, mut value) = ("", "");
    let mut walk = fields(bytes, "LabelPairAdapter");
    while let Some((number, field)) = walk.next_field()? {
        match (number, field) {
            (1, Field::Bytes(b)) => name = utf8(b, "LabelPairAdapter")?,
            (2, Field::Bytes(b)) => value = utf8(b, "LabelPairAdapter")?,
            _ => {}
        }
    }
    Ok((name, value))
}

/// Object of strings, in its order.
struct StringPairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for StringPairs {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = StringPairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StringPairs, A::Error> {
                let mut out = Vec::new();
                while let Some(pair) = map.next_entry::<String, String>()? {
                    out.push(pair);
                }
                Ok(StringPairs(out))
            }
        }
        d.deserialize_map(Pairs)
    }
}

/// `["<ns>", "line", {metadata}]`.
struct EntryJson {
    time_ns: i64,
    line: String,
    metadata: Vec<(String, String)>,
}

impl<'de> Deserialize<'de> for EntryJson {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Entry;
        impl<'de> Visitor<'de> for Entry {
            type Value = EntryJson;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of a timestamp string, a line and optional structured metadata")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<EntryJson, A::Error> {
                let time: String = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let time_ns = time.parse().map_err(|_| A::Error::custom(format!("invalid timestamp {time:?}")))?;
                let line = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
                let metadata = seq.next_element::<StringPairs>()?.map(|p| p.0).unwrap_or_default();
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(EntryJson { time_ns, line, metadata })
            }
        }
        d.deserialize_seq(Entry)
    }
}

#[derive(Deserialize)]
struct StreamJson {
    stream: StringPairs,
    #[serde(default)]
    values: Vec<EntryJson>,
}

#[derive(Deserialize)]
struct PushJson {
    #[serde(default)]
    streams: Vec<StreamJson>,
}

fn bad_json(error: serde_json::Error) -> ApiError {
    ApiError::BadRequest(format!("couldn't unmarshal push request: {error}"))
}

/// `{"streams":[{"stream":{…},"values":[[…]]}]}`.
pub(crate) fn decode_json(body: &[u8], collector: &mut Collector<'_>) -> Result<(), ApiError> {
    let push: PushJson = serde_json::from_slice(body).map_err(bad_json)?;
    for StreamJson { stream, values } in push.streams {
        if values.is_empty() {
            continue;
        }
        if let Some((name, _)) = stream.0.iter().find(|(name, _)| !is_label_name(name)) {
            collector.unreadable_stream(values.len() as u64, &format!("{name:?} is not a label name"));
            continue;
        }
        let Some(stream) = collector.stream(stream.0, values.len() as u64) else { continue };
        for entry in &values {
            let metadata: Vec<(&str, &str)> = entry.metadata.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            collector.entry(&stream, entry.time_ns, &entry.line, &metadata, 0);
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct LegacyEntry {
    ts: String,
    #[serde(default)]
    line: String,
}

#[derive(Deserialize)]
struct LegacyStream {
    labels: String,
    #[serde(default)]
    entries: Vec<LegacyEntry>,
}

#[derive(Deserialize)]
struct LegacyPush {
    #[serde(default)]
    streams: Vec<LegacyStream>,
}

/// `{"streams":[{"labels":"{…}","entries":[{"ts":…,"line":…}]}]}`.
pub(crate) fn decode_legacy_json(body: &[u8], collector: &mut Collector<'_>) -> Result<(), ApiError> {
    let push: LegacyPush = serde_json::from_slice(body).map_err(bad_json)?;
    for stream in push.streams {
        let pairs = labels_of(&stream.labels)?;
        if stream.entries.is_empty() {
            continue;
        }
        let pairs = match pairs {
            Ok(pairs) => pairs,
            Err(why) => {
                collector.unreadable_stream(stream.entries.len() as u64, &why);
                continue;
            }
        };
        let Some(accepted) = collector.stream(pairs, stream.entries.len() as u64) else { continue };
        for entry in &stream.entries {
            let time_ns = rfc3339_time_ns(&entry.ts)
                .ok_or_else(|| ApiError::BadRequest(format!("couldn't parse timestamp {:?}", entry.ts)))?;
            collector.entry(&accepted, time_ns, &entry.line, &[], 0);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "push_decode/tests.rs"]
mod tests;
