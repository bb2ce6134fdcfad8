//! A snapshot of a node's blocks: hard links in a directory of their own, which take no room until blocks are compacted away.
use std::fs;
use std::io;
use std::path::Path;

use trine_store::shard::{BLOCKS_DIR, MANIFEST_FILE, Manifest};

use super::Cluster;
use crate::shard::ShardHandle;

/// Directory of snapshots in the data directory.
const SNAPSHOTS_DIR: &str = "snapshots";
/// A block that is compacted away meanwhile is left out of another try.
const TRIES: u32 = 3;

impl Cluster {
    /// Links every block of this node's replicas, with their manifests, into a directory in `snapshots` of the data directory,
    /// whose name begins with `time`, and gives the name. Seals every head of the cluster first unless `skip_heads`. A block in
    /// quarantine is left out.
    pub async fn snapshot_blocks(&self, time: &str, skip_heads: bool) -> Result<String, String> {
        if !skip_heads {
            let flushed = self.flush().await;
            if !flushed.errors.is_empty() {
                return Err(flushed.errors.join("; "));
            }
        }
        let data_dir = self.shared.config.data_dir.clone();
        let name = format!("{time}-{:016x}", rand::random::<u64>());
        let to = data_dir.join(SNAPSHOTS_DIR).join(&name);
        for handle in self.shared.handles().values() {
            let (data_dir, to, handle) = (data_dir.clone(), to.clone(), handle.clone());
            let linked = self.shared.pool.run(move || link_replica(&data_dir, &handle, &to)).await;
            linked.map_err(|e| e.to_string())?.map_err(|e| format!("{SNAPSHOTS_DIR}: {e}"))?;
        }
        Ok(name)
    }
}

fn link_replica(data_dir: &Path, handle: &ShardHandle, to: &Path) -> io::Result<()> {
    let from = crate::shard::directory(data_dir, handle.shard, handle.replica);
    let to = to.join(from.file_name().unwrap_or_default());
    let mut tries = 1;
    loop {
        let manifest = handle.observed().manifest.load_full();
        let is_there = |file: &str| !handle.observed().lost.load().contains_key(file);
        match link_blocks(&from, &to, &manifest, is_there) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && tries < TRIES => tries += 1,
            done => return done,
        }
    }
}

fn link_blocks(from: &Path, to: &Path, manifest: &Manifest, is_there: impl Fn(&str) -> bool) -> io::Result<()> {
    let blocks = to.join(BLOCKS_DIR);
    if blocks.exists() {
        fs::remove_dir_all(&blocks)?;
    }
    fs::create_dir_all(&blocks)?;
    for block in manifest.blocks.iter().filter(|block| is_there(&block.file)) {
        fs::hard_link(from.join(BLOCKS_DIR).join(&block.file), blocks.join(&block.file))?;
    }
    fs::write(to.join(MANIFEST_FILE), manifest.encode())?;
    fs::File::open(&blocks)?.sync_all()?;
    fs::File::open(to)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use trine_store::model::Signal;
    use trine_store::shard::BlockEntry;

    #[test]
    fn a_snapshot_has_the_blocks_of_the_manifest_and_only_those() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("00001-2"), dir.path().join("snapshots/s/00001-2"));
        fs::create_dir_all(from.join(BLOCKS_DIR)).unwrap();
        for file in ["a", "b", "retired"] {
            fs::write(from.join(BLOCKS_DIR).join(file), file).unwrap();
        }
        let entry = |file: &str| BlockEntry {
            signal: Signal::Logs,
            file: file.into(),
            bytes: 1,
            crc: 0,
            facts: 1,
            series: 1,
            min_time: 0,
            max_time: 0,
            digest: 0,
            made_at: 1,
            window_ms: 0,
        };
        let manifest = Manifest { blocks: vec![entry("a"), entry("lost"), entry("b")], ..Manifest::default() };
        link_blocks(&from, &to, &manifest, |_| true).unwrap_err();
        link_blocks(&from, &to, &manifest, |file| file != "lost").unwrap();
        let mut files: Vec<_> = fs::read_dir(to.join(BLOCKS_DIR)).unwrap().map(|f| f.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, ["a", "b"]);
        assert_eq!(Manifest::decode(&fs::read(to.join(MANIFEST_FILE)).unwrap()).unwrap().blocks, manifest.blocks);
    }
}
