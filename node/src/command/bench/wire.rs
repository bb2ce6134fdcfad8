//! The little of protobuf's wire format that the generators need: written straight into bytes, since a run encodes
//! gigabytes before it starts.

/// Appends a varint.
pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length-delimited field.
pub(super) fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    varint(out, u64::from(field) << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends an integer field; zero is left out, as proto3 does.
pub(super) fn int(out: &mut Vec<u8>, field: u32, value: i64) {
    if value != 0 {
        varint(out, u64::from(field) << 3);
        varint(out, value as u64);
    }
}

/// Appends a double field; zero is left out, as proto3 does.
pub(super) fn double(out: &mut Vec<u8>, field: u32, value: f64) {
    if value.to_bits() != 0 {
        varint(out, u64::from(field) << 3 | 1);
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
}
