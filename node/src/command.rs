//! One file a command.
pub(crate) mod admin;
pub(crate) mod dev;
pub(crate) mod node;
