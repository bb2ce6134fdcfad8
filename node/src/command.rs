//! One file a command.
pub(crate) mod admin;
pub(crate) mod bench;
pub(crate) mod dev;
pub(crate) mod node;
mod out;
mod peers;
mod url;
