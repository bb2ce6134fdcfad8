//! What a command says on its standard output, whose reader may leave: `trine admin ledger | head`.
use std::fmt::Display;
use std::io::{ErrorKind, Write, stdout};

use crate::error::{Error, io};

/// Prints `text` as it is. [`Error::ReaderGone`] when nobody reads any more: nothing is left to say then.
pub(crate) fn print(text: impl Display) -> Result<(), Error> {
    put(&mut stdout().lock(), text)
}

/// Prints `text` and ends the line.
pub(crate) fn line(text: impl Display) -> Result<(), Error> {
    print(format_args!("{text}\n"))
}

fn put(out: &mut impl Write, text: impl Display) -> Result<(), Error> {
    write!(out, "{text}").and_then(|()| out.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Error::ReaderGone,
        _ => io("write to the standard output")(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_left_is_no_panic() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        put(&mut writer, "one").unwrap();
        drop(reader);
        assert!(matches!(put(&mut writer, "two"), Err(Error::ReaderGone)));
        let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        assert!(matches!(put(&mut full, "three"), Err(Error::Io { .. })));
    }
}
