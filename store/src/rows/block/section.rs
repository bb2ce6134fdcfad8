//! The tables of one tenant's section: streams, label index, granule directory.
use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::codec::{Error, Reader, put_bytes, put_uvarint};
use crate::model::Signal;
use crate::rows::granule::GranuleMeta;
use crate::rows::label_index::LabelIndex;
use crate::rows::stream::StreamInfo;

/// `slot(u16) hash(u64) key` of each stream, in key order.
pub(crate) fn encode_streams(streams: &[Arc<StreamInfo>]) -> Vec<u8> {
    let mut out = Vec::new();
    for stream in streams {
        out.extend_from_slice(&stream.slot().0.to_le_bytes());
        out.extend_from_slice(&stream.hash().to_le_bytes());
        put_bytes(&mut out, stream.key());
    }
    out
}

pub(crate) fn decode_streams(bytes: &[u8], count: u32, signal: Signal) -> Result<Vec<Arc<StreamInfo>>, Error> {
    let mut r = Reader::new(bytes);
    let mut streams: Vec<Arc<StreamInfo>> = Vec::with_capacity((count as usize).min(bytes.len() / 11));
    while !r.is_empty() {
        let at = r.position();
        let slot = r.u16("stream slot")?;
        let hash = r.u64("stream hash")?;
        let stream = StreamInfo::new(signal, hash, r.bytes("stream key")?)?;
        if stream.slot().0 != slot || streams.last().is_some_and(|last| last.key() >= stream.key()) {
            return Err(Error::Invalid { what: "stream order or slot", at });
        }
        streams.push(Arc::new(stream));
    }
    if streams.len() == count as usize {
        Ok(streams)
    } else {
        Err(Error::Invalid { what: "streams count", at: r.position() })
    }
}

/// Names, of each its values, of each its postings: `count {name count {value len roaring}}`.
pub(crate) fn encode_labels(index: &LabelIndex) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    put_uvarint(&mut out, index.names.len() as u64);
    for (name, values) in &index.names {
        put_bytes(&mut out, name.as_bytes());
        put_uvarint(&mut out, values.len() as u64);
        for (value, postings) in values {
            put_bytes(&mut out, value.as_bytes());
            put_uvarint(&mut out, postings.serialized_size() as u64);
            postings.serialize_into(&mut out)?;
        }
    }
    Ok(out)
}

pub(crate) fn decode_labels(bytes: &[u8], streams_len: u32) -> Result<LabelIndex, Error> {
    let mut r = Reader::new(bytes);
    let mut names = BTreeMap::new();
    for _ in 0..r.count(2, "label names count")? {
        let name = r.str("label name")?.to_owned();
        let mut values = BTreeMap::new();
        for _ in 0..r.count(2, "label values count")? {
            let value = r.str("label value")?.to_owned();
            let at = r.position();
            let postings = RoaringBitmap::deserialize_from(r.bytes("postings")?);
            let postings = postings.map_err(|_| Error::Invalid { what: "postings", at })?;
            if postings.max().is_some_and(|max| max >= streams_len) {
                return Err(Error::Invalid { what: "postings", at });
            }
            values.insert(value, postings);
        }
        names.insert(name, values);
    }
    Ok(LabelIndex { all: (0..streams_len).collect(), names })
}

/// Base offset in the section, then the entry, of each granule.
pub(crate) fn encode_granules(granules: &[(u64, GranuleMeta)]) -> Vec<u8> {
    let mut out = Vec::new();
    put_uvarint(&mut out, granules.len() as u64);
    for (base, meta) in granules {
        put_uvarint(&mut out, *base);
        meta.encode(&mut out);
    }
    out
}

pub(crate) fn decode_granules(bytes: &[u8], streams_len: u32) -> Result<Vec<(u64, GranuleMeta)>, Error> {
    let mut r = Reader::new(bytes);
    let n = r.count(48, "granules count")?;
    let mut granules = Vec::with_capacity(n);
    for _ in 0..n {
        granules.push((r.uvarint("granule offset")?, GranuleMeta::decode(&mut r, streams_len)?));
    }
    Ok(granules)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Labels, Scope};
    use crate::rows::block::footer::Footer;
    use crate::rows::granule::GranuleBuilder;
    use crate::rows::row::{AttrRef, ValueRef};

    fn tables() -> [Vec<u8>; 3] {
        let streams: Vec<_> = ["db", "web"]
            .iter()
            .map(|app| {
                let labels = Labels::from_pairs([("app", *app), ("zone", "a")]).unwrap();
                Arc::new(StreamInfo::new(Signal::Logs, 7, labels.as_bytes()).unwrap())
            })
            .collect();
        let mut index = LabelIndex::default();
        streams.iter().enumerate().for_each(|(i, s)| index.insert(i as u32, s));
        let mut builder = GranuleBuilder::new(Signal::Logs, 1);
        for row in 0..20 {
            builder.begin_row(row / 10, i64::from(row), [0; 16], b"a line");
            builder.push_attr(AttrRef { scope: Scope::Record, key: "n", value: ValueRef::Int(i64::from(row)) });
            builder.push_attr(AttrRef { scope: Scope::Record, key: "s", value: ValueRef::Str("text") });
            builder.end_row();
        }
        [encode_streams(&streams), encode_labels(&index).unwrap(), encode_granules(&[(5, builder.finish().0)])]
    }

    fn decode(bytes: &[u8]) -> [bool; 4] {
        [
            decode_streams(bytes, 2, Signal::Logs).is_ok(),
            decode_labels(bytes, 2).is_ok(),
            decode_granules(bytes, 2).is_ok(),
            Footer::decode(bytes).is_ok(),
        ]
    }

    #[test]
    fn tables_come_back() {
        let [streams, labels, granules] = tables();
        assert_eq!(decode_streams(&streams, 2, Signal::Logs).unwrap().len(), 2);
        assert_eq!(encode_labels(&decode_labels(&labels, 2).unwrap()).unwrap(), labels);
        assert_eq!(encode_granules(&decode_granules(&granules, 2).unwrap()), granules);
        assert!(decode_granules(&granules, 1).is_err(), "a stream beyond the table");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>, at: prop::sample::Index, value: u8, cut: prop::sample::Index) {
            decode(&bytes);
            for mut table in tables() {
                let at = at.index(table.len());
                table[at] = value;
                decode(&table);
                decode(&table[..cut.index(table.len())]);
            }
        }
    }
}
