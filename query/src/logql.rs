//! LogQL.
