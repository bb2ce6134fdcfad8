//! Fetching the block files that a snapshot's manifest names and this node lacks.
//!
//! Files come into `<replica>/incoming` and move to the blocks only once all of them are there and checked: until then the
//! manifest in force does not name them, and what is in the blocks unnamed is removed at a start. So a fetch that breaks off,
//! by the source's end or by this node's, goes on where it was.
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{debug, info};
use trine_raft::NodeId;
use trine_store::shard::{BLOCKS_DIR, BlockEntry, Manifest};

/// Directory of what is being fetched, in a replica's directory.
const INCOMING_DIR: &str = "incoming";
/// A source that gives nothing new so many times in a row is given up.
const TRIES_WITHOUT_PROGRESS: u32 = 8;
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// A source that is silent for so long has broken off.
const CHUNK_PATIENCE: Duration = Duration::from_secs(10);

/// Reads another node's block files. Implemented over gRPC by [`crate::rpc::Peers`].
#[async_trait]
pub trait BlockSource: Send + Sync + 'static {
    /// The bytes of a block file of `shard` on `node` from `offset` on, in order.
    async fn read_block(
        &self,
        node: NodeId,
        shard: u32,
        file: &str,
        offset: u64,
    ) -> io::Result<BoxStream<'static, io::Result<Bytes>>>;

    /// The blocks of `shard` that the manifest on `node` names.
    async fn list_blocks(&self, node: NodeId, shard: u32) -> io::Result<ListedBlocks>;
}

/// A replica's blocks as another node sees them.
#[derive(Clone, Debug, Default)]
pub struct ListedBlocks {
    /// Log index of the manifest.
    pub position: u64,
    /// Log index of the last compaction that it has applied since its start (0: none), if it has carried out all.
    pub compacted: Option<u64>,
    pub blocks: Vec<ListedBlock>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct ListedBlock {
    pub entry: BlockEntry,
    /// It cannot be read there.
    pub damaged: bool,
}

/// All fetching of a node: so many replicas at a time, and so many bytes a second together, since what the disk and the
/// network do for a new replica they do not do for writes and queries.
#[derive(Debug)]
pub struct Fetches {
    slots: Semaphore,
    /// 0: unbounded.
    bytes_per_second: u64,
    /// When the bytes taken so far are paid for.
    paid_at: Mutex<Instant>,
    bytes: AtomicU64,
    files: AtomicU64,
    resumed: AtomicU64,
}

/// Counters since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchCounts {
    pub bytes: u64,
    pub files: u64,
    /// Files that went on where an earlier fetch broke off.
    pub resumed: u64,
}

impl Fetches {
    /// At most `at_once` replicas at a time and `bytes_per_second` (0: unbounded).
    pub fn new(at_once: usize, bytes_per_second: u64) -> Self {
        Self {
            slots: Semaphore::new(at_once.max(1)),
            bytes_per_second,
            paid_at: Mutex::new(Instant::now()),
            bytes: AtomicU64::new(0),
            files: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
        }
    }

    /// Counters since the process started.
    pub fn counts(&self) -> FetchCounts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FetchCounts { bytes: load(&self.bytes), files: load(&self.files), resumed: load(&self.resumed) }
    }

    /// Waits until `bytes` more may have come.
    async fn pay(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let Some(nanos) = bytes.saturating_mul(1_000_000_000).checked_div(self.bytes_per_second) else { return };
        let until = {
            let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
            *paid_at = (*paid_at).max(Instant::now()) + Duration::from_nanos(nanos);
            *paid_at
        };
        tokio::time::sleep_until(until).await;
    }

    /// Brings every block of `manifest` into `dir`. A file that is there with the right length and checksum is kept, one that
    /// is there in part is resumed. Durable on return.
    pub(super) async fn fetch_blocks(
        &self,
        source: &dyn BlockSource,
        from: NodeId,
        shard: u32,
        dir: &Path,
        manifest: &Manifest,
    ) -> io::Result<()> {
        let _slot = self.slots.acquire().await.map_err(io::Error::other)?;
        let (blocks, incoming) = (dir.join(BLOCKS_DIR), dir.join(INCOMING_DIR));
        fs::create_dir_all(&blocks)?;
        fs::create_dir_all(&incoming)?;
        let mut fetched = Vec::new();
        for entry in &manifest.blocks {
            if has_block(&blocks.join(&entry.file), entry)? {
                continue;
            }
            let path = incoming.join(&entry.file);
            if !has_block(&path, entry)? {
                self.fetch_one(source, from, shard, &path, entry).await?;
                self.files.fetch_add(1, Ordering::Relaxed);
            }
            fetched.push(entry);
        }
        fs::File::open(&incoming)?.sync_all()?;
        for entry in &fetched {
            fs::rename(incoming.join(&entry.file), blocks.join(&entry.file))?;
        }
        fs::File::open(&blocks)?.sync_all()?;
        let bytes: u64 = fetched.iter().map(|e| e.bytes).sum();
        info!(shard, files = fetched.len(), bytes, from = %from, "fetched a snapshot's blocks");
        Ok(())
    }

    /// Brings one block to `path`, which is in a directory of its own. Durable and of the right checksum on return.
    pub(super) async fn fetch_block(
        &self,
        source: &dyn BlockSource,
        from: NodeId,
        shard: u32,
        path: &Path,
        entry: &BlockEntry,
    ) -> io::Result<()> {
        let _slot = self.slots.acquire().await.map_err(io::Error::other)?;
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        self.fetch_one(source, from, shard, path, entry).await?;
        self.files.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Fetches one file, again and again from where it broke off, as long as more of it comes.
    async fn fetch_one(
        &self,
        source: &dyn BlockSource,
        from: NodeId,
        shard: u32,
        path: &Path,
        entry: &BlockEntry,
    ) -> io::Result<()> {
        let partial = path.with_extension("partial");
        let mut tries = 0;
        loop {
            let before = len_of(&partial)?;
            if before > 0 {
                self.resumed.fetch_add(1, Ordering::Relaxed);
            }
            let broke_off = match self.fetch_rest(source, from, shard, &partial, entry).await {
                Ok(()) => break,
                Err(error) => error,
            };
            tries = if len_of(&partial)? > before { 0 } else { tries + 1 };
            if tries >= TRIES_WITHOUT_PROGRESS {
                return Err(broke_off);
            }
            debug!(shard, file = entry.file, %broke_off, "a fetch broke off, going on with it");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        if crc_of(&partial)? != entry.crc {
            // Start over next time: what is there is not the right file.
            fs::remove_file(&partial)?;
            return Err(mismatch(shard, from, entry));
        }
        fs::rename(&partial, path)
    }

    /// Appends what is missing; `Ok` once the file is as long as it should be, and synced.
    async fn fetch_rest(
        &self,
        source: &dyn BlockSource,
        from: NodeId,
        shard: u32,
        partial: &Path,
        entry: &BlockEntry,
    ) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(partial)?;
        let mut len = file.metadata()?.len();
        if len > entry.bytes {
            file.set_len(0)?;
            len = 0;
        }
        if len < entry.bytes {
            let opened = tokio::time::timeout(CHUNK_PATIENCE, source.read_block(from, shard, &entry.file, len)).await;
            let mut chunks = opened.map_err(|_| silent(from))??;
            while len < entry.bytes {
                let chunk = tokio::time::timeout(CHUNK_PATIENCE, chunks.next()).await.map_err(|_| silent(from))?;
                let chunk = chunk.ok_or_else(|| mismatch(shard, from, entry))??;
                if chunk.len() as u64 > entry.bytes - len {
                    return Err(mismatch(shard, from, entry));
                }
                file.write_all(&chunk)?;
                len += chunk.len() as u64;
                self.pay(chunk.len() as u64).await;
            }
        }
        file.sync_all()
    }
}

/// Removes what fetches of older snapshots have left.
pub(super) fn forget_incoming(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir.join(INCOMING_DIR)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn silent(from: NodeId) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{from} gave nothing for {CHUNK_PATIENCE:?}"))
}

fn mismatch(shard: u32, from: NodeId, entry: &BlockEntry) -> io::Error {
    let reason = format!("block {} of shard {shard} from node {} is not what its manifest says", entry.file, from.0);
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn len_of(path: &Path) -> io::Result<u64> {
    match fs::metadata(path) {
        Ok(meta) => Ok(meta.len()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e),
    }
}

fn has_block(path: &Path, entry: &BlockEntry) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(meta) if meta.len() == entry.bytes => Ok(crc_of(path)? == entry.crc),
        Ok(_) => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

fn crc_of(path: &Path) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut file = fs::File::open(path)?;
    let mut buf = vec![0; 1 << 20];
    loop {
        match io::Read::read(&mut file, &mut buf)? {
            0 => return Ok(hasher.finalize()),
            n => hasher.update(&buf[..n]),
        }
    }
}

#[cfg(test)]
mod tests;
