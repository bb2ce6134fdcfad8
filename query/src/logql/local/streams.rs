//! Calls about streams: names, values, label sets, totals, volumes.
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use trine_store::index::Matcher;
use trine_store::model::Labels;

use super::Job;
use crate::error::{Error, Result};
use crate::logql::fragment::{
    FRAME_BYTES, LabelSets, Reply, Stats, StatsAsk, StreamsAsk, Texts, VolumeAsk, VolumePart, Volumes, WANT_LABEL_SETS,
    WANT_NAMES, WANT_VALUES,
};
use crate::logql::parser::parse_selector;
use crate::memory::{labels_bytes, text_bytes};

/// What a group weighs besides its texts.
const GROUP_BYTES: u64 = 64;

pub(super) fn run(job: &mut Job<'_, '_>, ask: &StreamsAsk) -> Result<()> {
    let mut sets: Vec<Vec<Matcher>> = ask.selectors.iter().map(|s| parse_selector(s)).collect::<Result<_>>()?;
    if sets.is_empty() {
        sets.push(Vec::new());
    }
    let mut found: BTreeSet<Labels> = BTreeSet::new();
    let memory = job.replies.memory();
    let mut held = memory.open();
    for source in job.sources {
        for matchers in &sets {
            job.replies.tick()?;
            for stream in source.streams(job.tenant, matchers, (ask.start_ns, ask.end_ns), memory)? {
                if !found.contains(&stream.labels) {
                    held.add(labels_bytes(&stream.labels))?;
                    found.insert(stream.labels);
                }
            }
        }
    }
    // The set of what is sent; of names there are fewer.
    held.add(found.len() as u64 * REFERENCE_BYTES)?;
    match ask.want {
        WANT_NAMES => send_texts(job, found.iter().flat_map(|l| l.iter().map(|(n, _)| n)).collect()),
        WANT_VALUES => send_texts(job, found.iter().filter_map(|l| l.get(&ask.name)).collect()),
        WANT_LABEL_SETS => {
            let mut frame = LabelSets::default();
            let mut bytes = 0;
            for labels in &found {
                bytes += labels.as_bytes().len() + 4;
                frame.sets.push(Bytes::copy_from_slice(labels.as_bytes()));
                if bytes >= FRAME_BYTES {
                    job.replies.send(Reply::LabelSets(std::mem::take(&mut frame)))?;
                    bytes = 0;
                }
            }
            job.replies.send(Reply::LabelSets(frame))
        }
        other => Err(Error::Unsupported { what: format!("LogQL request for {other} of streams") }),
    }
}

/// What a text weighs in a set of references.
const REFERENCE_BYTES: u64 = 32;

fn send_texts(job: &mut Job<'_, '_>, texts: BTreeSet<&str>) -> Result<()> {
    let mut frame = Texts::default();
    let mut bytes = 0;
    for text in texts {
        bytes += text.len() + 4;
        frame.texts.push(text.to_owned());
        if bytes >= FRAME_BYTES {
            job.replies.send(Reply::Texts(std::mem::take(&mut frame)))?;
            bytes = 0;
        }
    }
    job.replies.send(Reply::Texts(frame))
}

pub(super) fn stats(job: &mut Job<'_, '_>, ask: &StatsAsk) -> Result<()> {
    let matchers = parse_selector(&ask.selector)?;
    for source in job.sources {
        job.replies.tick()?;
        let s = source.stats(job.tenant, &matchers, (ask.start_ns, ask.end_ns), job.replies.memory())?;
        let mut totals = Stats { chunks: s.chunks, bytes: s.bytes, entries: s.entries, ..Stats::default() };
        let _held = job.replies.memory().charge(s.hashes.len() as u64 * HASH_BYTES)?;
        // The totals once, with the first of the hashes.
        let mut frames = s.hashes.chunks(FRAME_BYTES / HASH_BYTES as usize);
        loop {
            let hashes = frames.next().unwrap_or_default().to_vec();
            job.replies.send(Reply::Stats(Stats { hashes, ..std::mem::take(&mut totals) }))?;
            if frames.len() == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// What a stream's hash weighs in a frame.
const HASH_BYTES: u64 = 8;

pub(super) fn volume(job: &mut Job<'_, '_>, ask: &VolumeAsk) -> Result<()> {
    let matchers = parse_selector(&ask.selector)?;
    let targets = &ask.target_labels;
    let chosen = |name: &str| match targets.is_empty() {
        false => targets.iter().any(|t| t == name),
        true => matchers.is_empty() || matchers.iter().any(|m| m.name == name),
    };
    let mut groups: BTreeMap<Vec<String>, u64> = BTreeMap::new();
    let memory = job.replies.memory();
    let mut held = memory.open();
    let mut add = |key: Vec<String>, bytes: u64| -> Result<()> {
        match groups.get_mut(&key) {
            Some(sum) => *sum += bytes,
            None => {
                held.add(key.iter().map(|text| text_bytes(text)).sum::<u64>() + GROUP_BYTES)?;
                groups.insert(key, bytes);
            }
        }
        Ok(())
    };
    for source in job.sources {
        job.replies.tick()?;
        for stream in source.streams(job.tenant, &matchers, (ask.start_ns, ask.end_ns), memory)? {
            let picked = stream.labels.iter().filter(|(n, _)| chosen(n));
            if ask.by_label {
                for (name, _) in picked {
                    add(vec![name.to_owned(), String::new()], stream.bytes)?;
                }
            } else {
                let key: Vec<String> = picked.flat_map(|(n, v)| [n.to_owned(), v.to_owned()]).collect();
                if !key.is_empty() {
                    add(key, stream.bytes)?;
                }
            }
        }
    }
    let mut frame = Volumes::default();
    let mut frame_bytes = 0;
    for (labels, bytes) in groups {
        frame_bytes += labels.iter().map(|t| t.len() + 2).sum::<usize>() + 10;
        frame.volumes.push(VolumePart { labels, bytes });
        if frame_bytes >= FRAME_BYTES {
            job.replies.send(Reply::Volumes(std::mem::take(&mut frame)))?;
            frame_bytes = 0;
        }
    }
    job.replies.send(Reply::Volumes(frame))
}
