//! Typed attribute values (OTLP's AnyValue) and their encoding.
use crate::codec::{Error, Reader, put_bytes, put_ivarint, put_uvarint};

/// Deepest nesting of arrays and maps that is kept.
pub const VALUE_DEPTH_MAX: usize = 16;

/// An attribute value. Doubles compare by bits, so that a NaN equals itself.
#[derive(Clone, Debug)]
pub enum Value {
    Str(String),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(String, Value)>),
    /// An AnyValue whose oneof is unset.
    Empty,
}

/// Type tag of a [`Value`]. On disk: never reuse a number. The same key with two types is two columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ValueType {
    Str = 1,
    Bool = 2,
    Int = 3,
    Double = 4,
    Bytes = 5,
    Array = 6,
    Map = 7,
    Empty = 8,
}

impl ValueType {
    pub fn from_u8(v: u8) -> Option<Self> {
        use ValueType::*;
        [Str, Bool, Int, Double, Bytes, Array, Map, Empty].into_iter().find(|t| *t as u8 == v)
    }
}

impl Value {
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Str(_) => ValueType::Str,
            Self::Bool(_) => ValueType::Bool,
            Self::Int(_) => ValueType::Int,
            Self::Double(_) => ValueType::Double,
            Self::Bytes(_) => ValueType::Bytes,
            Self::Array(_) => ValueType::Array,
            Self::Map(_) => ValueType::Map,
            Self::Empty => ValueType::Empty,
        }
    }

    /// Appends the value without its type: str, bytes: `varint(len) bytes`; bool: one byte; int: zigzag varint; double: 8
    /// bytes of bits; array: `varint(n)` then `type value` each; map: `varint(n)` then `key type value` each; empty: none.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Str(s) => put_bytes(out, s.as_bytes()),
            Self::Bool(b) => out.push(u8::from(*b)),
            Self::Int(i) => put_ivarint(out, *i),
            Self::Double(d) => out.extend_from_slice(&d.to_bits().to_le_bytes()),
            Self::Bytes(b) => put_bytes(out, b),
            Self::Array(items) => {
                put_uvarint(out, items.len() as u64);
                for item in items {
                    out.push(item.value_type() as u8);
                    item.encode(out);
                }
            }
            Self::Map(pairs) => {
                put_uvarint(out, pairs.len() as u64);
                for (key, item) in pairs {
                    put_bytes(out, key.as_bytes());
                    out.push(item.value_type() as u8);
                    item.encode(out);
                }
            }
            Self::Empty => {}
        }
    }

    pub fn decode(r: &mut Reader<'_>, value_type: ValueType) -> Result<Self, Error> {
        Self::decode_at(r, value_type, 0)
    }

    fn decode_at(r: &mut Reader<'_>, value_type: ValueType, depth: usize) -> Result<Self, Error> {
        if depth > VALUE_DEPTH_MAX {
            return Err(Error::Invalid { what: "value nesting", at: r.position() });
        }
        Ok(match value_type {
            ValueType::Str => Self::Str(r.str("string value")?.to_owned()),
            ValueType::Bool => Self::Bool(r.u8("bool value")? != 0),
            ValueType::Int => Self::Int(r.ivarint("int value")?),
            ValueType::Double => Self::Double(f64::from_bits(r.u64("double value")?)),
            ValueType::Bytes => Self::Bytes(r.bytes("bytes value")?.to_vec()),
            ValueType::Array => {
                let n = r.count(1, "array length")?;
                let mut items = Vec::with_capacity(n.min(1024));
                for _ in 0..n {
                    let t = read_type(r)?;
                    items.push(Self::decode_at(r, t, depth + 1)?);
                }
                Self::Array(items)
            }
            ValueType::Map => {
                let n = r.count(2, "map length")?;
                let mut pairs = Vec::with_capacity(n.min(1024));
                for _ in 0..n {
                    let key = r.str("map key")?.to_owned();
                    let t = read_type(r)?;
                    pairs.push((key, Self::decode_at(r, t, depth + 1)?));
                }
                Self::Map(pairs)
            }
            ValueType::Empty => Self::Empty,
        })
    }

    /// Moves `r` past one value without building it. Refuses what [`Self::decode`] refuses.
    pub fn skip(r: &mut Reader<'_>, value_type: ValueType) -> Result<(), Error> {
        match value_type {
            ValueType::Str => r.str("string value").map(|_| ()),
            ValueType::Bytes => r.bytes("bytes value").map(|_| ()),
            ValueType::Bool => r.u8("bool value").map(|_| ()),
            ValueType::Int => r.uvarint("int value").map(|_| ()),
            ValueType::Double => r.u64("double value").map(|_| ()),
            ValueType::Array | ValueType::Map => Self::decode(r, value_type).map(|_| ()),
            ValueType::Empty => Ok(()),
        }
    }
}

/// Reads a type tag and refuses one this version does not know.
pub fn read_type(r: &mut Reader<'_>) -> Result<ValueType, Error> {
    let at = r.position();
    let tag = r.u8("value type")?;
    ValueType::from_u8(tag).ok_or(Error::Unknown { what: "value type", value: u64::from(tag), at })
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Double(a), Self::Double(b)) => a.to_bits() == b.to_bits(),
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            (Self::Empty, Self::Empty) => true,
            _ => false,
        }
    }
}
impl Eq for Value {}
