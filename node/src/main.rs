//! The trine binary.
fn main() {}
