//! Distinct texts from many places: names and values of labels.
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::memory::{Account, Charge, Exceeded};

/// Bytes of a text in a set, besides its letters.
const TEXT_BYTES: u64 = 56;

/// Collects distinct texts, of one shard or of many, allocating once each.
#[derive(Debug)]
pub struct TextSet {
    /// In the order in which they came.
    texts: Vec<String>,
    /// Positions in `texts`.
    positions: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Behind the text that was seen last. Many places have much the same texts in the same order.
    next: usize,
    held: Charge,
    /// Texts are no longer taken in: the account is full.
    full: Option<Exceeded>,
}

impl TextSet {
    /// `memory` is charged for the texts for as long as the set is there.
    pub fn new(memory: &Account) -> Self {
        let (texts, positions, hasher) = (Vec::new(), HashTable::new(), DefaultHashBuilder::default());
        Self { texts, positions, hasher, next: 0, held: memory.open(), full: None }
    }

    /// Takes in a text that is not there yet, unless the account is full: see [`Self::check`].
    pub fn see(&mut self, text: &str) {
        if self.texts.get(self.next).is_some_and(|expected| expected == text) {
            self.next += 1;
        } else if self.full.is_none() {
            self.look_for(text);
        }
    }

    fn look_for(&mut self, text: &str) {
        let Self { texts, positions, hasher, held, .. } = self;
        let hash = hasher.hash_one(text);
        if let Some(at) = positions.find(hash, |at| texts[*at as usize] == text) {
            self.next = *at as usize + 1;
            return;
        }
        if let Err(exceeded) = held.add(text.len() as u64 + TEXT_BYTES) {
            self.full = Some(exceeded);
            return;
        }
        // Texts are charged: memory ends long before positions do.
        positions.insert_unique(hash, texts.len() as u32, |at| hasher.hash_one(texts[*at as usize].as_str()));
        texts.push(text.to_owned());
        self.next = texts.len();
    }

    /// Whether all texts were taken in.
    pub fn check(&self) -> Result<(), Exceeded> {
        self.full.map_or(Ok(()), Err)
    }

    /// The texts in order of their bytes, with their charge.
    pub fn sorted(self) -> Result<(Vec<String>, Charge), Exceeded> {
        self.check()?;
        let mut texts = self.texts;
        texts.sort_unstable();
        Ok((texts, self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kept_once_and_charged() {
        let mut texts = TextSet::new(&Account::unbounded());
        ["b", "a", "b", "", "a", "b", "a", "", "", "c", "b", "c"].into_iter().for_each(|text| texts.see(text));
        let (sorted, held) = texts.sorted().unwrap();
        assert_eq!((sorted, held.bytes()), (["", "a", "b", "c"].map(str::to_owned).to_vec(), 4 * TEXT_BYTES + 3));
    }
}
