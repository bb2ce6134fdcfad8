//! Shard actors, router, placement, gossip: the cluster that runs the engines.
