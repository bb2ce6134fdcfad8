//! Magic numbers and versions of the row engine's files. Byte tables: `docs/formats/rows-block.md`.

/// First and last bytes of a row block.
pub(crate) const BLOCK_MAGIC: [u8; 4] = *b"TRNR";
/// The only version there is.
pub(crate) const BLOCK_VERSION: u8 = 1;
/// Bytes of the header: magic, version, signal, header length (u16), zeros (u32), CRC-32 of those.
pub(crate) const HEADER_BYTES: usize = 16;
/// Bytes of the trailer: footer offset (u64), length, raw length (u32), codec (u8), zeros (3), CRC-32 of the footer, CRC-32 of
/// the trailer so far (u32), magic.
pub(crate) const TRAILER_BYTES: usize = 32;
