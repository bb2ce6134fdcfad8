//! What opening a log found.

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Generation of the segment; its file is `wal-<16 hex digits>.seg`.
    pub segment: u64,
    /// Byte offset in that file.
    pub offset: u64,
}

/// The outcome of replaying a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Segments replayed.
    pub segments: u64,
    /// Records replayed, rosters included.
    pub records: u64,
    /// Bytes of those records.
    pub bytes: u64,
    /// Bytes of the last, never acknowledged batch that were cut because a crash tore it.
    pub torn_tail_bytes: u64,
    /// Every stretch that should hold records and does not, whether or not it still matters. Log it.
    pub damage: Vec<Damage>,
    /// Streams that lost something that they still need. Their entries are not served and nothing is taken for them until
    /// [`remove_stream`](super::Wal::remove_stream): replace these replicas.
    pub corrupt: Vec<CorruptStream>,
    /// A stream may have been lost without a trace of its id: damage hit a list of streams, or records that no intact list
    /// follows. Treat a stream that is expected here and empty as corrupt.
    pub streams_may_be_missing: bool,
}

/// One damaged stretch of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    pub place: Place,
    /// Length of the stretch; 0 when it is not known, as for a missing file.
    pub bytes: u64,
    pub kind: DamageKind,
}

/// What is wrong with a damaged stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// Both copies of the segment's header fail their checksum, so nothing in it can be read.
    SegmentHeader,
    /// No file has this generation although older and newer ones exist.
    SegmentMissing,
    /// The list of streams at the start of a segment.
    Roster,
    /// Records whose headers fail their checksum: whose they were is not known.
    Records,
    /// A payload fails its checksum; its header is intact and names the stream.
    Payload { stream: u64, index: u64 },
}

/// A stream that lost something it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorruptStream {
    pub stream: u64,
    /// Where the loss was noticed: the damage itself, or the first record after it that shows the loss.
    pub place: Place,
    pub loss: Loss,
}

/// What a corrupt stream lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// This entry fails its checksum.
    Entry { index: u64 },
    /// The newest value of this mark fails its checksum.
    Mark { mark: super::Mark },
    /// Entries from `from` to before `to` are nowhere in the log.
    Entries { from: u64, to: u64 },
    /// Records of this stream are missing, their kind unknown.
    Records,
    /// Damage lies after the stream's last known record, so that later ones may be gone.
    Unknown,
    /// An earlier recovery found it and it was not removed since.
    Earlier,
}
