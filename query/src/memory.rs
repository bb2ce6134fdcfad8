//! What a query may hold on a node, and what its pieces weigh (P6).
//!
//! [`crate::fragment::FragmentLimits`] and [`crate::scatter::QueryContext`] carry the query's [`Account`]. Fragments and
//! engines charge it before they make what the query or the data can make large; a frame's charge travels with its bytes.
use bytes::Bytes;
use trine_store::model::Labels;

pub use trine_store::memory::{Account, Charge, Exceeded, QueryMemory};

/// Charged once for a fragment that runs: its frame under construction and the buffers of its scan.
pub const FRAGMENT_BYTES: u64 = 1 << 20;
/// What a frame takes while it is decoded, in frames: its messages, and columns before they are merged.
const DECODING_FACTOR: u64 = 3;
/// A label set besides its bytes: counts of references, the allocator's header, a place in a list or map.
const LABELS_BYTES: u64 = 80;
/// A text besides its bytes: its handle, the allocator's header, a place in a list or set.
const TEXT_BYTES: u64 = 56;

/// What a label set weighs in a list or map.
pub(crate) fn labels_bytes(labels: &Labels) -> u64 {
    labels.as_bytes().len() as u64 + LABELS_BYTES
}

/// What a text weighs in a list or set.
pub(crate) fn text_bytes(text: &str) -> u64 {
    text.len() as u64 + TEXT_BYTES
}

/// Charges `account` for `bytes` until the last reference to them is gone.
pub fn hold(account: &Account, bytes: Bytes) -> Result<Bytes, Exceeded> {
    let charge = account.charge(bytes.len() as u64)?;
    Ok(Bytes::from_owner(Held { bytes, _charge: charge }))
}

/// A charge for the time in which a frame of this many bytes is decoded and taken apart.
pub(crate) fn decoding(account: &Account, frame_bytes: usize) -> Result<Charge, Exceeded> {
    account.charge(frame_bytes as u64 * DECODING_FACTOR)
}

struct Held {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_charged_until_its_last_slice_is_gone() {
        let memory = QueryMemory::new(1000, 1000);
        let account = memory.account();
        let frame = hold(&account, Bytes::from(vec![7; 600])).unwrap();
        assert!(hold(&account, Bytes::from(vec![7; 600])).is_err());
        let slice = frame.slice(10..20);
        drop(frame);
        assert_eq!((memory.held_bytes(), &slice[..]), (600, &[7; 10][..]));
        drop(slice);
        assert_eq!(memory.held_bytes(), 0);
    }
}
