//! Real clusters of real processes under faults, with a client-side oracle.
