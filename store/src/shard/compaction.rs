//! Compactions: entries of the log that name blocks which become one, and the work that they ask for.
//!
//! A compaction is applied by noting it down. It is carried out on the pool once every seal before it is on disk, in two
//! steps: the merge, beside everything else, into a directory of its own; then the swap, a new manifest. What is noted and
//! not yet carried out is in the manifest, so that the log may be forgotten meanwhile; and a compaction that is applied
//! again after a crash finds its inputs gone and is void.
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use crate::codec::{Error, Reader, put_bytes, put_uvarint};
use crate::entry::signal;
use crate::faults::{self, Operation};
use crate::limits::{Cutoffs, Limits, Tombstone};
use crate::model::Signal;
use crate::shard::blocks::{BlockOpener, OpenBlocks};
use crate::shard::files::{BLOCKS_DIR, FileError, io_error, sync_dir, write_manifest};
use crate::shard::manifest::is_file_name;
use crate::shard::seal::Checked;
use crate::shard::{BlockEntry, CompactedFacts, Manifest, entry_of};
use crate::{rows, tsdb};

/// Directory of blocks that are being merged, in a replica's directory.
pub const MERGES_DIR: &str = "merges";
/// Decoded index pieces of the inputs of one merge.
const MERGE_CACHE_BYTES: usize = 8 << 20;

/// Asks for some blocks of one signal to become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactRequest {
    pub signal: Signal,
    /// Length in ms of the windows that the new block is compacted for.
    pub window_ms: u64,
    /// Files of the blocks; each once.
    pub inputs: Vec<String>,
}

impl CompactRequest {
    /// Blocks of one compaction at most.
    pub const INPUTS_MAX: usize = 1024;

    /// `signal(u8) window_ms inputs_count file*`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.signal as u8);
        put_uvarint(out, self.window_ms);
        put_uvarint(out, self.inputs.len() as u64);
        self.inputs.iter().for_each(|file| put_bytes(out, file.as_bytes()));
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, Error> {
        let signal = signal(r)?;
        let window_ms = r.uvarint("window")?;
        let at = r.position();
        let n = r.count(2, "inputs count")?;
        let inputs = (0..n).map(|_| r.str("input").map(str::to_owned)).collect::<Result<Vec<_>, _>>()?;
        let is_valid = (1..=Self::INPUTS_MAX).contains(&n) && inputs.iter().all(|file| is_file_name(file));
        if !is_valid {
            return Err(Error::Invalid { what: "inputs", at });
        }
        Ok(Self { signal, window_ms, inputs })
    }
}

/// A compaction of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// Its log index.
    pub index: u64,
    pub request: CompactRequest,
    /// As they were at its position: what is older is left out.
    pub cutoffs: Arc<Cutoffs>,
}

impl Compaction {
    /// File of the new block; the same on every replica.
    pub fn output(&self) -> String {
        format!("c{:012}-{}.trnb", self.index, self.request.signal.as_str())
    }

    /// `index request cutoffs`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_uvarint(out, self.index);
        self.request.encode(out);
        self.cutoffs.encode(out);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, Error> {
        let (index, request) = (r.uvarint("compaction index")?, CompactRequest::decode(r)?);
        Ok(Self { index, request, cutoffs: Arc::new(Cutoffs::decode(r)?) })
    }

    /// Whether it can still be carried out, now or once those `before` it have been.
    fn is_possible(&self, before: &[Compaction], manifest: &Manifest) -> bool {
        let Self { request: CompactRequest { signal, inputs, .. }, .. } = self;
        let of_signal = |file: &str| entry_of(manifest, file).is_some_and(|entry| entry.signal == *signal);
        let is_made = |file: &str| before.iter().any(|c| c.request.signal == *signal && c.output() == file);
        let is_taken = |file: &str| before.iter().any(|c| c.request.inputs.iter().any(|input| input == file));
        entry_of(manifest, &self.output()).is_none()
            && inputs
                .iter()
                .enumerate()
                .all(|(at, file)| (of_signal(file) || is_made(file)) && !is_taken(file) && !inputs[..at].contains(file))
    }

    /// Whether all inputs are there.
    pub fn is_ready(&self, manifest: &Manifest) -> bool {
        self.request.inputs.iter().all(|file| entry_of(manifest, file).is_some())
    }

    /// Drops those of `pending` that are done or void. Every seal before the last of them must be in the manifest: then it
    /// is the same on every replica which ones are void, whatever of the others is done already.
    pub fn settle(pending: &mut Vec<Compaction>, manifest: &Manifest) {
        let mut possible: Vec<Compaction> = Vec::with_capacity(pending.len());
        for compaction in pending.drain(..) {
            if compaction.is_possible(&possible, manifest) {
                possible.push(compaction);
            }
        }
        *pending = possible;
    }
}

/// Files of the blocks that compactions make of `file`, directly or after others, in log order.
pub fn descendants(pending: &[Compaction], file: &str) -> Vec<String> {
    let mut files = vec![file.to_owned()];
    for compaction in pending {
        if compaction.request.inputs.iter().any(|input| files.contains(input)) {
            files.push(compaction.output());
        }
    }
    files.split_off(1)
}

/// Puts in a block that another replica has compacted, when an input of it is lost here: `from` is renamed to its file. What is
/// left out of its inputs counts as folded, whatever the reason, since the inputs cannot be counted any more.
pub fn adopt(
    dir: &Path,
    before: &Manifest,
    pending: &[Compaction],
    output: &BlockEntry,
    from: &Path,
    opener: &BlockOpener,
) -> Result<Swapped, FileError> {
    let path = dir.join(BLOCKS_DIR).join(&output.file);
    let refused = |reason: &str| FileError::Mismatch { path: path.display().to_string(), reason: reason.into() };
    let (mut leaves, mut done) = (vec![output.file.clone()], Vec::new());
    for compaction in pending.iter().rev() {
        if let Some(at) = leaves.iter().position(|file| *file == compaction.output()) {
            leaves.remove(at);
            leaves.extend(compaction.request.inputs.iter().cloned());
            done.push(compaction.index);
        }
    }
    if done.is_empty() || !leaves.iter().all(|file| entry_of(before, file).is_some_and(|e| e.signal == output.signal)) {
        return Err(refused("no compaction makes it of the blocks that are here"));
    }
    fs::rename(from, &path).map_err(io_error("rename to", &path))?;
    sync_dir(&dir.join(BLOCKS_DIR))?;
    let mut manifest = before.clone();
    manifest.put(&leaves, Some(output.clone()));
    manifest.pending.retain(|c| !done.contains(&c.index));
    if let Some(ledger) = &mut manifest.ledger {
        // Fails while another block of the signal is lost, too: that one is healed first.
        let of_signal: Vec<BlockEntry> =
            manifest.blocks.iter().filter(|b| b.signal == output.signal).cloned().collect();
        ledger.recount_sealed(output.signal, &opener.open_sound(dir, &of_signal)?);
    }
    let added = opener.open_sound(dir, std::slice::from_ref(output))?;
    manifest.forget_tombstones();
    write_manifest(dir, &manifest)?;
    Ok(Swapped { manifest, signal: output.signal, added, removed: leaves })
}

/// A merge to be done on the pool: what it needs of a replica.
#[derive(Debug)]
pub struct CompactJob {
    pub compaction: Compaction,
    /// Blocks to merge, in log order.
    inputs: Vec<BlockEntry>,
    limits: Limits,
    opener: BlockOpener,
    rows: rows::HeadConfig,
}

/// A merge that is done: its file waits to be put in.
#[derive(Debug)]
pub struct Compacted {
    pub compaction: Compaction,
    pub inputs: Vec<BlockEntry>,
    /// The new block; `None` when nothing was left.
    pub output: Option<BlockEntry>,
    pub facts: Vec<CompactedFacts>,
}

/// A compaction that is on disk.
#[derive(Debug)]
pub struct Swapped {
    pub manifest: Manifest,
    pub signal: Signal,
    pub added: OpenBlocks,
    /// Files that the manifest does not name any more.
    pub removed: Vec<String>,
}

impl CompactJob {
    /// `manifest` must have all inputs ([`Compaction::is_ready`]) and every seal before the compaction.
    pub fn new(compaction: &Compaction, manifest: &Manifest, config: &super::ShardConfig) -> Self {
        let is_input = |entry: &&BlockEntry| compaction.request.inputs.contains(&entry.file);
        let tombstones: Vec<Arc<Tombstone>> =
            manifest.limits.tombstones.iter().filter(|t| t.index < compaction.index).cloned().collect();
        Self {
            compaction: compaction.clone(),
            inputs: manifest.blocks.iter().filter(is_input).cloned().collect(),
            limits: Limits { cutoffs: compaction.cutoffs.clone(), tombstones, frozen: Vec::new() },
            opener: config.opener(),
            rows: config.rows.clone(),
        }
    }

    /// Bytes of the inputs.
    pub fn bytes(&self) -> u64 {
        self.inputs.iter().map(|entry| entry.bytes).sum()
    }

    /// Merges the inputs into a file beside the blocks, durably. Streams: the memory does not grow with the inputs' samples.
    /// `progress` is told of bytes that were read; an error of it ends the work.
    pub fn run(&self, dir: &Path, progress: &mut dyn FnMut(u64) -> io::Result<()>) -> Result<Compacted, FileError> {
        let merges_dir = dir.join(MERGES_DIR);
        fs::create_dir_all(&merges_dir).map_err(io_error("create", &merges_dir))?;
        let path = merges_dir.join(self.compaction.output());
        let result = self.write(dir, &path, progress);
        if matches!(&result, Ok(Compacted { output: Some(_), .. })) {
            return result;
        }
        match fs::remove_file(&path) {
            Err(error) if result.is_ok() && error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", &path)(error))
            }
            // Why the merge failed says more; what it leaves goes at the next start.
            _ => result,
        }
    }

    fn write(
        &self,
        dir: &Path,
        path: &Path,
        progress: &mut dyn FnMut(u64) -> io::Result<()>,
    ) -> Result<Compacted, FileError> {
        let cache = Arc::new(tsdb::BlockCache::new(MERGE_CACHE_BYTES));
        let opener = BlockOpener { cache, ..self.opener.clone() };
        let blocks = opener.open_sound(dir, &self.inputs)?;
        let out = File::create(path).map_err(io_error("create", path))?;
        let mut out = Checked::new(BufWriter::with_capacity(1 << 20, out));
        let CompactRequest { signal, window_ms, .. } = self.compaction.request;
        let (facts, series, times, digest, counts) = match signal {
            Signal::Metrics => {
                let merged = tsdb::compact(&blocks.metrics, &self.limits, progress, &mut out);
                let (s, counts) = merged.map_err(io_error("merge into", path))?;
                (s.facts, s.series, (s.min_time, s.max_time), s.digest, counts)
            }
            Signal::Logs | Signal::Traces => {
                let inputs = if signal == Signal::Logs { &blocks.logs } else { &blocks.traces };
                let merged = rows::compact(signal, &self.rows, inputs, &self.limits.cutoffs, progress, &mut out);
                let (s, counts) = merged.map_err(io_error("merge into", path))?;
                let times = (s.min_time.unwrap_or(i64::MAX), s.max_time.unwrap_or(i64::MIN));
                (s.facts, s.series, times, s.digest, counts)
            }
        };
        let (compaction, inputs) = (self.compaction.clone(), self.inputs.clone());
        // Blocks without samples may have metadata of metrics, which stays unless samples went.
        if facts == 0 && counts.iter().any(|c| c.folded + c.expired + c.deleted > 0) {
            return Ok(Compacted { compaction, inputs, output: None, facts: counts });
        }
        let (file, bytes, crc) = out.finish().map_err(io_error("write", path))?;
        faults::check(Operation::Sync).map_err(io_error("sync", path))?;
        file.into_inner()
            .map_err(|e| io_error("write", path)(e.into_error()))?
            .sync_all()
            .map_err(io_error("sync", path))?;
        let (file, made_at) = (compaction.output(), compaction.index);
        let (min_time, max_time) = times;
        let output =
            BlockEntry { signal, file, bytes, crc, facts, series, min_time, max_time, digest, made_at, window_ms };
        Ok(Compacted { compaction, inputs, output: Some(output), facts: counts })
    }
}

impl Compacted {
    /// Puts the new block in the place of its inputs. `None` when the manifest has other inputs by now: nothing was changed.
    /// Idempotent: a crash before the manifest is renamed leaves the inputs in force.
    pub fn swap(&self, dir: &Path, before: &Manifest, opener: &BlockOpener) -> Result<Option<Swapped>, FileError> {
        let is_same = |input: &BlockEntry| entry_of(before, &input.file).is_some_and(|now| now.digest == input.digest);
        if !self.inputs.iter().all(is_same) {
            return Ok(None);
        }
        let blocks_dir = dir.join(BLOCKS_DIR);
        if let Some(output) = &self.output {
            let (from, to) = (dir.join(MERGES_DIR).join(&output.file), blocks_dir.join(&output.file));
            fs::rename(&from, &to).map_err(io_error("rename to", &to))?;
            sync_dir(&blocks_dir)?;
        }
        let added = opener.open_sound(dir, self.output.as_slice())?;
        let mut manifest = before.clone();
        let removed: Vec<String> = self.inputs.iter().map(|input| input.file.clone()).collect();
        manifest.put(&removed, self.output.clone());
        manifest.pending.retain(|c| c.index != self.compaction.index);
        if let Some(ledger) = &mut manifest.ledger {
            ledger.count_compacted(self.compaction.request.signal, &self.facts);
        }
        manifest.forget_tombstones();
        write_manifest(dir, &manifest)?;
        Ok(Some(Swapped { manifest, signal: self.compaction.request.signal, added, removed }))
    }
}

impl Manifest {
    /// Puts a block into the place of the first of the `removed` ones, which keeps the log order of what overlaps.
    fn put(&mut self, removed: &[String], output: Option<BlockEntry>) {
        let is_removed = |entry: &BlockEntry| removed.contains(&entry.file);
        let at = self.blocks.iter().position(is_removed).unwrap_or(self.blocks.len());
        self.blocks.retain(|entry| !is_removed(entry));
        if let Some(output) = output {
            self.blocks.insert(at, output);
        }
    }

    /// Drops tombstones that concern no block any more.
    pub(super) fn forget_tombstones(&mut self) {
        let Self { blocks, limits, .. } = self;
        limits.tombstones.retain(|t| blocks.iter().any(|b| b.is_concerned_by(t)));
    }
}

impl BlockEntry {
    /// Whether it may still have samples that a tombstone hides.
    pub fn is_concerned_by(&self, tombstone: &Tombstone) -> bool {
        let Tombstone { index, delete } = tombstone;
        self.signal == Signal::Metrics
            && self.made_at <= *index
            && self.min_time <= delete.max_ms
            && self.max_time >= delete.min_ms
    }
}

/// Removes what merges of an earlier run of the process have left.
pub fn forget_merges(dir: &Path) -> Result<(), FileError> {
    let merges_dir = dir.join(MERGES_DIR);
    match fs::remove_dir_all(&merges_dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &merges_dir)(e)),
        _ => Ok(()),
    }
}

impl<W: Write> Checked<W> {
    fn finish(mut self) -> io::Result<(W, u64, u32)> {
        self.out.flush()?;
        Ok((self.out, self.bytes, self.crc.finalize()))
    }
}
