//! Label sets in their canonical encoding: the identity of a metric series and of a log stream.
use std::fmt;
use std::sync::Arc;

use crate::codec::{Error, Reader, put_bytes};

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
            let name = r.str("label name")?;
            if r.str("label value")?.is_empty() || last.is_some_and(|last| last >= name) {
                return Err(Error::Invalid { what: "label order", at });
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

    /// Value of `name`, if present.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
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
#[derive(Debug, Default)]
pub struct LabelsBuilder {
    text: String,
    /// (start of name, end of name, end of value) in `text`.
    pairs: Vec<(u32, u32, u32)>,
}

impl LabelsBuilder {
    pub fn clear(&mut self) {
        self.text.clear();
        self.pairs.clear();
    }

    pub fn push(&mut self, name: &str, value: &str) {
        let start = self.text.len() as u32;
        self.text.push_str(name);
        let mid = self.text.len() as u32;
        self.text.push_str(value);
        self.pairs.push((start, mid, self.text.len() as u32));
    }

    /// Appends the canonical encoding to `out`; refuses a duplicate name. Does not clear the builder.
    pub fn encode_into(&mut self, out: &mut Vec<u8>) -> Result<(), DuplicateName> {
        let text = &self.text;
        let name_of = |p: &(u32, u32, u32)| &text[p.0 as usize..p.1 as usize];
        if !self.pairs.is_sorted_by(|a, b| name_of(a) < name_of(b)) {
            self.pairs.sort_by(|a, b| name_of(a).cmp(name_of(b)));
            if let Some(w) = self.pairs.windows(2).find(|w| name_of(&w[0]) == name_of(&w[1])) {
                return Err(DuplicateName { name: name_of(&w[0]).to_owned() });
            }
        }
        for p in self.pairs.iter().filter(|p| p.1 != p.2) {
            put_bytes(out, name_of(p).as_bytes());
            put_bytes(out, &text.as_bytes()[p.1 as usize..p.2 as usize]);
        }
        Ok(())
    }

    pub fn build(&mut self) -> Result<Labels, DuplicateName> {
        let mut out = Vec::with_capacity(self.text.len() + 2 * self.pairs.len());
        self.encode_into(&mut out)?;
        Ok(Labels(Arc::from(out)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
