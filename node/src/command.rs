//! One file a command.
pub(crate) mod admin;
pub(crate) mod bench;
mod columns;
pub(crate) mod dev;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod moment;
pub(crate) mod node;
mod out;
mod peers;
pub(crate) mod query;
mod url;
