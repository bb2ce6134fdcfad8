//! Fetching the block files that a snapshot's manifest names and this node lacks.
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::Semaphore;
use trine_raft::NodeId;
use trine_store::shard::{BLOCKS_DIR, BlockEntry, Manifest};

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
    pub blocks: Vec<ListedBlock>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct ListedBlock {
    pub entry: BlockEntry,
    /// It cannot be read there.
    pub damaged: bool,
}

/// Snapshots that a node installs at a time: fetching is bounded by the disk, not by parallelism.
static FETCHES: Semaphore = Semaphore::const_new(2);

/// Brings every block of `manifest` into `dir`. A file that is there with the right length and checksum is kept, one that
/// is there in part is resumed. Durable on return.
pub(super) async fn fetch_blocks(
    source: &dyn BlockSource,
    from: NodeId,
    shard: u32,
    dir: &Path,
    manifest: &Manifest,
) -> io::Result<()> {
    let _slot = FETCHES.acquire().await.map_err(io::Error::other)?;
    let blocks = dir.join(BLOCKS_DIR);
    fs::create_dir_all(&blocks)?;
    for entry in &manifest.blocks {
        let path = blocks.join(&entry.file);
        if !has_block(&path, entry)? {
            fetch_one(source, from, shard, &path, entry).await?;
        }
    }
    fs::File::open(&blocks)?.sync_all()
}

/// Brings one block to `path`, which is in a directory of its own. Durable and of the right checksum on return.
pub(super) async fn fetch_block(
    source: &dyn BlockSource,
    from: NodeId,
    shard: u32,
    path: &Path,
    entry: &BlockEntry,
) -> io::Result<()> {
    let _slot = FETCHES.acquire().await.map_err(io::Error::other)?;
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fetch_one(source, from, shard, path, entry).await
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

async fn fetch_one(
    source: &dyn BlockSource,
    from: NodeId,
    shard: u32,
    path: &Path,
    entry: &BlockEntry,
) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = fs::OpenOptions::new().create(true).append(true).open(&partial)?;
    let have = file.metadata()?.len();
    let have = if have > entry.bytes {
        file.set_len(0)?;
        0
    } else {
        have
    };
    let mut chunks = source.read_block(from, shard, &entry.file, have).await?;
    let mut len = have;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        len += chunk.len() as u64;
        if len > entry.bytes {
            break;
        }
        file.write_all(&chunk)?;
    }
    file.sync_all()?;
    if len != entry.bytes || crc_of(&partial)? != entry.crc {
        // Start over next time: what is there is not a prefix of the right file.
        fs::remove_file(&partial)?;
        let reason =
            format!("block {} of shard {shard} from node {} is not what its manifest says", entry.file, from.0);
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    fs::rename(&partial, path)
}
