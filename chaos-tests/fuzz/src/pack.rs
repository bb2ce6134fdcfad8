//! The committed corpus: one file a target, `corpus/<target>.pack`, of inputs each behind its length.
//!
//! ```text
//! repeated:  4  length of the input, little-endian
//!            .. the input
//! ```
use std::io;
use std::path::{Path, PathBuf};

/// Where a target's pack is.
pub fn path_of(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(format!("{target}.pack"))
}

/// The inputs of a target's pack; none without one.
pub fn read(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let path = path_of(target);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes?,
    };
    decode(&bytes).ok_or_else(|| io::Error::other(format!("{} breaks off: make it again with --keep", path.display())))
}

/// Writes a target's pack; removes it when there is nothing to keep.
pub fn write(target: &str, inputs: &[Vec<u8>]) -> io::Result<()> {
    let path = path_of(target);
    if inputs.is_empty() {
        return match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
    }
    std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
    std::fs::write(path, encode(inputs))
}

fn encode(inputs: &[Vec<u8>]) -> Vec<u8> {
    inputs.iter().flat_map(|i| (i.len() as u32).to_le_bytes().into_iter().chain(i.iter().copied())).collect()
}

fn decode(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut inputs = Vec::new();
    while !bytes.is_empty() {
        let (len, rest) = bytes.split_first_chunk()?;
        let (input, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        inputs.push(input.to_vec());
        bytes = rest;
    }
    Some(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_come_back_and_a_cut_is_noticed() {
        let inputs = vec![b"a".to_vec(), Vec::new(), vec![7; 300]];
        let bytes = encode(&inputs);
        assert_eq!(decode(&bytes), Some(inputs));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode(&[1, 0, 0]), None);
    }
}
