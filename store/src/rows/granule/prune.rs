//! Decides from statistics and filters that a granule cannot hold what is asked for.
use super::open::trace_id_column;
use super::{ColumnMeta, ColumnStats, Granule};
use crate::model::{Scope, Value, ValueType};
use crate::rows::error::Result;
use crate::rows::filter::{may_contain, value_hash};
use crate::rows::scan::{AttrCondition, AttrTest};
use crate::rows::stream::{StreamInfo, StreamRef};
use crate::rows::stream_table::StreamTable;

impl Granule {
    /// Whether some body may contain every key of a needle ([`crate::rows::filter::needle_keys`]).
    pub(crate) fn may_have_tokens(&self, keys: &[u64]) -> Result<bool> {
        if keys.is_empty() {
            return Ok(true);
        }
        match &self.meta.tokens {
            Some(region) => {
                let filter = self.read(region, "token filter")?;
                Ok(keys.iter().all(|&k| may_contain(&filter, k)))
            }
            None => Ok(false),
        }
    }

    /// Whether some row may satisfy all tests of some alternative. No alternatives: yes.
    pub(crate) fn may_satisfy(&self, alternatives: &[Vec<AttrCondition>], streams: &StreamTable) -> Result<bool> {
        for all in alternatives {
            let mut may = true;
            for condition in all {
                may = may && self.may_have(condition, streams)?;
            }
            if may {
                return Ok(true);
            }
        }
        Ok(alternatives.is_empty())
    }

    /// Whether the trace may have rows here.
    pub(crate) fn may_have_trace(&self, trace_id: &[u8; 16]) -> Result<bool> {
        if !(self.meta.min_id..=self.meta.max_id).contains(trace_id) {
            return Ok(false);
        }
        match trace_id_column(&self.meta.columns).and_then(|c| c.filter.as_ref()) {
            Some(region) if *trace_id != [0; 16] => {
                Ok(may_contain(&self.read(region, "trace filter")?, value_hash(trace_id)))
            }
            _ => Ok(true),
        }
    }

    fn may_have(&self, condition: &AttrCondition, streams: &StreamTable) -> Result<bool> {
        for column in self.meta.columns.iter().filter(|c| c.key == condition.key && wants(condition, c.scope)) {
            if self.column_may_have(column, &condition.test)? {
                return Ok(true);
            }
        }
        let spans = &self.meta.spans;
        Ok(spans.iter().filter_map(|s| streams.get(StreamRef(s.stream))).any(|s| stream_has(s, condition)))
    }

    fn column_may_have(&self, column: &ColumnMeta, test: &AttrTest) -> Result<bool> {
        Ok(match (test, &column.stats) {
            (AttrTest::Exists, _) => true,
            // An element may satisfy the test, and elements have no statistics.
            _ if column.value_type == ValueType::Array => true,
            (AttrTest::StrIn(values), stats) if column.value_type == ValueType::Str => {
                let in_range = |v: &&String| match stats {
                    ColumnStats::Strs(min, max) => min <= *v && *v <= max,
                    _ => true,
                };
                let wanted: Vec<u64> = values.iter().filter(in_range).map(|v| value_hash(v.as_bytes())).collect();
                match &column.filter {
                    _ if wanted.is_empty() => false,
                    Some(region) => {
                        let filter = self.read(region, "value filter")?;
                        wanted.iter().any(|&k| may_contain(&filter, k))
                    }
                    None => true,
                }
            }
            (AttrTest::Bool(_), _) => column.value_type == ValueType::Bool,
            (AttrTest::Number { min, max }, ColumnStats::Doubles(lo, hi)) => lo <= max && min <= hi,
            // Rounding an i64 to f64 keeps order, so the range check stays sound.
            (AttrTest::Number { min, max }, ColumnStats::Ints(lo, hi)) => *lo as f64 <= *max && *min <= *hi as f64,
            (AttrTest::Int { min, max }, ColumnStats::Ints(lo, hi)) => lo <= max && min <= hi,
            _ => false,
        })
    }
}

/// Whether an attribute of `scope` is what the condition asks for.
fn wants(condition: &AttrCondition, scope: Scope) -> bool {
    match condition.scope {
        Some(wanted) => wanted == scope,
        None => matches!(scope, Scope::Resource | Scope::Instrumentation | Scope::Record),
    }
}

/// Whether an attribute of the stream itself satisfies the condition.
fn stream_has(stream: &StreamInfo, condition: &AttrCondition) -> bool {
    stream
        .attrs()
        .iter()
        .any(|a| a.key == condition.key && wants(condition, a.scope) && satisfies(&a.value, &condition.test))
}

fn satisfies(value: &Value, test: &AttrTest) -> bool {
    match (test, value) {
        (AttrTest::Exists, _) => true,
        (test, Value::Array(items)) => items.iter().any(|item| satisfies(item, test)),
        (AttrTest::StrIn(values), Value::Str(s)) => values.contains(s),
        (AttrTest::Bool(wanted), Value::Bool(b)) => wanted == b,
        (AttrTest::Number { min, max }, Value::Int(i)) => *min <= *i as f64 && *i as f64 <= *max,
        (AttrTest::Number { min, max }, Value::Double(d)) => min <= d && d <= max,
        (AttrTest::Int { min, max }, Value::Int(i)) => min <= i && i <= max,
        _ => false,
    }
}
