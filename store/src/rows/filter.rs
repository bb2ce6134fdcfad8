//! Bloom filters over the tokens of lines and over the values of columns: they prove absence without decompressing.
//!
//! Tokens are maximal runs of ASCII alphanumerics and bytes >= 0x80. A literal that is searched for may begin or end inside
//! a token, so besides whole tokens a filter has a sample of their 5-grams: those whose hash has its low bits clear. The
//! sample depends only on the gram, so a literal's own sampled grams must be there as well.
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Bits a key; with [`PROBES`] about 1% of absent keys pass.
const BITS_PER_KEY: usize = 10;
const PROBES: u64 = 6;
/// Length of the sampled grams. On disk.
const GRAM_BYTES: usize = 5;
/// One gram in this many is sampled (a power of two). On disk.
const GRAM_SAMPLING: u64 = 4;
/// Tokens and grams hash apart. On disk.
const GRAM_SEED: u64 = 0x6772_616d;

/// A set of keys, which are hashes already.
pub(crate) type KeySet = std::collections::HashSet<u64, BuildHasherDefault<KeyHasher>>;

/// Passes a key through as its own hash.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Hash of a value or whole token.
pub(crate) fn value_hash(value: &[u8]) -> u64 {
    xxh3_64(value)
}

/// Encodes a filter over distinct key hashes: words of 64 bits, little-endian.
pub(crate) fn build_filter(keys: &KeySet) -> Vec<u8> {
    let words = (keys.len() * BITS_PER_KEY).div_ceil(64).max(1);
    let mut bits = vec![0u64; words];
    for &key in keys {
        for at in probes(key, words) {
            bits[at / 64] |= 1 << (at % 64);
        }
    }
    bits.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// Whether a filter may contain `key`. An empty filter may contain anything.
pub(crate) fn may_contain(filter: &[u8], key: u64) -> bool {
    let words = filter.len() / 8;
    words == 0 || probes(key, words).all(|at| filter[at / 8] & (1 << (at % 8)) != 0)
}

fn probes(key: u64, words: usize) -> impl Iterator<Item = usize> {
    let bits = (words * 64) as u64;
    let step = (key >> 32) | 1;
    (0..PROBES)
        .map(move |i| (key.wrapping_add(i.wrapping_mul(step)).wrapping_mul(0x9e37_79b9_7f4a_7c15) % bits) as usize)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// Tokens with their start.
fn tokens(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].iter().position(|&b| is_token_byte(b))?;
        let len = text[start..].iter().position(|&b| !is_token_byte(b)).unwrap_or(text.len() - start);
        at = start + len;
        Some((start, &text[start..at]))
    })
}

fn sampled_grams(token: &[u8]) -> impl Iterator<Item = u64> {
    token.windows(GRAM_BYTES).map(|g| xxh3_64_with_seed(g, GRAM_SEED)).filter(|h| (h >> 40) % GRAM_SAMPLING == 0)
}

/// Adds the keys of one line.
pub(crate) fn add_line(keys: &mut KeySet, line: &[u8]) {
    for (_, token) in tokens(line) {
        // The grams of a token seen before are already in.
        if keys.insert(value_hash(token)) {
            keys.extend(sampled_grams(token));
        }
    }
}

/// Keys that the filter of any line containing `needle` must have.
pub(crate) fn needle_keys(needle: &[u8]) -> Vec<u64> {
    let mut keys = Vec::new();
    for (start, token) in tokens(needle) {
        let whole = start > 0 && start + token.len() < needle.len();
        if whole {
            keys.push(value_hash(token));
        }
        keys.extend(sampled_grams(token));
    }
    keys
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter_of(lines: &[&[u8]]) -> Vec<u8> {
        let mut keys = KeySet::default();
        lines.iter().for_each(|l| add_line(&mut keys, l));
        build_filter(&keys)
    }

    fn may_match(filter: &[u8], needle: &[u8]) -> bool {
        needle_keys(needle).into_iter().all(|k| may_contain(filter, k))
    }

    #[test]
    fn an_absent_id_is_proved_absent() {
        let lines: Vec<String> = (0..2000u64).map(|i| format!("id={:016x} ok", xxh3_64(&i.to_le_bytes()))).collect();
        let filter = filter_of(&lines.iter().map(|l| l.as_bytes()).collect::<Vec<_>>());
        let absent =
            (5000..6000u64).filter(|i| !may_match(&filter, format!("{:016x}", xxh3_64(&i.to_le_bytes())).as_bytes()));
        assert!(absent.count() > 900);
        assert!(!may_match(&filter, b" absent "));
    }

    proptest! {
        #[test]
        fn no_needle_of_a_line_is_lost(line: Vec<u8>, text in "[a-f0-9 -]{0,60}", from in 0usize..60, len in 0usize..40) {
            for line in [line.as_slice(), text.as_bytes()] {
                let from = from.min(line.len());
                let to = (from + len).min(line.len());
                prop_assert!(may_match(&filter_of(&[b"other", line]), &line[from..to]));
            }
        }
    }
}
