//! Ordered, typed attributes with the scope they belong to.
use crate::codec::{Error, Reader, put_bytes};
use crate::model::value::{Value, ValueType, read_type};

/// Where an attribute was attached. On disk: never reuse a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Scope {
    /// Fields of the protocol itself: see [`crate::model::intrinsic`].
    Intrinsic = 0,
    Resource = 1,
    /// Instrumentation scope; its name and version are intrinsics.
    Instrumentation = 2,
    /// The span or log entry itself; Loki's structured metadata.
    Record = 3,
    Event = 4,
    Link = 5,
}

impl Scope {
    pub fn from_u8(v: u8) -> Option<Self> {
        use Scope::*;
        [Intrinsic, Resource, Instrumentation, Record, Event, Link].into_iter().find(|s| *s as u8 == v)
    }
}

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attr {
    pub scope: Scope,
    pub key: String,
    pub value: Value,
}

/// An ordered list of attributes in its encoding: repeated `scope(u8) type(u8) varint(len) key value`.
///
/// Order and duplicates are kept as they came. The key of a span stream (resource and instrumentation scope).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Attrs(Box<[u8]>);

impl Attrs {
    /// Checks that `bytes` decode and takes a copy.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        while !r.is_empty() {
            let (_, value_type, _) = read_column(&mut r)?;
            Value::skip(&mut r, value_type)?;
        }
        Ok(Self(bytes.into()))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn to_vec(&self) -> Vec<Attr> {
        decode_attrs(&self.0).unwrap_or_default()
    }

    pub fn get(&self, scope: Scope, key: &str) -> Option<Value> {
        self.to_vec().into_iter().find(|a| a.scope == scope && a.key == key).map(|a| a.value)
    }
}

/// Decodes the encoding of [`Attrs`].
pub fn decode_attrs(bytes: &[u8]) -> Result<Vec<Attr>, Error> {
    let mut r = Reader::new(bytes);
    let mut out = Vec::new();
    while !r.is_empty() {
        let (scope, value_type, key) = read_column(&mut r)?;
        out.push(Attr { scope, key: key.to_owned(), value: Value::decode(&mut r, value_type)? });
    }
    Ok(out)
}

/// Reads `scope type key`.
pub fn read_column<'a>(r: &mut Reader<'a>) -> Result<(Scope, ValueType, &'a str), Error> {
    let at = r.position();
    let scope = r.u8("attribute scope")?;
    let scope = Scope::from_u8(scope).ok_or(Error::Unknown { what: "attribute scope", value: u64::from(scope), at })?;
    let value_type = read_type(r)?;
    Ok((scope, value_type, r.str("attribute key")?))
}

/// Appends `scope type key`.
pub fn put_column(out: &mut Vec<u8>, scope: Scope, value_type: ValueType, key: &str) {
    out.push(scope as u8);
    out.push(value_type as u8);
    put_bytes(out, key.as_bytes());
}

/// Builds [`Attrs`] in the order of the calls.
#[derive(Debug, Default)]
pub struct AttrsBuilder(Vec<u8>);

impl AttrsBuilder {
    pub fn push(&mut self, scope: Scope, key: &str, value: &Value) -> &mut Self {
        put_column(&mut self.0, scope, value.value_type(), key);
        value.encode(&mut self.0);
        self
    }

    pub fn push_str(&mut self, scope: Scope, key: &str, value: &str) -> &mut Self {
        put_column(&mut self.0, scope, ValueType::Str, key);
        put_bytes(&mut self.0, value.as_bytes());
        self
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn build(&mut self) -> Attrs {
        Attrs(std::mem::take(&mut self.0).into_boxed_slice())
    }
}
