//! Inputs of more than one piece.

/// The texts of an input, a zero byte between them; missing ones are empty. Not called for what is no text.
pub(crate) fn texts<const N: usize>(bytes: &[u8], run: impl FnOnce([&str; N])) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut pieces = text.splitn(N, '\0');
    run([(); N].map(|()| pieces.next().unwrap_or_default()));
}

/// Pieces of an input, each behind its length in two bytes; the last may be cut short.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk() {
        let (frame, rest) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*len))));
        frames.push(frame);
        bytes = rest;
    }
    frames
}

/// The inverse of [`frames`], for seeds.
pub(crate) fn join<'a>(frames: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in frames {
        let len = u16::try_from(frame.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&frame[..usize::from(len)]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_back() {
        let pieces: [&[u8]; 3] = [b"a", b"", b"long"];
        assert_eq!(frames(&join(pieces)), pieces);
        assert_eq!(frames(&[9, 0, b'x']), [b"x"]);
        texts(b"a\0b", |pieces| assert_eq!(pieces, ["a", "b", ""]));
    }
}
