//! What can end a command, worded for the person at the terminal.

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The configuration cannot be used; `key` is as in the file.
    #[error("configuration key `{key}`: {reason}")]
    Config { key: String, reason: String },
    #[error("configuration: {0}")]
    ConfigSource(Box<figment::Error>),
    #[error("{what}")]
    Io { what: String, source: std::io::Error },
    #[error("the node does not start")]
    Start(#[from] trine_actors::Error),
    /// An admin call did not work; the text says what to do next.
    #[error("{0}")]
    Admin(String),
    #[error("{0}")]
    Dev(String),
    /// A measurement did not come about or cannot be used.
    #[error("{0}")]
    Bench(String),
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
