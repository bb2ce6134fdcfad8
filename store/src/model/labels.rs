//! Label sets in their canonical encoding: the identity of a metric series and of a log stream.
use std::fmt;
use std::sync::Arc;

use crate::codec::{Error, Reader, put_bytes, uvarint_len};

/// A label set: names sorted by bytes, no name twice, empty values dropped, all UTF-8.
///
/// Kept as its canonical encoding, repeated `varint(len) name varint(len) value`, in one allocation; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Arc<[u8]>);

/// The same label name was given twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("duplicate label name {name:?}")]
pub struct DuplicateName {
    pub name: String,
}

impl Labels {
    pub fn empty() -> Self {
        Self(Arc::from([].as_slice()))
    }

    /// Sorts, drops empty values, refuses a duplicate name.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, DuplicateName> {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.push(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// Checks that `bytes` are a canonical encoding and takes a copy.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        let mut last: Option<&str> = None;
        while !r.is_empty() {
            let at = r.position();
            let (name, value) = (r.str("label name")?, r.str("label value")?);
            if value.is_empty() || last.is_some_and(|last| last >= name) {
                return Err(Error::Invalid { what: "label order", at });
            }
            // Lengths have one form, or equal labels would have more than one identity.
            let canonical_bytes = [name, value].map(|text| uvarint_len(text.len() as u64) + text.len());
            if r.position() - at != canonical_bytes.iter().sum::<usize>() {
                return Err(Error::Invalid { what: "label length", at });
            }
            last = Some(name);
        }
        Ok(Self(Arc::from(bytes)))
    }

    /// Of pairs whose names rise and whose values are not empty; `None` of others. `buffer` is overwritten.
    pub(crate) fn from_sorted(pairs: &[(&str, &str)], buffer: &mut Vec<u8>) -> Option<Self> {
        if !pairs.is_sorted_by(|a, b| a.0 < b.0) || pairs.iter().any(|(_, value)| value.is_empty()) {
            return None;
        }
        buffer.clear();
        for (name, value) in pairs {
            put_bytes(buffer, name.as_bytes());
            put_bytes(buffer, value.as_bytes());
        }
        Some(Self(Arc::from(buffer.as_slice())))
    }

    /// The canonical encoding.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Pairs in name order.
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter::over(&self.0)
    }

    /// The same as bytes.
    pub fn iter_bytes(&self) -> LabelBytesIter<'_> {
        LabelBytesIter(Reader::new(&self.0))
    }

    /// Value of `name`, if present.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.iter_bytes().find(|(n, _)| *n == name.as_bytes())?;
        std::str::from_utf8(value).ok()
    }
}

/// Pairs of a canonical encoding in name order.
#[derive(Clone, Debug)]
pub struct LabelsIter<'a>(Reader<'a>);

impl<'a> LabelsIter<'a> {
    /// Over bytes that [`Labels::decode`] has accepted before; ends at the first bad byte.
    pub fn over(bytes: &'a [u8]) -> Self {
        Self(Reader::new(bytes))
    }
}

/// As [`LabelsIter`], without looking whether the bytes are text, which they are.
#[derive(Clone, Debug)]
pub struct LabelBytesIter<'a>(Reader<'a>);

impl<'a> Iterator for LabelBytesIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        Some((self.0.bytes("label name").ok()?, self.0.bytes("label value").ok()?))
    }
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        Some((self.0.str("label name").ok()?, self.0.str("label value").ok()?))
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `{a="b", c="d"}` with Go-like quoting, as Prometheus and Loki print label sets.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name}={value:?}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("}")
    }
}

/// Collects pairs in any order; reusable, so a decoder allocates once a request and not once a series.
///
/// Pairs are written as they come in the form that they have in the encoding: those of agents come in its order.
#[derive(Debug, Default)]
pub struct LabelsBuilder {
    encoded: Vec<u8>,
    pairs: Vec<Pair>,
    /// Something came out of order, twice, or empty.
    untidy: bool,
}

/// A pair in the builder's bytes.
#[derive(Clone, Copy, Debug)]
struct Pair {
    start: u32,
    name_start: u32,
    name_end: u32,
    end: u32,
    empty: bool,
}

impl Pair {
    fn name<'a>(&self, encoded: &'a [u8]) -> &'a [u8] {
        &encoded[self.name_start as usize..self.name_end as usize]
    }

    fn whole<'a>(&self, encoded: &'a [u8]) -> &'a [u8] {
        &encoded[self.start as usize..self.end as usize]
    }
}

impl LabelsBuilder {
    pub fn clear(&mut self) {
        self.encoded.clear();
        self.pairs.clear();
        self.untidy = false;
    }

    pub fn push(&mut self, name: &str, value: &str) {
        let ordered = self.pairs.last().is_none_or(|last| last.name(&self.encoded) < name.as_bytes());
        self.untidy |= !ordered || value.is_empty();
        let start = self.encoded.len();
        put_bytes(&mut self.encoded, name.as_bytes());
        let name_end = self.encoded.len();
        put_bytes(&mut self.encoded, value.as_bytes());
        self.pairs.push(Pair {
            start: start as u32,
            name_start: (name_end - name.len()) as u32,
            name_end: name_end as u32,
            end: self.encoded.len() as u32,
            empty: value.is_empty(),
        });
    }

    /// Appends the canonical encoding to `out`; refuses a duplicate name. Does not clear the builder.
    pub fn encode_into(&mut self, out: &mut Vec<u8>) -> Result<(), DuplicateName> {
        if !self.untidy {
            out.extend_from_slice(&self.encoded);
            return Ok(());
        }
        let encoded = &self.encoded;
        self.pairs.sort_by(|a, b| a.name(encoded).cmp(b.name(encoded)));
        if let Some(w) = self.pairs.windows(2).find(|w| w[0].name(encoded) == w[1].name(encoded)) {
            return Err(DuplicateName { name: String::from_utf8_lossy(w[0].name(encoded)).into_owned() });
        }
        for pair in self.pairs.iter().filter(|pair| !pair.empty) {
            out.extend_from_slice(pair.whole(encoded));
        }
        Ok(())
    }

    pub fn build(&mut self) -> Result<Labels, DuplicateName> {
        let mut out = Vec::with_capacity(self.encoded.len());
        self.encode_into(&mut out)?;
        Ok(Labels(Arc::from(out)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by fuzzing: such a series was sealed under another encoding than it had in its head.
    #[test]
    fn a_length_has_one_form() {
        assert!(Labels::decode(b"\x01a\x01b").is_ok());
        for other in [&b"\x81\x00a\x01b"[..], b"\x01a\x81\x00b"] {
            assert!(Labels::decode(other).is_err());
        }
    }

    #[test]
    fn sorted_deduplicated_and_without_empty_values() {
        let l = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", "")]).unwrap();
        assert_eq!(l.to_string(), r#"{a="1", b="2"}"#);
        assert_eq!(Labels::decode(l.as_bytes()).unwrap(), l);
        assert_eq!(l.get("b"), Some("2"));
        assert_eq!(Labels::from_pairs([("a", "1"), ("a", "2")]).unwrap_err().name, "a");
    }

    #[test]
    fn only_the_canonical_form_decodes() {
        for bad in [&b"\x01b\x011\x01a\x011"[..], b"\x01a\x00", b"\x01a", b"\x01\xff\x011"] {
            assert!(Labels::decode(bad).is_err(), "{bad:?}");
        }
    }
}
