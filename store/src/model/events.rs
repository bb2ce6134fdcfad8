//! Span events and links as the bytes of one intrinsic column each.
use crate::codec::{Error, Reader, put_bytes, put_ivarint, put_uvarint};
use crate::model::attrs::{Attr, decode_attrs, put_column};

/// A span event. `attrs` have [`crate::model::Scope::Event`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub time_ns: i64,
    pub name: String,
    pub dropped_attributes_count: u32,
    pub attrs: Vec<Attr>,
}

/// A span link. `attrs` have [`crate::model::Scope::Link`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub trace_id: Vec<u8>,
    pub span_id: Vec<u8>,
    pub trace_state: String,
    pub flags: u32,
    pub dropped_attributes_count: u32,
    pub attrs: Vec<Attr>,
}

fn put_attrs(out: &mut Vec<u8>, attrs: &[Attr]) {
    let mut inner = Vec::new();
    for attr in attrs {
        put_column(&mut inner, attr.scope, attr.value.value_type(), &attr.key);
        attr.value.encode(&mut inner);
    }
    put_bytes(out, &inner);
}

fn u32_of(r: &mut Reader<'_>, what: &'static str) -> Result<u32, Error> {
    let at = r.position();
    u32::try_from(r.uvarint(what)?).map_err(|_| Error::Invalid { what, at })
}

/// Repeated `time_ns(zigzag) name dropped(varint) len attrs`.
pub fn encode_events(events: &[Event]) -> Vec<u8> {
    let mut out = Vec::new();
    for e in events {
        put_ivarint(&mut out, e.time_ns);
        put_bytes(&mut out, e.name.as_bytes());
        put_uvarint(&mut out, u64::from(e.dropped_attributes_count));
        put_attrs(&mut out, &e.attrs);
    }
    out
}

pub fn decode_events(bytes: &[u8]) -> Result<Vec<Event>, Error> {
    let mut r = Reader::new(bytes);
    let mut out = Vec::new();
    while !r.is_empty() {
        out.push(Event {
            time_ns: r.ivarint("event time")?,
            name: r.str("event name")?.to_owned(),
            dropped_attributes_count: u32_of(&mut r, "event dropped count")?,
            attrs: decode_attrs(r.bytes("event attributes")?)?,
        });
    }
    Ok(out)
}

/// Repeated `trace_id span_id trace_state flags(varint) dropped(varint) len attrs`.
pub fn encode_links(links: &[Link]) -> Vec<u8> {
    let mut out = Vec::new();
    for l in links {
        put_bytes(&mut out, &l.trace_id);
        put_bytes(&mut out, &l.span_id);
        put_bytes(&mut out, l.trace_state.as_bytes());
        put_uvarint(&mut out, u64::from(l.flags));
        put_uvarint(&mut out, u64::from(l.dropped_attributes_count));
        put_attrs(&mut out, &l.attrs);
    }
    out
}

pub fn decode_links(bytes: &[u8]) -> Result<Vec<Link>, Error> {
    let mut r = Reader::new(bytes);
    let mut out = Vec::new();
    while !r.is_empty() {
        out.push(Link {
            trace_id: r.bytes("link trace id")?.to_vec(),
            span_id: r.bytes("link span id")?.to_vec(),
            trace_state: r.str("link trace state")?.to_owned(),
            flags: u32_of(&mut r, "link flags")?,
            dropped_attributes_count: u32_of(&mut r, "link dropped count")?,
            attrs: decode_attrs(r.bytes("link attributes")?)?,
        });
    }
    Ok(out)
}
