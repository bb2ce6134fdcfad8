//! The inner decoders of the store's formats as functions of bytes, for the fuzzer in `chaos-tests/fuzz`: each behind a
//! checksum or a compression that mutations of a whole file seldom get through.
use crate::{rows, tsdb, wal};

/// Name and function of a decoder.
pub type Decoder = (&'static str, fn(&[u8]));

/// All of this crate.
pub const TARGETS: [Decoder; 5] = [
    ("metrics_columns", tsdb::decode_columns),
    ("metrics_tables", tsdb::decode_tables),
    ("rows_columns", rows::decode_columns),
    ("rows_tables", rows::decode_tables),
    ("wal_records", wal::decode_records),
];
