//! Frames of a stream of chunks: varint length, four bytes of checksum, the message.

/// A longer frame is no frame.
const BYTES_MAX: usize = 256 << 20;
/// Of the checksum before a frame's message.
const CHECKSUM_BYTES: usize = 4;
/// Of a frame's length.
const VARINT_BYTES_MAX: usize = 10;

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub enum Split {
    /// Where the first frame's message is.
    Frame {
        from: usize,
        to: usize,
    },
    /// The begin of a frame.
    More,
    Damaged,
}

/// Looks for a whole frame. TCP has checked the bytes; the checksum is for readers of files.
pub fn split(buffer: &[u8]) -> Split {
    let mut rest = buffer;
    let Ok(len) = prost::decode_length_delimiter(&mut rest) else {
        return if buffer.len() < VARINT_BYTES_MAX { Split::More } else { Split::Damaged };
    };
    if len > BYTES_MAX {
        return Split::Damaged;
    }
    let from = buffer.len() - rest.len() + CHECKSUM_BYTES;
    if buffer.len() >= from + len { Split::Frame { from, to: from + len } } else { Split::More }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole() {
        let mut bytes = vec![3, 0, 0, 0, 0, 7, 8, 9, 200];
        assert_eq!(split(&bytes), Split::Frame { from: 5, to: 8 });
        for cut in 0..8 {
            assert_eq!(split(&bytes[..cut]), Split::More, "{cut}");
        }
        bytes.splice(0..1, [0xff; 10]);
        assert_eq!(split(&bytes), Split::Damaged);
        assert_eq!(split(&[0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 0]), Split::Damaged);
    }
}
