//! What can end a command, worded for the person at the terminal.
use std::io::ErrorKind;
use std::net::SocketAddr;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The configuration cannot be used; `key` is as in the file, and `reason` begins with where it was read, or a colon.
    #[error("configuration key `{key}`{reason}")]
    Config { key: String, reason: String },
    /// A source of the configuration cannot be read.
    #[error("{0}")]
    ConfigSource(String),
    /// A listener's address cannot be had; `hint` says what to do about it.
    #[error("listen on {at} ({key}): {cause}{hint}")]
    Listen { at: SocketAddr, key: &'static str, cause: std::io::Error, hint: String },
    #[error("{what}")]
    Io { what: String, source: std::io::Error },
    #[error("the node does not start")]
    Start(#[from] trine_actors::Error),
    /// An admin call did not work; the text says what to do next.
    #[error("{0}")]
    Admin(String),
    #[error("{0}")]
    Dev(String),
    /// Whoever read the output has left. Said to nobody.
    #[error("nobody reads the output")]
    ReaderGone,
    /// A query was not answered.
    #[error("{0}")]
    Query(String),
    /// A block cannot be read; the text says where it is damaged.
    #[error("{0}")]
    Inspect(String),
    /// An export did not come about; the text says what to do next.
    #[error("{0}")]
    Export(String),
    /// A measurement did not come about or cannot be used.
    #[error("{0}")]
    Bench(String),
}

impl Error {
    /// A listener that cannot be opened.
    pub(crate) fn listen(at: SocketAddr, key: &'static str, cause: std::io::Error) -> Self {
        let hint = match cause.kind() {
            ErrorKind::AddrInUse => {
                let off = if MANDATORY.contains(&key) { "" } else { "; \"\" turns this listener off" };
                format!("; {}, or set {key} to another address{off}", who_holds(at.port()))
            }
            ErrorKind::AddrNotAvailable => {
                format!("; set {key} to an address of this machine, or to 0.0.0.0:{}", at.port())
            }
            ErrorKind::PermissionDenied => format!("; set {key} to a port of 1024 or more"),
            _ => String::new(),
        };
        Self::Listen { at, key, cause, hint }
    }
}

/// Listeners that a node cannot be without.
const MANDATORY: [&str; 3] = ["listen.http", "listen.rpc", "listen.gossip"];

/// How to find what holds a port.
pub(crate) fn who_holds(port: u16) -> String {
    format!("something else listens there: find it with `ss -lntup 'sport = :{port}'` and stop it")
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    let what = what.into();
    move |source| Error::Io { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_says_what_to_do() {
        let at: SocketAddr = "127.0.0.1:3100".parse().unwrap();
        let text = |key, kind: ErrorKind| chain(&Error::listen(at, key, kind.into()));
        let taken = text("listen.loki", ErrorKind::AddrInUse);
        for part in ["127.0.0.1:3100", "(listen.loki)", "ss -lntup 'sport = :3100'", "turns this listener off"] {
            assert!(taken.contains(part), "{taken}");
        }
        assert!(!text("listen.http", ErrorKind::AddrInUse).contains("off"));
        assert!(text("listen.rpc", ErrorKind::AddrNotAvailable).contains("0.0.0.0:3100"));
        assert!(text("listen.rpc", ErrorKind::PermissionDenied).contains("1024"));
    }
}
