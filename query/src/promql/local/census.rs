//! Counts a tenant's series by label and value, some metric names at a time, so that never all series are held.
use std::collections::BTreeMap;

use hashbrown::HashMap;
use trine_store::index::Matcher;
use trine_store::part::SampleKind;
use trine_store::tsdb::TextSet;

use super::{Run, fragment};
use crate::error::Result;
use crate::memory::text_bytes;
use crate::promql::fragment::{Census, TotalsMessage};
use crate::promql::parser::METRIC_NAME;
use crate::promql::source::SeriesSource;

/// Metric names whose series are listed together: each list looks through the tail of a head once.
const NAMES_AT_A_TIME: usize = 256;

/// A count beside its value's text.
const COUNT_BYTES: u64 = 16;

impl Run<'_, '_> {
    pub(super) fn census(&mut self, census: &Census, sources: &[(u32, &dyn SeriesSource)]) -> Result<()> {
        let matchers = fragment::get_matchers(&census.matchers)?;
        let (range, memory) = ((census.min_ms, census.max_ms), self.limits.memory.clone());
        let mut held = memory.open();
        for (shard, source) in sources {
            self.frames.begin(*shard)?;
            let mut totals = TotalsMessage::default();
            let mut counts: BTreeMap<String, HashMap<String, u64>> = BTreeMap::new();
            let mut names = TextSet::new(&memory);
            source.label_values(METRIC_NAME, &matchers, range, &memory, &mut names)?;
            let (names, _held_names) = names.sorted()?;
            // Series without a name come last.
            let any_of = |names: &[String]| Matcher::any_of(METRIC_NAME, names.iter().map(String::as_str));
            let groups = names.chunks(NAMES_AT_A_TIME).map(any_of).chain([Matcher::equal(METRIC_NAME, "")]);
            for group in groups {
                self.charge(0)?;
                let of_name: Vec<Matcher> = matchers.iter().cloned().chain([group]).collect();
                source.for_each_series(&of_name, range, &memory, &mut |labels, chunks, kinds| {
                    totals.series += 1;
                    totals.chunks += chunks;
                    totals.histogram_series += u64::from(!kinds.contains(&SampleKind::Float));
                    for (name, value) in labels.iter() {
                        if !(census.names.is_empty() || census.names.iter().any(|n| n == name)) {
                            continue;
                        }
                        if !counts.contains_key(name) {
                            counts.insert(name.to_owned(), HashMap::new());
                        }
                        let Some(values) = counts.get_mut(name) else { continue };
                        match values.get_mut(value) {
                            Some(count) => *count += 1,
                            None => {
                                held.add(text_bytes(value) + COUNT_BYTES)?;
                                values.insert(value.to_owned(), 1);
                            }
                        }
                    }
                    Ok(())
                })?;
            }
            for (name, values) in counts {
                self.frames.counts(&name, values.into_iter())?;
            }
            self.frames.totals(totals);
            held.set(0)?;
        }
        self.frames.flush()
    }
}
