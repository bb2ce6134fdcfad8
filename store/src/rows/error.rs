//! Why rows could not be read or written.
use crate::codec;
use crate::memory::Exceeded;

/// What went wrong with which region. `at` is the region's offset in its file or granule.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read {region} at {at}")]
    Read { region: &'static str, at: u64, source: std::io::Error },
    #[error("checksum of {region} at {at} does not match")]
    Checksum { region: &'static str, at: u64 },
    #[error("decode {region}")]
    Decode { region: &'static str, source: codec::Error },
    #[error("decompress {region} at {at}")]
    Decompress { region: &'static str, at: u64 },
    #[error("{region} contradicts its directory")]
    Mismatch { region: &'static str },
    #[error("not a row block: magic {magic:02x?}")]
    Magic { magic: [u8; 4] },
    #[error("row block version {version} is not known")]
    Version { version: u8 },
    /// The reader's account is full.
    #[error(transparent)]
    Memory(#[from] Exceeded),
    /// The block was damaged and its file taken away; it comes back once it is healed.
    #[error("row block {block} is damaged and in quarantine")]
    Lost { block: String },
}

/// Result of the row engine's readers.
pub type Result<T> = std::result::Result<T, Error>;

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// Names the region of a codec error.
pub(crate) fn decoding(region: &'static str) -> impl Fn(codec::Error) -> Error {
    move |source| Error::Decode { region, source }
}
