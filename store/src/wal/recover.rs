//! Opening a log: replays its segments in order and finds where to go on.
//!
//! In an old segment everything up to the end that its successor's header states was synced, so whatever does not check
//! there is corruption. In the newest one the last batch may be torn. Batch numbers tell: a bad record with a record of a
//! later batch behind it was synced; otherwise it belongs to the last batch and the log is cut there. Not where the device
//! refuses to read, which no torn write does: what lies there may have been synced, so it counts as damage.
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::WalConfig;
use super::disk::{Disk, DiskFile};
use super::format::{
    HEADER_COPIES, HeaderError, Kind, RECORDS_START, RecordHeader, SegmentHeader, decode_roster, parse_name,
    segment_name,
};
use super::index::Index;
use super::ledger::Ledger;
use super::replay::Replay;
use super::report::{DamageKind, Place, RecoveryReport};
use super::scan::{Found, Scanner};
use super::segment::{self, Segment, Spares};
use super::stats::Counters;
use super::writer::Tail;

/// A log ready to go on.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) index: Index,
    pub(super) segments: BTreeMap<u64, Arc<Segment>>,
    pub(super) ledger: Ledger,
    pub(super) tail: Tail,
    pub(super) report: RecoveryReport,
}

/// A segment file and its header, `None` when that is damaged.
struct Candidate {
    generation: u64,
    file: Arc<dyn DiskFile>,
    header: Option<SegmentHeader>,
}

/// Where the records of the newest segment end.
struct End {
    offset: u64,
    /// From the beginning of the last batch that a record was taken of to the end of that record.
    last_batch: Range<u64>,
    next_batch: u64,
    /// Nothing of a torn batch lies behind it, so that the segment can be written on.
    clean: bool,
}

pub(super) fn recover(disk: &dyn Disk, config: &WalConfig, stats: &Counters) -> io::Result<Recovered> {
    let names = disk.list()?;
    let candidates = candidates(disk, &names)?;
    let mut spares = spares(disk, config, &names)?;
    config.progress.begin(candidates.iter().map(|c| c.file.len()).sum());
    let mut replay = Replay::default();
    let mut segments = BTreeMap::new();
    let mut window = Vec::new();
    let mut end = None;
    for (at, candidate) in candidates.iter().enumerate() {
        let Candidate { generation, file, header } = candidate;
        if let Some(previous) = at.checked_sub(1).map(|at| candidates[at].generation)
            && previous + 1 != *generation
        {
            replay.damage(Place { segment: previous + 1, offset: 0 }, 0, DamageKind::SegmentMissing);
        }
        let known =
            header.unwrap_or(SegmentHeader { generation: *generation, salt: 0, first_batch: 0, previous_end: 0 });
        let segment = Arc::new(Segment { generation: *generation, seal: known.seal(), file: file.clone() });
        segments.insert(*generation, segment.clone());
        if header.is_none() {
            replay.damage(Place { segment: *generation, offset: 0 }, file.len(), DamageKind::SegmentHeader);
            end = None;
            config.progress.read(file.len());
            continue;
        }
        let next = candidates.get(at + 1);
        let stated_end = next
            .filter(|next| next.generation == generation + 1)
            .and_then(|next| next.header)
            .map(|next| next.previous_end)
            .filter(|end| (RECORDS_START..=file.len()).contains(end));
        let mut scanner = Scanner::new(file.as_ref(), window);
        end = Some(replay_segment(&mut scanner, &segment, known.first_batch, stated_end, next.is_none(), &mut replay));
        window = scanner.into_window();
        replay.report.segments += 1;
        config.progress.read(file.len());
    }
    let (index, ledger, report) = replay.finish(config.cache_bytes);
    let newest = segments.last_key_value().map(|(_, segment)| segment.clone());
    if let (Some(segment), Some(end)) = (&newest, &end) {
        make_durable(segment.file.as_ref(), end.last_batch.clone())?;
        // And its name: the process may have ended in a rotation, before that was synced.
        disk.sync_dir()?;
    }
    let tail = match (newest, end) {
        (Some(segment), Some(end)) if end.clean && report.corrupt.is_empty() => {
            Tail { segment, end: end.offset, next_batch: end.next_batch, spares }
        }
        // A new segment after a torn batch, so that nothing of it can be taken for a record; and after damage, so that
        // the roster remembers which streams are corrupt.
        (newest, end) => {
            let generation = newest.map_or(0, |s| s.generation) + 1;
            let (offset, next_batch) = end.map_or((0, 1), |end| (end.offset, end.next_batch));
            let header = (generation, next_batch, offset);
            let mut take = |len| spares.take(disk, config, len);
            let begun = segment::begin(disk, stats, header, &ledger.roster(), 0, &mut take)?;
            let segment = Arc::new(begun.segment);
            segments.insert(generation, segment.clone());
            Tail { segment, end: begun.end, next_batch: next_batch + 1, spares }
        }
    };
    stats.segments.store(segments.len() as u64, Relaxed);
    stats.spares.store(tail.spares.len() as u64, Relaxed);
    Ok(Recovered { index, segments, ledger, tail, report })
}

/// Bytes written at once.
const STEP_BYTES: u64 = 1 << 20;

/// Writes and syncs once more what was found of the last batch. Its process may have ended before its fsync, or because that
/// failed, after which the system takes its pages for clean: what was read may be in memory only, and from now on it counts as
/// promised. Whatever comes before it was synced, or it would not have been written.
fn make_durable(file: &dyn DiskFile, batch: Range<u64>) -> io::Result<()> {
    let mut at = batch.start;
    let mut bytes = Vec::new();
    while at < batch.end {
        bytes.resize((batch.end - at).min(STEP_BYTES) as usize, 0);
        // What cannot be read between two records is damage, and has been noted as such.
        if file.read_exact_at(&mut bytes, at).is_ok() {
            file.write_all_at(&bytes, at)?;
        }
        at += bytes.len() as u64;
    }
    if batch.is_empty() { Ok(()) } else { file.sync_data() }
}

fn candidates(disk: &dyn Disk, names: &[String]) -> io::Result<Vec<Candidate>> {
    let mut generations: Vec<u64> = names.iter().filter_map(|name| parse_name(name, "wal-")).collect();
    generations.sort_unstable();
    let mut out = Vec::with_capacity(generations.len());
    for generation in generations {
        let name = segment_name(generation);
        let file = disk.open(&name)?;
        let header = read_header(file.as_ref(), generation, &name)?;
        out.push(Candidate { generation, file, header });
    }
    Ok(out)
}

/// The first intact copy of the header, `None` when there is none; `Unsupported` for another version. Where the device
/// gives no copy at all that is an error: to take it for damage would cost every stream, and whoever starts the node again
/// may find the device in order.
fn read_header(file: &dyn DiskFile, generation: u64, name: &str) -> io::Result<Option<SegmentHeader>> {
    let mut refused = None;
    let mut read = 0;
    for at in HEADER_COPIES {
        let mut bytes = [0; 64];
        match file.read_exact_at(&mut bytes, at) {
            Ok(()) => read += 1,
            Err(error) => {
                refused = refused.or(Some(error).filter(|e| e.kind() != io::ErrorKind::UnexpectedEof));
                continue;
            }
        }
        match SegmentHeader::decode(&bytes) {
            Ok(header) if header.generation == generation => return Ok(Some(header)),
            Ok(_) | Err(HeaderError::Damaged) => {}
            Err(HeaderError::Version(version)) => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("{name} has format version {version}, which this release does not know"),
                ));
            }
        }
    }
    match refused {
        Some(error) if read == 0 => Err(io::Error::new(error.kind(), format!("read the header of {name}: {error}"))),
        _ => Ok(None),
    }
}

/// Spare files of the configured length; others are deleted, as are those beyond the limit.
fn spares(disk: &dyn Disk, config: &WalConfig, names: &[String]) -> io::Result<Spares> {
    let mut kept = Vec::new();
    let mut next_id = 1;
    for name in names {
        let Some(id) = parse_name(name, "spare-") else { continue };
        next_id = next_id.max(id.saturating_add(1));
        let usable = disk.open(name)?.len() == config.segment_bytes;
        if usable && kept.len() < config.spare_segments_max {
            kept.push(name.clone());
        } else {
            disk.remove(name)?;
        }
    }
    kept.sort_unstable();
    Ok(Spares::new(kept, next_id))
}

fn replay_segment(
    scanner: &mut Scanner<'_>,
    segment: &Segment,
    first_batch: u64,
    stated_end: Option<u64>,
    newest: bool,
    replay: &mut Replay,
) -> End {
    let Segment { generation, seal, file } = segment;
    let end = stated_end.unwrap_or(file.len());
    // The roster was synced before the file got its name, so it is never torn.
    let may_be_torn = |offset: u64| stated_end.is_none() && offset > RECORDS_START;
    let mut offset = RECORDS_START;
    // The batch that a record at `offset` belongs to, at least.
    let mut batch = first_batch;
    let mut between_batches = false;
    let (mut last_batch, mut begins) = (offset..offset, true);
    while offset < end {
        let place = Place { segment: *generation, offset };
        let found = match scanner.record(seal, offset, end) {
            Found::Record(header) | Found::BadPayload(header) if header.batch < batch => Found::Nothing,
            found => found,
        };
        match found {
            Found::Record(header) => {
                take(scanner, replay, &header, place);
                if std::mem::replace(&mut begins, header.last) {
                    last_batch.start = offset;
                }
                last_batch.end = offset + header.record_bytes();
                (batch, between_batches) = if header.last { (header.batch + 1, true) } else { (header.batch, false) };
                offset += header.record_bytes();
                continue;
            }
            Found::BadPayload(header) => {
                let behind = offset + header.record_bytes();
                if may_be_torn(offset)
                    && scanner.next_header(seal, behind, end, |h| h.batch > header.batch).is_none()
                    && !scanner.has_unreadable(offset)
                {
                    break;
                }
                if header.kind == Kind::Roster {
                    replay.damage(place, header.record_bytes(), DamageKind::Roster);
                } else {
                    let kind = DamageKind::Payload { stream: header.stream, index: header.index };
                    replay.damage(place, header.record_bytes(), kind);
                    replay.record(&header, place, false, None);
                }
                (batch, between_batches) = if header.last { (header.batch + 1, true) } else { (header.batch, false) };
                offset = behind;
            }
            Found::Nothing => {
                if may_be_torn(offset)
                    && scanner.next_header(seal, offset, end, |h| h.batch > batch).is_none()
                    && !scanner.has_unreadable(offset)
                {
                    break;
                }
                let next = scanner.next_header(seal, offset + 8, end, |h| h.batch >= batch).map_or(end, |(at, _)| at);
                replay.damage(place, next - offset, DamageKind::Records);
                between_batches = false;
                offset = next;
            }
        }
    }
    if !newest {
        return End { offset, last_batch, next_batch: batch + 1, clean: false };
    }
    let (mut torn_end, mut batch_max, mut from) = (offset, batch, offset);
    while let Some((at, header)) = scanner.next_header(seal, from, end, |_| true) {
        torn_end = at + header.record_bytes();
        batch_max = batch_max.max(header.batch + 1);
        from = torn_end;
    }
    replay.report.torn_tail_bytes = torn_end - offset;
    End { offset, last_batch, next_batch: batch_max, clean: between_batches && torn_end == offset }
}

/// Replays one intact record.
fn take(scanner: &mut Scanner<'_>, replay: &mut Replay, header: &RecordHeader, place: Place) {
    replay.report.records += 1;
    replay.report.bytes += header.record_bytes();
    match header.kind {
        Kind::Roster => match decode_roster(&scanner.payload(place.offset, header)) {
            Ok(roster) => replay.roster(roster, place),
            Err(_) => replay.damage(place, header.record_bytes(), DamageKind::Roster),
        },
        Kind::Mark | Kind::Purge => {
            let payload = scanner.payload(place.offset, header).into();
            replay.record(header, place, true, Some(payload));
        }
        Kind::Entry | Kind::Truncate | Kind::Remove => replay.record(header, place, true, None),
    }
}
