//! Segmented write-ahead log of one node.
