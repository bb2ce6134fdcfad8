//! Fetches from a source that misbehaves.
use std::sync::atomic::AtomicUsize;

use trine_store::model::Signal;

use super::*;

/// A file whose stream breaks off after so many bytes, each time.
struct Breaking {
    content: Vec<u8>,
    bytes_a_call: usize,
    calls: AtomicUsize,
    served: AtomicU64,
}

#[async_trait]
impl BlockSource for Breaking {
    async fn read_block(
        &self,
        _node: NodeId,
        _shard: u32,
        _file: &str,
        offset: u64,
    ) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let rest = &self.content[offset as usize..];
        let now = &rest[..rest.len().min(self.bytes_a_call)];
        self.served.fetch_add(now.len() as u64, Ordering::Relaxed);
        let mut chunks: Vec<io::Result<Bytes>> = now.chunks(1000).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        if now.len() < rest.len() {
            chunks.push(Err(io::Error::other("broke off")));
        }
        Ok(futures::stream::iter(chunks).boxed())
    }

    async fn list_blocks(&self, _node: NodeId, _shard: u32) -> io::Result<ListedBlocks> {
        Ok(ListedBlocks::default())
    }
}

fn source(bytes_a_call: usize) -> Breaking {
    let content = (0..100_000_u32).map(|i| (i * 7 % 251) as u8).collect();
    Breaking { content, bytes_a_call, calls: AtomicUsize::new(0), served: AtomicU64::new(0) }
}

fn manifest(content: &[u8]) -> Manifest {
    let block = BlockEntry {
        signal: Signal::Logs,
        file: "1-logs.trnb".into(),
        bytes: content.len() as u64,
        crc: crc32fast::hash(content),
        facts: 1,
        series: 1,
        min_time: 0,
        max_time: 0,
        digest: 0,
        made_at: 0,
        window_ms: 0,
    };
    Manifest { blocks: vec![block], ..Manifest::default() }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_breaks_off_goes_on_and_nothing_comes_twice() {
    let (dir, source) = (tempfile::tempdir().unwrap(), source(30_000));
    let fetches = Fetches::new(2, 0);
    let manifest = manifest(&source.content);
    fetches.fetch_blocks(&source, NodeId(1), 0, dir.path(), &manifest).await.unwrap();
    assert_eq!(fs::read(dir.path().join(BLOCKS_DIR).join("1-logs.trnb")).unwrap(), source.content);
    assert_eq!(source.served.load(Ordering::Relaxed), 100_000);
    assert_eq!(fetches.counts(), FetchCounts { bytes: 100_000, files: 1, resumed: 3 });
    fetches.fetch_blocks(&source, NodeId(1), 0, dir.path(), &manifest).await.unwrap();
    assert_eq!(source.served.load(Ordering::Relaxed), 100_000, "what is there is not fetched again");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_gone_is_given_up_and_what_came_is_kept_for_the_next() {
    let (dir, mut source) = (tempfile::tempdir().unwrap(), source(30_000));
    let manifest = manifest(&source.content);
    let partial = dir.path().join(INCOMING_DIR).join("1-logs.partial");
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(&partial, &source.content[..60_000]).unwrap();
    source.bytes_a_call = 0;
    let fetches = Fetches::new(2, 0);
    assert!(fetches.fetch_blocks(&source, NodeId(1), 0, dir.path(), &manifest).await.is_err());
    assert_eq!(source.calls.load(Ordering::Relaxed) as u32, TRIES_WITHOUT_PROGRESS);
    // A start of the node in between does not lose it.
    trine_store::shard::remove_strays(dir.path(), None).unwrap();
    source.bytes_a_call = usize::MAX;
    fetches.fetch_blocks(&source, NodeId(2), 0, dir.path(), &manifest).await.unwrap();
    assert_eq!(source.served.load(Ordering::Relaxed), 40_000);
    forget_incoming(dir.path()).unwrap();
    forget_incoming(dir.path()).unwrap();
    assert!(!dir.path().join(INCOMING_DIR).exists());
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_not_what_the_manifest_says_is_refused_and_started_over() {
    let dir = tempfile::tempdir().unwrap();
    for damage in [|c: &mut Vec<u8>| c[50_000] ^= 1, |c: &mut Vec<u8>| c.truncate(99_000)] {
        let mut source = source(usize::MAX);
        let manifest = manifest(&source.content);
        damage(&mut source.content);
        let fetches = Fetches::new(2, 0);
        let error = fetches.fetch_blocks(&source, NodeId(1), 0, dir.path(), &manifest).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(!dir.path().join(BLOCKS_DIR).join("1-logs.trnb").exists());
        forget_incoming(dir.path()).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn all_fetches_together_stay_below_the_rate() {
    let started = Instant::now();
    let fetches = Fetches::new(2, 50_000);
    let fetch = || async {
        let (dir, source) = (tempfile::tempdir().unwrap(), source(usize::MAX));
        fetches.fetch_blocks(&source, NodeId(1), 0, dir.path(), &manifest(&source.content)).await.unwrap();
    };
    futures::future::join3(fetch(), fetch(), fetch()).await;
    let took = started.elapsed();
    assert!((Duration::from_millis(5900)..Duration::from_millis(6500)).contains(&took), "{took:?}");
}
