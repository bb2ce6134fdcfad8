//! What an applied entry answers to its proposer: a few bytes through raft, never on disk or between versions.
use bytes::Bytes;
use trine_store::codec::{Error, Reader, put_ivarint, put_uvarint};
use trine_store::shard::{Conflict, PartOutcome};

/// Decoded reply of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntryReply {
    Parts(Vec<PartOutcome>),
    UnknownTable,
    Sealed,
    /// The entry carried no parts and was taken note of.
    Noted,
}

impl EntryReply {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Noted => out.push(3),
            Self::Sealed => out.push(2),
            Self::UnknownTable => out.push(1),
            Self::Parts(parts) => {
                out.push(0);
                put_uvarint(&mut out, parts.len() as u64);
                for p in parts {
                    for v in [p.accepted, p.repeated, p.conflicts_count, p.conflicts.len() as u32] {
                        put_uvarint(&mut out, u64::from(v));
                    }
                    for c in &p.conflicts {
                        put_uvarint(&mut out, u64::from(c.series));
                        put_ivarint(&mut out, c.time_ms);
                        out.extend_from_slice(&c.existing_bits.to_le_bytes());
                        out.extend_from_slice(&c.new_bits.to_le_bytes());
                    }
                }
            }
        }
        out.into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        match r.u8("reply kind")? {
            0 => {
                let n = r.count(4, "parts count")?;
                (0..n).map(|_| outcome(&mut r)).collect::<Result<_, _>>().map(Self::Parts)
            }
            1 => Ok(Self::UnknownTable),
            2 => Ok(Self::Sealed),
            3 => Ok(Self::Noted),
            other => Err(Error::Unknown { what: "reply kind", value: u64::from(other), at: 0 }),
        }
    }
}

fn outcome(r: &mut Reader<'_>) -> Result<PartOutcome, Error> {
    let mut small = |what| {
        let at = r.position();
        u32::try_from(r.uvarint(what)?).map_err(|_| Error::Invalid { what, at })
    };
    let (accepted, repeated) = (small("accepted")?, small("repeated")?);
    let (conflicts_count, n) = (small("conflicts")?, small("named conflicts")?);
    let mut conflicts = Vec::new();
    for _ in 0..n {
        conflicts.push(Conflict {
            series: r.uvarint("series")? as u32,
            time_ms: r.ivarint("time")?,
            existing_bits: r.u64("existing value")?,
            new_bits: r.u64("new value")?,
        });
    }
    Ok(PartOutcome { accepted, repeated, conflicts_count, conflicts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back() {
        let conflict = Conflict { series: 1, time_ms: -5, existing_bits: 3, new_bits: 4 };
        let outcome = PartOutcome { accepted: 1, repeated: 2, conflicts_count: 9, conflicts: vec![conflict] };
        for reply in [EntryReply::Parts(vec![outcome]), EntryReply::UnknownTable, EntryReply::Sealed, EntryReply::Noted]
        {
            assert_eq!(EntryReply::decode(&reply.encode()).unwrap(), reply);
        }
    }
}
