//! What the C library's allocator keeps for itself.
//!
//! glibc gives threads arenas of their own, up to eight a core, and each keeps what was freed in it; its bound above which a buffer is
//! given back to the system rises with the buffers. A node that takes requests of megabytes on all its threads came to hold more than
//! its whole budget that way (docs/adr/0008). Both can only be set before the process begins, so the node begins once more.
use std::ffi::OsString;

/// As glibc names them. Whoever sets one of them has decided all.
const ARENAS: &str = "MALLOC_ARENA_MAX";
const MAP_FROM_BYTES: &str = "MALLOC_MMAP_THRESHOLD_";
const TRIM_FROM_BYTES: &str = "MALLOC_TRIM_THRESHOLD_";

/// Buffers of this size go back to the system as soon as they are freed.
const MAP_FROM: usize = 1 << 20;
/// An arena's free end of this size goes back.
const TRIM_FROM: usize = 4 << 20;

/// The settings for a process on so many cores; none where one of them is set already.
fn settings(cores: usize, is_set: impl Fn(&str) -> bool) -> Option<[(&'static str, String); 3]> {
    if [ARENAS, MAP_FROM_BYTES, TRIM_FROM_BYTES].into_iter().any(is_set) {
        return None;
    }
    Some([
        (ARENAS, cores.clamp(2, 8).to_string()),
        (MAP_FROM_BYTES, MAP_FROM.to_string()),
        (TRIM_FROM_BYTES, TRIM_FROM.to_string()),
    ])
}

/// Begins this process once more with the allocator's settings in its environment: same process id, same arguments. Returns where
/// there is nothing to set, or it cannot be done: a node runs without them, too.
pub(crate) fn settle() {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if let Some(settings) = settings(cores, |name| std::env::var_os(name).is_some()) {
        begin_again(&settings);
    }
}

#[cfg(unix)]
fn begin_again(settings: &[(&'static str, String)]) {
    use std::os::unix::process::CommandExt;

    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from("trine"));
    let error = match std::env::current_exe() {
        Ok(program) => std::process::Command::new(program)
            .arg0(name)
            .args(arguments)
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .exec(),
        Err(error) => error,
    };
    eprintln!("the allocator keeps its defaults, which may hold more memory than the budget allows for: {error}");
}

#[cfg(not(unix))]
fn begin_again(_settings: &[(&'static str, String)]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arenas_follow_the_cores_and_the_users_word_stands() {
        let of = |cores| settings(cores, |_| false).unwrap()[0].1.clone();
        assert_eq!([of(1), of(4), of(64)], ["2", "4", "8"]);
        assert!(settings(4, |name| name == TRIM_FROM_BYTES).is_none());
    }
}
