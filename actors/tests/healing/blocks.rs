//! One block damaged in one replica, and in the only one.
use trine_actors::healing::{Kind, Record, State};
use trine_store::shard::{BlockEntry, read_manifest, write_manifest};

use crate::cluster::{Nodes, blocks, corrupt, until};

const SERIES: usize = 40;

fn records(nodes: &Nodes, node: usize) -> Vec<Record> {
    nodes.nodes[node].healing().records()
}

async fn until_healed(nodes: &Nodes, node: usize, count: usize) {
    until("the blocks are healed", || async {
        let records = records(nodes, node);
        records.len() == count && records.iter().all(|r| r.state == State::Healed)
    })
    .await;
}

/// Queries see everything all the time, the file is replaced by the same bytes, and the damaged one is kept aside.
#[tokio::test(flavor = "multi_thread")]
async fn damage_met_by_a_query_is_healed_before_it_is_answered() {
    let nodes = Nodes::start(3).await;
    nodes.write("up", SERIES).await;
    let sound: Vec<Vec<u8>> = nodes.blocks(0).iter().map(|p| std::fs::read(p).unwrap()).collect();
    for node in 0..3 {
        let files = nodes.blocks(node);
        files.iter().for_each(|file| corrupt(file));
        // Whatever this node leads is read here; the others have sound copies.
        let (seen, warnings) = nodes.ask(node, "up").await;
        assert_eq!((seen, warnings.as_slice()), (SERIES, [].as_slice()), "through node {node}");
        let scrubbed = nodes.scrub(node).await;
        assert_eq!((scrubbed.blocks_done, &scrubbed.errors), (files.len() as u64, &Vec::new()));
        assert_eq!(scrubbed.findings.len() as u64, scrubbed.damaged);
        until_healed(&nodes, node, files.len()).await;
        let healed: Vec<Vec<u8>> = files.iter().map(|p| std::fs::read(p).unwrap()).collect();
        assert_eq!(healed, sound, "node {node}");
        for record in records(&nodes, node) {
            assert_eq!((record.kind, record.reason.as_str()), (Kind::Block, "checksum"), "{record:?}");
            assert!(nodes.data_dir(node).join("quarantine").join(&record.kept).is_dir(), "{record:?}");
        }
    }
    nodes.stop().await;
}

/// With one replica the rest is answered with a warning, and a file that comes back is taken again.
#[tokio::test(flavor = "multi_thread")]
async fn without_another_replica_answers_say_what_is_missing() {
    let nodes = Nodes::start(1).await;
    nodes.write("up", SERIES).await;
    let file = nodes.blocks(0).remove(0);
    let sound = std::fs::read(&file).unwrap();
    corrupt(&file);
    let (seen, warnings) = nodes.ask(0, "up").await;
    assert!(seen > 0 && seen < SERIES, "{seen} series");
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    assert!(warnings.len() == 1 && warnings[0].contains(&name), "{warnings:?}");
    assert!(!file.exists(), "it is in the quarantine");
    until("the record says that nobody can heal it", || async { records(&nodes, 0)[0].state == State::Failed }).await;
    std::fs::write(&file, sound).unwrap();
    until("the file is taken again", || async { records(&nodes, 0)[0].state == State::Healed }).await;
    assert_eq!(nodes.ask(0, "up").await, (SERIES, Vec::new()));
    nodes.stop().await;
}

/// A block that does not open does not keep the replica from opening, and is healed.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_does_not_open_at_a_start_is_healed() {
    let mut nodes = Nodes::start(3).await;
    nodes.write("up", SERIES).await;
    let count = nodes.blocks(1).len();
    nodes.restart(1, |dir| blocks(dir).iter().for_each(|file| std::fs::remove_file(file).unwrap())).await;
    until_healed(&nodes, 1, count).await;
    assert_eq!(nodes.blocks(1).len(), count);
    assert_eq!(records(&nodes, 1)[0].reason, "missing");
    assert_eq!(nodes.ask(1, "up").await, (SERIES, Vec::new()));
    nodes.stop().await;
}

/// A block with sound bytes and other content than the other replicas have: the majority is right.
#[tokio::test(flavor = "multi_thread")]
async fn an_outvoted_block_is_replaced_by_what_the_majority_has() {
    let mut nodes = Nodes::start(3).await;
    nodes.write("up", SERIES).await;
    assert_eq!(nodes.scrub(1).await.disagreeing, 0);
    let sound: Vec<Vec<u8>> = nodes.blocks(1).iter().map(|p| std::fs::read(p).unwrap()).collect();
    // The first shard's block becomes a copy of the second's, and its manifest says so.
    nodes
        .restart(1, |dir| {
            let files = blocks(dir);
            let shard = |n: usize| files[n].parent().unwrap().parent().unwrap();
            let mut manifest = read_manifest(shard(0)).unwrap().unwrap();
            let other = read_manifest(shard(1)).unwrap().unwrap();
            std::fs::copy(&files[1], &files[0]).unwrap();
            manifest.blocks[0] = BlockEntry { file: manifest.blocks[0].file.clone(), ..other.blocks[0].clone() };
            write_manifest(shard(0), &manifest).unwrap();
        })
        .await;
    assert_eq!(records(&nodes, 1), []);
    let scrubbed = nodes.scrub(1).await;
    assert_eq!((scrubbed.damaged, scrubbed.disagreeing), (0, 1), "{scrubbed:?}");
    until_healed(&nodes, 1, 1).await;
    let healed: Vec<Vec<u8>> = nodes.blocks(1).iter().map(|p| std::fs::read(p).unwrap()).collect();
    assert_eq!(healed, sound);
    assert_eq!(records(&nodes, 1)[0].reason, "content");
    assert_eq!(nodes.scrub(1).await.disagreeing, 0);
    nodes.restart(1, |_| {}).await;
    assert_eq!(nodes.ask(1, "up").await, (SERIES, Vec::new()));
    nodes.stop().await;
}
