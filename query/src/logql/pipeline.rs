//! What happens to a line.
