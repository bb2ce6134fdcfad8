//! A read that the device refuses is tried again before anybody takes it for damage: a cable that was touched is no rotten sector,
//! and damage costs a copy.
use std::io;

/// Tries of one read.
const TRIES: u32 = 3;
/// The device does not give what it holds.
const EIO: i32 = 5;

/// The first outcome that is not the device's refusal, or the last refusal. At once: the system has waited and tried before.
pub(crate) fn read<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..TRIES {
        match read() {
            Err(error) if error.raw_os_error() == Some(EIO) => {}
            done => return done,
        }
    }
    read()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_of_the_device_is_tried_again_and_not_for_ever() {
        type Case = (&'static str, u32, fn() -> io::Error, u32, bool);
        let cases: [Case; 4] = [
            ("sound", 0, || io::ErrorKind::Other.into(), 1, true),
            ("refused once", 1, || io::Error::from_raw_os_error(EIO), 2, true),
            ("refused for ever", u32::MAX, || io::Error::from_raw_os_error(EIO), TRIES, false),
            ("too short", u32::MAX, || io::ErrorKind::UnexpectedEof.into(), 1, false),
        ];
        for (what, failing, error, tries, succeeds) in cases {
            let mut tried = 0;
            let outcome = read(|| {
                tried += 1;
                if tried <= failing { Err(error()) } else { Ok(tried) }
            });
            assert_eq!((tried, outcome.is_ok()), (tries, succeeds), "{what}");
        }
    }
}
