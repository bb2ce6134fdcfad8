//! The labels of the entry that is being processed, in three layers: parsed hides structured metadata hides the stream's.
use trine_store::model::Labels;

use super::super::answer::LogEntry;
use super::{ERROR_DETAILS_LABEL, ERROR_LABEL};
use crate::memory::{Account, Charge, Exceeded};

/// Suffix of a parsed label whose name the stream or the structured metadata already has.
pub(super) const EXTRACTED: &str = "_extracted";

#[derive(Clone, Debug, Default)]
struct Slot {
    name: String,
    value: String,
    /// Set by a parser, so that later parsers leave it alone.
    by_parser: bool,
}

/// Reused from entry to entry; strings keep their allocations.
#[derive(Debug)]
pub(in super::super) struct EntryLabels {
    stream: Labels,
    metadata: Pool,
    parsed: Pool,
    /// For the line that a stage has rendered.
    line: Charge,
    /// Names that the stream and the metadata no longer have.
    deleted: Vec<String>,
    error: Option<&'static str>,
    error_details: String,
    /// Scratch for names with the suffix of a clash.
    suffixed: String,
}

/// A list of slots whose strings outlive [`Pool::clear`].
#[derive(Debug)]
struct Pool {
    slots: Vec<Slot>,
    len: usize,
    /// For the slots and what their strings have room for.
    held: Charge,
    /// A label that the account had no room for; the entry lacks it.
    refused: Option<Exceeded>,
}

impl Pool {
    fn new(memory: &Account) -> Self {
        Self { slots: Vec::new(), len: 0, held: memory.open(), refused: None }
    }

    fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots[..self.len].iter()
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.iter().position(|s| s.name == name)
    }

    fn push(&mut self, name: &str, value: &str, by_parser: bool) {
        let (room, new) = match self.slots.get(self.len) {
            Some(slot) => ((slot.name.capacity(), slot.value.capacity()), 0),
            None => ((0, 0), size_of::<Slot>()),
        };
        let grows = name.len().saturating_sub(room.0) + value.len().saturating_sub(room.1) + new;
        if grows > 0
            && let Err(exceeded) = self.held.add(grows as u64)
        {
            self.refused = Some(exceeded);
            return;
        }
        if self.len == self.slots.len() {
            self.slots.push(Slot::default());
        }
        let slot = &mut self.slots[self.len];
        slot.name.clear();
        slot.name.push_str(name);
        slot.value.clear();
        slot.value.push_str(value);
        slot.by_parser = by_parser;
        self.len += 1;
    }

    fn remove(&mut self, at: usize) {
        self.slots[at..self.len].rotate_left(1);
        self.len -= 1;
    }
}

impl EntryLabels {
    /// `memory` is charged for labels and rendered lines.
    pub(in super::super) fn new(memory: &Account) -> Self {
        Self {
            stream: Labels::empty(),
            metadata: Pool::new(memory),
            parsed: Pool::new(memory),
            line: memory.open(),
            deleted: Vec::new(),
            error: None,
            error_details: String::new(),
            suffixed: String::new(),
        }
    }

    /// [`Exceeded`] once a label did not fit.
    pub(super) fn check(&self) -> Result<(), Exceeded> {
        self.metadata.refused.or(self.parsed.refused).map_or(Ok(()), Err)
    }

    /// The charge of the line that a stage has rendered in place of the entry's.
    pub(super) fn line_charge(&mut self) -> &mut Charge {
        &mut self.line
    }

    /// The account that pays for labels and lines.
    pub(super) fn memory(&self) -> &Account {
        self.line.account()
    }

    /// Starts the entries of another stream.
    pub(in super::super) fn begin_stream(&mut self, labels: &Labels) {
        self.stream = labels.clone();
    }

    /// Starts another entry of the stream.
    pub(in super::super) fn begin_entry(&mut self) {
        self.metadata.len = 0;
        self.parsed.len = 0;
        self.deleted.clear();
        self.error = None;
        self.error_details.clear();
    }

    /// Adds structured metadata; the first of a name wins.
    pub(in super::super) fn push_metadata(&mut self, name: &str, value: &str) {
        if self.metadata.find(name).is_none() {
            self.metadata.push(name, value, false);
        }
    }

    /// The visible value of a label.
    pub(in super::super) fn get(&self, name: &str) -> Option<&str> {
        if let Some(slot) = self.parsed.iter().find(|s| s.name == name) {
            return Some(&slot.value);
        }
        if name == ERROR_LABEL {
            return self.error;
        }
        if name == ERROR_DETAILS_LABEL {
            return self.error.map(|_| self.error_details.as_str());
        }
        if self.is_deleted(name) {
            return None;
        }
        let metadata = self.metadata.iter().find(|s| s.name == name).map(|s| s.value.as_str());
        metadata.or_else(|| self.stream.get(name))
    }

    fn is_deleted(&self, name: &str) -> bool {
        self.deleted.iter().any(|d| d == name)
    }

    fn base_has(&self, name: &str) -> bool {
        self.stream.get(name).is_some() || self.metadata.find(name).is_some()
    }

    /// Sets a label as `label_format` does: it hides the stream's and the metadata's label for good.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        if name == ERROR_LABEL || name == ERROR_DETAILS_LABEL {
            return;
        }
        self.delete(name);
        self.parsed.push(name, value, false);
    }

    /// Sets a label as parsers do: with a suffix when the entry came with the name, and only when no parser has set it yet.
    pub(super) fn set_extracted(&mut self, name: &str, value: &str) {
        if name.is_empty() {
            return;
        }
        let mut suffixed = std::mem::take(&mut self.suffixed);
        let name = if self.base_has(name) {
            suffixed.clear();
            suffixed.push_str(name);
            suffixed.push_str(EXTRACTED);
            &suffixed
        } else {
            name
        };
        match self.parsed.find(name) {
            Some(at) if self.parsed.slots[at].by_parser => {}
            Some(at) => {
                self.parsed.remove(at);
                self.parsed.push(name, value, true);
            }
            None => self.parsed.push(name, value, true),
        }
        self.suffixed = suffixed;
    }

    /// Removes a label from all layers.
    pub(super) fn delete(&mut self, name: &str) {
        match name {
            ERROR_LABEL => self.error = None,
            ERROR_DETAILS_LABEL => self.error_details.clear(),
            _ => {}
        }
        if let Some(at) = self.parsed.find(name) {
            self.parsed.remove(at);
        }
        if self.base_has(name) && !self.is_deleted(name) {
            self.deleted.push(name.to_owned());
        }
    }

    /// Keeps the labels for which `keep` holds; error labels always stay.
    pub(super) fn retain(&mut self, keep: impl Fn(&str, &str) -> bool) {
        let mut gone: Vec<String> = Vec::new();
        self.for_each(&mut |name, value| {
            if name != ERROR_LABEL && name != ERROR_DETAILS_LABEL && !keep(name, value) {
                gone.push(name.to_owned());
            }
        });
        for name in gone {
            self.delete(&name);
        }
    }

    pub(super) fn has_error(&self) -> bool {
        self.error.is_some()
    }

    /// Records an error; the first one stays.
    pub(in super::super) fn set_error(&mut self, error: &'static str, details: &str) {
        if self.error.is_none() {
            self.error = Some(error);
            self.error_details.clear();
            self.error_details.push_str(details);
        }
    }

    pub(in super::super) fn error(&self) -> Option<&'static str> {
        self.error
    }

    /// Calls `each` with every visible label, in no order, error labels included.
    pub(in super::super) fn for_each(&self, each: &mut dyn FnMut(&str, &str)) {
        for slot in self.parsed.iter() {
            each(&slot.name, &slot.value);
        }
        for slot in self.metadata.iter() {
            if !self.is_deleted(&slot.name) && self.parsed.find(&slot.name).is_none() {
                each(&slot.name, &slot.value);
            }
        }
        for (name, value) in self.stream.iter() {
            if !self.is_deleted(name) && self.parsed.find(name).is_none() && self.metadata.find(name).is_none() {
                each(name, value);
            }
        }
        if let Some(error) = self.error {
            each(ERROR_LABEL, error);
            if !self.error_details.is_empty() {
                each(ERROR_DETAILS_LABEL, &self.error_details);
            }
        }
    }

    /// The stream's labels that are left, or `None` when all are.
    pub(in super::super) fn changed_stream(&self) -> Option<Labels> {
        if !self.stream.iter().any(|(n, _)| self.is_deleted(n)) {
            return None;
        }
        let left = self.stream.iter().filter(|(n, _)| !self.is_deleted(n));
        Labels::from_pairs(left).ok()
    }

    /// The entry as it is answered; labels without a value are left out, as a label without a value is absent.
    pub(in super::super) fn to_entry(&self, time_ns: i64, line: &str) -> LogEntry {
        let mut structured_metadata: Vec<(String, String)> = self
            .metadata
            .iter()
            .filter(|s| !self.is_deleted(&s.name) && !s.value.is_empty())
            .map(|s| (s.name.clone(), s.value.clone()))
            .collect();
        let mut parsed: Vec<(String, String)> =
            self.parsed.iter().filter(|s| !s.value.is_empty()).map(|s| (s.name.clone(), s.value.clone())).collect();
        if let Some(error) = self.error {
            parsed.push((ERROR_LABEL.to_owned(), error.to_owned()));
            if !self.error_details.is_empty() {
                parsed.push((ERROR_DETAILS_LABEL.to_owned(), self.error_details.clone()));
            }
        }
        structured_metadata.sort();
        parsed.sort();
        LogEntry { time_ns, line: line.to_owned(), structured_metadata, parsed }
    }
}

/// Appends `key` to `out` with what label names cannot have replaced by `_`; a leading digit gets one before it.
pub(super) fn push_sanitized(out: &mut String, key: &str) {
    if out.is_empty() && key.starts_with(|c: char| c.is_ascii_digit()) {
        out.push('_');
    }
    out.extend(key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }));
}
