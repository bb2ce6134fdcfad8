//! The long form, with a table.
fn main() {}
