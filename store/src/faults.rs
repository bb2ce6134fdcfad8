//! Where tests make file operations fail. Does nothing without the feature `fault-injection`, which no release has.
use std::io;

#[cfg(all(feature = "fault-injection", not(debug_assertions)))]
compile_error!("fault-injection is for tests: it must not be in a release build");

#[cfg(feature = "fault-injection")]
mod injected;

/// What is about to be done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
    Sync,
}

/// `Err` if this operation is to fail.
#[cfg_attr(not(feature = "fault-injection"), expect(clippy::unnecessary_wraps, reason = "fails in test builds"))]
#[inline]
pub(crate) fn check(operation: Operation) -> io::Result<()> {
    #[cfg(feature = "fault-injection")]
    injected::check(operation)?;
    #[cfg(not(feature = "fault-injection"))]
    let (Operation::Read | Operation::Write | Operation::Sync) = operation;
    Ok(())
}

/// How many bytes of a write of `bytes` reach the file before it fails, if it is to stop short.
#[inline]
pub(crate) fn torn(bytes: usize) -> Option<usize> {
    #[cfg(feature = "fault-injection")]
    return injected::torn(bytes);
    #[cfg(not(feature = "fault-injection"))]
    {
        let _whole = bytes;
        None
    }
}

/// Whether a known bug is put back, to test the tests: `TRINE_TEST_BUG` names it.
#[inline]
pub(crate) fn has_bug(name: &str) -> bool {
    #[cfg(feature = "fault-injection")]
    return injected::has_bug(name);
    #[cfg(not(feature = "fault-injection"))]
    {
        let _name = name;
        false
    }
}
