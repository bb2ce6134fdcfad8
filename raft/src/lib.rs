//! Raft groups: their log stores, the network between nodes, snapshots and placement data types.
