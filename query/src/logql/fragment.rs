//! Messages between the asking node and the shards.
